"""Layers that pool over one, two or three image axes, channels last. None has parameters."""

from typing import ClassVar

from funcgrad import ops
from funcgrad.aliases import Array, PyTree
from funcgrad.layers.layer import Layer
from funcgrad.ops.axes import Padding
from funcgrad.registry import Op

Sizes = int | tuple[int, ...]


class MaxPooling(Layer):
    """The largest entry of each window; a subclass says by which op.

    Args:
        window: its size, one number or one per image axis.
        stride: its step; the window's size by default.
        padding: "VALID", "SAME", a number for all sides, or a number or pair (before, after) per image axis.
    """

    operation: ClassVar[Op]

    window: Sizes
    stride: Sizes | None = None
    padding: Padding = "VALID"

    def forward(self, _: PyTree, x: Array) -> Array:
        """The pooled array."""
        return self.operation(x, window=self.window, stride=self.stride, padding=self.padding)


class max_pool1d(MaxPooling):
    """The largest entry of each window: `x[..., w, c] -> y[..., w', c]`; see `fg.ops.max_pool1d`.

    Args:
        window: its size.
        stride: its step; the window's size by default.
        padding: "VALID", "SAME", a number for all sides, or ((before, after),).

    Raises:
        ShapeError: from the call, something does not fit the input.

    Example:
        >>> print(fg.layers.max_pool1d(2)({}, jnp.array([1.0, 5.0, 3.0, 2.0]).reshape(1, 4, 1)).ravel())
        [5. 3.]
    """

    operation = ops.max_pool1d


class max_pool2d(MaxPooling):
    """The largest entry of each window: `x[..., h, w, c] -> y[..., h', w', c]`; see `fg.ops.max_pool2d`.

    Args:
        window: its size, one number or (height, width).
        stride: its step; the window's size by default.
        padding: "VALID", "SAME", a number for all sides, or ((top, bottom), (left, right)).

    Raises:
        ShapeError: from the call, something does not fit the input.

    Example:
        >>> fg.layers.max_pool2d(2)({}, jnp.ones((1, 4, 4, 2))).shape
        (1, 2, 2, 2)
    """

    operation = ops.max_pool2d


class max_pool3d(MaxPooling):
    """The largest entry of each window: `x[..., d, h, w, c] -> y[..., d', h', w', c]`; see `fg.ops.max_pool3d`.

    Args:
        window: its size, one number or (depth, height, width).
        stride: its step; the window's size by default.
        padding: "VALID", "SAME", a number for all sides, or ((front, back), (top, bottom),
            (left, right)).

    Raises:
        ShapeError: from the call, something does not fit the input.

    Example:
        >>> fg.layers.max_pool3d(2)({}, jnp.ones((1, 4, 4, 4, 2))).shape
        (1, 2, 2, 2, 2)
    """

    operation = ops.max_pool3d


class AveragePooling(Layer):
    """The mean of each window; a subclass says by which op.

    Args:
        window: its size, one number or one per image axis.
        stride: its step; the window's size by default.
        padding: "VALID", "SAME", a number for all sides, or a number or pair (before, after) per image axis.
        count_padding: whether the zeros of the padding count as entries.
    """

    operation: ClassVar[Op]

    window: Sizes
    stride: Sizes | None = None
    padding: Padding = "VALID"
    count_padding: bool = True

    def forward(self, _: PyTree, x: Array) -> Array:
        """The pooled array."""
        attributes = {"stride": self.stride, "padding": self.padding, "count_padding": self.count_padding}
        return self.operation(x, window=self.window, **attributes)


class avg_pool1d(AveragePooling):
    """The mean of each window: `x[..., w, c] -> y[..., w', c]`; see `fg.ops.avg_pool1d`.

    Args:
        window: its size.
        stride: its step; the window's size by default.
        padding: "VALID", "SAME", a number for all sides, or ((before, after),).
        count_padding: whether the zeros of the padding count as entries.

    Raises:
        ShapeError: from the call, something does not fit the input.

    Example:
        >>> print(fg.layers.avg_pool1d(2)({}, jnp.array([1.0, 5.0, 3.0, 2.0]).reshape(1, 4, 1)).ravel())
        [3.  2.5]
    """

    operation = ops.avg_pool1d


class avg_pool2d(AveragePooling):
    """The mean of each window: `x[..., h, w, c] -> y[..., h', w', c]`; see `fg.ops.avg_pool2d`.

    Args:
        window: its size, one number or (height, width).
        stride: its step; the window's size by default.
        padding: "VALID", "SAME", a number for all sides, or ((top, bottom), (left, right)).
        count_padding: whether the zeros of the padding count as entries.

    Raises:
        ShapeError: from the call, something does not fit the input.

    Example:
        >>> fg.layers.avg_pool2d(2)({}, jnp.ones((1, 4, 4, 2))).shape
        (1, 2, 2, 2)
    """

    operation = ops.avg_pool2d


class avg_pool3d(AveragePooling):
    """The mean of each window: `x[..., d, h, w, c] -> y[..., d', h', w', c]`; see `fg.ops.avg_pool3d`.

    Args:
        window: its size, one number or (depth, height, width).
        stride: its step; the window's size by default.
        padding: "VALID", "SAME", a number for all sides, or ((front, back), (top, bottom),
            (left, right)).
        count_padding: whether the zeros of the padding count as entries.

    Raises:
        ShapeError: from the call, something does not fit the input.

    Example:
        >>> fg.layers.avg_pool3d(2)({}, jnp.ones((1, 4, 4, 4, 2))).shape
        (1, 2, 2, 2, 2)
    """

    operation = ops.avg_pool3d


class global_max_pool(Layer):
    """The largest entry of the image: `x[..., h, w, c] -> y[..., c]`.

    Args:
        dims: how many image axes.

    Raises:
        ShapeError: from the call, the input has fewer axes, or an image is empty.

    Example:
        >>> print(fg.layers.global_max_pool()({}, jnp.array([[1.0, 5.0], [4.0, 2.0]]).reshape(1, 2, 2, 1)))
        [[5.]]
    """

    dims: int = 2

    def forward(self, _: PyTree, x: Array) -> Array:
        """The pooled array."""
        return ops.global_max_pool(x, dims=self.dims)


class global_avg_pool(Layer):
    """The mean of the image: `x[..., h, w, c] -> y[..., c]`.

    Args:
        dims: how many image axes.

    Raises:
        ShapeError: from the call, the input has fewer axes, or an image is empty.

    Example:
        >>> print(fg.layers.global_avg_pool()({}, jnp.array([[1.0, 5.0], [4.0, 2.0]]).reshape(1, 2, 2, 1)))
        [[3.]]
    """

    dims: int = 2

    def forward(self, _: PyTree, x: Array) -> Array:
        """The pooled array."""
        return ops.global_avg_pool(x, dims=self.dims)
