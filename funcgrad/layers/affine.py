"""Layers that are affine in their parameters: `linear`, and how all of them start."""

from typing import Any, Protocol

import jax

from funcgrad import ops
from funcgrad.aliases import Array, PyTree
from funcgrad.layers.initialization import Initializer, as_key, draw
from funcgrad.layers.layer import Layer, array_spec, take


class linear(Layer):
    """`y = x w + b` over the last axis: `x[..., n] -> y[..., features]`, `w[n, features]`, `b[features]`.

    Args:
        features: size of the output's last axis.
        use_bias: whether there is a `b`.
        w_init: initializer of `w`, a name in `jax.nn.initializers` or a function `(key, shape, dtype)`.
        b_init: likewise of `b`.

    Raises:
        ShapeError: from `init`, the input is no floating array with an axis of features.

    Example:
        >>> net, x = fg.layers.linear(3), jnp.ones((2, 4))
        >>> params, state = net.init(jax.random.key(0), x)
        >>> {name: leaf.shape for name, leaf in params.items()}
        {'w': (4, 3), 'b': (3,)}
        >>> net(params, x).shape
        (2, 3)
    """

    features: int
    use_bias: bool = True
    w_init: Initializer = "lecun_normal"
    b_init: Initializer = "zeros"

    def init(self, key: Array, *specs: Any) -> tuple[PyTree, PyTree]:
        """Make `{"w", "b"}` of the input's dtype."""
        self.check_inputs(len(specs))
        x = array_spec(self, specs[0], least_ndim=1)
        return start_affine(self, key, (x.shape[-1], self.features), x.dtype), {}

    def forward(self, params: PyTree, x: Array) -> Array:
        """`x w + b`."""
        return ops.linear(x, take(self, params, "w"), take(self, params, "b") if self.use_bias else None)


class Affine(Protocol):
    """A layer with `w` and perhaps `b`."""

    @property
    def use_bias(self) -> bool:
        """Whether there is a `b`."""
        ...

    @property
    def w_init(self) -> Initializer:
        """How `w` starts."""
        ...

    @property
    def b_init(self) -> Initializer:
        """How `b` starts."""
        ...


def start_affine(layer: Affine, key: Array, shape: tuple[int, ...], dtype: Any) -> dict[str, Array]:
    """Draw `w` of that shape, and `b` along its last axis."""
    w_key, b_key = jax.random.split(as_key(key))
    params = {"w": draw(layer.w_init, w_key, shape, dtype)}
    if layer.use_bias:
        params["b"] = draw(layer.b_init, b_key, shape[-1:], dtype)
    return params
