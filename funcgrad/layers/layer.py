"""What a layer is: a frozen description with two pure functions, `init` and `apply`."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, dataclass_transform

import jax

from funcgrad.aliases import Array, PyTree
from funcgrad.errors import GraphError, ShapeError, describe, describe_tree
from funcgrad.layers.printing import call, spelled
from funcgrad.layers.references import dereferred, reference_to, referred
from funcgrad.naming import name_here


@dataclass_transform(frozen_default=True)
class Layer:
    """A pair of pure functions; a subclass is made a frozen dataclass and a pytree without leaves.

        init(key, *input_specs) -> params, state
        apply(params, state, *inputs, key=None, train=False) -> output, state

    So a layer is hashable, equal to another one with the same fields, passes through `jit`, `vmap` and
    `jax.tree.map` as structure, and prints as the call that makes it. Called as `net(params, *inputs)` it gives the
    output alone. A subclass gives `init` where it has parameters, and `forward(params, *inputs) -> output`; one that
    keeps state, draws random numbers or behaves differently while training overrides `apply` instead.

    Example:
        >>> class scale(fg.layers.Layer):
        ...     start: float = 1.0
        ...     def init(self, key, x):
        ...         return {"s": jnp.full((), self.start, x.dtype)}, {}
        ...     def forward(self, params, x):
        ...         return fg.ops.multiply(x, params["s"])
        >>> net, x = fg.layers.chain(scale(3.0), fg.ops.relu), jnp.array([-1.0, 2.0])
        >>> params, state = net.init(jax.random.key(0), x)
        >>> print(net, net(params, x))
        chain(scale(start=3.0), ops.relu) [0. 6.]
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        dataclasses.dataclass(frozen=True, repr=False)(cls)
        jax.tree_util.register_static(cls)

    @property
    def random(self) -> bool:
        """Whether `apply` uses its key; only then is one split off for it."""
        return False

    def init(self, key: Array, *specs: Any) -> tuple[PyTree, PyTree]:  # noqa: ARG002 (nothing to draw)
        """Make `(params, state)` for inputs like `specs`: anything with a shape and a dtype."""
        return {}, {}

    if TYPE_CHECKING:
        forward: ClassVar[Callable[..., PyTree]]
        """`forward(params, *inputs) -> output`."""
        apply: ClassVar[Callable[..., tuple[PyTree, PyTree]]]
        """`apply(params, state, *inputs, key=None, train=False) -> (output, state)`."""
    else:

        def apply(self, params, state, *inputs, key=None, train=False):  # noqa: ARG002 (forward needs neither)
            """`(forward(params, *inputs), state)`."""
            if not inputs:
                self.check_inputs(0)
            self.check_arrays(inputs)
            return self.forward(params, *inputs), state

    def __call__(self, params: PyTree, *inputs: Any, key: Array | None = None, train: bool = False) -> PyTree:
        """The output alone, for a layer without state.

        Raises:
            GraphError: the layer keeps state, which this shorthand would lose; there are no parameters.
            ShapeError: there are too few inputs, or too many, or lists in the place of arrays.
        """
        if not inputs and self.arity[0] > 0:
            raise GraphError(
                f"{self.where}: net(params, x) takes the parameters first, got {describe_tree(params)} alone; "
                f"params, state = net.init(key, x) makes them."
            )
        self.check_inputs(len(inputs))
        nothing = _Stateless(self.where)
        output, state = self.apply(params, nothing, *inputs, key=key, train=train)
        if jax.tree.leaves(state):
            nothing.refuse()
        return output

    def __repr__(self) -> str:
        arguments = []
        for f in dataclasses.fields(self):  # pyright: ignore[reportArgumentType] (every subclass is a dataclass)
            value = getattr(self, f.name)
            if f.default is dataclasses.MISSING:
                arguments.append(spelled(value))
            elif value != f.default:
                arguments.append(f"{f.name}={spelled(value)}")
        return call(type(self).__name__, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        name, fields = type(self).__name__, dataclasses.fields(self)  # pyright: ignore[reportArgumentType]
        if reference_to(type(self)) is None:
            raise GraphError(
                f"{name} cannot be pickled: the class '{type(self).__qualname__}' is not found by that name in "
                f"{type(self).__module__}; define it at the top of a module."
            )
        return _restored, (type(self), {f.name: referred(getattr(self, f.name), name, f.name) for f in fields})

    def __deepcopy__(self, memo: Any) -> "Layer":
        """Itself, which nothing can change; so that one of lambdas can be copied too."""
        del memo
        return self

    @property
    def short(self) -> str:
        """As combinators print it; a bare function goes by its name."""
        return repr(self)

    @property
    def where(self) -> str:
        """Where the layer stands while it is traced, as errors write it."""
        return name_here(type(self).__name__)

    @property
    def arity(self) -> tuple[int, int | float]:
        """The least and the largest number of inputs that `apply` takes."""
        if type(self).apply is Layer.apply:
            return positional_range(inspect.signature(self.forward), skip=1)
        return positional_range(inspect.signature(self.apply), skip=2)

    def check_inputs(self, found: int) -> None:
        """ShapeError unless the layer takes that many inputs."""
        if (problem := wrong_count(self, found)) is not None:
            raise ShapeError(f"{self.where}: {problem}.")

    def check_arrays(self, inputs: tuple[Any, ...]) -> None:
        """ShapeError where numbers in lists or tuples stand for an array."""
        for x in inputs:
            if isinstance(x, list | tuple) and (leaves := jax.tree.leaves(x)):
                if all(isinstance(leaf, int | float | complex) for leaf in leaves):
                    raise ShapeError(f"{self.where}: inputs must be arrays, got a {type(x).__name__}; use jnp.asarray.")

    def output_spec(self, params: PyTree, state: PyTree, *specs: Any) -> PyTree:
        """Shapes and dtypes of the output for inputs like `specs`; nothing is computed."""
        return jax.eval_shape(lambda p, s, xs: self.apply(p, s, *xs)[0], params, state, specs)


def _restored(cls: type[Layer], fields: dict[str, Any]) -> Layer:
    """A layer that was pickled, its fields as its `__init__` had made them."""
    layer = object.__new__(cls)
    for name, value in fields.items():
        object.__setattr__(layer, name, dereferred(value))
    return layer


@jax.tree_util.register_static
class _Stateless(dict[str, Any]):
    """The state of a network that has none, and of each of its parts: empty, and reading from it raises."""

    def __init__(self, where: str):
        super().__init__()
        self.where = where

    def get(self, key: str, default: Any = None, /) -> Any:  # noqa: ARG002 (a part's state, as combinators ask for it)
        return self

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> NoReturn:
        self.refuse()

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] (nothing in it ever changes)
        return hash(self.where)

    def refuse(self) -> NoReturn:
        raise GraphError(f"{self.where}: keeps state, which net(params, x) would lose; use net.apply.")


def wrong_count(layer: Layer, found: int) -> str | None:
    """What is wrong with the number of inputs, or None."""
    least, most = layer.arity
    if least <= found <= most:
        return None
    expected = f"at least {least}" if most == float("inf") else str(least) if least == most else f"{least} to {most}"
    return f"takes {expected} input{'s' if expected != '1' else ''}, got {found}"


def positional_range(signature: inspect.Signature, skip: int = 0) -> tuple[int, int | float]:
    """The least and the largest number of positional arguments after the first `skip`."""
    parameters = [p for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    variadic = any(p.kind == p.VAR_POSITIONAL for p in signature.parameters.values())
    least = sum(p.default is p.empty for p in parameters[skip:])
    return least, float("inf") if variadic else len(parameters) - skip


def part(layer: Layer, tree: Any, name: str, kind: str = "params") -> Any:
    """The params (or the state) of a part of a network, empty where it has none; GraphError for what is none at all."""
    if not isinstance(tree, Mapping):
        raise GraphError(
            f"{layer.where}: {kind} must be a mapping such as init returned, got {describe_tree(tree)}; the order is "
            f"net(params, *inputs), net.apply(params, state, *inputs)."
        )
    return tree.get(name, {})


def take(layer: Layer, params: Any, name: str, kind: str = "params") -> Any:
    """One parameter (or value of its state) of a layer; GraphError where it is missing."""
    if not isinstance(params, Mapping) or name not in params:
        held = ", ".join(map(str, params)) if isinstance(params, Mapping) else describe(params)
        raise GraphError(
            f"{layer.where}: {kind} must have '{name}', got {held or 'none'}; pass the {kind} that init returned."
        )
    return params[name]


def array_spec(layer: Layer, spec: Any, least_ndim: int = 0) -> jax.ShapeDtypeStruct:
    """A spec of floating dtype and at least that many axes, as `init` needs it; ShapeError otherwise."""
    if not (hasattr(spec, "shape") and hasattr(spec, "dtype")):
        raise ShapeError(
            f"{layer.where}: init takes input specs with shape and dtype, got {type(spec).__name__}; "
            f"pass an array or a jax.ShapeDtypeStruct."
        )
    if not jax.numpy.issubdtype(spec.dtype, jax.numpy.inexact):
        raise ShapeError(f"{layer.where}: the input must be floating, got {describe(spec)}; convert it.")
    if len(spec.shape) < least_ndim:
        raise ShapeError(
            f"{layer.where}: the input must have at least {least_ndim} ax{'i' if least_ndim == 1 else 'e'}s, "
            f"got {describe(spec)}."
        )
    return jax.ShapeDtypeStruct(spec.shape, spec.dtype)
