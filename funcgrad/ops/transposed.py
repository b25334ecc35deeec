"""Transposed convolution over one, two or three image axes, channels last: the `x_bar` of a convolution, as a layer.

Shapes as in `convolution.py`: `x[..., h, w, c]`, `kernel[kh, kw, c / groups, f]`, `b[f] -> y[..., h', w', f]`. All
rules keep `x` and the kernel.
"""

import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array, Aval
from funcgrad.ops.axes import Padding, per_axis, resolve_padding
from funcgrad.ops.contraction import bias_cotangent
from funcgrad.ops.convolution import Sizes, add_bias, check_groups
from funcgrad.ops.correlation import Axes, Axis, correlate, correlate_kernel, correlate_x
from funcgrad.registry import op


@op(leading=("x",), shapes="x[..., w, c] kernel[kw, i, f] b[f]")
def conv_transpose1d(
    x: Array,
    kernel: Array,
    b: Array | None = None,
    *,
    stride: Sizes = 1,
    padding: Padding = "SAME",
    output_padding: Sizes = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Array:
    """`y[..., j s + u d - p, f] += Σ_c x[..., j, c] kernel[u, c, f]`, plus `b[f]`; pullbacks as of `conv_transpose2d`.

    Args:
        x: `[..., w, c]`.
        kernel: the filters, `[kw, c / groups, f]`.
        b: a bias per filter.
        stride: how far apart the entries of `x` stand in the output.
        padding: `SAME`, `VALID`, or ((before, after),), which is left out of the output.
        output_padding: entries kept after the last that explicit padding leaves.
        dilation: the distance of the kernel's entries.
        groups: how many runs of channels are convolved apart.

    Returns:
        `y[..., w', f]`, in the dtype that `x` and the kernel must share.

    Raises:
        ShapeError: the kernel does not have `c / groups` channels, `groups` does not divide `f`, an attribute is out
            of range, or there is an output padding without explicit padding.

    Example:
        >>> x, kernel = jnp.array([1.0, 2.0]).reshape(1, 2, 1), jnp.array([1.0, 10.0, 100.0]).reshape(3, 1, 1)
        >>> print(fg.ops.conv_transpose1d(x, kernel, stride=2, padding="VALID").ravel())
        [  1.  10. 102.  20. 200.]
    """
    return _spread(x, kernel, b, stride, padding, output_padding, dilation, groups)


@op(leading=("x",), shapes="x[..., h, w, c] kernel[kh, kw, i, f] b[f]")
def conv_transpose2d(
    x: Array,
    kernel: Array,
    b: Array | None = None,
    *,
    stride: Sizes = 1,
    padding: Padding = "SAME",
    output_padding: Sizes = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Array:
    """Each entry of `x` adds the kernel, times itself, to the output at `stride` times its place.

        y[..., i s + u d - p, j s + v d - p, f] += Σ_c x[..., i, j, c] kernel[u, v, c, f],      plus b[f].

    Shapes `x[..., h, w, c]`, `kernel[kh, kw, c / groups, f]`, `b[f] -> y[..., h', w', f]`; leading axes are batch
    axes. This is `x_bar` of `conv2d` with that stride, padding, dilation and kernel (its channels exchanged), so

        x_bar:      `g` convolved with the kernel, by that stride
        kernel_bar: `g` convolved with `x` spread by the stride, the batch in the role of the channels
        b_bar:      `g` summed over all axes but the last.

    Keeps `x` and the kernel. Source: Dumoulin and Visin 2016, section 4; the same numbers as PyTorch's
    `conv_transpose2d` for explicit padding, and as `jax.lax.conv_transpose` with the kernel turned by 180 degrees
    for `SAME` and `VALID`.

    Args:
        x: images.
        kernel: the filters.
        b: a bias per filter.
        stride: one for all image axes or one each.
        padding: `SAME` (output size is input size times stride), `VALID` (all that the kernel reaches, and at least
            as much), or ((top, bottom), (left, right)): rows and columns left out of the output, as PyTorch counts.
        output_padding: rows and columns kept after the last that explicit padding leaves, as in PyTorch.
        dilation: the distance of the kernel's entries, likewise.
        groups: how many runs of channels are convolved apart.

    Returns:
        `y[..., h', w', f]`, in the dtype that `x` and the kernel must share.

    Raises:
        ShapeError: the kernel does not have `c / groups` channels, `groups` does not divide `f`, an attribute is out
            of range, or there is an output padding without explicit padding.

    Example:
        >>> x, kernel = jnp.ones((1, 4, 4, 2)), jnp.ones((2, 2, 2, 5))
        >>> fg.ops.conv_transpose2d(x, kernel, stride=2).shape
        (1, 8, 8, 5)
    """
    return _spread(x, kernel, b, stride, padding, output_padding, dilation, groups)


@op(leading=("x",), shapes="x[..., d, h, w, c] kernel[kd, kh, kw, i, f] b[f]")
def conv_transpose3d(
    x: Array,
    kernel: Array,
    b: Array | None = None,
    *,
    stride: Sizes = 1,
    padding: Padding = "SAME",
    output_padding: Sizes = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Array:
    """`conv_transpose2d` with one image axis more: `x[..., d, h, w, c] -> y[..., d', h', w', f]`, pullbacks like there.

    Args:
        x: `[..., d, h, w, c]`.
        kernel: the filters, `[kd, kh, kw, c / groups, f]`.
        b: a bias per filter.
        stride: how far apart the entries of `x` stand in the output, one for all image axes or one each.
        padding: `SAME`, `VALID`, or ((front, back), (top, bottom), (left, right)), which is left out of the output.
        output_padding: entries kept after the last that explicit padding leaves.
        dilation: the distance of the kernel's entries.
        groups: how many runs of channels are convolved apart.

    Returns:
        `y[..., d', h', w', f]`, in the dtype that `x` and the kernel must share.

    Raises:
        ShapeError: the kernel does not have `c / groups` channels, `groups` does not divide `f`, an attribute is out
            of range, or there is an output padding without explicit padding.

    Example:
        >>> x, kernel = jnp.ones((1, 2, 2, 2, 2)), jnp.ones((2, 2, 2, 2, 5))
        >>> fg.ops.conv_transpose3d(x, kernel, stride=2).shape
        (1, 4, 4, 4, 5)
    """
    return _spread(x, kernel, b, stride, padding, output_padding, dilation, groups)


@conv_transpose1d.pullback("x")
@conv_transpose2d.pullback("x")
@conv_transpose3d.pullback("x")
def conv_transpose_x(
    g: Array,
    kernel: Array,
    x_aval: Aval,
    stride: Sizes,
    padding: Padding,
    output_padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> Array:
    """`x_bar`: `g` convolved with the kernel."""
    axes = _axes(x_aval, kernel, stride, padding, output_padding, dilation)
    return correlate_x(g, _turn(kernel), axes, groups)


@conv_transpose1d.pullback("kernel")
@conv_transpose2d.pullback("kernel")
@conv_transpose3d.pullback("kernel")
def conv_transpose_kernel(
    g: Array,
    x: Array,
    kernel_aval: Aval,
    stride: Sizes,
    padding: Padding,
    output_padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> Array:
    """`kernel_bar`: `g` convolved with `x`, spread by the stride."""
    axes = _axes(x, kernel_aval, stride, padding, output_padding, dilation)
    return _turn(correlate_kernel(g, x, axes, groups))


@conv_transpose1d.pullback("b")
@conv_transpose2d.pullback("b")
@conv_transpose3d.pullback("b")
def conv_transpose_b(g: Array) -> Array:
    """`b_bar = Σ g`."""
    return bias_cotangent(g)


def _spread(
    x: Array,
    kernel: Array,
    b: Array | None,
    stride: Sizes,
    padding: Padding,
    output_padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> Array:
    check_groups(x, kernel, groups)
    axes = _axes(x, kernel, stride, padding, output_padding, dilation)
    return add_bias(correlate(x, _turn(kernel), axes, groups), b)


def _turn(kernel: Array) -> Array:
    """The kernel by 180 degrees: an entry added forwards is one read backwards."""
    return lax.rev(jnp.asarray(kernel), range(kernel.ndim - 2))


def _axes(
    x: Array | Aval, kernel: Array | Aval, stride: Sizes, padding: Padding, output_padding: Sizes, dilation: Sizes
) -> Axes:
    n = kernel.ndim - 2
    size, window = x.shape[-n - 1 : -1], kernel.shape[:n]
    strides, dilations = per_axis("stride", stride, n), per_axis("dilation", dilation, n)
    extra = per_axis("output_padding", output_padding, n, least=0)
    extent = tuple((k - 1) * d + 1 for k, d in zip(window, dilations, strict=True))
    if isinstance(padding, str):
        resolve_padding(padding, size, extent, strides)
        if any(extra):
            raise ValueError(f"output_padding needs explicit padding, got {output_padding} with {padding!r}")
        pads = [_implicit(padding, e, s) for e, s in zip(extent, strides, strict=True)]
    else:
        cut = resolve_padding(padding, size, extent, strides)
        # What explicit padding leaves out of the output is not padded around the spread input.
        pads = [(e - 1 - lo, e - 1 - hi + o) for e, (lo, hi), o in zip(extent, cut, extra, strict=True)]
    geometry = zip(size, window, strides, dilations, pads, strict=True)
    return tuple(Axis(m, k, 1, s, d, *pad) for m, k, s, d, pad in geometry)


def _implicit(padding: str, extent: int, stride: int) -> tuple[int, int]:
    """What `jax.lax.conv_transpose` pads the spread input with, so that the output has `n s` entries, or all."""
    total = extent + stride - 2
    if padding == "SAME":
        before = extent - 1 if stride > extent - 1 else -(-total // 2)
    else:
        total += max(extent - stride, 0)
        before = extent - 1
    return before, total - before
