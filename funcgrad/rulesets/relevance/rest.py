"""The rest of a network: activations, sums of branches, pooling."""

from typing import Any

import jax
import jax.numpy as jnp

from funcgrad import ops
from funcgrad.aliases import Array
from funcgrad.naming import Where
from funcgrad.registry import Rule, RuleSet, modified
from funcgrad.rulesets.families import ACTIVATION, RELU
from funcgrad.rulesets.relevance.sharing import away_from_zero, passed

ACTIVATIONS: tuple[Any, ...] = (ACTIVATION, jax.nn.gelu, jax.nn.softplus)
"""One target for all that have a name where they stand, and what JAX writes out."""


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
    rule, rules = Rule(passed, (), modified, "pass"), RuleSet()
    for function in (*ACTIVATIONS, RELU):  # of which jnp.maximum(x, 0) is one
        rules = rules.override(function, rule, optional=True)
    return rules


def norm(stabilizer: float = 1e-6) -> RuleSet:
    """`R_i = x_i / (Σ x + ε sign) R`, in sums of two branches and in average pooling; all of it through a factor.

    Source: as `epsilon`, with weights of one. zennit: Norm, for its modules Sum and AvgPool.

    Args:
        stabilizer: what is added to denominators, away from zero.

    Returns:
        The set of rules.

    Example:
        >>> rules = fg.rulesets.relevance.norm()
        >>> print(np.asarray(fg.grad(lambda x: (x + 3 * x).sum(), rules=rules)(jnp.array([3.0]))).round(3))
        [1.]
    """

    def share(g: Array, pull: Any, f: Any, x: Array | None = None, operand: Array | None = None) -> Array:
        (values,) = (v for v in (x, operand) if v is not None)
        return values * pull(g / away_from_zero(f(), stabilizer))

    def shares(g: Array, x: Array, y: Array) -> dict[str, Array]:
        c = g / away_from_zero(x + y, stabilizer)
        return {"x": x * c, "y": y * c}

    def shares_of_op(g: Array, a: Array, b: Array) -> dict[str, Array]:
        c = g / away_from_zero(a + b, stabilizer)
        return {"a": a * c, "b": b * c}

    rules = RuleSet()
    for function in ("add", "add_any"):
        rules = rules.override(function, Rule(shares, ("x", "y"), modified, "norm"), optional=True)
    rules = rules.override(ops.add, Rule(shares_of_op, ("a", "b"), modified, "norm"), optional=True)
    is_pooling = Where(op="reduce_sum", when=_pools)
    rules = rules.override("reduce_sum", Rule(share, ("operand",), modified, "norm"), at=is_pooling, optional=True)
    rules = rules.override("reduce_window_sum", Rule(share, ("operand",), modified, "norm"), optional=True)
    for op in (ops.avg_pool1d, ops.avg_pool2d, ops.avg_pool3d, ops.global_avg_pool):
        rules = rules.override(op, Rule(share, ("x",), modified, "norm"), optional=True)
    for function in ("div", "mul"):
        by_number = Where(op=function, when=lambda node: _is_number(node.inputs[1]))
        rules = rules.override(function, Rule(passed, ("x",), modified, "norm"), at=by_number, optional=True)
    of_number = Where(op="mul", when=lambda node: _is_number(node.inputs[0]))
    return rules.override("mul", Rule(passed, ("y",), modified, "norm"), at=of_number, optional=True)


def _is_number(x: Any) -> bool:
    return not hasattr(x, "loops") and jnp.ndim(x.content) == 0


def _pools(node: Any) -> bool:
    """Whether a sum is over axes of images, and not one over examples, as losses have."""
    return node.inputs[0].aval.ndim >= 3 and 0 not in node.function.source.params["axes"]
