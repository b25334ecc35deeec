"""The rest of a network: activations, batch norms, sums of branches, pooling."""

from functools import partial
from typing import Any

import jax

from funcgrad import ops
from funcgrad.aliases import Array
from funcgrad.naming import Where
from funcgrad.primitive import bodies
from funcgrad.registry import Call, Merged, Region, Rule, RuleSet, modified
from funcgrad.rulesets.families import ACTIVATION, RELU
from funcgrad.rulesets.relevance.sharing import away_from_zero, passed

ACTIVATIONS: tuple[Any, ...] = (ACTIVATION, jax.nn.gelu, jax.nn.softplus)
"""One target for all that have a name where they stand, and what JAX writes out."""


def passing() -> RuleSet:
    """`R = g` through activations, and batch norms at running statistics before which no product with parameters is.

    Both are of one number each, and hand all that arrives to their input. A batch norm right after a product is part
    of that (`fg.Region(affine=...)`); others, as those of pre-activation ResNets and DenseNets, are `(x - m) s + t`
    with parameters `m` and `s`. Source: Bach et al. 2015. zennit: Pass, for its modules Activation and BatchNorm.

    Returns:
        The set of rules.

    Example:
        >>> rules = fg.rulesets.relevance.passing()
        >>> print(fg.grad(lambda x: jnp.tanh(x).sum(), rules=rules)(jnp.array([3.0, -1.0])))
        [1. 1.]
    """
    return through_activations() | _through_batch_norms()


def through_activations() -> RuleSet:
    """`R = g` through activations alone."""
    rule, rules = Rule(passed, (), modified, "pass"), RuleSet()
    for function in (*ACTIVATIONS, RELU):  # of which jnp.maximum(x, 0) is one
        rules = rules.override(function, rule, optional=True)
    return rules


def _through_batch_norms() -> RuleSet:
    written_out = Where(when=lambda node: isinstance(node.function, Merged) and len(node.function.parameters) > 1)
    rule = Rule(passed, ("x",), modified, "pass")
    rules = RuleSet().override(ops.batch_norm_inference, rule, optional=True)
    return rules.override(
        Region(affine=("sub", "subtract", "batch_norm_inference")), rule, at=written_out, optional=True
    )


def norm(stabilizer: float = 1e-6) -> RuleSet:
    """`R_i = x_i / (Σ x + ε sign) R`, in sums of two branches and in average pooling; elsewhere the gradient.

    A number or a parameter that is added is no branch, and a mean or a sum in a normalization or a softmax is no
    pooling: these keep their gradient, as do factors. Source: as `epsilon`, with weights of one. zennit: Norm, for its
    modules Sum and AvgPool.

    Args:
        stabilizer: what is added to denominators, away from zero.

    Returns:
        The set of rules.

    Example:
        >>> rules = fg.rulesets.relevance.norm()
        >>> print(np.asarray(fg.grad(lambda x: (x[:1] + x[1:]).sum(), rules=rules)(jnp.array([3.0, 1.0]))).round(3))
        [0.75 0.25]
    """
    rules = _of_branches(stabilizer) | _of_pooling(stabilizer)
    return rules.override(Region(statistics=True), Rule(as_it_is, ("x",), modified, "gradient"), optional=True)


def _of_branches(stabilizer: float) -> RuleSet:
    def shares(g: Array, x0: Array, x1: Array) -> dict[str, Array]:
        c = g / away_from_zero(x0 + x1, stabilizer)
        return {"x0": x0 * c, "x1": x1 * c}

    rules = RuleSet()
    for function, arguments in (("add", ("x", "y")), ("add_any", ("x", "y")), (ops.add, ("a", "b"))):
        rule, at = Rule(halved, arguments, modified, "norm"), Where(when=partial(_doubles, of_ours=function is ops.add))
        rules = rules.override(function, rule, at=at, optional=True)
    branches = Region(sums=("add", "add_any"))
    return rules.override(branches, Rule(shares, ("x0", "x1"), modified, "norm"), optional=True)


def halved(g: Array, pull: Any) -> dict[str, Array]:
    """Of `x + x`, half for each."""
    return {name: bar / 2 for name, bar in pull(g).items()}


def _doubles(node: Any, of_ours: bool) -> bool:
    """Whether it is `x + x`, by an op of ours or by JAX."""
    return isinstance(node.function, Call) == of_ours and node.inputs[0] is node.inputs[1]


def _of_pooling(stabilizer: float) -> RuleSet:
    def share(g: Array, pull: Any, f: Any, x: Array | None = None, operand: Array | None = None) -> Array:
        (values,) = (v for v in (x, operand) if v is not None)
        return values * pull(g / away_from_zero(f(), stabilizer))

    rules = RuleSet()
    for function in ("reduce_sum", "reduce_window_sum"):
        rule = Rule(share, ("operand",), modified, "norm")
        rules = rules.override(function, rule, at=Where(when=_pools), optional=True)
        for factor in ("div", "mul"):
            whole, rule = Region(ops=(function, factor)), Rule(share, ("x",), modified, "norm")
            rules = rules.override(whole, rule, at=Where(when=_pools), optional=True)
    for op in (ops.avg_pool1d, ops.avg_pool2d, ops.avg_pool3d, ops.global_avg_pool):
        rules = rules.override(op, Rule(share, ("x",), modified, "norm"), optional=True)
    return rules


def as_it_is(g: Array, pull: Any) -> Array:
    """The gradient."""
    return pull(g)


def _pools(node: Any) -> bool:
    """Whether a sum, or one with its division, is over axes of images, and not one over examples, as losses have."""
    if isinstance(node.function, Merged):
        (inside,) = bodies(node.function.source)
        return node.function.inputs == ("x",) and _is_of_images(inside.eqns[0])
    return _is_of_images(node.function.source)


def _is_of_images(equation: Any) -> bool:
    if equation.primitive.name == "reduce_window_sum":
        return True
    return equation.invars[0].aval.ndim >= 3 and 0 not in equation.params["axes"]
