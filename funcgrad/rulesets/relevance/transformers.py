"""Relevance of transformers, as coefficients: what arrives at a value is its relevance for each unit of it.

Between linear operations `R = x c` with the coefficients `c = wᵀ c` of the gradient itself: the ε rule, at ε = 0, is
gradient x input. So only what is not linear has a rule here, and sums, masks, rotations and pooling need none:

    activation       y = f(x)           x_bar = g y / x                 all relevance passes       (identity rule)
    normalization    y = (x - m) / σ    σ is held constant                                         (identity, LN rule)
    product          y = a b            a_bar = g b / 2, b_bar = g a / 2    half of it to each     (uniform, half rule)
    softmax          s = softmax(x)     the gradient: R_i = x_i (R_i - s_i Σ R)    or s is held constant  (AH rule)

A standard deviation is whatever `rsqrt` or `sqrt` makes, and none that is written `x**-0.5`; an activation of a product
is what depends on the arguments that are differentiated, and not on parameters and on what is held constant alone.
Where `f(0)` is not 0, as of a softplus or a sigmoid, `y / x` is as large as the stabilizer lets it be near `x = 0`.
"""

from dataclasses import dataclass, replace
from inspect import Parameter, Signature
from typing import Any

import jax
import jax.numpy as jnp

from funcgrad import ops
from funcgrad.aliases import Array
from funcgrad.naming import Where
from funcgrad.ops.contraction import widen
from funcgrad.registry import Region, Rule, RuleSet, modified, nonlinear
from funcgrad.rulesets.relevance.rest import ACTIVATIONS
from funcgrad.rulesets.relevance.sharing import away_from_zero

_ACTIVATIONS: tuple[Any, ...] = (*ACTIVATIONS, "erf", "square", "integer_pow", ops.square)
_STANDARD_DEVIATIONS = ("rsqrt", "sqrt")
_ENTRYWISE, _MATRICES = ("mul", "multiply"), ("dot_general", "matmul")
_SOFTMAX = "**/softmax"


def attn_lrp(linear: RuleSet | None = None, stabilizer: float = 1e-6) -> RuleSet:
    """AttnLRP: the gradient, with `y / x` at activations, constant standard deviations, and products halved.

    For `attribution.gradient_times_input(f, rules=attn_lrp())`, which is the relevance: of a logit `f`, its shares.
    Source: Achtibat et al. 2024. LXT: the same.

    Args:
        linear: a set of `relevance` for products with parameters: `epsilon(0.1)`, or for images, where the gradient is
            noisy, `gamma(0.25)` (appendix A.2.3). ε at 0 by default.
        stabilizer: what is added to denominators, away from zero.

    Returns:
        The set of rules.

    Example:
        >>> relevance = fg.rulesets.attribution.gradient_times_input(
        ...     lambda x: jax.nn.silu(x[0]) * x[1], rules=fg.rulesets.relevance.attn_lrp()
        ... )
        >>> print(np.asarray(relevance(jnp.array([2.0, 3.0]))).round(3), f"{jax.nn.silu(2.0) * 3.0:.3f}")
        [2.642 2.642] 5.285
    """
    halves = Region(bilinear=(*_ENTRYWISE, *_MATRICES), constants=_STANDARD_DEVIATIONS)
    rules = _identities(stabilizer) | _constants() | _halved(halves)
    rules = rules.override(ops.attention, of_queries, "q", "k", optional=True)
    for argument in ("v", "bias"):
        rules = rules.override(ops.attention, half, argument, optional=True)
    return rules | _per_unit(linear or RuleSet(), stabilizer)


def relp(stabilizer: float = 1e-6, softmax: str = _SOFTMAX) -> RuleSet:
    """RelP: the gradient, with `y / x` at activations, constant standard deviations and attention, gates halved.

    For `attribution.gradient_times_input(f, wrt=..., rules=relp())`; of a difference of two runs' activations, the
    product of that and this cotangent. Source: Rezaei Jafari et al. 2025; the rules are those of Ali et al.
    2022 (LN, AH), Rezaei Jafari et al. 2024 (identity) and Arras et al. 2019 (half).

    Args:
        stabilizer: what is added to denominators, away from zero.
        softmax: a glob of the scopes in which an attention's weights are made, for those that are written out: there
            `exp` is held constant.

    Returns:
        The set of rules.

    Example:
        >>> def attended(x):
        ...     return jnp.sum(jax.nn.softmax(x) * x)
        >>> rules = fg.rulesets.relevance.relp()
        >>> print(np.asarray(fg.grad(attended, rules=rules)(jnp.array([0.0, 0.0, 5.0]))).round(3))
        [0.007 0.007 0.987]
    """
    constants = (*_STANDARD_DEVIATIONS, softmax, "softmax")
    rules = _identities(stabilizer) | _constants() | _halved(Region(bilinear=_ENTRYWISE, constants=constants))
    rules = rules.override("exp", constant, "x", at=softmax, optional=True)
    rules = rules.override(ops.softmax, constant, "x", optional=True)
    rules = rules.override(ops.attention, no_queries, "q", "k", optional=True)
    return rules.override(ops.attention, no_bias, "bias", optional=True)


def _identities(stabilizer: float) -> RuleSet:
    def identity(g: Array, x: Array, y: Array) -> Array:
        return g * y / away_from_zero(x, stabilizer)

    rules = RuleSet()
    for function in _ACTIVATIONS:
        rules = rules.override(function, Rule(identity, ("x",), modified), optional=True)
    return rules


def _constants() -> RuleSet:
    rules = RuleSet()
    for function in _STANDARD_DEVIATIONS:
        rules = rules.override(function, constant, "x", optional=True)
    rules = rules.override(ops.layer_norm, layer_norm_x, "x", optional=True)
    rules = rules.override(ops.rms_norm, rms_norm_x, "x", optional=True)
    return rules.override(ops.group_norm, group_norm_x, "x", optional=True)


def _halved(products: Region) -> RuleSet:
    rules = RuleSet().override(products, Rule(halved, ("x0", "x1"), modified), optional=True)
    squares = Where(when=_is_square)
    arguments = {"mul": ("x", "y"), "multiply": ("a", "b"), "dot_general": ("lhs", "rhs"), "matmul": ("a", "b")}
    for function in products.bilinear:
        rules = rules.override(function, Rule(halved, arguments[function], modified), at=squares, optional=True)
    return rules.override(ops.swiglu, Rule(halved_gate, ("gate", "up"), modified), optional=True)


def _is_square(node: Any) -> bool:
    return node.inputs[0] is node.inputs[1]


def halved(g: Array, pull: Any) -> dict[str, Array]:
    """Half of what a product passes."""
    return {name: bar / 2 for name, bar in pull(g).items()}


def of_queries(g: Array, pull: Any) -> dict[str, Array]:
    """Of an attention: half of what the product with the values passes, and half of that where `q kᵀ` is one."""
    return {name: bar / 4 for name, bar in pull(g).items()}


def no_queries(q_aval: Any, k_aval: Any) -> dict[str, Array]:
    """Of an attention whose weights are held constant."""
    return {"q": jnp.zeros(q_aval.shape, q_aval.dtype), "k": jnp.zeros(k_aval.shape, k_aval.dtype)}


def no_bias(bias_aval: Any) -> Array:
    """Likewise."""
    return jnp.zeros(bias_aval.shape, bias_aval.dtype)


def half(g: Array, pull: Any) -> Array:
    """Half of what passes."""
    return pull(g) / 2


def halved_gate(g: Array, gate: Array, up: Array, stabilizer: float = 1e-6) -> dict[str, Array]:
    """Of `silu(gate) up`: half to each, and all that comes to the activation passes."""
    y = jax.nn.silu(gate)
    return {"gate": g * up * y / away_from_zero(gate, stabilizer) / 2, "up": g * y / 2}


def constant(g: Array) -> Array:
    """Nothing: the value counts as constant."""
    return jnp.zeros_like(g)


def layer_norm_x(g: Array, scale: Array | None, rstd: Array) -> Array:
    """`x_bar = rstd (h - mean(h))`, `h = g scale`."""
    h = _scaled(g, scale)
    return widen(rstd)[..., None] * (h - jnp.mean(h, -1, keepdims=True))


def rms_norm_x(g: Array, scale: Array | None, r: Array) -> Array:
    """`x_bar = r g scale`."""
    return widen(r)[..., None] * _scaled(g, scale)


def group_norm_x(g: Array, scale: Array | None, rstd: Array, groups: int) -> Array:
    """`x_bar = rstd (h - mean(h))`, `h = g scale`, the mean over a group's channels and all of space."""
    h = _scaled(g, scale).reshape(g.shape[0], -1, groups, g.shape[-1] // groups)
    return (widen(rstd)[:, None, :, None] * (h - jnp.mean(h, (1, 3), keepdims=True))).reshape(g.shape)


def _scaled(g: Array, scale: Array | None) -> Array:
    if scale is None:
        return widen(g)
    return widen(g) * widen(scale).reshape((1,) * (g.ndim - 1) + scale.shape)


@dataclass(frozen=True)
class PerUnit:
    """A rule for relevances as one for coefficients: `R = y g` in, `x_bar = R / x` out."""

    rule: Rule
    stabilizer: float

    @property
    def __signature__(self) -> Signature:
        needs = dict.fromkeys(("g", "x", "y", *self.rule.needs))
        return Signature([Parameter(n, Parameter.KEYWORD_ONLY) for n in needs])

    def __call__(self, *, g: Array, x: Array, y: Array, **others: Any) -> Array:
        """The cotangent of `x`."""
        there = {"x": x, "y": y, **others}
        relevance = self.rule.function(g=g * y, **{n: there[n] for n in self.rule.needs if n != "g"})
        return relevance / away_from_zero(x, self.stabilizer)


def _per_unit(rules: RuleSet, stabilizer: float) -> RuleSet:
    def converted(rule: Rule) -> Rule:
        kind = modified if rule.kind.is_linear else nonlinear
        return Rule(PerUnit(rule.alone, stabilizer), rule.arguments, kind, f"{rule.name} per unit")

    return replace(rules, overrides=tuple(replace(o, rule=converted(o.rule)) for o in rules.overrides))
