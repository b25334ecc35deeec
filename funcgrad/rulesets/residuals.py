"""Memory by rule: what a rule keeps for the backward pass, chosen so that it is less; the gradient stays what it was.

`from_output`, `sign_bits`, `packed_masks` and `from_input` are sets of rules, whose kinds are `exact` or `subgradient`:
the first three for all functions of a kind that a model has (it may have none, and is then as before).
`reversible` and `reversible_scan` are no sets: they make a function whose backward pass keeps its outputs alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import Parameter, Signature
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array, Aval
from funcgrad.naming import Where
from funcgrad.ops import exponentials
from funcgrad.ops.activations import softplus_x
from funcgrad.ops.rectifiers import leaky_relu, relu, relu6, relu6_x, relu_x, selu_x
from funcgrad.primitive import bodies, fence
from funcgrad.registry import Equation, Function, Rule, RuleSet, Target, exact, functions_in, subgradient
from funcgrad.rulesets.families import numbers_of
from funcgrad.rulesets.reversing import reversible as reversible
from funcgrad.rulesets.reversing import reversible_scan as reversible_scan
from funcgrad.rulesets.slopes import Function as Named
from funcgrad.rulesets.slopes import argument_of


def from_output(*, at: str | Where = "**") -> RuleSet:
    """J^T by the output, which the next layer keeps anyway, in the place of the input and what is between.

    For ReLU `g [y > 0]`, and the like for `relu6`, `elu`, `celu`, `selu`, `softplus`, and `softmax` and `log_softmax`
    along the last axis, of `jax.nn`. Ops of ours read their output already, as do `tanh`, `sigmoid`, `exp` and `sqrt`.
    The gradient is the same but for rounding; of ReLU bit for bit. Source: Rota Bulò et al. 2018 (in-place activated
    batch norm), for the idea.

    Args:
        at: at which nodes, as in `RuleSet.override`.

    Returns:
        The set of rules.

    Example:
        >>> loss = lambda x, w: jnp.sum((jax.nn.relu(x + 1) @ w) ** 2)
        >>> x, w = jnp.ones((8, 8), jnp.float32), jnp.ones((8, 2), jnp.float32)
        >>> sets = fg.RuleSet(), fg.rulesets.residuals.from_output()
        >>> [fg.plan(loss, x, w, argnums=(0, 1), rules=r).totals.kept_bytes for r in sets]
        [576, 320]
    """
    rules = RuleSet()
    for target, rule in _BY_OUTPUT:
        rules = rules.override(target, rule, at=at, optional=True)
    return rules


def softmax_x(g: Array, y: Array) -> Array:
    """`x_bar = y (g - Σ_j g_j y_j)` along the last axis."""
    return exponentials.softmax_x(g, y, axis=-1)


def log_softmax_x(g: Array, y: Array) -> Array:
    """`x_bar = g - e^y Σ_j g_j` along the last axis."""
    return exponentials.log_softmax_x(g, y, axis=-1)


def elu_x(g: Array, y: Array, alpha: Any = 1.0) -> Array:
    """`x_bar = g` where `y > 0`, else `g (y + alpha)`."""
    return lax.select(y > 0, g, g * (y + jnp.asarray(alpha, y.dtype)))


def celu_x(g: Array, y: Array, alpha: Any = 1.0) -> Array:
    """`x_bar = g` where `y > 0`, else `g (1 + y/alpha)`."""
    return lax.select(y > 0, g, g * (1 + y / jnp.asarray(alpha, y.dtype)))


def sign_bits(*, at: str | Where = "**") -> RuleSet:
    """ReLUs by one bit for each entry, whether it is positive, in the place of the input or the output.

    For `relu`, `relu6` and `leaky_relu`, ours and `jax.nn`'s; the gradient is the same bit for bit. It saves where
    nothing else keeps the output: before an addition, a normalization or pooling; before a linear layer, which keeps
    it, it adds the bits. Source: Jain et al. 2018 (Gist), its binarized encoding.

    Args:
        at: at which nodes, as in `RuleSet.override`.

    Returns:
        The set of rules.

    Example:
        >>> loss = lambda x: jnp.sum(jax.nn.relu(jnp.tanh(x)) + x)
        >>> x = jnp.ones((8, 8), jnp.float32)
        >>> rules = fg.rulesets.residuals.sign_bits()
        >>> [row.new_bytes for row in fg.plan(loss, x, rules=rules).rows if row.op == "relu"]
        [8]
    """
    rules = RuleSet()
    for target, function, kept, kind in _BY_SIGN:
        rules = rules.override(target, Rule(function, ("x",), kind, keep={"bits": kept}), at=at, optional=True)
    return rules


def relu_by_sign(g: Array, bits: Array, x_aval: Aval) -> Array:
    """`x_bar = g [x > 0]`."""
    return lax.select(unpacked(bits, x_aval.shape), g, lax.full_like(g, 0))


def leaky_relu_by_sign(g: Array, bits: Array, x_aval: Aval, negative_slope: Any = 0.01) -> Array:
    """`x_bar = g` where `x >= 0`, else `s g`."""
    return lax.select(unpacked(bits, x_aval.shape), g, jnp.asarray(negative_slope, g.dtype) * g)


def is_positive(x: Array) -> Array:
    """Bits of `x > 0`."""
    return packed(x > 0)


def is_inside(x: Array) -> Array:
    """Bits of `0 < x < 6`."""
    return packed((x > 0) & (x < 6))


def is_not_negative(x: Array) -> Array:
    """Bits of `x >= 0`."""
    return packed(x >= 0)


def packed_masks(*, at: str | Where = "**") -> RuleSet:
    """`jnp.where` by one bit of its mask for each entry, which JAX keeps a byte of; so the masks of a model's dropout.

    For Flax's, Equinox's and Haiku's dropout, and whatever else chooses between two arrays (`fg.ops.dropout` keeps its
    key alone). A mask that was broadcast, over the rows say, is packed as large as it then is. The gradient is the same
    bit for bit.

    Args:
        at: at which nodes, as in `RuleSet.override`.

    Returns:
        The set of rules.

    Example:
        >>> loss = lambda x, key: jnp.sum(jnp.where(jax.random.bernoulli(key, 0.5, x.shape), 2 * x, 0))
        >>> x, rules = jnp.ones((8, 8)), fg.rulesets.residuals.packed_masks()
        >>> [fg.plan(loss, x, jax.random.key(0), rules=r).totals.kept_bytes for r in (fg.RuleSet(), rules)]
        [64, 8]
    """
    rule = Rule(chosen_by_bits, ("case0", "case1"), exact, keep={"bits": mask_bits})
    return RuleSet().override(_WHERE, rule, at=at, optional=True)


def chosen_by_bits(g: Array, bits: Array, which_aval: Aval) -> dict[str, Array]:
    """`g` for the case that was chosen, and 0 for the other."""
    which, nothing = unpacked(bits, which_aval.shape), lax.full_like(g, 0)
    return {"case0": lax.select(which, nothing, g), "case1": lax.select(which, g, nothing)}


def mask_bits(which: Array) -> Array:
    """Bits of the mask."""
    return packed(which)


def from_input(function: Named, *, at: str | Where = "**") -> RuleSet:
    """J^T of a function by its input alone: it is run again when its cotangent comes, and what it makes is not kept.

    As `jax.checkpoint` around it in the model would do: for `jax.nn.gelu` one array is kept in the place of three. The
    gradient is the same but for rounding. Source: Chen et al. 2016.

    Args:
        function: what is run again, of one array or with that first: a function of JAX's, or its name.
        at: at which nodes, as in `RuleSet.override`.

    Returns:
        The set of rules.

    Example:
        >>> x, rules = jnp.ones((8, 8), jnp.float32), fg.rulesets.residuals.from_input(jax.nn.gelu)
        >>> loss = lambda x: jnp.sum(jax.nn.gelu(jnp.sin(x)))
        >>> plans = [fg.plan(loss, x, rules=r) for r in (fg.RuleSet(), rules)]
        >>> [p.totals.kept_bytes for p in plans]
        [768, 256]
    """
    argument = argument_of(function)
    rule = Rule(Again(argument), (argument,), exact, "again")
    return RuleSet().override(function, rule, at=at)


@dataclass(frozen=True)
class Again:
    """The rule that runs its function again, no earlier than the cotangent is there: else XLA keeps the first run's."""

    argument: str

    @property
    def __signature__(self) -> Signature:
        return Signature([Parameter(name, Parameter.KEYWORD_ONLY) for name in ("g", "f", self.argument)])

    def __call__(self, g: Array, f: Callable[..., Array], **given: Array) -> Array:
        """`J^T g`."""
        (x,), (g,) = fence([given[self.argument]], until=[g])
        return jax.vjp(lambda x: f(**{self.argument: x}), x)[1](g)[0]


def packed(mask: Array) -> Array:
    """A mask as bits, eight in a byte along one of its axes."""
    return jnp.packbits(mask, axis=_axis_of(mask.shape)) if mask.ndim else jnp.packbits(mask[None])


def unpacked(bits: Array, shape: Sequence[int]) -> Array:
    """The mask of a shape that bits were made of."""
    if not shape:
        return jnp.unpackbits(bits, count=1).astype(bool)[0]
    axis = _axis_of(shape)
    return jnp.unpackbits(bits, axis=axis, count=shape[axis]).astype(bool)


def _axis_of(shape: Sequence[int]) -> int:
    """The last axis along which a mask takes 3/16 of a byte for each entry or less; else where it takes least.

    Not simply the latter: the first axes are the batch's, which may be cut over devices, so they are the last choice.
    """
    share = [-(-n // 8) / max(n, 1) for n in shape]
    return max(i for i, s in enumerate(share) if s <= max(min(share), 3 / 16))


def _as_written(function: Callable[..., Any], is_right: Callable[[Function], bool]) -> Target:
    """A function of `jax.nn` of `x` where a node computes that and no more; else the rule does not hold for it.

    A jitted one does not show its static arguments, and `vmap` may have put its batch first within, so that the output
    is laid out as the input is not. What is called so and only calls it is left to what it calls.
    """
    named = Target.of(function)

    def argument(found: Function) -> str | None:
        if not (isinstance(found, Equation) and named.covers(found) and is_right(found)):
            return None
        within = [inner for jaxpr in bodies(found.source) for _, inner in functions_in(jaxpr)]
        is_other = any(inner.name == "transpose" or named.covers(inner) for inner in within)
        return None if is_other or [a.shape for a in found.output_avals] != [found.avals[0].shape] else "x"

    return named._replace(family=argument)


def _has_positive_alpha(function: Function) -> bool:
    """Whether `alpha` is a number above 0, or left out: else the output does not tell."""
    return numbers_of(function).get("alpha", 1 if "alpha" not in function.argument_slots else 0) > 0


def _has_one_slope(function: Function) -> bool:
    """Whether the slope is one number: of several it cannot be told along which axes they lie, after a `vmap`."""
    return isinstance(function, Equation) and all(aval.shape == () for aval in function.avals[1:])


def _has_one_argument(function: Function) -> bool:
    return tuple(function.argument_slots) == ("x",)


def _is_along_the_last_axis(function: Function) -> bool:
    """Whether all that is reduced in a softmax is the last axis, and nothing masked."""
    if not (isinstance(function, Equation) and _has_one_argument(function)):
        return False
    within = [inner for jaxpr in bodies(function.source) for _, inner in functions_in(jaxpr)]
    last = (function.avals[0].ndim - 1,)
    axes = [inner.statics["axes"] for inner in within if isinstance(inner, Equation) and "axes" in inner.statics]
    return bool(axes) and all(a == last for a in axes) and all(inner.name != "select_n" for inner in within)


def _argument_of_softplus(function: Function) -> str | None:
    """`logaddexp(x, 0)` is softplus."""
    is_meant = function.name == "logaddexp" and numbers_of(function).get("x2") == 0
    return "x1" if is_meant else None


def _case_of_where(function: Function) -> str | None:
    """A choice between two arrays by a mask."""
    if not isinstance(function, Equation) or function.name != "select_n":
        return None
    which, *cases = function.avals
    return "case0" if len(cases) == 2 and which.dtype == bool and which.ndim else None


_AT_ZERO = subgradient({0: 0})
_AT_ZERO_AND_SIX = subgradient({0: 0, 6: 0})
_BY_OUTPUT: list[tuple[Any, Rule]] = [
    (jax.nn.relu, Rule(relu_x, ("x",), _AT_ZERO)),
    (jax.nn.relu6, Rule(relu6_x, ("x",), _AT_ZERO_AND_SIX)),
    (_as_written(jax.nn.elu, _has_positive_alpha), Rule(elu_x, ("x",), subgradient("alpha at 0"))),
    (_as_written(jax.nn.celu, _has_positive_alpha), Rule(celu_x, ("x",), exact)),
    (_as_written(jax.nn.selu, _has_one_argument), Rule(selu_x, ("x",), subgradient("as left of 0 at 0"))),
    (Target("softplus", family=_argument_of_softplus), Rule(softplus_x, ("x1",), exact)),
    (_as_written(jax.nn.softmax, _is_along_the_last_axis), Rule(softmax_x, (), exact)),
    (_as_written(jax.nn.log_softmax, _is_along_the_last_axis), Rule(log_softmax_x, (), exact)),
]
_BY_SIGN = [
    (target, function, kept, kind)
    for targets, function, kept, kind in [
        ((relu, jax.nn.relu), relu_by_sign, is_positive, _AT_ZERO),
        ((relu6, jax.nn.relu6), relu_by_sign, is_inside, _AT_ZERO_AND_SIX),
        (
            (leaky_relu, _as_written(jax.nn.leaky_relu, _has_one_slope)),
            leaky_relu_by_sign,
            is_not_negative,
            subgradient({0: 1}),
        ),
    ]
    for target in targets
]
_WHERE = Target("where", family=_case_of_where)
