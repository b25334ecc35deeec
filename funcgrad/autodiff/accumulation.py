"""Adding gradients of several losses or minibatches: a value, where PyTorch has `.grad`."""

from typing import Any

import jax

from funcgrad.aliases import PyTree
from funcgrad.errors import GradientError, describe, describe_tree


def accumulate(*gradients: PyTree) -> PyTree:
    """Add gradients leaf by leaf. To start from zero is to pass nothing of before.

    Args:
        gradients: pytrees from `fg.grad` and the like. None, whole or at a leaf, adds nothing; so does a name that
            only some of several mappings have.

    Returns:
        Their sum; None where there is nothing to add.

    Raises:
        GradientError: they have different structures, or two leaves different shapes or dtypes.

    Example:
        >>> total = None
        >>> for x in (jnp.ones(2), jnp.zeros(2)):
        ...     total = fg.accumulate(total, fg.grad(lambda w: jnp.sum(w * x))(jnp.ones(2)))
        >>> print(total)
        [1. 1.]
    """
    total: PyTree = None
    for gradient in gradients:
        total = _sum(total, gradient)
    return total


def _sum(a: Any, b: Any) -> Any:
    if a is None or b is None:
        return b if a is None else a
    if type(a) is dict and type(b) is dict:
        return {key: _sum(a.get(key), b.get(key)) for key in {**a, **b}}
    parts, tree = _open(a)
    other_parts, other_tree = _open(b)
    if tree != other_tree:
        raise GradientError(
            f"accumulate needs gradients of the same structure, got {describe_tree(a)} and {describe_tree(b)}."
        )
    if jax.tree_util.treedef_is_leaf(tree):
        return _add(a, b)
    return tree.unflatten([_sum(x, y) for x, y in zip(parts, other_parts, strict=True)])


def _open(tree: Any) -> tuple[list[Any], Any]:
    """One level of a pytree."""
    return jax.tree.flatten(tree, is_leaf=lambda x: x is not tree)


def _add(a: Any, b: Any) -> Any:
    if describe(a) != describe(b):
        raise GradientError(f"accumulate adds arrays that are alike, got {describe(a)} and {describe(b)}.")
    return a if a.dtype == jax.dtypes.float0 else a + b
