"""Layers that are affine in their parameters: `linear`, `conv2d`."""

from typing import Any

import jax

from funcgrad import ops
from funcgrad.aliases import Array, PyTree
from funcgrad.layers.initialization import Initializer, draw
from funcgrad.layers.layer import Layer, array_spec, take


class linear(Layer):
    """`y = x w + b` over the last axis: `x[..., n] -> y[..., features]`, `w[n, features]`, `b[features]`.

    Args:
        features: size of the output's last axis.
        use_bias: whether there is a `b`.
        w_init: initializer of `w`, a name in `jax.nn.initializers` or a function `(key, shape, dtype)`.
        b_init: likewise of `b`.
    """

    features: int
    use_bias: bool = True
    w_init: Initializer = "lecun_normal"
    b_init: Initializer = "zeros"

    def init(self, key: Array, *specs: Any) -> tuple[PyTree, PyTree]:
        """Make `{"w", "b"}` of the input's dtype."""
        self.check_inputs(len(specs))
        x = array_spec(self, specs[0], least_ndim=1)
        return _affine(self, key, (x.shape[-1], self.features), x.dtype), {}

    def forward(self, params: PyTree, x: Array) -> Array:
        """`x w + b`."""
        return ops.linear(x, take(self, params, "w"), take(self, params, "b") if self.use_bias else None)


class conv2d(Layer):
    """2-D convolution: `x[..., h, w, c] -> y[..., h', w', features]`, `w[kh, kw, c, features]`, `b[features]`.

    Args:
        features: number of output channels.
        window: size of the kernel, one number or (height, width).
        stride: step of the window, one number or (vertical, horizontal).
        padding: "SAME", "VALID" or ((top, bottom), (left, right)).
        use_bias: whether there is a `b`.
        w_init: initializer of `w`.
        b_init: initializer of `b`.
    """

    features: int
    window: int | tuple[int, int]
    stride: int | tuple[int, int] = 1
    padding: str | tuple[tuple[int, int], tuple[int, int]] = "SAME"
    use_bias: bool = True
    w_init: Initializer = "lecun_normal"
    b_init: Initializer = "zeros"

    def init(self, key: Array, *specs: Any) -> tuple[PyTree, PyTree]:
        """Make `{"w", "b"}` of the input's dtype."""
        self.check_inputs(len(specs))
        x = array_spec(self, specs[0], least_ndim=3)
        window = (self.window, self.window) if isinstance(self.window, int) else self.window
        return _affine(self, key, (*window, x.shape[-1], self.features), x.dtype), {}

    def forward(self, params: PyTree, x: Array) -> Array:
        """The convolution of `x` with `w`, plus `b`."""
        w, b = take(self, params, "w"), take(self, params, "b") if self.use_bias else None
        return ops.conv2d(x, w, b, stride=self.stride, padding=self.padding)


def _affine(layer: linear | conv2d, key: Array, shape: tuple[int, ...], dtype: Any) -> dict[str, Array]:
    w_key, b_key = jax.random.split(key)
    params = {"w": draw(layer.w_init, w_key, shape, dtype)}
    if layer.use_bias:
        params["b"] = draw(layer.b_init, b_key, shape[-1:], dtype)
    return params
