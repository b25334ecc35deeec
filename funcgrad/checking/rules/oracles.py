"""What a cotangent should be, by somebody else: JAX's derivative, of the function that the rule names as its own.

Reverse mode where JAX has it; forward mode, entry by entry, where it has only that (a `while` loop); finite
differences, which are good to `ROUGH` only, where JAX cannot differentiate at all (a callback).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp

from funcgrad.aliases import Array, PureFunction
from funcgrad.checking.differences import EXACT
from funcgrad.checking.rules.flat_ops import FlatOp, partially
from funcgrad.primitive import as_function, bodies, traced_once
from funcgrad.registry import Marker

Arrays = list[Array]
COARSE = 1e-5
"""What a forward that computes in float32 whatever it is given allows."""
ROUGH = 1e-6
"""What finite differences of fourth order allow in float64, as a share of the largest entry."""


@dataclass(frozen=True)
class Oracle:
    """`pull(leaves, g) -> (outputs, cotangents)`; a cotangent nobody claims is None, one that must not flow is zero."""

    pull: Callable[..., tuple[Arrays, list[Array | None]]]
    pull_by_steps: Callable[..., tuple[Arrays, list[Array | None]]]
    """Not compiled as a whole: a compiler may turn `0 * NaN` into 0, by `g * mask` into a choice."""
    method: str
    share: float
    """How far from it a right cotangent may be, as a share of its largest entry."""

    @property
    def is_jax(self) -> bool:
        """Whether JAX can differentiate the forward in reverse mode."""
        return self.method == "jax.vjp"


@traced_once(most=256)
def oracle(flat: FlatOp) -> Oracle:
    """Group the wanted leaves by the function whose derivative their rules claim to be."""
    groups: dict[PureFunction, list[int]] = {}
    silent = []
    for i in flat.wanted:
        kind = flat.kind(i)
        if flat.rule(i) is Marker.NON_DIFFERENTIABLE:
            silent.append(i)
        elif kind is None or kind.is_derivative:
            groups.setdefault(flat.op.function, []).append(i)
        elif kind.of is not None:
            groups.setdefault(kind.of, []).append(i)
    parts = [(tuple(p), *_derivative(flat, flat.function(of), tuple(p))) for of, p in groups.items()]

    def pull(leaves: Sequence[Array], g: Sequence[Array]) -> tuple[Arrays, list[Array | None]]:
        found: dict[int, Array] = {i: jnp.zeros_like(leaves[i]) for i in silent}
        for positions, derive, _, _ in parts:
            found.update(zip(positions, derive(leaves, g), strict=True))
        return flat.plain(*leaves), [found.get(i) for i in flat.wanted]

    _, _, method, share = max(parts, key=_share, default=((), None, "jax.vjp", EXACT))
    return Oracle(jax.jit(pull), _by_steps(pull, flat), method, share)


def _by_steps(pull: Callable[..., Any], flat: FlatOp) -> Callable[..., Any]:
    """Traced once, and then run an operation at a time: what is compiled is single operations, once per shape."""
    traced = cache(lambda: jax.make_jaxpr(pull, return_shape=True)(flat.avals, flat.outputs))

    def evaluate(leaves: Sequence[Array], g: Sequence[Array]) -> Any:
        jaxpr, shapes = traced()
        return jax.tree.unflatten(jax.tree.structure(shapes), as_function(jaxpr)(*leaves, *g))

    return evaluate


def _share(part: tuple[Any, Any, str, float]) -> float:
    return part[-1]


def _derivative(
    flat: FlatOp, function: Callable[..., Arrays], positions: tuple[int, ...]
) -> tuple[Callable[..., Sequence[Array]], str, float]:
    """J^T of a function of all leaves with respect to those at `positions`: how, by which method, how precise."""

    def reverse(leaves: Sequence[Array], g: Sequence[Array]) -> Sequence[Array]:
        return jax.vjp(partially(function, leaves, positions), *[leaves[i] for i in positions])[1](list(g))

    def forward(leaves: Sequence[Array], g: Sequence[Array]) -> Sequence[Array]:
        return [_by_entry(_tangent, partially(function, leaves, (i,)), leaves[i], g) for i in positions]

    def differences(leaves: Sequence[Array], g: Sequence[Array]) -> Sequence[Array]:
        return [_by_entry(_stencil, partially(function, leaves, (i,)), leaves[i], g) for i in positions]

    for derive, method in ((reverse, "jax.vjp"), (forward, "jax.jvp")):
        try:
            traced = jax.make_jaxpr(derive)(flat.avals, jax.eval_shape(function, *flat.avals))
        except Exception:  # JAX says in many ways that it cannot
            continue
        return derive, method, COARSE if _rounds(traced.jaxpr) else EXACT
    return differences, "finite differences", ROUGH


def _by_entry(push: Callable[..., Arrays], function: Callable[[Array], Arrays], x: Array, g: Sequence[Array]) -> Array:
    """J^T g, an entry of x at a time: <J e_i, g>, with `push(function, x, e_i)` for J e_i."""

    def entry(i: Array) -> Array:
        direction = jnp.zeros(x.size, x.dtype).at[i].set(1).reshape(x.shape)
        products = [jnp.sum(a * b) for a, b in zip(push(function, x, direction), g, strict=True)]
        return sum(products, jnp.zeros((), x.dtype))

    return jax.lax.map(entry, jnp.arange(x.size)).reshape(x.shape)


def _tangent(function: Callable[[Array], Arrays], x: Array, direction: Array) -> Arrays:
    """J t by forward mode."""
    return jax.jvp(function, (x,), (direction,))[1]


def _stencil(function: Callable[[Array], Arrays], x: Array, direction: Array) -> Arrays:
    """J t by the central difference of fourth order: (8 (f(+h) - f(-h)) - (f(+2h) - f(-2h))) / 12 h."""
    h = 1e-3 * (1 + jnp.sum(jnp.abs(x * direction)))
    at = [function(x + s * h * direction) for s in (1, -1, 2, -2)]
    return [(8 * (a - b) - (c - d)) / (12 * h) for a, b, c, d in zip(*at, strict=True)]


def _rounds(jaxpr: Any) -> bool:
    """Whether a computation in float64 rounds to a shorter type on its way: then nobody can be exact."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "convert_element_type":
            before, after = equation.invars[0].aval.dtype, equation.outvars[0].aval.dtype
            both_inexact = jnp.issubdtype(before, jnp.inexact) and jnp.issubdtype(after, jnp.inexact)
            if both_inexact and jnp.finfo(after).eps > jnp.finfo(before).eps:
                return True
        if any(_rounds(getattr(inner, "jaxpr", inner)) for inner in bodies(equation)):
            return True
    return False
