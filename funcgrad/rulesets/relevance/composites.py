"""Rules chosen by the kind of layer."""

import jax

from funcgrad.aliases import Array
from funcgrad.registry import Rule, RuleSet, modified
from funcgrad.rulesets.families import RELU
from funcgrad.rulesets.relevance import linear
from funcgrad.rulesets.relevance.linear import alpha_beta, flat, z_box, z_plus
from funcgrad.rulesets.relevance.rest import norm, passing
from funcgrad.rulesets.relevance.sharing import CONVOLUTIONS, DENSE, made_optional


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
        >>> print(np.asarray(pull(jnp.ones((1, 1)))[0]).round(3))
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
        >>> w = {"w": jnp.array([[1.0], [-2.0]])}
        >>> rules = fg.rulesets.relevance.epsilon_plus_flat()
        >>> _, pull = fg.vjp(lambda x: x @ w["w"], jnp.array([[3.0, 1.0]]), rules=rules)
        >>> print(np.asarray(pull(jnp.ones((1, 1)))[0]).round(3))
        [[0.5 0.5]]
    """
    return epsilon_plus(epsilon, stabilizer) | made_optional(flat(stabilizer))


def epsilon_alpha2_beta1(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> RuleSet:
    """αβ with 2 and 1 for convolutions, ε for dense layers.

    Source: Kohlbrenner et al. 2020. zennit: EpsilonAlpha2Beta1.

    Args:
        epsilon: of dense layers.
        stabilizer: what is added to other denominators, away from zero.

    Returns:
        The set of rules.

    Example:
        >>> w, x = {"w": jnp.array([[[1.0], [-2.0]]])}, jnp.array([[[3.0], [1.0]]])
        >>> rules = fg.rulesets.relevance.epsilon_alpha2_beta1()
        >>> _, pull = fg.vjp(lambda x: jax.lax.conv(x, w["w"], (1,), "SAME"), x, rules=rules)
        >>> print(np.asarray(pull(jnp.ones((1, 1, 1)))[0]).ravel().round(3))
        [ 2. -1.]
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
        >>> w, x = {"w": jnp.array([[[1.0], [-2.0]]])}, jnp.array([[[3.0], [1.0]]])
        >>> rules = fg.rulesets.relevance.epsilon_alpha2_beta1_flat()
        >>> _, pull = fg.vjp(lambda x: jax.lax.conv(x, w["w"], (1,), "SAME"), x, rules=rules)
        >>> print(np.asarray(pull(jnp.ones((1, 1, 1)))[0]).ravel().round(3))
        [0.5 0.5]
    """
    return epsilon_alpha2_beta1(epsilon, stabilizer) | made_optional(flat(stabilizer))


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
        >>> w, x = {"w": jnp.array([[[1.0], [-2.0]]])}, jnp.array([[[3.0], [1.0]]])
        >>> rules = fg.rulesets.relevance.epsilon_gamma_box(0.0, 4.0)
        >>> _, pull = fg.vjp(lambda x: jax.lax.conv(x, w["w"], (1,), "SAME"), x, rules=rules)
        >>> print(np.asarray(pull(jnp.ones((1, 1, 1)))[0]).ravel().round(3))
        [0.333 0.667]
    """
    convolutions = linear.gamma(gamma, stabilizer, of=CONVOLUTIONS)
    return _composite(convolutions, epsilon, stabilizer) | made_optional(z_box(low, high, stabilizer))


def beta_smooth(beta: float = 10.0) -> RuleSet:
    """`g sigmoid(β x)` through each ReLU: as of a softplus of sharpness β, with everything else a gradient.

    Source: Dombrowski et al. 2019. zennit: BetaSmooth.

    Args:
        beta: the sharpness.

    Returns:
        The set of rules; used on a model without a ReLU, it raises.

    Example:
        >>> rules = fg.rulesets.relevance.beta_smooth(1.0)
        >>> print(fg.grad(lambda x: jax.nn.relu(x).sum(), rules=rules)(jnp.zeros(1)))
        [0.5]
    """

    def rule(g: Array, y: Array, x: Array | None = None, arr: Array | None = None, out: Array | None = None) -> Array:
        if out is not None and x is not None:  # maximum(x, y) of which one is 0, so that y is no output
            x = x + y
        moved = next(value for value in (x, arr) if value is not None)
        return g * jax.nn.sigmoid(beta * moved)

    return RuleSet().override(RELU, Rule(rule, (), modified, f"beta smooth {beta:g}"))


def _composite(convolutions: RuleSet, eps: float, stabilizer: float) -> RuleSet:
    dense = linear.epsilon(eps, of=DENSE)
    return passing() | norm(stabilizer) | made_optional(convolutions) | made_optional(dense)
