"""Layers without parameters that change shapes: pooling, flattening, concatenating."""

import math

from funcgrad import ops
from funcgrad.aliases import Array, PyTree
from funcgrad.errors import ShapeError, describe
from funcgrad.layers.layer import Layer


class max_pool2d(Layer):
    """The largest entry of each window: `x[..., h, w, c] -> y[..., h', w', c]`.

    Args:
        window: its size, one number or (height, width).
        stride: its step; the window's size by default.
        padding: "VALID", "SAME" or ((top, bottom), (left, right)).
    """

    window: int | tuple[int, int]
    stride: int | tuple[int, int] | None = None
    padding: str | tuple[tuple[int, int], tuple[int, int]] = "VALID"

    def forward(self, _: PyTree, x: Array) -> Array:
        """The pooled array."""
        return ops.max_pool2d(x, window=self.window, stride=self.stride, padding=self.padding)


class avg_pool2d(Layer):
    """The mean of each window: `x[..., h, w, c] -> y[..., h', w', c]`; fields as for `max_pool2d`."""

    window: int | tuple[int, int]
    stride: int | tuple[int, int] | None = None
    padding: str | tuple[tuple[int, int], tuple[int, int]] = "VALID"

    def forward(self, _: PyTree, x: Array) -> Array:
        """The pooled array."""
        return ops.avg_pool2d(x, window=self.window, stride=self.stride, padding=self.padding)


class flatten(Layer):
    """Make one axis of all axes after the first `keep`: `x[n, h, w, c] -> y[n, h·w·c]`."""

    keep: int = 1

    def forward(self, _: PyTree, x: Array) -> Array:
        """The reshaped array."""
        if x.ndim < self.keep:
            raise ShapeError(f"{self.where}: the input must have at least keep={self.keep} axes, got {describe(x)}.")
        return ops.reshape(x, shape=(*x.shape[: self.keep], math.prod(x.shape[self.keep :])))


class concatenate(Layer):
    """Join several inputs along an axis."""

    axis: int = -1

    def forward(self, _: PyTree, *inputs: Array) -> Array:
        """The joined array."""
        return ops.concatenate(inputs, axis=self.axis)
