"""Functions whose gradients by other libraries obey rules: `jax.grad`, `nnx.grad`, `eqx.filter_grad` of them."""

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import jax
import numpy as np

from funcgrad.autodiff.changes import Changing, put
from funcgrad.autodiff.tape import Tape, record_everything
from funcgrad.errors import GradientError, require_function
from funcgrad.primitive import is_inexact
from funcgrad.registry import RuleSet, name_of


def with_rules(fun: Callable[..., Any], rules: RuleSet) -> Callable[..., Any]:
    """The function, whose `jax.grad` obeys the rules; so do JAX's other reverse transformations, and libraries' own.

    It runs as before, and what modules among the arguments change while they run reaches them. JAX differentiates it in
    reverse mode only.

    Args:
        fun: any function that JAX can trace.
        rules: as for `fg.grad`.

    Returns:
        A function like `fun`; of a method, one of the same arguments.

    Raises:
        RuleError: `rules` is no set of rules; when its gradient is taken, an override matches nothing.
        GradientError: `fun` is no function, closes over an array of another trace, or adds to its arguments.

    Example:
        >>> reversal = fg.RuleSet().override(jnp.tanh, lambda g, pull: -pull(g))
        >>> ruled = fg.with_rules(lambda x: jnp.tanh(x).sum(), reversal)
        >>> print(ruled(jnp.zeros(2)), jax.jit(jax.grad(ruled))(jnp.zeros(2)))
        0.0 [-1. -1.]
    """
    require_function("with_rules", fun)
    rules = RuleSet.of(rules)

    @wraps(fun)
    def ruled(*args: Any, **kwargs: Any) -> Any:
        given = _by_position(fun, args, kwargs)
        leaves, tree = jax.tree.flatten(given)
        moving = [i for i, x in enumerate(leaves) if _may_be_differentiated(x)]
        changing = Changing("with_rules", fun, tree)

        @wraps(fun)
        def returning(*copies: Any) -> tuple[Any, list[Any]]:
            return changing(*copies)

        def rebuilt(moved: Sequence[Any]) -> Any:
            return jax.tree.unflatten(tree, put(leaves, moving, moved))

        def forward(*moved: Any) -> tuple[Any, Tape]:
            return record_everything(returning, rebuilt(moved), rules)

        def backward(tape: Tape, g: Any) -> tuple[Any, ...]:
            bars = [leaf for x, bar in zip(given, tape.pull(g), strict=True) for leaf in _by_leaf(x, bar)]
            return tuple(bars[i] for i in moving)

        run = jax.custom_vjp(lambda *moved: returning(*rebuilt(moved)))
        run.defvjp(forward, backward)
        try:
            out, new = run(*[leaves[i] for i in moving])
        except jax.errors.UnexpectedTracerError as error:
            raise GradientError(
                f"with_rules: {name_of(fun)} closes over an array of another trace; pass it as an argument, by "
                f"which it can be differentiated as well."
            ) from error
        changing.hand_over(given, new)
        return out

    return ruled


def _may_be_differentiated(x: Any) -> bool:
    """Whether a leaf is a floating array. What JAX differentiates always is; a number that it does not, stays one."""
    return isinstance(x, jax.Array | np.ndarray) and is_inexact(jax.typeof(x))


def _by_leaf(argument: Any, bar: Any) -> Sequence[Any]:
    """The cotangents of an argument's leaves, None where there is none; of modules they come in a pytree of its own."""
    tree = jax.tree.structure(argument)
    try:
        return tree.flatten_up_to(bar)
    except ValueError:
        bars = jax.tree.leaves(bar)
        assert len(bars) == tree.num_leaves
        return bars


def _by_position(fun: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Sequence[Any]:
    """All arguments by position; GradientError for those that can only be given by name."""
    if not kwargs:
        return args
    bound = inspect.signature(fun).bind(*args, **kwargs)
    if bound.kwargs:
        raise GradientError(
            f"with_rules: argument '{next(iter(bound.kwargs))}' can only be given by name, and gradients are of "
            f"arguments by position; fix it by a lambda."
        )
    return bound.args
