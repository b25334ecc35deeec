"""Layers without parameters that change shapes: flattening, concatenating."""

import math

from funcgrad import ops
from funcgrad.aliases import Array, PyTree
from funcgrad.errors import ShapeError, describe
from funcgrad.layers.layer import Layer


class flatten(Layer):
    """Make one axis of all axes after the first `keep`: `x[n, h, w, c] -> y[n, h·w·c]`.

    Args:
        keep: how many axes in front stay.

    Raises:
        ShapeError: the input has fewer.

    Example:
        >>> fg.layers.flatten()({}, jnp.ones((2, 4, 4, 3))).shape
        (2, 48)
    """

    keep: int = 1

    def forward(self, _: PyTree, x: Array) -> Array:
        """The reshaped array."""
        if x.ndim < self.keep:
            raise ShapeError(f"{self.where}: the input must have at least keep={self.keep} axes, got {describe(x)}.")
        return ops.reshape(x, shape=(*x.shape[: self.keep], math.prod(x.shape[self.keep :])))


class concatenate(Layer):
    """Join several inputs along an axis, as after `parallel`.

    Args:
        axis: along which.

    Raises:
        ShapeError: their shapes differ along another axis, or there is no such axis.

    Example:
        >>> fg.layers.concatenate()({}, jnp.ones((2, 3)), jnp.ones((2, 4))).shape
        (2, 7)
    """

    axis: int = -1

    def forward(self, _: PyTree, *inputs: Array) -> Array:
        """The joined array."""
        return ops.concatenate(inputs, axis=self.axis)
