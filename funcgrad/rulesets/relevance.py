"""Layer-wise relevance propagation: the cotangent that arrives at the input *is* the relevance.

What arrives at the output is its relevance, so `fg.vjp` of the model is pulled with one-hot vectors. A rule hands the
relevance `g` of a layer's output to its input, in shares of what each input contributed:

    R_i = Σ_j  x_i w_ij / (Σ_i x_i w_ij + b_j)  R_j

The layers are affine regions (`fg.Region(affine=...)`): a product with its bias, and the batch norm after it, so that
no model has to be rewritten. `w` below is the merged weight, `x⁺` and `x⁻` are positive and negative parts.
The formulas are those of Montavon et al. 2019 ("Layer-wise relevance propagation: an overview"); conventions, such as
what becomes of biases and negative inputs, are zennit's, with whose numbers they agree.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from funcgrad import ops
from funcgrad.aliases import Array
from funcgrad.errors import RuleError
from funcgrad.naming import Where
from funcgrad.registry import Affine, Region, Rule, RuleSet, modified

CONVOLUTIONS = ("conv_general_dilated", "conv1d", "conv2d", "conv3d")
DENSE = ("dot_general", "linear", "matmul")
_ACTIVATIONS: tuple[Any, ...] = (
    *(jax.nn.relu, jax.nn.relu6, jax.nn.gelu, jax.nn.silu, jax.nn.softplus, jax.nn.elu, jax.nn.selu, "celu"),
    *("tanh", "logistic", "soft_sign", "hard_tanh", "leaky_relu"),
    *(ops.relu, ops.relu6, ops.gelu, ops.silu, ops.softplus, ops.elu, ops.selu, ops.tanh, ops.sigmoid, ops.mish),
)
_At = str | Where


# -- rules ---------------------------------------------------------------------------------------------------------


def epsilon(epsilon: float = 1e-6, *, of: Sequence[str] = (*DENSE, *CONVOLUTIONS), at: _At = "**") -> RuleSet:
    """`R_i = x_i Σ_j w_ij R_j / (y_j + ε sign(y_j))`. What the bias contributed is lost, and what ε absorbs.

    Source: Bach et al. 2015, eq. 58. zennit: Epsilon.

    Args:
        epsilon: what is added to outputs, away from zero.
        of: the products that are meant, by the names of their functions.
        at: at which nodes, as in `RuleSet.override`.

    Returns:
        The set of rules.

    Example:
        >>> w = {"w": jnp.array([[1.0], [2.0]])}
        >>> rules = fg.rulesets.relevance.epsilon()
        >>> y, pull = fg.vjp(lambda x: x @ w["w"], jnp.array([[3.0, 1.0]]), rules=rules)
        >>> print(y, pull(jnp.ones((1, 1)))[0].round(3))
        [[5.]] [[0.6 0.4]]
    """

    def rule(g: Array, x: Array, affine: Affine) -> Array:
        return _shares(g, affine.product, [(x, affine.weight)], affine.bias, epsilon)

    return _of_products(rule, f"epsilon {epsilon:g}", of, at)


def gamma(
    gamma: float = 0.25, stabilizer: float = 1e-6, *, of: Sequence[str] = (*DENSE, *CONVOLUTIONS), at: _At = "**"
) -> RuleSet:
    """Shares by `x⁺ (w + γ w⁺) + x⁻ (w + γ w⁻)` where the output is positive, with `w⁺`, `w⁻` swapped where negative.

    Source: Montavon et al. 2019, table 1; for inputs of both signs Andéol et al. 2021, appendix A. zennit: Gamma.

    Args:
        gamma: how much what agrees with the output is favoured.
        stabilizer: what is added to denominators, away from zero.
        of: the products that are meant, by the names of their functions.
        at: at which nodes, as in `RuleSet.override`.

    Returns:
        The set of rules.

    Example:
        >>> rules = fg.rulesets.relevance.gamma(1.0)
        >>> w = {"w": jnp.array([[1.0], [-2.0]])}
        >>> _, pull = fg.vjp(lambda x: x @ w["w"], jnp.array([[3.0, 1.0]]), rules=rules)
        >>> print(pull(jnp.ones((1, 1)))[0].round(3))
        [[ 1.5 -0.5]]
    """

    def rule(g: Array, x: Array, y: Array, affine: Affine) -> Array:
        (x_p, x_n), w, b = _parts(x), affine.weight, affine.bias
        (w_p, w_n), (b_p, b_n) = _parts(w), _parts(b)
        up, down, share = w + gamma * w_p, w + gamma * w_n, partial(_shares, product=affine.product, eps=stabilizer)
        above = share(jnp.where(y > 0, g, 0), parts=[(x_p, up), (x_n, down)], bias=b + gamma * b_p)
        below = share(jnp.where(y < 0, g, 0), parts=[(x_p, down), (x_n, up)], bias=b + gamma * b_n)
        return above + below

    return _of_products(rule, f"gamma {gamma:g}", of, at)


def z_plus(stabilizer: float = 1e-6, *, of: Sequence[str] = (*DENSE, *CONVOLUTIONS), at: _At = "**") -> RuleSet:
    """Shares by what is positive, `x⁺ w⁺ + x⁻ w⁻ + b⁺`.

    Source: Montavon et al. 2017, eq. 15 (there for positive inputs). zennit: ZPlus.

    Args:
        stabilizer: what is added to denominators, away from zero.
        of: the products that are meant, by the names of their functions.
        at: at which nodes, as in `RuleSet.override`.

    Returns:
        The set of rules.

    Example:
        >>> w = {"w": jnp.array([[1.0], [-2.0]])}
        >>> rules = fg.rulesets.relevance.z_plus()
        >>> _, pull = fg.vjp(lambda x: x @ w["w"], jnp.array([[3.0, 1.0]]), rules=rules)
        >>> print(pull(jnp.ones((1, 1)))[0].round(3))
        [[1. 0.]]
    """
    return _alpha_beta(1.0, 0.0, stabilizer, "z+", of, at)


def alpha_beta(
    alpha: float = 2.0,
    beta: float = 1.0,
    stabilizer: float = 1e-6,
    *,
    of: Sequence[str] = (*DENSE, *CONVOLUTIONS),
    at: _At = "**",
) -> RuleSet:
    """α times the shares by what is positive, `x⁺ w⁺ + x⁻ w⁻ + b⁺`, less β times those by `x⁺ w⁻ + x⁻ w⁺ + b⁻`.

    Source: Bach et al. 2015, eq. 60. zennit: AlphaBeta.

    Args:
        alpha: of what is positive; `alpha - beta` must be 1, for relevance to be conserved.
        beta: of what is negative.
        stabilizer: what is added to denominators, away from zero.
        of: the products that are meant, by the names of their functions.
        at: at which nodes, as in `RuleSet.override`.

    Returns:
        The set of rules.

    Raises:
        RuleError: one is negative, or their difference is not 1.

    Example:
        >>> w = {"w": jnp.array([[1.0], [-2.0]])}
        >>> rules = fg.rulesets.relevance.alpha_beta()
        >>> _, pull = fg.vjp(lambda x: x @ w["w"], jnp.array([[3.0, 1.0]]), rules=rules)
        >>> print(pull(jnp.ones((1, 1)))[0].round(3))
        [[ 2. -1.]]
    """
    if alpha < 0 or beta < 0 or abs(alpha - beta - 1) > 1e-9:
        raise RuleError(
            f"alpha_beta: alpha - beta must be 1 and both at least 0, so that relevance is conserved, got alpha="
            f"{alpha:g} and beta={beta:g}."
        )
    return _alpha_beta(alpha, beta, stabilizer, f"alpha {alpha:g} beta {beta:g}", of, at)


def z_box(
    low: float | Array, high: float | Array, stabilizer: float = 1e-6, *, of: Any = CONVOLUTIONS, at: _At = "**"
) -> RuleSet:
    """Shares by `x w - low w⁺ - high w⁻`: for the first layer, whose inputs lie between `low` and `high`.

    Source: Montavon et al. 2017, eq. 17. zennit: ZBox.

    Args:
        low: the least value of an input, or one for each.
        high: the greatest.
        stabilizer: what is added to denominators, away from zero.
        of: the products that are meant, by the names of their functions; of these the first.
        at: at which nodes, as in `RuleSet.override`.

    Returns:
        The set of rules.

    Example:
        >>> w = {"w": jnp.array([[1.0], [-2.0]])}
        >>> rules = fg.rulesets.relevance.z_box(0.0, 4.0, of="dot_general")
        >>> _, pull = fg.vjp(lambda x: x @ w["w"], jnp.array([[3.0, 1.0]]), rules=rules)
        >>> print(pull(jnp.ones((1, 1)))[0].round(3))
        [[0.333 0.667]]
    """

    def rule(g: Array, x: Array, affine: Affine) -> Array:
        lows, highs = (jnp.broadcast_to(jnp.asarray(v, x.dtype), x.shape) for v in (low, high))
        (w_p, w_n), b = _parts(affine.weight), affine.bias
        b_p, b_n = _parts(b)
        parts = [(x, affine.weight), (-lows, w_p), (-highs, w_n)]
        return _shares(g, affine.product, parts, b - b_p - b_n, stabilizer)

    return _of_products(rule, "z box", of, at, first=True)


def w_square(stabilizer: float = 1e-6, *, of: Any = (*DENSE, *CONVOLUTIONS), at: _At = "**") -> RuleSet:
    """Shares by `w²`, whatever the inputs are: for the first layer, where inputs have no bounds.

    Source: Montavon et al. 2017, eq. 12. zennit: WSquare.

    Args:
        stabilizer: what is added to denominators, away from zero.
        of: the products that are meant, by the names of their functions; of these the first.
        at: at which nodes, as in `RuleSet.override`.

    Returns:
        The set of rules.

    Example:
        >>> w = {"w": jnp.array([[1.0], [-2.0]])}
        >>> rules = fg.rulesets.relevance.w_square()
        >>> _, pull = fg.vjp(lambda x: x @ w["w"], jnp.array([[3.0, 1.0]]), rules=rules)
        >>> print(pull(jnp.ones((1, 1)))[0].round(3))
        [[0.2 0.8]]
    """

    def rule(g: Array, x: Array, affine: Affine) -> Array:
        parts = [(jnp.ones_like(x), affine.weight**2)]
        return _shares(g, affine.product, parts, affine.bias**2, stabilizer)

    return _of_products(rule, "w square", of, at, first=True)


def flat(stabilizer: float = 1e-6, *, of: Any = (*DENSE, *CONVOLUTIONS), at: _At = "**") -> RuleSet:
    """Equal shares for all inputs that an output reads: for the first layer.

    Source: Lapuschkin et al. 2019. zennit: Flat.

    Args:
        stabilizer: what is added to denominators, away from zero.
        of: the products that are meant, by the names of their functions; of these the first.
        at: at which nodes, as in `RuleSet.override`.

    Returns:
        The set of rules.

    Example:
        >>> w = {"w": jnp.array([[1.0], [-2.0]])}
        >>> rules = fg.rulesets.relevance.flat()
        >>> _, pull = fg.vjp(lambda x: x @ w["w"], jnp.array([[3.0, 1.0]]), rules=rules)
        >>> print(pull(jnp.ones((1, 1)))[0].round(3))
        [[0.5 0.5]]
    """

    def rule(g: Array, x: Array, affine: Affine) -> Array:
        parts = [(jnp.ones_like(x), jnp.ones_like(affine.weight))]
        return _shares(g, affine.product, parts, jnp.zeros_like(g), stabilizer)

    return _of_products(rule, "flat", of, at, first=True)


# -- the rest of a network --------------------------------------------------------------------------------------------


def passing() -> RuleSet:
    """`R = g` through activations: of one number each, an activation hands all that arrives to its input.

    Source: Bach et al. 2015. zennit: Pass.

    Returns:
        The set of rules.

    Example:
        >>> rules = fg.rulesets.relevance.passing()
        >>> print(fg.grad(lambda x: jnp.tanh(x).sum(), rules=rules)(jnp.array([3.0, -1.0])))
        [1. 1.]
    """
    rule, rules = Rule(_pass, (), modified, "pass"), RuleSet()
    for function in _ACTIVATIONS:
        rules = rules.override(function, rule, optional=True)
    at_zero = Where(op="max", when=lambda node: _is_number(node.inputs[1]))  # jnp.maximum(x, 0)
    return rules.override("max", Rule(_pass, ("x",), modified, "pass"), at=at_zero, optional=True)


def norm(stabilizer: float = 1e-6) -> RuleSet:
    """`R_i = x_i / (Σ x + ε sign) R`, in sums of two branches and in average pooling; all of it through a factor.

    Source: as `epsilon`, with weights of one. zennit: Norm, for its modules Sum and AvgPool.

    Args:
        stabilizer: what is added to denominators, away from zero.

    Returns:
        The set of rules.

    Example:
        >>> rules = fg.rulesets.relevance.norm()
        >>> print(fg.grad(lambda x: (x + 3 * x).sum(), rules=rules)(jnp.array([3.0])).round(3))
        [1.]
    """

    def share(g: Array, x: Array, pull: Any, f: Any) -> Array:
        return x * pull(g / _away_from_zero(f(), stabilizer))

    def shares(g: Array, x: Array, y: Array) -> dict[str, Array]:
        c = g / _away_from_zero(x + y, stabilizer)
        return {"x": x * c, "y": y * c}

    def shares_of_op(g: Array, a: Array, b: Array) -> dict[str, Array]:
        c = g / _away_from_zero(a + b, stabilizer)
        return {"a": a * c, "b": b * c}

    def pooled(g: Array, operand: Array, pull: Any, f: Any) -> Array:
        return operand * pull(g / _away_from_zero(f(), stabilizer))

    rules = RuleSet()
    for function in ("add", "add_any"):
        rules = rules.override(function, Rule(shares, ("x", "y"), modified, "norm"), optional=True)
    rules = rules.override(ops.add, Rule(shares_of_op, ("a", "b"), modified, "norm"), optional=True)
    is_pooling = Where(op="reduce_sum", when=_pools)
    rules = rules.override("reduce_sum", Rule(pooled, ("operand",), modified, "norm"), at=is_pooling, optional=True)
    rules = rules.override("reduce_window_sum", Rule(pooled, ("operand",), modified, "norm"), optional=True)
    for op in (ops.avg_pool1d, ops.avg_pool2d, ops.avg_pool3d, ops.global_avg_pool):
        rules = rules.override(op, Rule(share, ("x",), modified, "norm"), optional=True)
    for function in ("div", "mul"):
        by_number = Where(op=function, when=lambda node: _is_number(node.inputs[1]))
        rules = rules.override(function, Rule(_pass, ("x",), modified, "norm"), at=by_number, optional=True)
    of_number = Where(op="mul", when=lambda node: _is_number(node.inputs[0]))
    return rules.override("mul", Rule(_pass, ("y",), modified, "norm"), at=of_number, optional=True)


# -- composites -------------------------------------------------------------------------------------------------------


def epsilon_plus(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> RuleSet:
    """z⁺ for convolutions, ε for dense layers.

    Source: Kohlbrenner et al. 2020. zennit: EpsilonPlus.

    Args:
        epsilon: of dense layers.
        stabilizer: what is added to other denominators, away from zero.

    Returns:
        The set of rules.

    Example:
        >>> w = {"w": jnp.array([[1.0], [-2.0]])}
        >>> _, pull = fg.vjp(
        ...     lambda x: jax.nn.relu(x) @ w["w"], jnp.array([[3.0, 1.0]]), rules=fg.rulesets.relevance.epsilon_plus()
        ... )
        >>> print(pull(jnp.ones((1, 1)))[0].round(3))
        [[ 3. -2.]]
    """
    return _composite(z_plus(stabilizer, of=CONVOLUTIONS), epsilon, stabilizer)


def epsilon_plus_flat(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> RuleSet:
    """`epsilon_plus`, with `flat` for the first layer.

    Source: Kohlbrenner et al. 2020. zennit: EpsilonPlusFlat.

    Args:
        epsilon: of dense layers.
        stabilizer: what is added to other denominators, away from zero.

    Returns:
        The set of rules.

    Example:
        >>> print(len(fg.rulesets.relevance.epsilon_plus_flat().overrides) > 10)
        True
    """
    return _composite(z_plus(stabilizer, of=CONVOLUTIONS), epsilon, stabilizer) | _made_optional(flat(stabilizer))


def epsilon_alpha2_beta1(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> RuleSet:
    """αβ with 2 and 1 for convolutions, ε for dense layers.

    Source: Kohlbrenner et al. 2020. zennit: EpsilonAlpha2Beta1.

    Args:
        epsilon: of dense layers.
        stabilizer: what is added to other denominators, away from zero.

    Returns:
        The set of rules.

    Example:
        >>> print(len(fg.rulesets.relevance.epsilon_alpha2_beta1().overrides) > 10)
        True
    """
    return _composite(alpha_beta(2, 1, stabilizer, of=CONVOLUTIONS), epsilon, stabilizer)


def epsilon_alpha2_beta1_flat(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> RuleSet:
    """`epsilon_alpha2_beta1`, with `flat` for the first layer.

    Source: Kohlbrenner et al. 2020. zennit: EpsilonAlpha2Beta1Flat.

    Args:
        epsilon: of dense layers.
        stabilizer: what is added to other denominators, away from zero.

    Returns:
        The set of rules.

    Example:
        >>> print(len(fg.rulesets.relevance.epsilon_alpha2_beta1_flat().overrides) > 10)
        True
    """
    return epsilon_alpha2_beta1(epsilon, stabilizer) | _made_optional(flat(stabilizer))


def epsilon_gamma_box(
    low: float | Array, high: float | Array, epsilon: float = 1e-6, gamma: float = 0.25, stabilizer: float = 1e-6
) -> RuleSet:
    """γ for convolutions, ε for dense layers, and `z_box` for the first convolution.

    Source: Montavon et al. 2019, section 10.3. zennit: EpsilonGammaBox.

    Args:
        low: the least value of an input, or one for each.
        high: the greatest.
        epsilon: of dense layers.
        gamma: of convolutions.
        stabilizer: what is added to other denominators, away from zero.

    Returns:
        The set of rules.

    Example:
        >>> print(len(fg.rulesets.relevance.epsilon_gamma_box(-1.0, 1.0).overrides) > 10)
        True
    """
    convolutions = _gamma(gamma, stabilizer, of=CONVOLUTIONS)
    return _composite(convolutions, epsilon, stabilizer) | _made_optional(z_box(low, high, stabilizer))


def beta_smooth(beta: float = 10.0) -> RuleSet:
    """`g sigmoid(β x)` through each ReLU: as of a softplus of sharpness β, with everything else a gradient.

    Source: Dombrowski et al. 2019. zennit: BetaSmooth.

    Args:
        beta: the sharpness.

    Returns:
        The set of rules.

    Example:
        >>> rules = fg.rulesets.relevance.beta_smooth(1.0)
        >>> print(fg.grad(lambda x: jax.nn.relu(x).sum(), rules=rules)(jnp.zeros(1)))
        [0.5]
    """

    def rule(g: Array, x: Array) -> Array:
        return g * jax.nn.sigmoid(beta * x)

    smooth = Rule(rule, ("x",), modified, f"beta smooth {beta:g}")
    return RuleSet().override(jax.nn.relu, smooth, optional=True).override(ops.relu, smooth, optional=True)


def _composite(convolutions: RuleSet, eps: float, stabilizer: float) -> RuleSet:
    dense = _epsilon(eps, of=DENSE)
    return passing() | norm(stabilizer) | _made_optional(convolutions) | _made_optional(dense)


# -- what they have in common -----------------------------------------------------------------------------------------

_epsilon, _gamma = epsilon, gamma


def _alpha_beta(alpha: float, beta: float, stabilizer: float, title: str, of: Any, at: _At) -> RuleSet:
    def rule(g: Array, x: Array, affine: Affine) -> Array:
        (x_p, x_n), (w_p, w_n), (b_p, b_n) = _parts(x), _parts(affine.weight), _parts(affine.bias)
        share = partial(_shares, g, affine.product, eps=stabilizer)
        positive = share(parts=[(x_p, w_p), (x_n, w_n)], bias=b_p)
        return alpha * positive - (beta * share(parts=[(x_p, w_n), (x_n, w_p)], bias=b_n) if beta else 0)

    return _of_products(rule, title, of, at)


def _shares(
    g: Array, product: Callable[..., Array], parts: Sequence[tuple[Array, Array]], bias: Array, eps: float
) -> Array:
    """`Σ_k x_k Σ_j w_kj g_j / (z_j + ε sign(z_j))`, where `z = Σ_k product(x_k, w_k) + bias`."""
    z, pulls = bias, []
    for x, w in parts:
        y, pull = jax.vjp(lambda x, w=w: product(x, w), x)
        z = z + y
        pulls.append((x, pull))
    c = g / _away_from_zero(z, eps)
    return sum(x * pull(c)[0] for x, pull in pulls)  # type: ignore[return-value]


def _away_from_zero(z: Array, eps: float) -> Array:
    return z + jnp.where(z >= 0, eps, -eps).astype(z.dtype)


def _parts(x: Array) -> tuple[Array, Array]:
    return jnp.maximum(x, 0), jnp.minimum(x, 0)


def _pass(g: Array) -> Array:
    return g


def _of_products(rule: Any, title: str, of: Any, at: _At, first: bool = False) -> RuleSet:
    region = Region(affine=of, first=first)
    return RuleSet().override(region, Rule(rule, ("x",), modified, title), at=at)


def _made_optional(rules: RuleSet) -> RuleSet:
    """A set whose overrides may match nothing."""
    return replace(rules, overrides=tuple(replace(o, optional=True) for o in rules.overrides))


def _is_number(x: Any) -> bool:
    return not hasattr(x, "loops") and jnp.ndim(x.content) == 0


def _pools(node: Any) -> bool:
    """Whether a sum is over axes of images, and not one over examples, as losses have."""
    return node.inputs[0].aval.ndim >= 3 and 0 not in node.function.source.params["axes"]
