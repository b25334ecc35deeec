"""The same cotangents under every transformation of JAX, and by funcgrad's own reverse pass."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcgrad.autodiff import vjp
from funcgrad.checking.differences import EXACT, difference, index_text, largest, wide
from funcgrad.checking.rules.cases import Case
from funcgrad.checking.rules.flat_ops import Arrays, FlatOp, compiled, partially, put
from funcgrad.checking.rules.reports import Row, Wrong, judge
from funcgrad.checking.rules.trials import Trial

BATCH = 3
MOST_ALONE = 3
"""How many leaves are batched alone, the others not."""


def make_rows(trial: Trial) -> Iterator[Row]:
    """Eager, twice, batched, batched twice, in a loop, recomputed, planned."""
    for name, test in (
        ("without jit", check_without_jit),
        ("determinism", check_determinism),
        ("vmap", check_vmap),
        ("extra batch axes", check_extra_axes),
        ("scan, checkpoint", check_scan_and_checkpoint),
        ("fg.vjp", check_reverse_pass),
    ):
        yield judge("transformations", name, partial(test, trial))


def check_without_jit(trial: Trial) -> str:
    """Run operation by operation, the rule gives what it gives compiled."""
    for case in trial.main:
        g = case.random_g()
        by_steps = case.flat.pulling(case.flat.wanted)(case.leaves, g)[1]
        compare(case, by_steps, case.flat.pull(case.leaves, g)[1], "without jit")
    return "as under jit"


def check_determinism(trial: Trial) -> str:
    """The same arguments give the same bits."""
    for case in trial.main:
        g = case.random_g()
        for how, pull in (("without jit", case.flat.pulling(case.flat.wanted)), ("under jit", case.flat.pull)):
            once, again = pull(case.leaves, g), pull(case.leaves, g)
            if not all(map(_same_bits, jax.tree.leaves(once), jax.tree.leaves(again))):
                raise Wrong(f"two runs {how} on the same arguments differ (at {case})")
    return "two runs give the same bits, with jit and without"


def _same_bits(a: Any, b: Any) -> bool:
    return np.array_equal(wide(a), wide(b), equal_nan=True)


def check_vmap(trial: Trial) -> str:
    """`vmap` of the pullback, and the pullback of `vmap`, are a loop; with all leaves batched, and with single ones."""
    tried = 0
    for case in trial.main:
        for batched in _batchings(case.flat):
            leaves, gs = _stacked(case, batched, (BATCH,)), [case.random_g(b) for b in range(BATCH)]
            expected = [case.flat.pull(_example(leaves, batched, b), gs[b])[1] for b in range(BATCH)]
            g = [jnp.stack(x) for x in zip(*gs, strict=True)]
            found, summed = compiled(_vmapped, case.flat, batched)(leaves, g)
            which = ", ".join(case.flat.names[i] for i in batched)
            stacked = [jnp.stack(x) for x in zip(*expected, strict=True)]
            compare(case, found, stacked, f"under vmap of the pullback ({which} batched)")
            totals = [x if i in batched else x.sum(0) for i, x in zip(case.flat.wanted, stacked, strict=True)]
            compare(case, summed, totals, f"of a vmap ({which} batched)", [largest(x) for x in stacked])
            tried += 1
    return f"as a loop, over {tried} choices of batched arguments, before and after differentiation"


def _batchings(flat: FlatOp) -> list[tuple[int, ...]]:
    alone = [(i,) for i in flat.moving[:MOST_ALONE]] if len(flat.moving) > 1 else []
    return [b for b in (flat.moving, *alone) if b]


def _stacked(case: Case, batched: Sequence[int], lengths: tuple[int, ...]) -> Arrays:
    """Different numbers per example, near those of the example: where it makes sense, they do too."""
    rng = np.random.default_rng(8)
    leaves = list(case.leaves)
    for i in batched:
        x = np.asarray(leaves[i])
        leaves[i] = jnp.asarray(x * rng.uniform(0.8, 1.2, size=(*lengths, *x.shape)), x.dtype)
    return leaves


def _example(leaves: Arrays, batched: Sequence[int], *index: int) -> Arrays:
    return [x[index] if i in batched else x for i, x in enumerate(leaves)]


def _vmapped(flat: FlatOp, batched: tuple[int, ...]) -> Callable[..., Any]:
    axes = [0 if i in batched else None for i in range(len(flat.avals))]

    def pull(leaves: Arrays, g: Arrays) -> tuple[Arrays, Arrays]:
        each = jax.vmap(flat.pulling(flat.wanted), in_axes=(axes, 0))(leaves, g)[1]
        mapped = jax.vmap(flat.ours, in_axes=axes)
        of_wanted = partially(mapped, leaves, flat.wanted)
        return each, list(jax.vjp(of_wanted, *[leaves[i] for i in flat.wanted])[1](list(g)))

    return pull


def check_extra_axes(trial: Trial) -> str:
    """Two batch axes: an inner one over one leaf, an outer one over all."""
    lengths = (2, BATCH)
    for case in trial.main:
        flat = case.flat
        if not flat.moving:
            continue
        first = flat.moving[:1]
        leaves = _stacked(case, flat.moving, (lengths[0],))
        leaves[first[0]] = _stacked(case, first, lengths)[first[0]]
        gs = [[case.random_g(3 * a + b) for b in range(lengths[1])] for a in range(lengths[0])]
        g = _grid(gs)
        expected: list[Arrays] = []
        for a in range(lengths[0]):
            outer = _example(leaves, flat.moving, a)
            inner = [flat.pull(_example(outer, first, b), gs[a][b])[1] for b in range(lengths[1])]
            stacked = [jnp.stack(x) for x in zip(*inner, strict=True)]
            expected.append([x if i in first else x.sum(0) for i, x in zip(flat.wanted, stacked, strict=True)])
        found = compiled(_vmapped_twice, flat, first)(leaves, g)
        total = [jnp.stack(x) for x in zip(*expected, strict=True)]
        compare(case, found, total, "under two vmaps, the inner over one argument")
    return "as two loops"


def _grid(gs: list[list[Arrays]]) -> Arrays:
    rows = [[jnp.stack(x) for x in zip(*row, strict=True)] for row in gs]
    return [jnp.stack(x) for x in zip(*rows, strict=True)]


def _vmapped_twice(flat: FlatOp, first: tuple[int, ...]) -> Callable[..., Any]:
    outer = [0 if i in flat.moving else None for i in range(len(flat.avals))]
    inner = [0 if i in first else None for i in range(len(flat.avals))]

    def pull(leaves: Arrays, g: Arrays) -> Arrays:
        mapped = jax.vmap(jax.vmap(flat.ours, in_axes=inner), in_axes=outer)
        of_wanted = partially(mapped, leaves, flat.wanted)
        return list(jax.vjp(of_wanted, *[leaves[i] for i in flat.wanted])[1](g))

    return pull


def check_scan_and_checkpoint(trial: Trial) -> str:
    """In the body of a `scan`, and recomputed by `jax.checkpoint`."""
    for case in trial.main:
        if not case.flat.wanted:
            continue
        leaves, gs = _stacked(case, case.flat.moving, (BATCH,)), [case.random_g(b) for b in range(BATCH)]
        expected = [case.flat.pull(_example(leaves, case.flat.moving, b), gs[b])[1] for b in range(BATCH)]
        stacked = [jnp.stack(x) for x in zip(*expected, strict=True)]
        g = [jnp.stack(x) for x in zip(*gs, strict=True)]
        scanned, recomputed = compiled(_looped, case.flat)(leaves, g)
        compare(case, scanned, stacked, "in a scan")
        compare(case, recomputed, expected[0], "under jax.checkpoint")
    return "as outside"


def _looped(flat: FlatOp) -> Callable[..., Any]:
    def scanned(*leaves: Any) -> Arrays:
        steps = [leaves[i] for i in flat.moving]

        def body(carry: None, step: Arrays) -> tuple[None, Arrays]:
            return carry, flat.ours(*put(leaves, flat.moving, step))

        return jax.lax.scan(body, None, steps)[1]

    def pull(leaves: Arrays, g: Arrays) -> tuple[Arrays, Arrays]:
        of_wanted = partially(scanned, leaves, flat.wanted)
        found = jax.vjp(of_wanted, *[leaves[i] for i in flat.wanted])[1](list(g))
        one = _example(leaves, flat.moving, 0)
        recomputed = partially(jax.checkpoint(flat.ours), one, flat.wanted)
        return list(found), list(jax.vjp(recomputed, *[one[i] for i in flat.wanted])[1]([x[0] for x in g]))

    return pull


def check_reverse_pass(trial: Trial) -> str:
    """By a plan: the rule reads what the plan says it reads."""
    for case in trial.main:
        g = case.random_g()
        if case.flat.wanted and g:
            compare(case, compiled(_planned, case.flat)(case.leaves, g), case.flat.pull(case.leaves, g)[1], "by fg.vjp")
    return "as by jax.vjp"


def _planned(flat: FlatOp) -> Callable[..., Any]:
    def pull(leaves: Arrays, g: Arrays) -> Arrays:
        return list(vjp(partially(flat.ours, leaves, flat.wanted), *[leaves[i] for i in flat.wanted])[1](list(g)))

    return pull


def compare(case: Case, found: Arrays, expected: Arrays, how: str, sizes: list[float] | None = None) -> None:
    """`Wrong` unless the cotangents are what they are in the plain case."""
    for n, (i, a, b) in enumerate(zip(case.flat.wanted, found, expected, strict=True)):
        name, by = case.flat.names[i], case.flat.maker(i)
        if a.shape != b.shape:
            raise Wrong(f"the cotangent of {name} by {by} has another shape {how}: {a.shape} instead of {b.shape}")
        if apart := difference(a, b, EXACT, EXACT * sizes[n] if sizes else 0.0):
            raise Wrong(
                f"the cotangent of {name}{index_text(apart.index)} by {by} is another one {how} (at {case}): {apart}"
            )
