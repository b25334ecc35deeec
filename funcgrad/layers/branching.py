"""Networks that fork and join: `parallel`, `residual`."""

from typing import Any

import jax

from funcgrad import ops
from funcgrad.aliases import Array, PyTree
from funcgrad.errors import ShapeError, describe_tree
from funcgrad.layers.children import Child, entry, name_children, written
from funcgrad.layers.functions import lift
from funcgrad.layers.layer import Layer, part
from funcgrad.layers.printing import call


class parallel(Layer):
    """Layers side by side: each reads all inputs, the output is the tuple of theirs.

    Follow it by what joins them. Params and state are keyed by the layers' names, which are made as in `chain`.

    Args:
        layers: layers or pure functions, named as in `chain`.
        named: further ones, with names.

    Raises:
        GraphError: something is no layer, or a name stands twice.

    Example:
        >>> net = fg.layers.chain(fg.layers.parallel(fg.layers.linear(8), gate=fg.ops.sigmoid), fg.ops.multiply)
        >>> params, state = net.init(jax.random.key(0), jnp.ones((2, 8)))
        >>> net(params, jnp.ones((2, 8))).shape
        (2, 8)
    """

    children: tuple[Child, ...]

    def __init__(self, *layers: Any, **named: Any):
        object.__setattr__(self, "children", name_children("parallel", layers, named))

    @property
    def random(self) -> bool:
        """Whether any layer is."""
        return any(c.layer.random for c in self.children)

    @property
    def arity(self) -> tuple[int, int | float]:
        """What all layers take."""
        arities = [c.layer.arity for c in self.children] or [(0, float("inf"))]
        return max(least for least, _ in arities), min(most for _, most in arities)

    def init(self, key: Array, *specs: Any) -> tuple[PyTree, PyTree]:
        """Params and state by the layers' names."""
        params, state = {}, {}
        for child in self.children:
            begun = child.begin(key, *specs)
            params |= entry(child.name, begun.params)
            state |= entry(child.name, begun.state)
        return params, state

    def apply(
        self, params: PyTree, state: PyTree, *inputs: Any, key: Array | None = None, train: bool = False
    ) -> tuple[PyTree, PyTree]:
        """Every layer's output, and every layer's new state."""
        outputs, after = [], {}
        for child in self.children:
            parts = part(self, params, child.name), part(self, state, child.name, "state")
            output, kept = child.apply(*parts, *inputs, key=key, train=train)
            outputs.append(output)
            after |= entry(child.name, kept)
        return tuple(outputs), after

    def __repr__(self) -> str:
        return call("parallel", written(self.children, name_children("parallel", [c.layer for c in self.children], {})))


class residual(Layer):
    """`shortcut(x) + body(x)`, the shortcut being `x` itself unless a layer is given.

    Params and state are under `"body"` and `"shortcut"`.

    Args:
        body: a layer or a pure function.
        shortcut: a layer that makes the sum fit, where the body changes the shape.

    Raises:
        ShapeError: the two terms differ in shape or dtype.

    Example:
        >>> net = fg.layers.residual(fg.layers.chain(fg.layers.layer_norm(), fg.layers.linear(4)))
        >>> params, state = net.init(jax.random.key(0), jnp.ones((2, 4)))
        >>> net(params, jnp.ones((2, 4))).shape
        (2, 4)
    """

    body: Layer
    shortcut: Layer | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "body", lift(self.body, "residual"))
        if self.shortcut is not None:
            object.__setattr__(self, "shortcut", lift(self.shortcut, "residual"))

    @property
    def random(self) -> bool:
        """Whether either branch is."""
        return any(c.layer.random for c in self.children)

    @property
    def children(self) -> tuple[Child, ...]:
        """The branches that are layers."""
        shortcut = () if self.shortcut is None else (Child("shortcut", self.shortcut),)
        return (Child("body", self.body), *shortcut)

    def init(self, key: Array, *specs: Any) -> tuple[PyTree, PyTree]:
        """Params and state under "body" and "shortcut"."""
        self.check_inputs(len(specs))
        return parallel(**{c.name: c.layer for c in self.children}).init(key, *specs)

    def apply(
        self, params: PyTree, state: PyTree, x: Array, *, key: Array | None = None, train: bool = False
    ) -> tuple[PyTree, PyTree]:
        """The sum of the two branches."""
        branches = parallel(**{c.name: c.layer for c in self.children})
        (body, *rest), state = branches.apply(params, state, x, key=key, train=train)
        shortcut = rest[0] if rest else x
        if _type(body) != _type(shortcut):
            raise ShapeError(
                f"{self.where}: the body must return {describe_tree(shortcut)}, as the shortcut does, "
                f"got {describe_tree(body)}; give another shortcut=."
            )
        return ops.add(shortcut, body), state

    def __repr__(self) -> str:
        children = [str(c) if c.name == "body" else f"shortcut={c}" for c in self.children]
        return call("residual", children)


def _type(x: Any) -> Any:
    return jax.tree.map(lambda leaf: (jax.numpy.shape(leaf), leaf.dtype), x)
