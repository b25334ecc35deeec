"""Losses, accumulated in float32 at least. Per-example values: reduce them with `mean` or `sum`."""

import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array
from funcgrad.ops.axes import align, lift
from funcgrad.ops.contraction import widen
from funcgrad.ops.exponentials import shifted_sum
from funcgrad.registry import Marker, op, subgradient


@op(leading=("logits", "labels"), shapes="logits[..., k] labels[...]")
def cross_entropy(logits: Array, labels: Array, *, smoothing: int | float = 0.0) -> Array:
    """Minus the log-probability of the label: `logits[..., k]`, integer `labels[...] -> y[...]`.

        y = log Σ_j e^{z_j} - Σ_j t_j z_j,   z_bar = g (softmax(z) - t),   t = (1 - s) onehot(label) + s / k

    with `s = smoothing` (so `t` is one-hot by default), as PyTorch defines it; source: Szegedy et al. 2016, sec. 7.
    Keeps the logits, the labels, and per example the largest logit and `Σ_j e^{z_j - max}`: no probabilities.
    The pullback writes `e^{z - max}` as the forward does, so a compiler that sees both next to each other
    computes it once. A label outside `0..k-1` gives NaN and no gradient.

    Args:
        logits: floating, `[..., k]`.
        labels: integers, `[...]`, from 0 to `k - 1`; they are not differentiated.
        smoothing: the share of each target that is spread over all classes.

    Returns:
        The loss of each example, `[...]`, in the dtype of the logits.

    Raises:
        ShapeError: the labels are not integers, their shape is not that of the logits without the last axis, or
            the smoothing is not in [0, 1].

    Example:
        >>> loss = fg.ops.cross_entropy(jnp.zeros((2, 4)), jnp.array([3, 9]))
        >>> print(jnp.array_str(loss, precision=3))
        [1.386   nan]
    """
    return cross_entropy_saving(logits, labels, smoothing=smoothing)[0]


@cross_entropy.saving("highest", "total")
def cross_entropy_saving(logits: Array, labels: Array, *, smoothing: int | float) -> tuple[Array, dict[str, Array]]:
    """The loss, the largest logit, and `Σ e^{z - max}`."""
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels must be integers (class numbers), got {labels.dtype}")
    if not 0 <= smoothing <= 1:
        raise ValueError(f"smoothing must be between 0 and 1, got {smoothing}")
    z, last = widen(logits), logits.ndim - 1
    highest, total = shifted_sum(z, (last,))
    margin = highest - _at_label(z, labels)
    if smoothing:
        mean_margin = lax.reduce_sum(lax.expand_dims(highest, (last,)) - z, (last,)) / z.shape[-1]
        margin = (1 - smoothing) * margin + smoothing * mean_margin
    loss = lax.log(total) + margin
    loss = lax.select(_is_class(labels, logits), loss, lax.full_like(loss, jnp.nan))
    return loss.astype(logits.dtype), {"highest": highest, "total": total}


@cross_entropy.pullback("logits")
def cross_entropy_logits(
    g: Array, logits: Array, labels: Array, highest: Array, total: Array, smoothing: int | float
) -> Array:
    """`z_bar = g (softmax(z) - t)`."""
    z, last = widen(logits), logits.ndim - 1
    g = lax.select(_is_class(labels, logits), widen(g), lax.full_like(total, 0))
    numbers = _class_numbers(labels)
    is_label = lax.expand_dims(numbers, (last,)) == lax.broadcasted_iota(numbers.dtype, z.shape, last)
    g_row = lax.broadcast_in_dim(g * (1 - smoothing) if smoothing else g, z.shape, range(last))
    exponentials = lax.exp(z - lax.expand_dims(highest, (last,)))
    z_bar = exponentials * lax.expand_dims(g / total, (last,)) - lax.select(is_label, g_row, lax.full_like(z, 0))
    return z_bar - lax.expand_dims(g * (smoothing / z.shape[-1]), (last,)) if smoothing else z_bar


cross_entropy.mark(labels=Marker.NON_DIFFERENTIABLE)


def _at_label(z: Array, labels: Array) -> Array:
    """`z[..., label]`, at the nearest class for a label that is none."""
    n = labels.ndim
    batch = tuple(range(n))
    dimensions = lax.GatherDimensionNumbers((), (n,), (n,), batch, batch)
    numbers = lax.expand_dims(_class_numbers(labels), (n,))
    return lax.gather(z, numbers, dimensions, (1,) * (n + 1), mode=lax.GatherScatterMode.CLIP)


def _class_numbers(labels: Array) -> Array:
    """Labels in a dtype that can hold any number of classes."""
    return labels if labels.dtype.itemsize >= 4 else labels.astype(jnp.int32)


def _is_class(labels: Array, logits: Array) -> Array:
    labels = _class_numbers(labels)
    return (labels >= 0) & (labels < logits.shape[-1])


@op(leading=("logits", "targets"), shapes="logits[..., k] targets[..., k]")
def soft_cross_entropy(logits: Array, targets: Array) -> Array:
    """Cross-entropy against weights of the classes: `logits[..., k]`, `targets[..., k] -> y[...]`.

        y = Σ_j t_j (log Σ_i e^{z_i} - z_j),   z_bar = g (softmax(z) Σ_j t_j - t),   t_bar = g (log Σ_i e^{z_i} - z)

    The targets need not sum to 1. Keeps both arguments, and per example the largest logit and `Σ_j e^{z_j - max}`.
    A class without weight may have the logit `-inf`; it adds nothing, and its `t_bar` counts as 0.

    Args:
        logits: floating, `[..., k]`.
        targets: the weight of each class, in the shape of the logits; probabilities, as a rule.

    Returns:
        The loss of each example, `[...]`.

    Raises:
        ShapeError: the shapes differ, or something is of integers.

    Example:
        >>> logits, targets = jnp.zeros((1, 4)), jnp.array([[0.5, 0.5, 0.0, 0.0]])
        >>> print(jnp.array_str(fg.ops.soft_cross_entropy(logits, targets), precision=3))
        [1.386]
    """
    return soft_cross_entropy_saving(logits, targets)[0]


@soft_cross_entropy.saving("highest", "total")
def soft_cross_entropy_saving(logits: Array, targets: Array) -> tuple[Array, dict[str, Array]]:
    """The loss, the largest logit, and `Σ e^{z - max}`."""
    z, t = widen(logits), widen(targets)
    highest, total = shifted_sum(z, (z.ndim - 1,))
    loss = lax.reduce_sum(t * _surprise(z, t, highest, total), (z.ndim - 1,))
    return loss.astype(jnp.result_type(logits, targets)), {"highest": highest, "total": total}


@soft_cross_entropy.pullback("logits")
def soft_cross_entropy_logits(g: Array, logits: Array, targets: Array, highest: Array, total: Array) -> Array:
    """`z_bar = g (softmax(z) Σ t - t)`."""
    g, t, last = widen(g), widen(targets), (logits.ndim - 1,)
    exponentials = lax.exp(widen(logits) - lax.expand_dims(highest, last))
    scale = g * lax.reduce_sum(t, last) / total
    return exponentials * lax.expand_dims(scale, last) - lax.expand_dims(g, last) * t


@soft_cross_entropy.pullback("targets")
def soft_cross_entropy_targets(g: Array, logits: Array, targets: Array, highest: Array, total: Array) -> Array:
    """`t_bar = g (log Σ e^z - z)`."""
    return lax.expand_dims(widen(g), (logits.ndim - 1,)) * _surprise(widen(logits), widen(targets), highest, total)


def _surprise(z: Array, t: Array, highest: Array, total: Array) -> Array:
    """Minus the log-probabilities, and 0 where a class has neither weight nor probability."""
    last = (z.ndim - 1,)
    surprise = lax.expand_dims(lax.log(total), last) + (lax.expand_dims(highest, last) - z)
    return lax.select((t == 0) & (z == -jnp.inf), lax.full_like(surprise, 0), surprise)


@op(elementwise=True)
def binary_cross_entropy(logits: Array, targets: Array) -> Array:
    """`y = log(1 + e^z) - t z`, elementwise: minus `t log σ(z) + (1 - t) log σ(-z)`, with σ the logistic function.

        z_bar = g (σ(z) - t) = g ((1 - t) σ(z) - t σ(-z)),   t_bar = -g z.

    Nothing overflows or cancels for sure answers of either kind. Keeps both arguments; they broadcast.

    Args:
        logits: floating, of any shape: `σ(z)` is the probability of a yes.
        targets: floating, from 0 (no) to 1 (yes).

    Returns:
        The loss of each entry, in the shape that the two have together.

    Raises:
        ShapeError: the shapes do not broadcast, or something is of integers.

    Example:
        >>> logits, targets = jnp.array([0.0, 3.0, 3.0]), jnp.array([1.0, 1.0, 0.0])
        >>> print(jnp.array_str(fg.ops.binary_cross_entropy(logits, targets), precision=3))
        [0.693 0.049 3.049]
    """
    logits, targets = align(logits, targets)
    z, t = widen(logits), widen(targets)
    positive = z > 0
    # log(1 + e^z) - t z, with z taken out of the logarithm where it is positive.
    linear = z * jnp.where(positive, 1 - t, -t)
    return (linear + lax.log1p(lax.exp(lax.select(positive, -z, z)))).astype(jnp.result_type(logits, targets))


@binary_cross_entropy.pullback("logits")
def binary_cross_entropy_logits(g: Array, logits: Array, targets: Array) -> Array:
    """`z_bar = g ((1 - t) σ(z) - t σ(-z))`."""
    z, t = lift(widen(logits), g), lift(widen(targets), g)
    positive = z > 0
    w = lax.exp(lax.select(positive, -z, z))
    near, far = 1 / (1 + w), w / (1 + w)
    return widen(g) * ((1 - t) * lax.select(positive, near, far) - t * lax.select(positive, far, near))


@binary_cross_entropy.pullback("targets")
def binary_cross_entropy_targets(g: Array, logits: Array) -> Array:
    """`t_bar = -g z`."""
    return -g * lift(logits, g)


@op(elementwise=True)
def squared_error(prediction: Array, target: Array) -> Array:
    """`y = (p - t)²`, elementwise; `p_bar = 2 g (p - t)`, `t_bar = -p_bar`. Keeps both arguments.

    Args:
        prediction: `p`, an array or a number.
        target: `t`, of a shape that broadcasts with it. `[b, 1]` and `[b]` do, to `[b, b]`, which is hardly meant.

    Returns:
        The loss of each entry, in the shape that the two have together.

    Raises:
        ShapeError: the shapes do not broadcast.

    Example:
        >>> print(fg.ops.squared_error(jnp.array([1.0, 5.0]), jnp.array([1.0, 2.0])))
        [0. 9.]
    """
    return lax.square(_error(prediction, target))


@squared_error.pullback("prediction")
def squared_error_prediction(g: Array, prediction: Array, target: Array) -> Array:
    """`p_bar = 2 g (p - t)`."""
    return 2 * g * (lift(prediction, g) - lift(target, g))


@squared_error.pullback("target")
def squared_error_target(g: Array, prediction: Array, target: Array) -> Array:
    """`t_bar = 2 g (t - p)`."""
    return 2 * g * (lift(target, g) - lift(prediction, g))


@op(elementwise=True)
def absolute_error(prediction: Array, target: Array) -> Array:
    """`y = |p - t|`, elementwise; `p_bar = g sign(p - t)`, `t_bar = -p_bar`, 0 where `p = t`. Keeps both arguments.

    Args:
        prediction: `p`, an array or a number.
        target: `t`, of a shape that broadcasts with it.

    Returns:
        The loss of each entry, in the shape that the two have together.

    Raises:
        ShapeError: the shapes do not broadcast, or an argument is complex.

    Example:
        >>> print(fg.ops.absolute_error(jnp.array([1.0, 5.0]), jnp.array([1.0, 2.0])))
        [0. 3.]
    """
    error = _error(prediction, target)
    if jnp.iscomplexobj(error):
        raise ValueError("the arguments must be real")  # e sign(e) is not |e| there
    # |e| so written has derivative 0 at 0 in forward mode too.
    return error * lax.sign(error)


@absolute_error.pullback("prediction", kind=subgradient("0 at equality"))
def absolute_error_prediction(g: Array, prediction: Array, target: Array) -> Array:
    """`p_bar = g sign(p - t)`."""
    return g * lax.sign(lift(prediction, g) - lift(target, g))


@absolute_error.pullback("target", kind=subgradient("0 at equality"))
def absolute_error_target(g: Array, prediction: Array, target: Array) -> Array:
    """`t_bar = g sign(t - p)`."""
    return g * lax.sign(lift(target, g) - lift(prediction, g))


@op(elementwise=True)
def huber(prediction: Array, target: Array, *, delta: int | float = 1.0) -> Array:
    """`y = e²/2` where `|e| <= delta`, else `delta (|e| - delta/2)`, with `e = p - t`, elementwise.

        p_bar = g min(max(e, -delta), delta),   t_bar = -p_bar.

    No kink. Keeps both arguments. Source: Huber 1964.

    Args:
        prediction: `p`, an array or a number.
        target: `t`, of a shape that broadcasts with it.
        delta: the error beyond which the loss grows along a line.

    Returns:
        The loss of each entry, in the shape that the two have together.

    Raises:
        ShapeError: `delta` is not positive, or the shapes do not broadcast.

    Example:
        >>> print(fg.ops.huber(jnp.array([1.5, 5.0]), jnp.array([1.0, 2.0])))
        [0.125 2.5  ]
    """
    if delta <= 0:
        raise ValueError(f"delta must be positive, got {delta}")
    error = _error(prediction, target)
    size = lax.abs(error)
    return lax.select(size <= delta, error * error * 0.5, delta * (size - delta / 2))


@huber.pullback("prediction")
def huber_prediction(g: Array, prediction: Array, target: Array, delta: int | float) -> Array:
    """`p_bar = g min(max(p - t, -delta), delta)`."""
    return g * _bounded(lift(prediction, g) - lift(target, g), delta)


@huber.pullback("target")
def huber_target(g: Array, prediction: Array, target: Array, delta: int | float) -> Array:
    """`t_bar = g min(max(t - p, -delta), delta)`."""
    return g * _bounded(lift(target, g) - lift(prediction, g), delta)


def _error(prediction: Array, target: Array) -> Array:
    return jnp.subtract(*align(prediction, target))


def _bounded(error: Array, delta: int | float) -> Array:
    return lax.clamp(lax.full_like(error, -delta), error, lax.full_like(error, delta))
