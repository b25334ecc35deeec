"""Loss scaling: small gradients kept from vanishing in float16, whose least positive number is 6e-8.

The loss is multiplied by a scale before the reverse pass and the gradient divided by it after, both in float32. A
gradient that is not finite then says that the scale was too large.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from funcgrad.aliases import Array, PyTree
from funcgrad.errors import TrainingError
from funcgrad.ops.contraction import widen
from funcgrad.train.contracts import check_number


@partial(jax.tree_util.register_dataclass, data_fields=["value", "good"], meta_fields=[])
@dataclass(frozen=True)
class Scale:
    """A loss scale on its way through training."""

    value: Array
    """The scale, `f32[]`."""
    good: Array
    """Steps with a finite gradient since it last changed, `i32[]`."""


@dataclass(frozen=True)
class LossScale:
    """A loss scale that finds its size: divided by `factor` when a gradient is not finite, else in time multiplied.

    Source: Micikevicius et al. 2018, section 3.2; the numbers are those of PyTorch and Apex.

    Args:
        start: the first scale; powers of two change no digit of a gradient.
        period: after so many finite gradients in a row the scale grows; None for a scale that stays.
        factor: by how much it changes.
        least: below which it does not fall.

    Raises:
        TrainingError: something is out of range.

    Example:
        >>> import optax
        >>> def loss(params, model_state, batch, key):
        ...     return jnp.sum(params["w"] ** 2), (model_state, {})
        >>> scale, optimizer = fg.train.LossScale(start=2.0**10, period=1), optax.sgd(0.1)
        >>> state = fg.train.init({"w": jnp.ones(2, jnp.float16)}, optimizer, loss_scale=scale)
        >>> state, metrics = fg.train.step(loss, optimizer, loss_scale=scale)(state, jnp.ones(1), 0)
        >>> print(metrics["loss_scale"], metrics["skipped"], state.loss_scale.value)
        1024.0 False 2048.0
    """

    start: float = 2.0**15
    period: int | None = 2000
    factor: float = 2.0
    least: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.start < float("inf"):
            raise TrainingError(f"LossScale: start must be positive and finite, got {self.start}.")
        if self.period is not None and self.period < 1:
            raise TrainingError(f"LossScale: period must be at least 1, got {self.period}; None keeps the scale.")
        if not self.factor > 1:
            raise TrainingError(f"LossScale: factor must be above 1, got {self.factor}.")
        if not 0 < self.least <= self.start:
            raise TrainingError(f"LossScale: least must be positive and at most start={self.start}, got {self.least}.")

    @classmethod
    def of(cls, value: "float | LossScale") -> "LossScale":
        """A number as a scale that stays; TrainingError for what is neither."""
        if not isinstance(value, LossScale):
            check_number("loss_scale", value)
        return value if isinstance(value, LossScale) else cls(float(value), period=None, least=float(value))

    def begin(self) -> Scale:
        """Before the first step."""
        return Scale(jnp.float32(self.start), jnp.int32(0))

    def adjust(self, scale: Scale, finite: Array) -> Scale:
        """After a step whose gradient was finite, or not."""
        if self.period is None:
            return scale
        larger, smaller = scale.value * self.factor, jnp.maximum(scale.value / self.factor, self.least)
        good = jnp.where(finite, scale.good + 1, 0)
        grows = (good >= self.period) & jnp.isfinite(larger)
        value = jnp.where(finite, jnp.where(grows, larger, scale.value), smaller)
        return Scale(value, jnp.where(grows, 0, good))


def divide(gradient: PyTree, scale: Array) -> PyTree:
    """The gradient of the loss from that of the scaled loss, in float32 at least."""

    def divide_leaf(g: Array) -> Array:
        return widen(g) / scale.astype(widen(g).dtype)

    return jax.tree.map(divide_leaf, gradient)


def pick(condition: Array, if_true: PyTree, if_false: PyTree) -> Any:
    """Leaf by leaf, as `jnp.where` does: `if_true` where the condition holds, else `if_false`."""
    return jax.tree.map(lambda a, b: jax.lax.select(condition, a, b), if_true, if_false)
