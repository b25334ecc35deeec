"""Convolution (as networks say it: cross-correlation) over one, two or three image axes, channels last.

For every op here `x[..., h, w, c]` with any leading batch axes, `kernel[kh, kw, c / groups, f]`, `b[f]` and
`y[..., h', w', f]`, written for two image axes. `groups` cuts the channels of `x` and of `y` into as many runs, each
of which sees only its own: filter `j` reads the channels of group `j // (f / groups)`; with `groups = c` the
convolution is depthwise.

All rules keep `x` and the kernel. `correlation.py` derives them.
"""

from numbers import Integral

from funcgrad.aliases import Array, Aval
from funcgrad.ops.axes import Padding, per_axis, resolve_padding
from funcgrad.ops.contraction import bias_cotangent
from funcgrad.ops.correlation import Axes, Axis, correlate, correlate_kernel, correlate_x
from funcgrad.registry import op

Sizes = int | tuple[int, ...]


@op(leading=("x",), shapes="x[..., w, c] kernel[kw, i, f] b[f]")
def conv1d(
    x: Array,
    kernel: Array,
    b: Array | None = None,
    *,
    stride: Sizes = 1,
    padding: Padding = "SAME",
    dilation: Sizes = 1,
    groups: int = 1,
) -> Array:
    """`y[..., i, f] = b[f] + Σ_{u,c} x[..., i s + u d - p, c] kernel[u, c, f]`; the pullbacks are those of `conv2d`.

    Args:
        x: `[..., w, c]`.
        kernel: the filters, `[kw, c / groups, f]`.
        b: a bias per filter.
        stride: the step of the window.
        padding: `SAME` (output size is input size over stride, rounded up), `VALID`, a number, or ((before, after),).
        dilation: the distance of the kernel's entries.
        groups: how many runs of channels are convolved apart.

    Returns:
        `y[..., w', f]`, in the dtype that `x` and the kernel must share.

    Raises:
        ShapeError: the kernel does not have `c / groups` channels, `groups` does not divide `f`, or an attribute is out
            of range.

    Example:
        >>> x, kernel = jnp.arange(4.0).reshape(1, 4, 1), jnp.array([-1.0, 1.0]).reshape(2, 1, 1)
        >>> print(fg.ops.conv1d(x, kernel, padding="VALID").ravel())
        [1. 1. 1.]
    """
    return _convolve(x, kernel, b, stride, padding, dilation, groups)


@op(leading=("x",), shapes="x[..., h, w, c] kernel[kh, kw, i, f] b[f]")
def conv2d(
    x: Array,
    kernel: Array,
    b: Array | None = None,
    *,
    stride: Sizes = 1,
    padding: Padding = "SAME",
    dilation: Sizes = 1,
    groups: int = 1,
) -> Array:
    """`y[..., i, j, f] = b[f] + Σ_{u,v,c} x[..., i s + u d - p, j s + v d - p, c] kernel[u, v, c, f]`.

    Shapes `x[..., h, w, c]`, `kernel[kh, kw, c / groups, f]`, `b[f] -> y[..., h', w', f]`; leading axes are batch
    axes. With stride `s`, dilation `d` and `p` zeros before the first row and column:

        x_bar:      `g` with `s - 1` zeros between its entries, convolved with the kernel turned by 180 degrees
                    and its channels exchanged; padded so that rows the windows never reached get zero
        kernel_bar: `x` convolved with `g` spread in the same way, the batch in the role of the channels
        b_bar:      `g` summed over all axes but the last.

    Keeps `x` and the kernel. Source: Dumoulin and Visin 2016, section 4.

    Args:
        x: images.
        kernel: the filters.
        b: a bias per filter.
        stride: the step of the window, one for all image axes or one each.
        padding: `SAME` (output size is input size over stride, rounded up), `VALID`, or
            ((top, bottom), (left, right)).
        dilation: the distance of the kernel's entries, likewise.
        groups: how many runs of channels are convolved apart.

    Returns:
        `y[..., h', w', f]`, in the dtype that `x` and the kernel must share.

    Raises:
        ShapeError: the kernel does not have `c / groups` channels, `groups` does not divide `f`, or an attribute is
            out of range.

    Example:
        >>> x, kernel = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 5))
        >>> fg.ops.conv2d(x, kernel, stride=2).shape
        (1, 2, 2, 5)
        >>> print(fg.ops.conv2d(x, kernel)[0, :, :, 0])
        [[ 8. 12. 12.  8.]
         [12. 18. 18. 12.]
         [12. 18. 18. 12.]
         [ 8. 12. 12.  8.]]
    """
    return _convolve(x, kernel, b, stride, padding, dilation, groups)


@op(leading=("x",), shapes="x[..., d, h, w, c] kernel[kd, kh, kw, i, f] b[f]")
def conv3d(
    x: Array,
    kernel: Array,
    b: Array | None = None,
    *,
    stride: Sizes = 1,
    padding: Padding = "SAME",
    dilation: Sizes = 1,
    groups: int = 1,
) -> Array:
    """`conv2d` with one image axis more, and pullbacks like there: `x[..., d, h, w, c] -> y[..., d', h', w', f]`.

    Args:
        x: `[..., d, h, w, c]`.
        kernel: the filters, `[kd, kh, kw, c / groups, f]`.
        b: a bias per filter.
        stride: the step of the window, one for all image axes or one each.
        padding: `SAME` (output size is input size over stride, rounded up), `VALID`, a number, or
            ((front, back), (top, bottom), (left, right)).
        dilation: the distance of the kernel's entries.
        groups: how many runs of channels are convolved apart.

    Returns:
        `y[..., d', h', w', f]`, in the dtype that `x` and the kernel must share.

    Raises:
        ShapeError: the kernel does not have `c / groups` channels, `groups` does not divide `f`, or an attribute is out
            of range.

    Example:
        >>> x, kernel = jnp.ones((1, 4, 4, 4, 2)), jnp.ones((2, 2, 2, 2, 5))
        >>> fg.ops.conv3d(x, kernel, padding="VALID").shape
        (1, 3, 3, 3, 5)
    """
    return _convolve(x, kernel, b, stride, padding, dilation, groups)


@conv1d.pullback("x")
@conv2d.pullback("x")
@conv3d.pullback("x")
def conv_x(
    g: Array, kernel: Array, x_aval: Aval, stride: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> Array:
    """`x_bar`: `g`, spread by the stride, convolved with the turned kernel."""
    return correlate_x(g, kernel, _axes(x_aval, kernel, stride, padding, dilation), groups)


@conv1d.pullback("kernel")
@conv2d.pullback("kernel")
@conv3d.pullback("kernel")
def conv_kernel(
    g: Array, x: Array, kernel_aval: Aval, stride: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> Array:
    """`kernel_bar`: `x` convolved with `g`, spread by the stride."""
    return correlate_kernel(g, x, _axes(x, kernel_aval, stride, padding, dilation), groups)


@conv1d.pullback("b")
@conv2d.pullback("b")
@conv3d.pullback("b")
def conv_b(g: Array) -> Array:
    """`b_bar = Σ g`."""
    return bias_cotangent(g)


def _convolve(
    x: Array, kernel: Array, b: Array | None, stride: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> Array:
    check_groups(x, kernel, groups)
    return add_bias(correlate(x, kernel, _axes(x, kernel, stride, padding, dilation), groups), b)


def _axes(x: Array | Aval, kernel: Array | Aval, stride: Sizes, padding: Padding, dilation: Sizes) -> Axes:
    n = kernel.ndim - 2
    size, window = x.shape[-n - 1 : -1], kernel.shape[:n]
    strides, dilations = per_axis("stride", stride, n), per_axis("dilation", dilation, n)
    extent = tuple((k - 1) * d + 1 for k, d in zip(window, dilations, strict=True))
    pads = resolve_padding(padding, size, extent, strides)
    geometry = zip(size, window, strides, dilations, pads, strict=True)
    return tuple(Axis(m, k, s, 1, d, *pad) for m, k, s, d, pad in geometry)


def check_groups(x: Array, kernel: Array, groups: int) -> None:
    """ValueError unless the kernel's channels are those of a group."""
    (i, f), c = kernel.shape[-2:], x.shape[-1]
    if not isinstance(groups, Integral) or groups < 1 or c % groups or f % groups:
        raise ValueError(f"groups must divide the channels of x ({c}) and of the kernel's output ({f}), got {groups}")
    if i * groups != c:
        per = f" / {groups} groups" if groups > 1 else ""
        raise ValueError(f"the kernel's axis -2 must be the channels of x, {c}{per}, got {i}")


def add_bias(y: Array, b: Array | None) -> Array:
    """A bias per channel."""
    return y if b is None else y + b.reshape((1,) * (y.ndim - 1) + b.shape)
