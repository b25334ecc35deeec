"""What attributions share: the arguments that they move, a baseline, sums of gradients, values inside of a function."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array, PyTree
from funcgrad.autodiff import grad
from funcgrad.autodiff.named_values import Names
from funcgrad.errors import GradientError, describe_tree
from funcgrad.naming import Where
from funcgrad.ops.contraction import widen
from funcgrad.registry import RuleSet

Argnums = int | Sequence[int]
Places = str | Where | Sequence[str | Where]


def chosen(what: str, args: Sequence[Any], argnums: Argnums) -> tuple[PyTree, Callable[[PyTree], list[Any]]]:
    """The arguments that are attributed to, and what puts others in their place."""
    numbers = [argnums] if isinstance(argnums, int) else list(argnums)
    if bad := [n for n in numbers if not -len(args) <= n < len(args)]:
        raise GradientError(f"{what}: argnums has {bad[0]}, but there are {len(args)} positional arguments.")

    def put(values: PyTree) -> list[Any]:
        placed = list(args)
        for n, x in zip(numbers, [values] if isinstance(argnums, int) else values, strict=True):
            placed[n] = x
        return placed

    values = jax.tree.map(jnp.asarray, tuple(args[n] for n in numbers))
    return (values[0] if isinstance(argnums, int) else values), put


def baseline_of(what: str, baseline: PyTree, x: PyTree) -> PyTree:
    """The baseline, in the shapes and dtypes of what moves.

    Raises:
        GradientError: it does not fit.
    """
    if baseline is None:
        return jax.tree.map(jnp.zeros_like, x)
    try:
        return jax.tree.map(lambda x, b: jnp.broadcast_to(jnp.asarray(b, x.dtype), x.shape), x, baseline)
    except (ValueError, TypeError):
        expected, found = describe_tree(x), describe_tree(baseline)
        raise GradientError(f"{what}: the baseline must be like the input, {expected}, got {found}.") from None


def weighted_sum(gradient_at: Callable[[Array], PyTree], places: Array, weights: Array, x: PyTree) -> PyTree:
    """`Σ w ∂f/∂x`, one gradient after the other, in float32 at least."""

    def add(total: PyTree, step: tuple[Array, Array]) -> tuple[PyTree, None]:
        place, weight = step
        return jax.tree.map(lambda t, g: t + weight.astype(t.dtype) * widen(g), total, gradient_at(place)), None

    start = jax.tree.map(lambda x: jnp.zeros_like(widen(x)), x)
    total, _ = lax.scan(add, start, (places, weights))
    return jax.tree.map(lambda t, x: t.astype(x.dtype), total, x)


def values_and_gradients(
    f: Callable[..., Any], names: Places, of: Names | None, cotangent: PyTree, rules: RuleSet | None
) -> Callable[..., dict[str, tuple[Array, Array]]]:
    """Values inside of a function, and their cotangents, by name."""

    def both(*args: Any, **kwargs: Any) -> dict[str, tuple[Array, Array]]:
        watched = grad(f, of=of, wrt=names, cotangent=cotangent, rules=rules, taps=names, stats="value")
        _, readings = watched(*args, **kwargs)
        return {n: (r.value["value"], r.cotangent["value"]) for n, r in readings.items() if r.cotangent is not None}

    return both


def alone(found: Mapping[str, Any]) -> Any:
    """One thing without its name; several by name."""
    return next(iter(found.values())) if len(found) == 1 else found
