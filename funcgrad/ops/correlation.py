"""N-dimensional correlation over per-axis geometry: the one linear map behind every convolution.

Along one axis, with `t - 1` zeros between the entries of `x` (its spread is `t`) and `p` zeros before the first,

    z[i] = Σ_u x̃[i s + u d - p] kernel[u],      x̃[j t] = x[j], 0 elsewhere.

`t = 1` is convolution with stride `s`; `s = 1` with the kernel turned is the transposed convolution of stride `t`.
Entry `x[j]`, `kernel[u]` and `z[i]` meet where `i s + u d - p = j t`, and the three are found from one another alike:

    x_bar[j]      = Σ_u z̃_bar[j t + p - u d] kernel[u]    a correlation of `z_bar` with the kernel turned,
                                                         stride and spread exchanged
    kernel_bar[u] = Σ_i x̃[u d + i s - p] z_bar[i]         a correlation of `x` with `z_bar`, stride and dilation
                                                         exchanged, batch and channels too.

Source: Dumoulin and Visin 2016, section 4.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array
from funcgrad.ops.axes import flatten_leading
from funcgrad.ops.contraction import contract_leading
from funcgrad.primitive import defer

_INSIDE = ("W", "HW", "DHW")
"""The image axes as `lax` writes them."""


class Axis(NamedTuple):
    """The windows along one image axis."""

    size: int
    """Entries of `x`."""
    window: int
    """Entries of the kernel."""
    stride: int
    spread: int
    dilation: int
    before: int
    """Zeros in front; negative where entries are left out."""
    after: int

    @property
    def extent(self) -> int:
        """How far a window reaches, holes included."""
        return (self.window - 1) * self.dilation + 1

    @property
    def spread_size(self) -> int:
        """Entries of `x̃`."""
        return (self.size - 1) * self.spread + 1 if self.size else 0

    @property
    def output(self) -> int:
        """Entries of `z`."""
        return max((self.spread_size + self.before + self.after - self.extent) // self.stride + 1, 0)

    @property
    def reach(self) -> int:
        """From the first window's start to the last one's."""
        return (self.output - 1) * self.stride


Axes = tuple[Axis, ...]


def correlate(x: Array, kernel: Array, axes: Axes, groups: int) -> Array:
    """`z[..., *out, f]` of `x[..., *size, c]` and `kernel[*window, c / groups, f]`."""
    return _over_images(x, kernel, axes, groups, "IO")


def correlate_x(g: Array, kernel: Array, axes: Axes, groups: int) -> Array:
    """`x_bar[..., *size, c]` of `correlate`."""
    n, (*window, c, f) = len(axes), kernel.shape
    if not g.size:
        return jnp.zeros((*g.shape[: -n - 1], *(a.size for a in axes), c * groups), g.dtype)
    # The entry at j = 0 meets `z̃_bar[p - u d]`: the turned kernel starts extent - 1 - p before the first.
    turned = [
        Axis(a.output, a.window, a.spread, a.stride, a.dilation,
             before=a.extent - 1 - a.before, after=a.spread_size - 1 + a.before - a.reach)
        for a in axes
    ]  # fmt: skip
    if groups > 1:  # the groups of `f` become groups of `c`
        kernel = jnp.swapaxes(kernel.reshape(*window, c, groups, f // groups), -2, -3)
        kernel = kernel.reshape(*window, groups * c, f // groups)
    return _over_images(g, lax.rev(kernel, range(n)), tuple(turned), groups, "OI")


def correlate_kernel(g: Array, x: Array, axes: Axes, groups: int) -> Array:
    """`kernel_bar[*window, c / groups, f]` of `correlate`."""
    n, c, f = len(axes), x.shape[-1], g.shape[-1]
    window = tuple(a.window for a in axes)
    if not g.size:
        return jnp.zeros((*window, c // groups, f), g.dtype)
    # XLA:CPU reads `x` transposed or in part; made in the forward pass and kept, those copies are half the temporary
    # memory of a ResNet (76.6 MiB, 41.5 deferred), and its step takes 1.1 times as long. It takes barriers out first.
    x = defer(x, until=g)
    if groups == 1 and all(a.window == a.spread == 1 and a.before == 0 and a.reach < a.size for a in axes):
        # Without a window there is nothing to slide: one matrix product, up to ten times faster on CPU.
        starts, stops = (0,) * x.ndim, (*x.shape[: -n - 1], *(a.reach + 1 for a in axes), c)
        met = lax.slice(x, starts, stops, (*(1,) * (x.ndim - n - 1), *(a.stride for a in axes), 1))
        return contract_leading(met, g).reshape(*window, c, f)
    inside = _INSIDE[n - 1]
    return lax.conv_general_dilated(
        flatten_leading(x, n + 1),
        flatten_leading(g, n + 1),
        [a.dilation for a in axes],
        # What follows the last row leaves exactly as many places as the kernel has entries.
        [(a.before, a.extent + a.reach - a.spread_size - a.before) for a in axes],
        [a.spread for a in axes],
        [a.stride for a in axes],
        (f"C{inside}N", f"I{inside}O", f"{inside}NC"),
        batch_group_count=groups,
    )


def _over_images(x: Array, kernel: Array, axes: Axes, groups: int, channels: str) -> Array:
    """Correlate; `channels` says which of the kernel's last two axes goes in and which comes out."""
    n = len(axes)
    inside = _INSIDE[n - 1]
    z = lax.conv_general_dilated(
        flatten_leading(x, n + 1),
        kernel,
        [a.stride for a in axes],
        [(a.before, a.after) for a in axes],
        [a.spread for a in axes],
        [a.dilation for a in axes],
        (f"N{inside}C", f"{inside}{channels}", f"N{inside}C"),
        groups,
    )
    return z.reshape(*x.shape[: -n - 1], *z.shape[1:])
