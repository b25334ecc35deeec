"""Normalization within an example: over the last axis (layer, root mean square), or over groups of channels.

Statistics are accumulated in float32 at least, the variance from centred numbers, so that an offset costs no digits.
Rules keep `x`, which is there already, and the statistics; `x_hat` would be one more array of that size to write
and hold, and making it again is one multiply-add.
"""

from math import prod

import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array
from funcgrad.ops.axes import lift
from funcgrad.ops.contraction import fold_leading, narrow, sum_last, sum_leading, widen
from funcgrad.registry import op


@op(leading=("x",), shapes="x[..., n] scale[n] bias[n]")
def layer_norm(x: Array, scale: Array | None = None, bias: Array | None = None, *, eps: int | float = 1e-6) -> Array:
    """`y = scale x_hat + bias`, `x_hat = (x - mean) rstd`, `rstd = (var + eps)^(-1/2)`, over the last axis.

    Shapes `x[..., n]`, `scale[n]`, `bias[n] -> y[..., n]`; without `scale` or `bias` they are 1 and 0.
    With `h = g scale`:

        x_bar = rstd (h - mean(h) - x_hat mean(h x_hat)),   scale_bar = Σ g x_hat,   bias_bar = Σ g.

    Keeps `x`, and `mean` and `rstd`, one number per row each. Source: Ba et al. 2016.

    Args:
        x: rows.
        scale: the factor of each feature.
        bias: the term of each feature.
        eps: added to the variance.

    Returns:
        `y`, in the shape and dtype of `x`.

    Raises:
        ShapeError: `x` is a scalar, `scale` or `bias` does not have one entry per feature, or `x` is of integers.

    Example:
        >>> print(fg.ops.layer_norm(jnp.array([[0.0, 2.0], [5.0, 1.0]]), eps=0.0))
        [[-1.  1.]
         [ 1. -1.]]
    """
    return _layer_norm(x, scale, bias, eps)[0]


def _layer_norm(x: Array, scale: Array | None, bias: Array | None, eps: int | float) -> tuple[Array, Array, Array]:
    rows = widen(fold_leading(x))
    mean = _mean_last(rows)
    centred = rows - mean[..., None]
    rstd = lax.rsqrt(_mean_last(jnp.square(centred)) + eps)
    y = narrow(_affine(centred * rstd[..., None], scale, bias), x).reshape(x.shape)
    return y, mean.reshape(x.shape[:-1]), rstd.reshape(x.shape[:-1])


@layer_norm.saving("mean", "rstd")
def layer_norm_saving(
    x: Array, scale: Array | None, bias: Array | None, *, eps: int | float
) -> tuple[Array, dict[str, Array]]:
    """The output, and `mean` and `rstd` of each row."""
    y, mean, rstd = _layer_norm(x, scale, bias, eps)
    return y, {"mean": mean, "rstd": rstd}


@layer_norm.pullback("x")
def layer_norm_x(g: Array, x: Array, scale: Array | None, mean: Array, rstd: Array) -> Array:
    """`x_bar = rstd (h - mean(h) - x_hat mean(h x_hat))`, `h = g scale`."""
    x_hat, g, rstd = _rows_normalized(x, mean, rstd), widen(fold_leading(g)), fold_leading(rstd, 0)
    h = _affine(g, scale)
    x_bar = h - _mean_last(h)[..., None] - x_hat * _mean_last(h * x_hat)[..., None]
    return (rstd[..., None] * x_bar).reshape(x.shape)


@layer_norm.pullback("scale")
def layer_norm_scale(g: Array, x: Array, mean: Array, rstd: Array) -> Array:
    """`scale_bar = Σ g x_hat`."""
    return sum_leading(widen(fold_leading(g)) * _rows_normalized(x, mean, rstd), keep=1)


@layer_norm.pullback("bias")
def layer_norm_bias(g: Array) -> Array:
    """`bias_bar = Σ g`."""
    return sum_leading(fold_leading(g), keep=1)


def _rows_normalized(x: Array, mean: Array, rstd: Array) -> Array:
    """`x_hat[b, n]`."""
    mean, rstd = fold_leading(mean, 0), fold_leading(rstd, 0)
    return (widen(fold_leading(x)) - mean[..., None]) * rstd[..., None]


@op(leading=("x",), shapes="x[..., n] scale[n]")
def rms_norm(x: Array, scale: Array | None = None, *, eps: int | float = 1e-6) -> Array:
    """`y = scale x_hat`, `x_hat = x r`, `r = (mean(x²) + eps)^(-1/2)`, over the last axis.

    Shapes `x[..., n]`, `scale[n] -> y[..., n]`; without `scale` it is 1. With `h = g scale`:

        x_bar = r (h - x_hat mean(h x_hat)),   scale_bar = Σ g x_hat.

    Keeps `x`, and `r`, one number per row. Source: Zhang and Sennrich 2019.

    Args:
        x: rows.
        scale: the factor of each feature.
        eps: added to the mean square.

    Returns:
        `y`, in the shape and dtype of `x`.

    Raises:
        ShapeError: `x` is a scalar, `scale` does not have one entry per feature, or `x` is of integers.

    Example:
        >>> print(fg.ops.rms_norm(jnp.array([1.0, -1.0, 1.0, 1.0]), jnp.array([1.0, 2.0, 3.0, 4.0]), eps=0.0))
        [ 1. -2.  3.  4.]
    """
    return _rms_norm(x, scale, eps)[0]


def _rms_norm(x: Array, scale: Array | None, eps: int | float) -> tuple[Array, Array]:
    rows = widen(fold_leading(x))
    r = lax.rsqrt(_mean_last(jnp.square(rows)) + eps)
    return narrow(_affine(rows * r[..., None], scale), x).reshape(x.shape), r.reshape(x.shape[:-1])


@rms_norm.saving("r")
def rms_norm_saving(x: Array, scale: Array | None, *, eps: int | float) -> tuple[Array, dict[str, Array]]:
    """The output, and `r` of each row."""
    y, r = _rms_norm(x, scale, eps)
    return y, {"r": r}


@rms_norm.pullback("x")
def rms_norm_x(g: Array, x: Array, scale: Array | None, r: Array) -> Array:
    """`x_bar = r (h - x_hat mean(h x_hat))`, `h = g scale`."""
    r, g = fold_leading(r, 0)[..., None], widen(fold_leading(g))
    x_hat = widen(fold_leading(x)) * r
    h = _affine(g, scale)
    return (r * (h - x_hat * _mean_last(h * x_hat)[..., None])).reshape(x.shape)


@rms_norm.pullback("scale")
def rms_norm_scale(g: Array, x: Array, r: Array) -> Array:
    """`scale_bar = Σ g x_hat`."""
    x_hat = widen(fold_leading(x)) * fold_leading(r, 0)[..., None]
    return sum_leading(widen(fold_leading(g)) * x_hat, keep=1)


@op(shapes="x[..., c] scale[c] bias[c]")
def group_norm(
    x: Array, scale: Array | None = None, bias: Array | None = None, *, groups: int, eps: int | float = 1e-5
) -> Array:
    """`y = scale x_hat + bias`, `x_hat = (x - mean) rstd`, per example and group of neighbouring channels.

    Shapes `x[b, ..., c]` (an axis of examples, any spatial axes, channels), `scale[c]`, `bias[c] -> y` like `x`.
    Mean and variance are over the spatial axes and the `c / groups` channels of a group. `groups=c` is instance
    normalization, `groups=1` layer normalization of whole examples. With `h = g scale`, means over the same
    entries:

        x_bar = rstd (h - mean(h) - x_hat mean(h x_hat)),   scale_bar = Σ g x_hat,   bias_bar = Σ g.

    All three are made from `Σ g` and `Σ g x_hat` over the spatial axes, per example and channel. Keeps `x`, and
    `mean` and `rstd` `[b, groups]`. Source: Wu and He 2018; Ulyanov et al. 2016.

    Args:
        x: examples with any axes of space, channels last.
        scale: the factor of each channel.
        bias: the term of each channel.
        groups: how many, a divisor of the number of channels.
        eps: added to the variance.

    Returns:
        `y`, in the shape and dtype of `x`.

    Raises:
        ShapeError: the number of channels is no multiple of `groups`, `x` has no axis of examples, or `scale` or `bias`
            does not have one entry per channel; or `x` is of integers.

    Example:
        >>> print(fg.ops.group_norm(jnp.array([[0.0, 2.0, 5.0, 1.0]]), groups=2, eps=0.0))
        [[-1.  1.  1. -1.]]
    """
    return _group_norm(x, scale, bias, groups, eps)[0]


def _group_norm(
    x: Array, scale: Array | None, bias: Array | None, groups: int, eps: int | float
) -> tuple[Array, Array, Array]:
    if x.ndim < 2:
        raise ValueError("x must be [b, ..., c], with an axis of examples")
    if groups < 1 or x.shape[-1] % groups:
        raise ValueError(f"groups must divide the number of channels, {x.shape[-1]}, got {groups}")
    pixels = _pixels(x)
    mean = _group_means(jnp.sum(pixels, axis=1), pixels, groups)
    centred = pixels - _to_channels(mean, pixels)
    variance = _group_means(jnp.sum(jnp.square(centred), axis=1), pixels, groups)
    rstd = lax.rsqrt(variance + eps)
    y = _affine(centred * _to_channels(rstd, pixels), scale, bias)
    return narrow(y, x).reshape(x.shape), mean, rstd


@group_norm.saving("mean", "rstd")
def group_norm_saving(
    x: Array, scale: Array | None, bias: Array | None, *, groups: int, eps: int | float
) -> tuple[Array, dict[str, Array]]:
    """The output, and `mean` and `rstd` of each group."""
    y, mean, rstd = _group_norm(x, scale, bias, groups, eps)
    return y, {"mean": mean, "rstd": rstd}


@group_norm.pullback("x")
def group_norm_x(g: Array, x: Array, scale: Array | None, mean: Array, rstd: Array, groups: int) -> Array:
    """`x_bar = rstd (h - mean(h) - x_hat mean(h x_hat))`, `h = g scale`."""
    x_hat, g = _pixels_normalized(x, mean, rstd), _pixels(g)
    mean_h = _group_means(_affine(jnp.sum(g, axis=1), scale), g, groups)
    mean_h_x_hat = _group_means(_affine(jnp.sum(g * x_hat, axis=1), scale), g, groups)
    x_bar = _affine(g, scale) - _to_channels(mean_h, g) - x_hat * _to_channels(mean_h_x_hat, g)
    return (_to_channels(rstd, g) * x_bar).reshape(x.shape)


@group_norm.pullback("scale")
def group_norm_scale(g: Array, x: Array, mean: Array, rstd: Array) -> Array:
    """`scale_bar = Σ g x_hat`."""
    return jnp.sum(jnp.sum(_pixels(g) * _pixels_normalized(x, mean, rstd), axis=1), axis=0)


@group_norm.pullback("bias")
def group_norm_bias(g: Array) -> Array:
    """`bias_bar = Σ g`."""
    return jnp.sum(jnp.sum(_pixels(g), axis=1), axis=0)


def _mean_last(x: Array) -> Array:
    return sum_last(x) / max(x.shape[-1], 1)


def _pixels(x: Array) -> Array:
    """`x[b, ..., c] -> [b, s, c]`, float32 at least."""
    return widen(x.reshape(x.shape[0], prod(x.shape[1:-1]), x.shape[-1]))


def _pixels_normalized(x: Array, mean: Array, rstd: Array) -> Array:
    """`x_hat[b, s, c]`."""
    pixels = _pixels(x)
    return (pixels - _to_channels(mean, pixels)) * _to_channels(rstd, pixels)


def _group_means(sums: Array, pixels: Array, groups: int) -> Array:
    """`sums[b, c]` over the pixels, as means over pixels and the channels of a group: `[b, groups]`."""
    b, s, c = pixels.shape
    return jnp.sum(sums.reshape(b, groups, c // groups), axis=-1) / max(s * (c // groups), 1)


def _to_channels(statistic: Array, pixels: Array) -> Array:
    """`[b, groups] -> [b, 1, c]`: each channel gets what belongs to its group."""
    b, groups = statistic.shape
    per_channel = jnp.broadcast_to(statistic[..., None], (b, groups, pixels.shape[-1] // groups))
    return jnp.expand_dims(per_channel.reshape(b, pixels.shape[-1]), 1)


def _affine(x: Array, scale: Array | None, bias: Array | None = None) -> Array:
    """`x scale + bias` over the last axis, each where it is given."""
    if scale is not None:
        x = x * lift(widen(scale), x)
    return x if bias is None else x + lift(widen(bias), x)
