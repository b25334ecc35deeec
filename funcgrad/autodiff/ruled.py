"""Functions whose gradients by other libraries obey rules: `jax.grad`, `nnx.grad`, `eqx.filter_grad` of them."""

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import jax

from funcgrad.autodiff.tape import Tape, record
from funcgrad.errors import GradientError, require_function
from funcgrad.primitive import is_inexact, type_of
from funcgrad.registry import RuleSet


def with_rules(fun: Callable[..., Any], rules: RuleSet) -> Callable[..., Any]:
    """The function, whose `jax.grad` obeys the rules; so do JAX's other reverse transformations, and libraries' own.

    It runs as before. Arrays that it closes over are not differentiated with it: JAX says so where that is asked for.

    Args:
        fun: any function that JAX can trace.
        rules: as for `fg.grad`.

    Returns:
        A function like `fun`; of a method, one of the same arguments.

    Raises:
        RuleError: `rules` is no set of rules; when its gradient is taken, an override matches nothing.
        GradientError: `fun` is no function; what changes in an argument (a module's running statistics) would be lost.

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
        moving = [i for i, x in enumerate(leaves) if (aval := type_of(x)) is not None and is_inexact(aval)]

        def rebuilt(moved: Sequence[Any]) -> Any:
            found = dict(zip(moving, moved, strict=True))
            return jax.tree.unflatten(tree, [found.get(i, x) for i, x in enumerate(leaves)])

        def forward(*moved: Any) -> tuple[Any, Tape]:
            return record(fun, *rebuilt(moved), rules=rules)

        def backward(tape: Tape, g: Any) -> tuple[Any, ...]:
            found = [x for x in jax.tree.leaves(tape.pull(g)) if x.dtype != jax.dtypes.float0]
            return tuple(found)

        run = jax.custom_vjp(lambda *moved: fun(*rebuilt(moved)))
        run.defvjp(forward, backward)
        return run(*[leaves[i] for i in moving])

    return ruled


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
