"""Straight-through estimators: what passes where a function is flat, as signs, rounding and quantization are.

`identity`, `clipped` and `polynomial` are for any function of one array (`jnp.round`, `jnp.sign`, `fg.ops.binarize`);
`affine`, `lsq` and `pact` are three pullbacks of one forward, `fg.ops.fake_quantize`.
"""

import math
from typing import Any

import jax.numpy as jnp
from jax import lax

from funcgrad import ops
from funcgrad.aliases import Array
from funcgrad.naming import Where
from funcgrad.ops.axes import align
from funcgrad.ops.contraction import widen
from funcgrad.registry import Rule, RuleSet, surrogate
from funcgrad.rulesets.changes import titled
from funcgrad.rulesets.slopes import Curve, Function, argument_of, with_slope


def identity(function: Function, *, at: str | Where = "**") -> RuleSet:
    """`x_bar = g`, as of a function that is `x`. Keeps nothing.

    Source: Bengio et al. 2013; it goes back to Hinton's lectures of 2012. For a spike it is snntorch's
    straight_through_estimator and spikingjelly's DeterministicPass; for signs and rounding, brevitas' `*_ste`.

    Args:
        function: what is flat, of one array or with that first: an op, a function of JAX's, or its name.
        at: at which nodes, as in `RuleSet.override`.

    Returns:
        The set of rules; their kind is the surrogate of `x`.

    Example:
        >>> rules = fg.rulesets.straight_through.identity(jnp.round)
        >>> print(fg.grad(lambda x: (jnp.round(x) ** 2).sum(), rules=rules)(jnp.array([0.4, 2.6])))
        [0. 6.]
    """
    rule = Rule(passed_on, (argument_of(function),), surrogate(itself), "straight_through")
    return RuleSet().override(function, rule, at=at)


def passed_on(g: Array) -> Array:
    """`x_bar = g`."""
    return g


def itself(x: Array, *others: Any, **attributes: Any) -> Array:
    """`y = x`, whatever else the flat function takes; along the axes that it has of other numbers too."""
    del attributes
    shapes = [other.shape for other in others if jnp.issubdtype(other.dtype, jnp.inexact)]
    return jnp.broadcast_to(x, jnp.broadcast_shapes(x.shape, *shapes))


def clipped(function: Function, low: float = -1.0, high: float = 1.0, *, at: str | Where = "**") -> RuleSet:
    """`x_bar = g` where `low <= x <= high`, else 0: as of `clip(x, low, high)`, at whose ends it passes.

    Source: Hubara et al. 2016 ("saturated", the derivative of hard tanh; BinaryConnect's clipping of the
    weights with it); between 0 and 1 the clipped ReLU of Yin et al. 2019; from 0 to infinity their ReLU.

    Args:
        function: what is flat, as in `identity`.
        low: where it begins to pass.
        high: where it ends.
        at: at which nodes, as in `RuleSet.override`.

    Returns:
        The set of rules; their kind is the surrogate of the clipped `x`.

    Example:
        >>> rules = fg.rulesets.straight_through.clipped(jnp.sign)
        >>> print(fg.grad(lambda x: jnp.sign(x).sum(), rules=rules)(jnp.array([-1.5, -0.3, 1.0])))
        [0. 1. 1.]
    """
    parameters = {"low": low, "high": high}
    title, given = titled("clipped", parameters), tuple(parameters.items())
    return with_slope(function, Curve(title, window, given), Curve(title, clip, given), at)


def window(x: Array, low: float, high: float) -> Array:
    """1 where `low <= x <= high`, else 0."""
    return jnp.where((x >= low) & (x <= high), 1, 0).astype(x.dtype)


def clip(x: Array, low: float, high: float) -> Array:
    """`x` between two numbers; at each of them it moves."""
    return jnp.where(x < low, low, jnp.where(x > high, high, x))


def polynomial(function: Function, *, at: str | Where = "**") -> RuleSet:
    """`x_bar = g max(0, 2 - 2|x|)`: as of `2x - x|x|` in [-1, 1], parabolas that approach a sign.

    Source: Liu et al. 2018 (Bi-Real Net).

    Args:
        function: what is flat, as in `identity`: a sign.
        at: at which nodes, as in `RuleSet.override`.

    Returns:
        The set of rules; their kind is the surrogate of the parabolas.

    Example:
        >>> rules = fg.rulesets.straight_through.polynomial(jnp.sign)
        >>> print(fg.grad(lambda x: jnp.sign(x).sum(), rules=rules)(jnp.array([-0.5, 0.0, 2.0])))
        [1. 2. 0.]
    """
    return with_slope(function, Curve("polynomial", tent), Curve("polynomial", parabolas), at)


def tent(x: Array) -> Array:
    """`max(0, 2 - 2|x|)`."""
    return jnp.maximum(0, 2 - 2 * jnp.abs(x))


def parabolas(x: Array) -> Array:
    """`2x - x|x|` of `x` clipped to [-1, 1]."""
    x = jnp.clip(x, -1, 1)
    return 2 * x - x * jnp.abs(x)


def affine(*, at: str | Where = "**") -> RuleSet:
    """`x_bar = g` where `low <= round(x / s) + z <= high`, else 0: int8 and the like, with the mask of what is clipped.

    The scale keeps its own cotangent, the exact one. Source: Jacob et al. 2018; as
    `torch.fake_quantize_per_tensor_affine`.

    Args:
        at: at which of the `fg.ops.fake_quantize`, as in `RuleSet.override`.

    Returns:
        The set of rules; their kind is the surrogate of `x` where it is not clipped.

    Example:
        >>> rules = fg.rulesets.straight_through.affine()
        >>> quantized = lambda x: fg.ops.fake_quantize(x, 0.1).sum()
        >>> print(fg.grad(quantized, rules=rules)(jnp.array([-20.0, 0.34, 12.7])))
        [0. 1. 1.]
    """
    return RuleSet().override(ops.fake_quantize, affine_x, "x", at=at, kind=surrogate(unclipped))


def affine_x(g: Array, x: Array, scale: Array, low: int, high: int, zero_point: Array | None = None) -> Array:
    """`x_bar = g [low <= round(x / s) + z <= high]`."""
    x, scale, shift = _aligned(x, scale, zero_point)
    whole = jnp.round(x / scale) + shift
    return jnp.where((whole >= low) & (whole <= high), g, 0)


def unclipped(x: Array, scale: Array, zero_point: Array | None = None, *, low: int, high: int) -> Array:
    """`x`, and a constant where it is clipped."""
    x, scale, shift = _aligned(x, scale, zero_point)
    whole = jnp.round(x / scale) + shift
    return jnp.where((whole >= low) & (whole <= high), x, 0)


def lsq(scaled: bool = True, *, at: str | Where = "**") -> RuleSet:
    """Learned step size: `s_bar = g a (round(v) - v)` inside, `g a low` or `g a high` where clipped; `v = x / s`.

    `x_bar = g [low < v < high]`. `a = 1 / √(n high)`, with `n` the entries of `x` for each step size, so that steps and
    weights move alike. Source: Esser et al. 2020.

    Args:
        scaled: `a` as above; else 1.
        at: at which of the `fg.ops.fake_quantize`, as in `RuleSet.override`.

    Returns:
        The set of rules; their kind is the surrogate of the forward whose rounding passes straight through.

    Example:
        >>> rules = fg.rulesets.straight_through.lsq(scaled=False)
        >>> quantized = lambda x, s: fg.ops.fake_quantize(x, s, low=-4, high=3).sum()
        >>> x_bar, s_bar = fg.grad(quantized, (0, 1), rules=rules)(jnp.array([0.25, 9.0]), jnp.array(1.0))
        >>> print(x_bar, s_bar)
        [1. 0.] 2.75
    """
    scale_rule, kind = (lsq_scale, surrogate(lsq_forward)) if scaled else (lsq_scale_plain, surrogate(lsq_plain))
    inside = RuleSet().override(ops.fake_quantize, lsq_x, "x", at=at, kind=kind)
    return inside.override(ops.fake_quantize, scale_rule, "scale", at=at, kind=kind)


def lsq_x(g: Array, x: Array, scale: Array, low: int, high: int, zero_point: Array | None = None) -> Array:
    """`x_bar = g [low < v < high]`."""
    x, scale, shift = _aligned(x, scale, zero_point)
    v = x / scale + shift
    return jnp.where((v <= low) | (v >= high), 0, g)


def lsq_scale_plain(g: Array, x: Array, scale: Array, low: int, high: int, zero_point: Array | None = None) -> Array:
    """`s_bar = g (round(v) - v)` inside, `g low`, `g high` where clipped; less `z` there."""
    x, scale, shift = _aligned(x, scale, zero_point)
    v = x / scale + shift
    outside = jnp.where(v <= low, low, high) - shift
    return widen(g) * lax.stop_gradient(jnp.where((v <= low) | (v >= high), outside, jnp.round(v) - v))


def lsq_scale(g: Array, x: Array, scale: Array, low: int, high: int, zero_point: Array | None = None) -> Array:
    """The same times `a = 1 / √(n high)`."""
    return lsq_scale_plain(g, x, scale, low, high, zero_point) * _step_factor(x, scale, high)


def lsq_plain(x: Array, scale: Array, zero_point: Array | None = None, *, low: int, high: int) -> Array:
    """The forward, with a rounding that passes straight through: it adds `round(v) - v`, taken as a constant."""
    x, scale, shift = _aligned(x, scale, zero_point)
    v = x / scale + shift
    inside = x + scale * lax.stop_gradient(jnp.round(v) - v)
    return jnp.where((v <= low) | (v >= high), scale * (jnp.where(v <= low, low, high) - shift), inside)


def lsq_forward(x: Array, scale: Array, zero_point: Array | None = None, *, low: int, high: int) -> Array:
    """The same of a scale that moves by `a` where it is moved by 1."""
    a = _step_factor(x, scale, high)
    return lsq_plain(x, a * scale + lax.stop_gradient((1 - a) * scale), zero_point, low=low, high=high)


def _step_factor(x: Array, scale: Array, high: int) -> float:
    """`a = 1 / √(n high)`; for `high = 0`, where the paper's is infinite, as for 1."""
    return 1 / math.sqrt(max(x.size / max(scale.size, 1), 1) * max(high, 1))


def pact(*, at: str | Where = "**") -> RuleSet:
    """Learned clipping level `α = s high`: `α_bar = g` where `x >= α`, so `s_bar = g high` there; `x_bar = g` below.

    That is, with `low=0` as for the outputs of a ReLU, the pullback of `clip(x, 0, α)`. Pass `alpha / high` as the
    scale. Source: Choi et al. 2018.

    Args:
        at: at which of the `fg.ops.fake_quantize`, as in `RuleSet.override`.

    Returns:
        The set of rules; their kind is the surrogate of the forward that clips and does not round.

    Example:
        >>> rules = fg.rulesets.straight_through.pact()
        >>> quantized = lambda x, alpha: fg.ops.fake_quantize(x, alpha / 15, low=0, high=15).sum()
        >>> x_bar, alpha_bar = fg.grad(quantized, (0, 1), rules=rules)(jnp.array([-1.0, 0.3, 7.0]), jnp.array(6.0))
        >>> print(x_bar, alpha_bar)
        [0. 1. 0.] 1.0
    """
    kind = surrogate(clipped_between)
    below = RuleSet().override(ops.fake_quantize, pact_x, "x", at=at, kind=kind)
    return below.override(ops.fake_quantize, pact_scale, "scale", at=at, kind=kind)


def pact_x(g: Array, x: Array, scale: Array, low: int, high: int, zero_point: Array | None = None) -> Array:
    """`x_bar = g [low <= v < high]`."""
    x, scale, shift = _aligned(x, scale, zero_point)
    v = x / scale + shift
    return jnp.where((v >= low) & (v < high), g, 0)


def pact_scale(g: Array, x: Array, scale: Array, low: int, high: int, zero_point: Array | None = None) -> Array:
    """`s_bar = g high` where `v >= high`, `g low` where `v < low`; less `z`."""
    x, scale, shift = _aligned(x, scale, zero_point)
    v = x / scale + shift
    ends = jnp.where(v >= high, high, low) - shift
    return jnp.where((v >= low) & (v < high), 0, widen(g) * ends)


def clipped_between(x: Array, scale: Array, zero_point: Array | None = None, *, low: int, high: int) -> Array:
    """`x`, and `s (low - z)`, `s (high - z)` where it is clipped."""
    x, scale, shift = _aligned(x, scale, zero_point)
    v = x / scale + shift
    ends = jnp.where(v >= high, high, low) - shift
    return jnp.where((v >= low) & (v < high), x, scale * ends)


def _aligned(x: Array, scale: Array, zero_point: Array | None) -> tuple[Array, Array, Array]:
    """`x`, `s` and `z` at one rank, in float32 at least; `v = x / s + z` is what is rounded and clipped."""
    x, scale = widen(x), widen(scale)
    shift = jnp.zeros((), x.dtype) if zero_point is None else zero_point.astype(x.dtype)
    x, scale, shift = align(x, scale, shift)
    return x, scale, shift
