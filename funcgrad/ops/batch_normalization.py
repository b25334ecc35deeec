"""Batch normalization: every channel over all examples, and with given statistics."""

import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array
from funcgrad.ops.axes import lift
from funcgrad.ops.contraction import fold_leading, narrow, sum_leading, widen
from funcgrad.registry import op


@op(outputs=("y", "mean", "variance"), shapes="x[..., c] scale[c] bias[c]")
def batch_norm(
    x: Array, scale: Array | None = None, bias: Array | None = None, *, eps: int | float = 1e-5
) -> tuple[Array, Array, Array]:
    """`y = scale x_hat + bias`, `x_hat = (x - mean) r`, `r = (variance + eps)^(-1/2)`, over all axes but the last.

    Shapes `x[..., c]`, `scale[c]`, `bias[c] -> y[..., c], mean[c], variance[c]`; without `scale` or `bias` they
    are 1 and 0. The variance is the biased one, `Σ (x - mean)² / n`. Mean and variance are float32 at least, and
    differentiable; `m_bar` and `v_bar` are their cotangents:

        x_bar = scale r (g - mean(g) - x_hat mean(g x_hat)) + (m_bar + 2 v_bar (x - mean)) / n,
        scale_bar = Σ g x_hat,   bias_bar = Σ g.

    Keeps `x` and the two statistics. Source: Ioffe and Szegedy 2015.

    Args:
        x: examples, with axes of space or without.
        scale: the factor of each channel.
        bias: the term of each channel.
        eps: added to the variance.

    Returns:
        `y` in the shape and dtype of `x`, the mean, the variance.

    Raises:
        ShapeError: `scale` or `bias` does not have one entry per channel, or `x` is of integers.

    Example:
        >>> y, mean, variance = fg.ops.batch_norm(jnp.array([[0.0, 1.0], [2.0, 5.0]]), eps=0.0)
        >>> print(y, mean, variance)
        [[-1. -1.]
         [ 1.  1.]] [1. 3.] [1. 4.]
    """
    rows = widen(fold_leading(x))
    n = _count(x)
    mean = sum_leading(rows, keep=1) / n
    centred = _minus(rows, mean)
    variance = sum_leading(jnp.square(centred), keep=1) / n
    y = _scaled(centred, lax.rsqrt(variance + eps), scale, bias)
    return narrow(y, x).reshape(x.shape), mean, variance


@batch_norm.pullback("x")
def batch_norm_x(
    g_y: Array,
    g_mean: Array,
    g_variance: Array,
    x: Array,
    mean: Array,
    variance: Array,
    scale: Array | None,
    eps: int | float,
) -> Array:
    """`x_bar = scale r (g - mean(g) - x_hat mean(g x_hat)) + (m_bar + 2 v_bar (x - mean)) / n`.

    As one multiple of `g`, one of `x - mean` and a constant, per channel.
    """
    n, r = _count(x), lax.rsqrt(variance + eps)
    centred, g = _minus(widen(fold_leading(x)), mean), widen(fold_leading(g_y))
    of_g = r if scale is None else r * widen(scale)
    of_centred = (2 * g_variance - of_g * jnp.square(r) * sum_leading(g * centred, keep=1)) / n
    constant = (g_mean - of_g * sum_leading(g, keep=1)) / n
    return (g * lift(of_g, g) + centred * lift(of_centred, g) + lift(constant, g)).reshape(x.shape)


@batch_norm.pullback("scale")
def batch_norm_scale(g_y: Array, x: Array, mean: Array, variance: Array, eps: int | float) -> Array:
    """`scale_bar = Σ g x_hat`."""
    return _scale_bar(g_y, x, mean, variance, eps)


@batch_norm.pullback("bias")
def batch_norm_bias(g_y: Array) -> Array:
    """`bias_bar = Σ g`."""
    return sum_leading(fold_leading(g_y), keep=1)


@op(leading=("x",), shapes="x[..., c] mean[c] variance[c] scale[c] bias[c]")
def batch_norm_inference(
    x: Array,
    mean: Array,
    variance: Array,
    scale: Array | None = None,
    bias: Array | None = None,
    *,
    eps: int | float = 1e-5,
) -> Array:
    """`batch_norm` with given statistics: `y = scale (x - mean) r + bias`, `r = (variance + eps)^(-1/2)`.

    Shapes `x[..., c]`, all others `[c]`. Every channel is an affine function of `x`, and

        x_bar = scale r g,   mean_bar = -Σ x_bar,   variance_bar = -r³ scale Σ g (x - mean) / 2,
        scale_bar = r Σ g (x - mean),   bias_bar = Σ g.

    Keeps `x` for the cotangents of variance and scale, nothing else of its size.

    Args:
        x: examples, with axes of space or without.
        mean: the mean of each channel.
        variance: the variance of each channel.
        scale: the factor of each channel; None for 1.
        bias: the term of each channel; None for 0.
        eps: added to the variance.

    Returns:
        `y`, in the shape and dtype of `x`.

    Raises:
        ShapeError: a statistic or parameter does not have one entry per channel, or `x` is of integers.

    Example:
        >>> x, mean, variance = jnp.array([[0.0, 1.0]]), jnp.zeros(2), jnp.array([1.0, 4.0])
        >>> print(fg.ops.batch_norm_inference(x, mean, variance, eps=0.0))
        [[0.  0.5]]
    """
    y = _scaled(_minus(widen(x), mean), lax.rsqrt(widen(variance) + eps), scale, bias)
    return narrow(y, x)


@batch_norm_inference.pullback("x")
def batch_norm_inference_x(g: Array, variance: Array, scale: Array | None, eps: int | float) -> Array:
    """`x_bar = scale r g`."""
    return _scaled(widen(g), lax.rsqrt(widen(variance) + eps), scale)


@batch_norm_inference.pullback("mean")
def batch_norm_inference_mean(g: Array, variance: Array, scale: Array | None, eps: int | float) -> Array:
    """`mean_bar = -scale r Σ g`."""
    return -_scaled(sum_leading(fold_leading(g), keep=1), lax.rsqrt(widen(variance) + eps), scale)


@batch_norm_inference.pullback("variance")
def batch_norm_inference_variance(
    g: Array, x: Array, mean: Array, variance: Array, scale: Array | None, eps: int | float
) -> Array:
    """`variance_bar = -r³ scale Σ g (x - mean) / 2`."""
    per_scale = _scale_bar(g, x, mean, variance, eps)
    return _scaled(per_scale, -0.5 / (widen(variance) + eps), scale)


@batch_norm_inference.pullback("scale")
def batch_norm_inference_scale(g: Array, x: Array, mean: Array, variance: Array, eps: int | float) -> Array:
    """`scale_bar = r Σ g (x - mean)`."""
    return _scale_bar(g, x, mean, variance, eps)


@batch_norm_inference.pullback("bias")
def batch_norm_inference_bias(g: Array) -> Array:
    """`bias_bar = Σ g`."""
    return sum_leading(fold_leading(g), keep=1)


def _scale_bar(g: Array, x: Array, mean: Array, variance: Array, eps: int | float) -> Array:
    """`r Σ g (x - mean)`."""
    centred = _minus(widen(fold_leading(x)), mean)
    return sum_leading(widen(fold_leading(g)) * centred, keep=1) * lax.rsqrt(widen(variance) + eps)


def _scaled(x: Array, r: Array, scale: Array | None, bias: Array | None = None) -> Array:
    """`x (r scale) + bias`, the factor made once per channel."""
    x = x * lift(r if scale is None else r * widen(scale), x)
    return x if bias is None else x + lift(widen(bias), x)


def _minus(x: Array, mean: Array) -> Array:
    return x - lift(widen(mean), x)


def _count(x: Array) -> int:
    """Entries per channel; 1 where there are none, so that no statistic is 0 / 0."""
    return max(x.size // max(x.shape[-1], 1), 1)
