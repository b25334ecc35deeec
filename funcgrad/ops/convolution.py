"""2-D convolution (as networks say it: cross-correlation), channels last."""

import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array, Aval
from funcgrad.ops.contraction import sum_leading
from funcgrad.ops.shapes import Padding, flatten_leading, pair, resolve_padding
from funcgrad.registry import op

Stride = int | tuple[int, int]


@op(leading=("x",), shapes="x[..., h, w, c] kernel[kh, kw, c, f] b[f]")
def conv2d(x: Array, kernel: Array, b: Array | None = None, *, stride: Stride = 1, padding: Padding = "SAME") -> Array:
    """`y[..., i, j, f] = b[f] + Σ_{u,v,c} x[..., i s + u - p, j s + v - p, c] kernel[u, v, c, f]`.

    Shapes `x[..., h, w, c]`, `kernel[kh, kw, c, f]`, `b[f] -> y[..., h', w', f]`; leading axes are batch axes.
    With stride `s` and `p` zeros before the first row and column:

        x_bar:      `g` with `s - 1` zeros between its entries, convolved with the kernel turned by 180 degrees
                    and its channels exchanged; padded so that rows the windows never reached get zero
        kernel_bar: `x` convolved with `g` spread in the same way, the batch in the role of the channels
        b_bar:      `g` summed over all axes but the last.

    Keeps `x` and the kernel. Source: Dumoulin and Visin 2016, section 4.

    Args:
        x: images.
        kernel: the filters.
        b: a bias per filter.
        stride: one for both image axes, or a pair.
        padding: `SAME` (output size is input size over stride, rounded up), `VALID`, or
            ((top, bottom), (left, right)).

    """
    size, window, steps = x.shape[-3:-1], kernel.shape[:2], pair(stride)
    y = lax.conv_general_dilated(
        flatten_leading(x, 3),
        kernel,
        steps,
        resolve_padding(padding, size, window, steps),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    y = y.reshape(*x.shape[:-3], *y.shape[1:])
    return y if b is None else y + b.reshape((1,) * (y.ndim - 1) + b.shape)


@conv2d.pullback("x")
def conv2d_x(g: Array, kernel: Array, x_aval: Aval, stride: Stride, padding: Padding) -> Array:
    """`x_bar`: `g`, spread by the stride, convolved with the turned kernel."""
    shape, window, steps = x_aval.shape, kernel.shape[:2], pair(stride)
    size = shape[-3:-1]
    # Along one axis: the entry `g[i]` came from rows i s - p to i s - p + k - 1, so it must reach back k - 1 - p
    # rows before the first, and as many after the last as complete the input's size.
    pads = [
        (k - 1 - lo, n + lo - 1 - (out - 1) * s)
        for n, k, s, out, (lo, _) in zip(
            size, window, steps, g.shape[-3:-1], resolve_padding(padding, size, window, steps), strict=True
        )
    ]
    x_bar = lax.conv_general_dilated(
        flatten_leading(g, 3),
        jnp.flip(kernel, (0, 1)),
        (1, 1),
        pads,
        lhs_dilation=steps,
        dimension_numbers=("NHWC", "HWOI", "NHWC"),
    )
    return x_bar.reshape(shape)


@conv2d.pullback("kernel")
def conv2d_kernel(g: Array, x: Array, kernel_aval: Aval, stride: Stride, padding: Padding) -> Array:
    """`kernel_bar`: `x` convolved with `g`, spread by the stride."""
    size, window, steps = x.shape[-3:-1], kernel_aval.shape[:2], pair(stride)
    # Along one axis: entry u of the kernel meets row i s + u - p for each i, so `g`, spread by s, slides over k
    # places; the padding after the last row is what leaves exactly k of them.
    pads = [
        (lo, k + (out - 1) * s - n - lo)
        for n, k, s, out, (lo, _) in zip(
            size, window, steps, g.shape[-3:-1], resolve_padding(padding, size, window, steps), strict=True
        )
    ]
    return lax.conv_general_dilated(
        flatten_leading(x, 3),
        flatten_leading(g, 3),
        (1, 1),
        pads,
        rhs_dilation=steps,
        dimension_numbers=("CHWN", "IHWO", "HWNC"),
    )


@conv2d.pullback("b")
def conv2d_b(g: Array) -> Array:
    """`b_bar = Σ g`."""
    return sum_leading(g, keep=1)
