"""Pooling over one, two or three image axes, channels last.

For every op here `x[..., h, w, c] -> y[..., h', w', c]` with any leading batch axes, written for two image axes.
`windows.py` says how windows are reduced and their cotangents spread.
"""

from math import prod

import jax.numpy as jnp
import numpy as np
from jax import lax

from funcgrad.aliases import Array, Aval
from funcgrad.ops.axes import Padding
from funcgrad.ops.contraction import widen
from funcgrad.ops.windows import (
    Sizes,
    first_maxima,
    mean_of_windows,
    measure,
    reduce_windows,
    spread_mean,
    spread_to_places,
)
from funcgrad.registry import op, subgradient

Saved = tuple[Array, dict[str, Array]]


@op(leading=("x",), shapes="x[..., w, c]")
def max_pool1d(x: Array, *, window: Sizes, stride: Sizes | None = None, padding: Padding = "VALID") -> Array:
    """The maximum of each window: `x[..., w, c] -> y[..., w', c]`; pulled back as `max_pool2d`.

    Args:
        x: `[..., w, c]`.
        window: its size.
        stride: the distance of windows; by default the window, so that they tile.
        padding: `VALID`, `SAME`, a number for all sides, or ((before, after),).

    Returns:
        `y`, in the dtype of `x`, empty where no window fits.

    Raises:
        ShapeError: an attribute is out of range or of another number of axes.

    Example:
        >>> print(fg.ops.max_pool1d(jnp.array([1.0, 5.0, 3.0, 2.0]).reshape(1, 4, 1), window=2).ravel())
        [5. 3.]
    """
    return reduce_windows(x, measure(x, 1, window, stride, padding), lax.max)


@max_pool1d.saving("place")
def max_pool1d_saving(x: Array, *, window: Sizes, stride: Sizes | None, padding: Padding) -> Saved:
    """The maxima, and where in its window each stood."""
    y, place = first_maxima(x, measure(x, 1, window, stride, padding))
    return y, {"place": place}


@max_pool1d.pullback("x", kind=subgradient("to the first maximum"))
def max_pool1d_x(g: Array, place: Array, x_aval: Aval, window: Sizes, stride: Sizes | None, padding: Padding) -> Array:
    """`x_bar`: `g` at the place of each window's maximum."""
    return spread_to_places(g, place, measure(x_aval, 1, window, stride, padding))


@op(leading=("x",), shapes="x[..., h, w, c]")
def max_pool2d(x: Array, *, window: Sizes, stride: Sizes | None = None, padding: Padding = "VALID") -> Array:
    """The maximum of each window: `x[..., h, w, c] -> y[..., h', w', c]`.

    `x_bar` adds each entry of `g` to the place of its window's maximum, the first in row-major order at a tie, as
    XLA does. Keeps the place of each maximum (one byte per output for windows up to 255 entries): neither `x` nor
    `y`. Padding never wins.

    Args:
        x: images.
        window: its size, one number for all image axes or one each.
        stride: the distance of windows; by default the window, so that they tile.
        padding: `VALID`, `SAME`, a number for all sides, or ((top, bottom), (left, right)).

    Returns:
        `y`, in the dtype of `x`, empty where no window fits.

    Raises:
        ShapeError: an attribute is out of range or of another number of axes.

    Example:
        >>> x = jnp.array([[1.0, 5.0], [5.0, 2.0]]).reshape(1, 2, 2, 1)
        >>> print(fg.grad(lambda x: fg.ops.max_pool2d(x, window=2).sum())(x)[0, :, :, 0])
        [[0. 1.]
         [0. 0.]]
    """
    return reduce_windows(x, measure(x, 2, window, stride, padding), lax.max)


@max_pool2d.saving("place")
def max_pool2d_saving(x: Array, *, window: Sizes, stride: Sizes | None, padding: Padding) -> Saved:
    """The maxima, and where in its window each stood."""
    y, place = first_maxima(x, measure(x, 2, window, stride, padding))
    return y, {"place": place}


@max_pool2d.pullback("x", kind=subgradient("to the first maximum"))
def max_pool2d_x(g: Array, place: Array, x_aval: Aval, window: Sizes, stride: Sizes | None, padding: Padding) -> Array:
    """`x_bar`: `g` at the place of each window's maximum."""
    return spread_to_places(g, place, measure(x_aval, 2, window, stride, padding))


@op(leading=("x",), shapes="x[..., d, h, w, c]")
def max_pool3d(x: Array, *, window: Sizes, stride: Sizes | None = None, padding: Padding = "VALID") -> Array:
    """The maximum of each window: `x[..., d, h, w, c] -> y[..., d', h', w', c]`; pulled back as `max_pool2d`.

    Args:
        x: `[..., d, h, w, c]`.
        window: its size, one number for all image axes or one each.
        stride: the distance of windows; by default the window, so that they tile.
        padding: `VALID`, `SAME`, a number for all sides, or ((front, back), (top, bottom),
            (left, right)).

    Returns:
        `y`, in the dtype of `x`, empty where no window fits.

    Raises:
        ShapeError: an attribute is out of range or of another number of axes.

    Example:
        >>> fg.ops.max_pool3d(jnp.ones((1, 4, 4, 4, 2)), window=3, stride=2, padding="SAME").shape
        (1, 2, 2, 2, 2)
    """
    return reduce_windows(x, measure(x, 3, window, stride, padding), lax.max)


@max_pool3d.saving("place")
def max_pool3d_saving(x: Array, *, window: Sizes, stride: Sizes | None, padding: Padding) -> Saved:
    """The maxima, and where in its window each stood."""
    y, place = first_maxima(x, measure(x, 3, window, stride, padding))
    return y, {"place": place}


@max_pool3d.pullback("x", kind=subgradient("to the first maximum"))
def max_pool3d_x(g: Array, place: Array, x_aval: Aval, window: Sizes, stride: Sizes | None, padding: Padding) -> Array:
    """`x_bar`: `g` at the place of each window's maximum."""
    return spread_to_places(g, place, measure(x_aval, 3, window, stride, padding))


@op(leading=("x",), shapes="x[..., w, c]")
def avg_pool1d(
    x: Array, *, window: Sizes, stride: Sizes | None = None, padding: Padding = "VALID", count_padding: bool = True
) -> Array:
    """The mean of each window: `x[..., w, c] -> y[..., w', c]`; pulled back as `avg_pool2d`.

    Args:
        x: `[..., w, c]`.
        window: its size.
        stride: the distance of windows; by default the window, so that they tile.
        padding: `VALID`, `SAME`, a number for all sides, or ((before, after),).
        count_padding: whether the zeros of the padding count as entries.

    Returns:
        `y`, in the dtype of `x`, empty where no window fits.

    Raises:
        ShapeError: an attribute is out of range or of another number of axes, or `x` is of integers.

    Example:
        >>> print(fg.ops.avg_pool1d(jnp.array([1.0, 5.0, 3.0, 2.0]).reshape(1, 4, 1), window=2).ravel())
        [3.  2.5]
    """
    return mean_of_windows(x, measure(x, 1, window, stride, padding), count_padding)


@avg_pool1d.pullback("x")
def avg_pool1d_x(
    g: Array, x_aval: Aval, window: Sizes, stride: Sizes | None, padding: Padding, count_padding: bool
) -> Array:
    """`x_bar`: the sum of `g / n` over the windows that hold an entry."""
    return spread_mean(g, measure(x_aval, 1, window, stride, padding), count_padding)


@op(leading=("x",), shapes="x[..., h, w, c]")
def avg_pool2d(
    x: Array, *, window: Sizes, stride: Sizes | None = None, padding: Padding = "VALID", count_padding: bool = True
) -> Array:
    """The mean of each window: `x[..., h, w, c] -> y[..., h', w', c]`.

    `x_bar` is the sum, over the windows that hold an entry, of `g / n`, with `n` what the window's sum was divided
    by. Keeps the shape.

    Args:
        x: images.
        window: its size, one number for all image axes or one each.
        stride: the distance of windows; by default the window, so that they tile.
        padding: `VALID`, `SAME`, a number for all sides, or ((top, bottom), (left, right)).
        count_padding: whether the zeros of the padding count as entries; without, the mean is over the image's
            entries alone (PyTorch: `count_include_pad`).

    Returns:
        `y`, in the dtype of `x`, empty where no window fits.

    Raises:
        ShapeError: an attribute is out of range or of another number of axes, or `x` is of integers.

    Example:
        >>> x = jnp.ones((1, 2, 2, 1))
        >>> print(fg.ops.avg_pool2d(x, window=2, stride=1, padding="SAME")[0, :, :, 0])
        [[1.   0.5 ]
         [0.5  0.25]]
        >>> print(fg.ops.avg_pool2d(x, window=2, stride=1, padding="SAME", count_padding=False)[0, :, :, 0])
        [[1. 1.]
         [1. 1.]]
    """
    return mean_of_windows(x, measure(x, 2, window, stride, padding), count_padding)


@avg_pool2d.pullback("x")
def avg_pool2d_x(
    g: Array, x_aval: Aval, window: Sizes, stride: Sizes | None, padding: Padding, count_padding: bool
) -> Array:
    """`x_bar`: the sum of `g / n` over the windows that hold an entry."""
    return spread_mean(g, measure(x_aval, 2, window, stride, padding), count_padding)


@op(leading=("x",), shapes="x[..., d, h, w, c]")
def avg_pool3d(
    x: Array, *, window: Sizes, stride: Sizes | None = None, padding: Padding = "VALID", count_padding: bool = True
) -> Array:
    """The mean of each window: `x[..., d, h, w, c] -> y[..., d', h', w', c]`; pulled back as `avg_pool2d`.

    Args:
        x: `[..., d, h, w, c]`.
        window: its size, one number for all image axes or one each.
        stride: the distance of windows; by default the window, so that they tile.
        padding: `VALID`, `SAME`, a number for all sides, or ((front, back), (top, bottom),
            (left, right)).
        count_padding: whether the zeros of the padding count as entries.

    Returns:
        `y`, in the dtype of `x`, empty where no window fits.

    Raises:
        ShapeError: an attribute is out of range or of another number of axes, or `x` is of integers.

    Example:
        >>> fg.ops.avg_pool3d(jnp.ones((1, 4, 4, 4, 2)), window=2).shape
        (1, 2, 2, 2, 2)
    """
    return mean_of_windows(x, measure(x, 3, window, stride, padding), count_padding)


@avg_pool3d.pullback("x")
def avg_pool3d_x(
    g: Array, x_aval: Aval, window: Sizes, stride: Sizes | None, padding: Padding, count_padding: bool
) -> Array:
    """`x_bar`: the sum of `g / n` over the windows that hold an entry."""
    return spread_mean(g, measure(x_aval, 3, window, stride, padding), count_padding)


@op(leading=("x",))
def global_max_pool(x: Array, *, dims: int = 2) -> Array:
    """The maximum over the last `dims` image axes: `x[..., h, w, c] -> y[..., c]`.

    `x_bar` is `g` at the first maximum in row-major order. Keeps its place (an integer per output), not `x`.

    Args:
        x: images.
        dims: how many image axes.

    Returns:
        `y`, in the dtype of `x`.

    Raises:
        ShapeError: `x` has fewer axes, or an image axis is empty.

    Example:
        >>> x = jnp.array([[1.0, 5.0], [5.0, 2.0]]).reshape(1, 2, 2, 1)
        >>> print(fg.ops.global_max_pool(x), fg.grad(lambda x: fg.ops.global_max_pool(x).sum())(x)[0, :, :, 0])
        [[5.]] [[0. 1.]
         [0. 0.]]
    """
    row = _as_row(x, dims)
    return reduce_windows(row, measure(row, 1, row.shape[-2], None, "VALID"), lax.max)[..., 0, :]


@global_max_pool.saving("place")
def global_max_pool_saving(x: Array, *, dims: int) -> Saved:
    """The maxima, and where in the image each stood."""
    row = _as_row(x, dims)
    return jnp.max(row, axis=-2), {"place": lax.argmax(row, row.ndim - 2, np.int32)}


@global_max_pool.pullback("x", kind=subgradient("to the first maximum"))
def global_max_pool_x(g: Array, place: Array, x_aval: Aval, dims: int) -> Array:
    """`x_bar`: `g` at the place of each maximum."""
    shape = (*g.shape[:-1], prod(x_aval.shape[-dims - 1 : -1]), g.shape[-1])
    here = lax.broadcasted_iota(np.int32, shape, g.ndim - 1)
    return jnp.where(here == place[..., None, :], g[..., None, :], 0).reshape(x_aval.shape)


@op(leading=("x",))
def global_avg_pool(x: Array, *, dims: int = 2) -> Array:
    """The mean over the last `dims` image axes: `x[..., h, w, c] -> y[..., c]`.

    `x_bar` is `g / n` everywhere, `n` the number of entries of an image. Keeps the shape.

    Args:
        x: images.
        dims: how many image axes.

    Returns:
        `y`, in the dtype of `x`; integers have a floating mean.

    Raises:
        ShapeError: `x` has fewer axes, or an image axis is empty.

    Example:
        >>> print(fg.ops.global_avg_pool(jnp.array([[1.0, 5.0], [5.0, 2.0]]).reshape(1, 2, 2, 1)))
        [[3.25]]
    """
    return jnp.mean(_as_row(x, dims), axis=-2)


@global_avg_pool.pullback("x")
def global_avg_pool_x(g: Array, x_aval: Aval, dims: int) -> Array:
    """`x_bar = g / n`, over the image."""
    n = prod(x_aval.shape[-dims - 1 : -1])
    whole = (*range(g.ndim - 1), x_aval.ndim - 1)
    # Widened, because float16 ends at 65,504, and an image may have more entries.
    return lax.broadcast_in_dim((widen(g) / n).astype(g.dtype), x_aval.shape, whole)


def _as_row(x: Array, dims: int) -> Array:
    """The image axes as one."""
    if dims < 1 or x.ndim <= dims:
        raise ValueError(f"x must have {dims} image axes and a channel axis; say how many with dims=")
    row = x.reshape(*x.shape[: -dims - 1], prod(x.shape[-dims - 1 : -1]), x.shape[-1])
    if row.shape[-2] == 0:
        raise ValueError(f"the image must not be empty, got {x.shape[-dims - 1 : -1]}")
    return row
