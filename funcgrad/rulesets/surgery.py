"""Gradient surgery: hooks that change the cotangent of a value on its way, and leave the forward as it is.

`at=` names the value, as `RuleSet.hook` takes it: an intermediate, a leaf of the parameters, one use `w@node`. A number
may be one that is traced, so that a schedule changes it in each step of one compiled program. The cotangent of a value
under the model's own `vmap` is that of the whole batch, along whichever axis JAX has put it there: for `per_example`
name a value outside of it.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from funcgrad.aliases import Array
from funcgrad.errors import RuleError, require
from funcgrad.naming import Where
from funcgrad.registry import RuleSet, nonlinear
from funcgrad.rulesets.changes import Change, length, like, require_range, times

INFINITY = float("inf")


def reversal(scale: float | Array = 1.0, *, at: str | Where) -> RuleSet:
    """`h_bar = -λ g`: what is before the value climbs the loss that what is after it descends.

    Source: Ganin & Lempitsky 2015; Ganin et al. 2016, with `reversal_schedule`.

    Args:
        scale: λ.
        at: whose cotangent is reversed: the features, or one of their uses (`"features@domain"`).

    Returns:
        The set of rules.

    Example:
        >>> rules = fg.rulesets.surgery.reversal(0.5, at="h")
        >>> print(fg.grad(lambda x: fg.name(3 * x, "h").sum(), rules=rules)(jnp.ones(2)))
        [-1.5 -1.5]
    """
    return RuleSet().hook(at, Change("reversal", reversed_, (("scale", scale),)))


def reversed_(g: Array, scale: Any) -> Array:
    """`-λ g`."""
    return times(-g, scale)


def reversal_schedule(progress: float | Array, gamma: float = 10.0) -> Array:
    """`λ = 2 / (1 + exp(-γ p)) - 1`, from 0 to 1: a reversal that begins when the features mean something.

    It is `tanh(γ p / 2)`. Source: Ganin & Lempitsky 2015; Ganin et al. 2016.

    Args:
        progress: `p`, the share of training that is over.
        gamma: how steep.

    Returns:
        λ, for `reversal`.

    Example:
        >>> print(fg.rulesets.surgery.reversal_schedule(0.0))
        0.0
    """
    return jnp.tanh(gamma * _floating(progress) / 2)


def scale(factor: float | Array, *, at: str | Where) -> RuleSet:
    """`h_bar = c g`: a learning rate of its own for all that is before a value, or for one parameter.

    Source: as a rate per layer, Howard & Ruder 2018.

    Args:
        factor: `c`.
        at: whose cotangent is scaled.

    Returns:
        The set of rules.

    Example:
        >>> rules = fg.rulesets.surgery.scale(0.25, at="h")
        >>> print(fg.grad(lambda x: fg.name(2 * x, "h").sum(), rules=rules)(jnp.ones(2)))
        [0.5 0.5]
    """
    return RuleSet().hook(at, Change("scale", times, (("factor", factor),)))


def clip_by_value(limit: float | Array, *, at: str | Where) -> RuleSet:
    """`h_bar = min(max(g, -c), c)`, entry by entry.

    Source: Mikolov 2012; inside of a recurrence, Graves 2013.

    Args:
        limit: `c`, not negative.
        at: whose cotangent is clipped; inside of a loop that is done at every turn.

    Returns:
        The set of rules; their kind is nonlinear.

    Raises:
        RuleError: the limit is negative.

    Example:
        >>> rules = fg.rulesets.surgery.clip_by_value(1.0, at="x")
        >>> print(fg.grad(lambda x: (x**2).sum(), rules=rules)(jnp.array([0.25, -3.0])))
        [ 0.5 -1. ]
    """
    require_range("clip_by_value: limit", limit, 0, INFINITY)
    return RuleSet().hook(at, Change("clip_by_value", clipped, (("limit", limit),)), nonlinear)


def clipped(g: Array, limit: Any) -> Array:
    """`g` between `-c` and `c`."""
    limit = like(limit, g)
    return jnp.clip(g, -limit, limit)


def clip_by_norm(limit: float | Array, per_example: bool = False, *, at: str | Where) -> RuleSet:
    """`h_bar = g min(1, c / ‖g‖)`: no longer than `c`, in the same direction.

    Source: Pascanu et al. 2013, here for one value instead of for all parameters together.

    Args:
        limit: `c`, not negative.
        per_example: each entry along axis 0 has a norm of its own; else the cotangent has one.
        at: whose cotangent is clipped.

    Returns:
        The set of rules; their kind is nonlinear.

    Raises:
        RuleError: the limit is negative.

    Example:
        >>> rules = fg.rulesets.surgery.clip_by_norm(5.0, at="x")
        >>> print(fg.grad(lambda x: (x**2).sum(), rules=rules)(jnp.array([3.0, 4.0])))
        [3. 4.]
    """
    require_range("clip_by_norm: limit", limit, 0, INFINITY)
    change = Change("clip_by_norm", shortened, (("limit", limit), ("per_example", per_example)))
    return RuleSet().hook(at, change, nonlinear)


def shortened(g: Array, limit: Any, per_example: bool) -> Array:
    """`g min(1, c / ‖g‖)`; where `‖g‖` is no number, `g` as it is."""
    norm, limit = length(g, per_example), like(limit, g)
    is_longer = norm > limit
    return g * jnp.where(is_longer, limit / jnp.where(is_longer, norm, 1), 1)


def normalize(per_example: bool = False, *, at: str | Where) -> RuleSet:
    """`h_bar = g / ‖g‖`, and 0 for a `g` that is 0: the direction alone.

    Source: Hazan et al. 2015; per layer, Yu et al. 2017.

    Args:
        per_example: each entry along axis 0 has a norm of its own; else the cotangent has one.
        at: whose cotangent is normalized.

    Returns:
        The set of rules; their kind is nonlinear.

    Example:
        >>> rules = fg.rulesets.surgery.normalize(at="x")
        >>> print(fg.grad(lambda x: (x**2).sum(), rules=rules)(jnp.array([3.0, 4.0])))
        [0.6 0.8]
    """
    return RuleSet().hook(at, Change("normalize", normalized, (("per_example", per_example),)), nonlinear)


def normalized(g: Array, per_example: bool) -> Array:
    """`g / ‖g‖`."""
    norm = length(g, per_example)
    return g / jnp.where(norm == 0, 1, norm)


def noise(scale: float | Array, *, at: str | Where) -> RuleSet:
    """`h_bar = g + σ n`, `n` standard normal.

    Draws: give the set a key in each step, `rules.with_key(key)`. Source: Neelakantan et al. 2015, with
    `noise_schedule`, for `at="params"`.

    Args:
        scale: σ, not negative.
        at: whose cotangent is noisy; each value has noise of its own.

    Returns:
        The set of rules; their kind is nonlinear.

    Raises:
        RuleError: the scale is negative.

    Example:
        >>> rules = fg.rulesets.surgery.noise(0.1, at="w").with_key(jax.random.key(0))
        >>> w_bar = fg.grad(lambda w: w.sum(), rules=rules)(jnp.zeros(1000))
        >>> print(f"{w_bar.mean():.1f} {w_bar.std():.1f}")
        1.0 0.1
    """
    require_range("noise: scale", scale, 0, INFINITY)
    return RuleSet().hook(at, Change("noise", noisy, (("scale", scale),)), nonlinear)


def noisy(g: Array, scale: Any, key: Any) -> Array:
    """`g + σ n`."""
    return g + times(jax.random.normal(key, g.shape, g.dtype), scale)


def noise_schedule(step: int | Array, eta: float = 0.01, gamma: float = 0.55) -> Array:
    """`σ = √(η / (1 + t)^γ)`: less noise as training goes on.

    Source: Neelakantan et al. 2015, where η was 0.01, 0.3 or 1.

    Args:
        step: `t`, how many are over.
        eta: the variance at first.
        gamma: how fast it falls.

    Returns:
        σ, for `noise`.

    Example:
        >>> print(f"{fg.rulesets.surgery.noise_schedule(0):.2f}")
        0.10
    """
    return jnp.sqrt(eta / (1 + _floating(step)) ** gamma)


def dropout(rate: float | Array, *, at: str | Where) -> RuleSet:
    """`h_bar = g m / (1 - p)`, `m` 0 with probability `p`, else 1: an entry arrives or does not, and the mean stays.

    Draws: give the set a key in each step, `rules.with_key(key)`. Source: Tseng et al. 2020 (DropGrad, binary).

    Args:
        rate: `p`, from 0 to below 1.
        at: whose cotangent loses entries.

    Returns:
        The set of rules.

    Raises:
        RuleError: the rate is out of these.

    Example:
        >>> rules = fg.rulesets.surgery.dropout(0.5, at="w").with_key(jax.random.key(0))
        >>> print(jnp.unique(fg.grad(lambda w: w.sum(), rules=rules)(jnp.zeros(100))))
        [0. 2.]
    """
    require_range("dropout: rate", rate, 0, 1)
    return RuleSet().hook(at, Change("dropout", dropped, (("rate", rate),)))


def dropped(g: Array, rate: Any, key: Any) -> Array:
    """`g m / (1 - p)`."""
    kept = 1 - like(rate, g)
    return jnp.where(jax.random.bernoulli(key, kept, g.shape), g / kept, 0)


def stop(*, at: str | Where) -> RuleSet:
    """`h_bar = 0`: nothing passes a value, or one of its uses, as if `fg.detach` stood there.

    Args:
        at: where it ends: a value, or the use of one (`"h@auxiliary"`), whose other uses pass.

    Returns:
        The set of rules.

    Example:
        >>> def loss(x):
        ...     return (jnp.sin(x) + 2 * jnp.tanh(x)).sum()
        >>> rules = fg.rulesets.surgery.stop(at="x@sin")
        >>> print(fg.grad(loss, rules=rules)(jnp.zeros(2)))
        [2. 2.]
    """
    return RuleSet().hook(at, Change("stop", jnp.zeros_like))


def branch_weights(weights: Mapping[str | Where, float | Array]) -> RuleSet:
    """`h_bar = Σ c_i g_i` over the uses `i` of a value: each branch counts as much as it is given, the others once.

    Source: the weights of losses for the trunk alone, as of auxiliary heads, Szegedy et al. 2015.

    Args:
        weights: for each use, as `"h@domain"`, its weight.

    Returns:
        The set of rules.

    Raises:
        RuleError: it is no mapping.

    Example:
        >>> def loss(x):
        ...     return (jnp.sin(x) + jnp.tanh(x)).sum()
        >>> rules = fg.rulesets.surgery.branch_weights({"x@sin": 0.25, "x@tanh": 3.0})
        >>> print(fg.grad(loss, rules=rules)(jnp.zeros(2)))
        [3.25 3.25]
    """
    require(weights, Mapping, "branch_weights: weights", 'a mapping from uses, as {"h@head": 0.1}', RuleError)
    rules = RuleSet()
    for use, weight in weights.items():
        rules |= scale(weight, at=use)
    return rules


def _floating(number: Any) -> Array:
    """A number as a floating one, whatever it is given as."""
    number = jnp.asarray(number)
    return number if jnp.issubdtype(number.dtype, jnp.floating) else number.astype(float)
