"""Normalization over the last axis."""

import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array
from funcgrad.ops.contraction import sum_leading, widen
from funcgrad.registry import op


@op(leading=("x",), shapes="x[..., n] scale[n] bias[n]")
def layer_norm(x: Array, scale: Array, bias: Array, *, eps: int | float = 1e-6) -> Array:
    """`y = scale x_hat + bias`, `x_hat = (x - mean) rstd`, `rstd = (var + eps)^(-1/2)`, over the last axis.

    Shapes `x[..., n]`, `scale[n]`, `bias[n] -> y[..., n]`. With `h = g scale`:

        x_bar = rstd (h - mean(h) - x_hat mean(h x_hat)),   scale_bar = Σ g x_hat,   bias_bar = Σ g.

    Keeps `x`, and `mean` and `rstd` (one number per row each): `x` is there already, `x_hat` would be one more
    array of its size to write and hold, and making it again is one multiply-add. Source: Ba et al. 2016.
    """
    return _layer_norm(x, scale, bias, eps)[0]


def _layer_norm(x: Array, scale: Array, bias: Array, eps: int | float) -> tuple[Array, Array, Array]:
    wide = widen(x)
    mean = jnp.mean(wide, axis=-1)
    centred = wide - mean[..., None]
    rstd = lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1) + eps)
    y = centred * rstd[..., None] * _row(widen(scale), x) + _row(widen(bias), x)
    return y.astype(x.dtype), mean, rstd


@layer_norm.saving("mean", "rstd")
def layer_norm_saving(x: Array, scale: Array, bias: Array, *, eps: int | float) -> tuple[Array, dict[str, Array]]:
    """The output, and `mean` and `rstd` of each row."""
    y, mean, rstd = _layer_norm(x, scale, bias, eps)
    return y, {"mean": mean, "rstd": rstd}


@layer_norm.pullback("x")
def layer_norm_x(g: Array, x: Array, scale: Array, mean: Array, rstd: Array) -> Array:
    """`x_bar = rstd (h - mean(h) - x_hat mean(h x_hat))`, `h = g scale`."""
    x_hat = _normalize(x, mean, rstd)
    h = widen(g) * _row(widen(scale), g)
    mean_h = jnp.mean(h, axis=-1, keepdims=True)
    mean_h_x_hat = jnp.mean(h * x_hat, axis=-1, keepdims=True)
    return rstd[..., None] * (h - mean_h - x_hat * mean_h_x_hat)


@layer_norm.pullback("scale")
def layer_norm_scale(g: Array, x: Array, mean: Array, rstd: Array) -> Array:
    """`scale_bar = Σ g x_hat`."""
    return sum_leading(widen(g) * _normalize(x, mean, rstd), keep=1)


@layer_norm.pullback("bias")
def layer_norm_bias(g: Array) -> Array:
    """`bias_bar = Σ g`."""
    return sum_leading(g, keep=1)


def _normalize(x: Array, mean: Array, rstd: Array) -> Array:
    return (widen(x) - mean[..., None]) * rstd[..., None]


def _row(parameter: Array, like: Array) -> Array:
    """A parameter `[n]` at the rank of `like`."""
    return parameter.reshape((1,) * (like.ndim - 1) + parameter.shape)
