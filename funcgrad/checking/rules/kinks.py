"""Where a function has a kink, and whether a cotangent there is a subgradient.

Near a kink the oracle's derivative jumps. A subgradient lies in the convex hull of the derivatives nearby (Clarke's
generalized gradient), output entry by output entry.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.optimize import nnls

from funcgrad.aliases import Array
from funcgrad.checking.differences import largest, wide
from funcgrad.checking.rules.flat_ops import FlatOp
from funcgrad.checking.rules.oracles import oracle
from funcgrad.registry import Marker

Arrays = list[Array]
STEP = 1e-6
MOST_ENTRIES = 48
"""How many output entries are looked at one by one."""


def _neighbours(flat: FlatOp, leaves: Sequence[Array], count: int) -> Iterator[Arrays]:
    """Points next to this one: along all axes at once, along single ones, and at random."""
    rng = np.random.default_rng(4)
    sizes = [x.size if i in flat.moving else 0 for i, x in enumerate(leaves)]
    total = sum(sizes)
    directions = [np.ones(total), -np.ones(total)]
    directions += [s * np.eye(total)[i] + 1e-3 * rng.normal(size=total) for i in range(min(total, 12)) for s in (1, -1)]
    directions += [rng.normal(size=total) for _ in range(count)]
    for d in directions:
        parts = np.split(d, np.cumsum(sizes)[:-1])
        yield [
            x + STEP * (1 + jnp.abs(x)) * jnp.asarray(p.reshape(x.shape)) if n else x
            for x, p, n in zip(leaves, parts, sizes, strict=True)
        ]


def find_kinks(flat: FlatOp, leaves: Sequence[Array], evaluate: Callable[[Arrays], Sequence[Any]]) -> list[np.ndarray]:
    """The entries of a derivative, as the oracle evaluates it, that jump near the point (or are NaN there)."""
    here = [wide(x) for x in evaluate(list(leaves))]
    jumps = [np.isnan(x) for x in here]
    for near in _neighbours(flat, leaves, 8):
        for i, x in enumerate(evaluate(near)):
            jumps[i] |= ~(np.abs(wide(x) - here[i]) <= 1e-3 * largest(here[i]) + 1e-12)
    return jumps


def find_outside_hull(flat: FlatOp, leaves: Sequence[Array], position: int) -> tuple[int, ...] | None:
    """The first output entry (by output, then flat index) whose cotangents by the rules are no subgradient.

    Those of all arguments together, as a tie of two that goes to both is the slope of nothing, though it would be one
    of each alone.
    """
    pull, positions = oracle(flat).pull, _claimed(flat, position)
    together = lambda cotangents: np.concatenate([wide(cotangents[c]).reshape(-1) for c in positions])  # noqa: E731
    entries = [(i, j) for i, y in enumerate(flat.outputs) for j in range(int(np.prod(y.shape)))]
    near = list(_neighbours(flat, leaves, 32))
    for i, j in entries[:: max(1, len(entries) // MOST_ENTRIES)]:
        g = [jnp.zeros(y.shape, y.dtype) for y in flat.outputs]
        g[i] = g[i].reshape(-1).at[j].set(1).reshape(g[i].shape)
        found = together(flat.pull(leaves, g)[1])
        hull = [together(pull(p, g)[1]) for p in near]
        corners = np.array([h for h in hull if np.isfinite(h).all()])
        if not np.isfinite(found).all() or not len(corners) or not _inside(found, corners):
            return i, j
    return None


def _claimed(flat: FlatOp, position: int) -> list[int]:
    """The cotangents that claim to be derivatives of the same function as the one at a position, itself included."""
    kinds = [flat.kind(i) for i in flat.wanted]
    is_own = [
        not isinstance(flat.rule(i), Marker) and (kind is None or kind.is_derivative)
        for i, kind in zip(flat.wanted, kinds, strict=True)
    ]
    return [c for c, own in enumerate(is_own) if own or c == position]


def _inside(x: np.ndarray, corners: np.ndarray) -> bool:
    """Whether `x[n]` is a convex combination of `corners[k, n]`: least squares with weights >= 0 that sum to 1."""
    scale = max(np.abs(corners).max(initial=0), np.abs(x).max(initial=0)) or 1.0
    system = np.vstack([corners.T / scale, np.ones(len(corners))])
    _, residual = nnls(system, np.append(x / scale, 1.0))
    return bool(residual < 1e-4)
