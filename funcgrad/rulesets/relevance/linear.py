"""Products of activations with parameters: how what arrives at the output is shared out among the inputs.

`w` is the weight with all that is merged into it, `x⁺` and `x⁻` are positive and negative parts.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp

from funcgrad.aliases import Array
from funcgrad.errors import RuleError
from funcgrad.registry import Affine, RuleSet
from funcgrad.rulesets.relevance.sharing import CONVOLUTIONS, DENSE, At, of_products, shares, signed_parts


def epsilon(epsilon: float = 1e-6, *, of: Sequence[str] = (*DENSE, *CONVOLUTIONS), at: At = "**") -> RuleSet:
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
        >>> print(y, np.asarray(pull(jnp.ones((1, 1)))[0]).round(3))
        [[5.]] [[0.6 0.4]]
    """

    def rule(g: Array, x: Array, affine: Affine) -> Array:
        return shares(g, affine.product, [(x, affine.weight)], affine.bias, epsilon)

    return of_products(rule, f"epsilon {epsilon:g}", of, at)


def gamma(
    gamma: float = 0.25, stabilizer: float = 1e-6, *, of: Sequence[str] = (*DENSE, *CONVOLUTIONS), at: At = "**"
) -> RuleSet:
    """Shares by `x⁺ (w + γ w⁺) + x⁻ (w + γ w⁻)` where the output is positive, with `w⁺`, `w⁻` swapped where negative.

    Source: Montavon et al. 2019, section 10.2.1; for inputs of both signs Andéol et al. 2021. zennit: Gamma.

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
        >>> print(np.asarray(pull(jnp.ones((1, 1)))[0]).round(3))
        [[ 1.5 -0.5]]
    """

    def rule(g: Array, x: Array, y: Array, affine: Affine) -> Array:
        (x_p, x_n), w, b = signed_parts(x), affine.weight, affine.bias
        (w_p, w_n), (b_p, b_n) = signed_parts(w), signed_parts(b)
        up, down, share = w + gamma * w_p, w + gamma * w_n, partial(shares, product=affine.product, eps=stabilizer)
        above = share(jnp.where(y > 0, g, 0), parts=[(x_p, up), (x_n, down)], bias=b + gamma * b_p)
        below = share(jnp.where(y < 0, g, 0), parts=[(x_p, down), (x_n, up)], bias=b + gamma * b_n)
        return above + below

    return of_products(rule, f"gamma {gamma:g}", of, at)


def z_plus(stabilizer: float = 1e-6, *, of: Sequence[str] = (*DENSE, *CONVOLUTIONS), at: At = "**") -> RuleSet:
    """Shares by what is positive, `x⁺ w⁺ + x⁻ w⁻ + b⁺`.

    Source: Montavon et al. 2017 (there for positive inputs). zennit: ZPlus.

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
        >>> print(np.asarray(pull(jnp.ones((1, 1)))[0]).round(3))
        [[1. 0.]]
    """
    return _alpha_beta(1.0, 0.0, stabilizer, "z+", of, at)


def alpha_beta(
    alpha: float = 2.0,
    beta: float = 1.0,
    stabilizer: float = 1e-6,
    *,
    of: Sequence[str] = (*DENSE, *CONVOLUTIONS),
    at: At = "**",
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
        >>> print(np.asarray(pull(jnp.ones((1, 1)))[0]).round(3))
        [[ 2. -1.]]
    """
    if alpha < 0 or beta < 0 or abs(alpha - beta - 1) > 1e-9:
        raise RuleError(
            f"alpha_beta: alpha - beta must be 1 and both at least 0, so that relevance is conserved, got alpha="
            f"{alpha:g} and beta={beta:g}."
        )
    return _alpha_beta(alpha, beta, stabilizer, f"alpha {alpha:g} beta {beta:g}", of, at)


def z_box(
    low: float | Array, high: float | Array, stabilizer: float = 1e-6, *, of: Any = CONVOLUTIONS, at: At = "**"
) -> RuleSet:
    """Shares by `x w - low w⁺ - high w⁻`: for the first layer, whose inputs lie between `low` and `high`.

    Source: Montavon et al. 2017. zennit: ZBox.

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
        >>> print(np.asarray(pull(jnp.ones((1, 1)))[0]).round(3))
        [[0.333 0.667]]
    """

    def rule(g: Array, x: Array, affine: Affine) -> Array:
        lows, highs = (jnp.broadcast_to(jnp.asarray(v, x.dtype), x.shape) for v in (low, high))
        (w_p, w_n), b = signed_parts(affine.weight), affine.bias
        b_p, b_n = signed_parts(b)
        parts = [(x, affine.weight), (-lows, w_p), (-highs, w_n)]
        return shares(g, affine.product, parts, b - b_p - b_n, stabilizer)

    return of_products(rule, "z box", of, at, first=True)


def w_square(stabilizer: float = 1e-6, *, of: Any = (*DENSE, *CONVOLUTIONS), at: At = "**") -> RuleSet:
    """Shares by `w²`, whatever the inputs are: for the first layer, where inputs have no bounds.

    Source: Montavon et al. 2017. zennit: WSquare.

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
        >>> print(np.asarray(pull(jnp.ones((1, 1)))[0]).round(3))
        [[0.2 0.8]]
    """

    def rule(g: Array, x: Array, affine: Affine) -> Array:
        parts = [(jnp.ones_like(x), affine.weight**2)]
        return shares(g, affine.product, parts, affine.bias**2, stabilizer)

    return of_products(rule, "w square", of, at, first=True)


def flat(stabilizer: float = 1e-6, *, of: Any = (*DENSE, *CONVOLUTIONS), at: At = "**") -> RuleSet:
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
        >>> print(np.asarray(pull(jnp.ones((1, 1)))[0]).round(3))
        [[0.5 0.5]]
    """

    def rule(g: Array, x: Array, affine: Affine) -> Array:
        parts = [(jnp.ones_like(x), jnp.ones_like(affine.weight))]
        return shares(g, affine.product, parts, jnp.zeros_like(g), stabilizer)

    return of_products(rule, "flat", of, at, first=True)


def _alpha_beta(alpha: float, beta: float, stabilizer: float, title: str, of: Any, at: At) -> RuleSet:
    def rule(g: Array, x: Array, affine: Affine) -> Array:
        (x_p, x_n), (w_p, w_n), (b_p, b_n) = signed_parts(x), signed_parts(affine.weight), signed_parts(affine.bias)
        share = partial(shares, g, affine.product, eps=stabilizer)
        positive = share(parts=[(x_p, w_p), (x_n, w_n)], bias=b_p)
        return alpha * positive - (beta * share(parts=[(x_p, w_n), (x_n, w_p)], bias=b_n) if beta else 0)

    return of_products(rule, title, of, at)
