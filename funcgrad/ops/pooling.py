"""2-D pooling, channels last.

The pullbacks ask the question from the input's side: which windows hold this entry? Entry `p` of an axis (counted
with the padding) lies at place `d = p mod s + t s` of window `p // s - t`, for `t = 0, 1, ...` while `d` is within
the window. So the cotangent is `g` repeated `s` times along each axis, once per `t`: a single pass when windows do
not overlap, and never a scatter.
"""

from itertools import product
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from funcgrad.aliases import Array, Aval
from funcgrad.ops.shapes import Padding, flatten_leading, pair, resolve_padding
from funcgrad.registry import op, subgradient

Window = int | tuple[int, int]
_UNROLL = 16
"""Windows up to this many entries are compared in one fused pass; larger ones in a loop, to compile fast."""


@op(leading=("x",), shapes="x[..., h, w, c]")
def max_pool2d(x: Array, *, window: Window, stride: Window | None = None, padding: Padding = "VALID") -> Array:
    """The maximum of each window: `x[..., h, w, c] -> y[..., h', w', c]`.

    `x_bar` adds each entry of `g` to the place of its window's maximum, the first in row-major order at a tie, as
    XLA does. Keeps the place of each maximum (one byte per output for windows up to 255 entries): neither `x` nor
    `y`. Padding never wins.

    Args:
        x: images.
        window: its height and width, or one number for both.
        stride: the distance of windows; by default the window, so that they tile.
        padding: `VALID`, `SAME` or ((top, bottom), (left, right)).

    """
    return _reduce(x, window, stride, padding, "max")


@max_pool2d.saving("place")
def max_pool2d_saving(
    x: Array, *, window: Window, stride: Window | None, padding: Padding
) -> tuple[Array, dict[str, Array]]:
    """The maxima, and where in its window each stood."""
    place = _place_of_maximum(lax.stop_gradient(x), window, stride, padding)
    y = _reduce(x, window, stride, padding, "max")
    return y, {"place": place}


@max_pool2d.pullback("x", kind=subgradient("to the first maximum"))
def max_pool2d_x(
    g: Array, place: Array, x_aval: Aval, window: Window, stride: Window | None, padding: Padding
) -> Array:
    """`x_bar`: `g` at the place of each window's maximum."""
    return _spread(g, place, x_aval.shape, window, stride, padding)


@op(leading=("x",), shapes="x[..., h, w, c]")
def avg_pool2d(x: Array, *, window: Window, stride: Window | None = None, padding: Padding = "VALID") -> Array:
    """The mean of each window, padding counted as zeros: `x[..., h, w, c] -> y[..., h', w', c]`.

    `x_bar` is the sum of `g` over the windows that hold an entry, over the window's size. Keeps the shape.
    Arguments as for `max_pool2d`.
    """
    kh, kw = pair(window)
    return _reduce(x, window, stride, padding, "add") / (kh * kw)


@avg_pool2d.pullback("x")
def avg_pool2d_x(g: Array, x_aval: Aval, window: Window, stride: Window | None, padding: Padding) -> Array:
    """`x_bar`: the sum of `g` over the windows that hold an entry, over the window's size."""
    kh, kw = pair(window)
    return _spread(g / (kh * kw), None, x_aval.shape, window, stride, padding)


class _Axis(NamedTuple):
    """The windows along one image axis."""

    size: int
    window: int
    step: int
    before: int
    """Padding in front."""
    after: int

    @property
    def n_blocks(self) -> int:
        """How many steps it takes to cover the padding in front and the input."""
        return -(-(self.before + self.size) // self.step)


def _geometry(shape: tuple[int, ...], window: Window, stride: Window | None, padding: Padding) -> tuple[_Axis, _Axis]:
    size, sides = shape[-3:-1], pair(window)
    steps = sides if stride is None else pair(stride)
    pads = resolve_padding(padding, size, sides, steps)
    h, w = (_Axis(n, k, s, *p) for n, k, s, p in zip(size, sides, steps, pads, strict=True))
    return h, w


def _reduce(x: Array, window: Window, stride: Window | None, padding: Padding, combine: str) -> Array:
    """The windows' maxima or sums."""
    h, w = _geometry(x.shape, window, stride, padding)
    start = np.asarray(_lowest(x) if combine == "max" else 0, x.dtype)
    y = lax.reduce_window(
        flatten_leading(x, 3),
        start,
        lax.max if combine == "max" else lax.add,
        (1, h.window, w.window, 1),
        (1, h.step, w.step, 1),
        ((0, 0), (h.before, h.after), (w.before, w.after), (0, 0)),
    )
    return y.reshape(*x.shape[:-3], *y.shape[1:])


def _lowest(x: Array) -> float:
    return -np.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min


def _place_of_maximum(x: Array, window: Window, stride: Window | None, padding: Padding) -> Array:
    """Which entry of its window is the maximum, in row-major order, the first at a tie."""
    h, w = _geometry(x.shape, window, stride, padding)
    edges = ((0, 0, 0), (h.before, h.after, 0), (w.before, w.after, 0), (0, 0, 0))
    padded = lax.pad(flatten_leading(x, 3), np.asarray(_lowest(x), x.dtype), edges)
    b, height, width, c = padded.shape
    span = (b, max(height - h.window + 1, 0), max(width - w.window + 1, 0), c)
    n = h.window * w.window

    def entry(i: Any) -> Array:
        """Entry `i` of every window."""
        corner = [jnp.asarray(d, jnp.int32) for d in (0, i // w.window, i % w.window, 0)]
        return lax.dynamic_slice(padded, corner, span)[:, :: h.step, :: w.step]

    def compare(i: Any, leading: tuple[Array, Array]) -> tuple[Array, Array]:
        best, place = leading
        challenger = entry(i)
        place = jnp.where(challenger > best, jnp.asarray(i, place.dtype), place)
        return lax.max(best, challenger), place

    first = entry(0)
    leading = first, jnp.zeros(first.shape, np.uint8 if n <= 255 else np.int32)
    if n <= _UNROLL:
        for i in range(1, n):
            leading = compare(i, leading)
    else:
        leading = lax.fori_loop(1, n, compare, leading)
    place = leading[1]
    return place.reshape(*x.shape[:-3], *place.shape[1:])


def _spread(
    g: Array, place: Array | None, shape: tuple[int, ...], window: Window, stride: Window | None, padding: Padding
) -> Array:
    """Each entry of `g` to the entries of its window: to the one at `place`, or to all."""
    axis_h, axis_w = _geometry(shape, window, stride, padding)
    terms = []
    for t, u in product(range(-(-axis_h.window // axis_h.step)), range(-(-axis_w.window // axis_w.step))):
        rows, columns = np.arange(axis_h.step) + t * axis_h.step, np.arange(axis_w.step) + u * axis_w.step
        within = (rows < axis_h.window)[:, None] & (columns < axis_w.window)
        here = rows[:, None] * axis_w.window + columns
        term = jnp.expand_dims(_windows_at(g, t, u, axis_h, axis_w), (2, 4))
        if place is None:
            chosen = np.expand_dims(within, (0, 1, 3, 5))
        else:
            places = np.where(within, here, np.iinfo(place.dtype).max).astype(place.dtype)
            found = jnp.expand_dims(_windows_at(place, t, u, axis_h, axis_w), (2, 4))
            chosen = found == np.expand_dims(places, (0, 1, 3, 5))
        terms.append(jnp.where(chosen, term, 0))
    total = sum(terms[1:], terms[0])
    b, rows, _, columns, _, c = total.shape
    image = total.reshape(b, rows * axis_h.step, columns * axis_w.step, c)
    (top, n), (left, m) = (axis_h.before, axis_h.size), (axis_w.before, axis_w.size)
    return image[:, top : top + n, left : left + m].reshape(shape)


def _windows_at(x: Array, t: int, u: int, axis_h: _Axis, axis_w: _Axis) -> Array:
    """`x[..., h', w', c]`, shifted by (t, u) windows and cut to the blocks of the input; zero where none is."""
    x = flatten_leading(x, 3)
    after_h, after_w = axis_h.n_blocks - t - x.shape[1], axis_w.n_blocks - u - x.shape[2]
    return lax.pad(x, np.zeros((), x.dtype), ((0, 0, 0), (t, after_h, 0), (u, after_w, 0), (0, 0, 0)))
