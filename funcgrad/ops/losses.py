"""Softmax and losses, accumulated in float32 at least. Per-example values: reduce them with `mean` or `sum`."""

import jax
import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array
from funcgrad.ops.contraction import widen
from funcgrad.ops.shapes import align, lift
from funcgrad.registry import Marker, op


@op
def softmax(x: Array, *, axis: int = -1) -> Array:
    """`y_i = e^{x_i} / Σ_j e^{x_j}` along `axis`; `x_bar = y (g - Σ_j g_j y_j)`. Keeps the output."""
    return jax.nn.softmax(widen(x), axis=axis).astype(x.dtype)


@softmax.pullback("x")
def softmax_x(g: Array, y: Array, axis: int) -> Array:
    """`x_bar = y (g - Σ_j g_j y_j)`."""
    g, y = widen(g), widen(y)
    return y * (g - jnp.sum(g * y, axis=axis, keepdims=True))


@op
def log_softmax(x: Array, *, axis: int = -1) -> Array:
    """`y_i = x_i - log Σ_j e^{x_j}` along `axis`; `x_bar = g - e^y Σ_j g_j`. Keeps the output."""
    return jax.nn.log_softmax(widen(x), axis=axis).astype(x.dtype)


@log_softmax.pullback("x")
def log_softmax_x(g: Array, y: Array, axis: int) -> Array:
    """`x_bar = g - e^y Σ_j g_j`."""
    g = widen(g)
    return g - jnp.exp(widen(y)) * jnp.sum(g, axis=axis, keepdims=True)


@op(leading=("logits", "labels"), shapes="logits[..., k] labels[...]")
def cross_entropy(logits: Array, labels: Array) -> Array:
    """Minus the log-probability of the label: `logits[..., k]`, integer `labels[...] -> y[...]`.

        y = log Σ_j e^{z_j} - z_label,   z_bar = g (softmax(z) - onehot(label)).

    Keeps the logits, the labels, and per example the largest logit and `Σ_j e^{z_j - max}`: no probabilities.
    The pullback writes `e^{z - max}` as the forward does, so a compiler that sees both next to each other
    computes it once. A label outside `0..k-1` gives NaN and no gradient.

    Raises:
        ShapeError: the labels are not integers, or their shape is not that of the logits without the last axis.
    """
    return _cross_entropy(logits, labels)[0]


def _cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array, Array]:
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels must be integers (class numbers), got {labels.dtype}")
    z = widen(logits)
    highest = lax.stop_gradient(jnp.max(z, axis=-1))
    highest = jnp.where(jnp.isfinite(highest), highest, 0)
    total = jnp.sum(jnp.exp(z - highest[..., None]), axis=-1)
    chosen = jnp.take_along_axis(z, _class_numbers(labels)[..., None], axis=-1, mode="clip")[..., 0]
    loss = jnp.where(_is_class(labels, logits), jnp.log(total) + (highest - chosen), jnp.nan)
    return loss.astype(logits.dtype), highest, total


@cross_entropy.saving("highest", "total")
def cross_entropy_saving(logits: Array, labels: Array) -> tuple[Array, dict[str, Array]]:
    """The loss, the largest logit, and `Σ e^{z - max}`."""
    loss, highest, total = _cross_entropy(logits, labels)
    return loss, {"highest": highest, "total": total}


@cross_entropy.pullback("logits")
def cross_entropy_logits(g: Array, logits: Array, labels: Array, highest: Array, total: Array) -> Array:
    """`z_bar = g (softmax(z) - onehot(label))`."""
    g = jnp.where(_is_class(labels, logits), widen(g), 0)
    exponentials = jnp.exp(widen(logits) - highest[..., None])
    classes = jnp.arange(logits.shape[-1]).reshape((1,) * labels.ndim + (-1,))
    labels = _class_numbers(labels)[..., None]
    is_label = labels == classes.astype(labels.dtype)
    return exponentials * (g / total)[..., None] - jnp.where(is_label, g[..., None], 0)


cross_entropy.mark(labels=Marker.NON_DIFFERENTIABLE)


def _class_numbers(labels: Array) -> Array:
    """Labels in a dtype that can hold any number of classes."""
    return labels if labels.dtype.itemsize >= 4 else labels.astype(jnp.int32)


def _is_class(labels: Array, logits: Array) -> Array:
    labels = _class_numbers(labels)
    return (labels >= 0) & (labels < logits.shape[-1])


@op(elementwise=True)
def squared_error(prediction: Array, target: Array) -> Array:
    """`y = (p - t)^2`, elementwise; `p_bar = 2 g (p - t)`, `t_bar = -p_bar`. Keeps both arguments."""
    return jnp.square(jnp.subtract(*align(prediction, target)))


@squared_error.pullback("prediction")
def squared_error_prediction(g: Array, prediction: Array, target: Array) -> Array:
    """`p_bar = 2 g (p - t)`."""
    return 2 * g * (lift(prediction, g) - lift(target, g))


@squared_error.pullback("target")
def squared_error_target(g: Array, prediction: Array, target: Array) -> Array:
    """`t_bar = 2 g (t - p)`."""
    return 2 * g * (lift(target, g) - lift(prediction, g))
