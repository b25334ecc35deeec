"""The same cotangents under every transformation of JAX, and by funcgrad's own reverse pass."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcgrad.autodiff import vjp
from funcgrad.checking.comparing import EXACT, difference, index_text, largest, wide
from funcgrad.checking.forms import Arrays, Form, compiled, partially, put
from funcgrad.checking.reports import Row, Wrong, judge
from funcgrad.checking.subjects import Subject
from funcgrad.checking.trials import Trial

BATCH = 3
MOST_ALONE = 3
"""How many leaves are batched alone, the others not."""


def rows(trial: Trial) -> Iterator[Row]:
    """Eager, twice, batched, batched twice, in a loop, recomputed, planned."""
    for name, test in (
        ("without jit", without_jit),
        ("determinism", determinism),
        ("vmap", vmap),
        ("extra batch axes", extra_axes),
        ("scan, checkpoint", scan_and_checkpoint),
        ("fg.vjp", reverse_pass),
    ):
        yield judge("transformations", name, partial(test, trial))


def without_jit(trial: Trial) -> str:
    """Run operation by operation, the rule gives what it gives compiled."""
    for s in trial.main:
        g = s.random_g()
        compare(s, s.form.pulling(s.form.wanted)(s.leaves, g)[1], s.form.pull(s.leaves, g)[1], "without jit")
    return "as under jit"


def determinism(trial: Trial) -> str:
    """The same arguments give the same bits."""
    for s in trial.main:
        g = s.random_g()
        for how, pull in (("without jit", s.form.pulling(s.form.wanted)), ("under jit", s.form.pull)):
            once, again = pull(s.leaves, g), pull(s.leaves, g)
            if not all(map(_same_bits, jax.tree.leaves(once), jax.tree.leaves(again))):
                raise Wrong(f"two runs {how} on the same arguments differ (at {s})")
    return "two runs give the same bits, with jit and without"


def _same_bits(a: Any, b: Any) -> bool:
    return np.array_equal(wide(a), wide(b), equal_nan=True)


def vmap(trial: Trial) -> str:
    """`vmap` of the pullback, and the pullback of `vmap`, are a loop; with all leaves batched, and with single ones."""
    tried = 0
    for s in trial.main:
        for batched in _batchings(s.form):
            leaves, gs = _stacked(s, batched, (BATCH,)), [s.random_g(b) for b in range(BATCH)]
            expected = [s.form.pull(_example(leaves, batched, b), gs[b])[1] for b in range(BATCH)]
            found, summed = compiled(_vmapped, s.form, batched)(leaves, [jnp.stack(x) for x in zip(*gs, strict=True)])
            which = ", ".join(s.form.names[i] for i in batched)
            stacked = [jnp.stack(x) for x in zip(*expected, strict=True)]
            compare(s, found, stacked, f"under vmap of the pullback ({which} batched)")
            totals = [x if i in batched else x.sum(0) for i, x in zip(s.form.wanted, stacked, strict=True)]
            compare(s, summed, totals, f"of a vmap ({which} batched)", [largest(x) for x in stacked])
            tried += 1
    return f"as a loop, over {tried} choices of batched arguments, before and after differentiation"


def _batchings(form: Form) -> list[tuple[int, ...]]:
    alone = [(i,) for i in form.moving[:MOST_ALONE]] if len(form.moving) > 1 else []
    return [b for b in (form.moving, *alone) if b]


def _stacked(s: Subject, batched: Sequence[int], lengths: tuple[int, ...]) -> Arrays:
    """Different numbers per example, near those of the example: where it makes sense, they do too."""
    rng = np.random.default_rng(8)
    leaves = list(s.leaves)
    for i in batched:
        x = np.asarray(leaves[i])
        leaves[i] = jnp.asarray(x * rng.uniform(0.8, 1.2, size=(*lengths, *x.shape)), x.dtype)
    return leaves


def _example(leaves: Arrays, batched: Sequence[int], *index: int) -> Arrays:
    return [x[index] if i in batched else x for i, x in enumerate(leaves)]


def _vmapped(form: Form, batched: tuple[int, ...]) -> Callable[..., Any]:
    axes = [0 if i in batched else None for i in range(len(form.avals))]

    def pull(leaves: Arrays, g: Arrays) -> tuple[Arrays, Arrays]:
        each = jax.vmap(form.pulling(form.wanted), in_axes=(axes, 0))(leaves, g)[1]
        mapped = jax.vmap(form.ours, in_axes=axes)
        of_wanted = partially(mapped, leaves, form.wanted)
        return each, list(jax.vjp(of_wanted, *[leaves[i] for i in form.wanted])[1](list(g)))

    return pull


def extra_axes(trial: Trial) -> str:
    """Two batch axes: an inner one over one leaf, an outer one over all."""
    lengths = (2, BATCH)
    for s in trial.main:
        form = s.form
        if not form.moving:
            continue
        first = form.moving[:1]
        leaves = _stacked(s, form.moving, (lengths[0],))
        leaves[first[0]] = _stacked(s, first, lengths)[first[0]]
        gs = [[s.random_g(3 * a + b) for b in range(lengths[1])] for a in range(lengths[0])]
        g = _grid(gs)
        expected: list[Arrays] = []
        for a in range(lengths[0]):
            outer = _example(leaves, form.moving, a)
            inner = [form.pull(_example(outer, first, b), gs[a][b])[1] for b in range(lengths[1])]
            stacked = [jnp.stack(x) for x in zip(*inner, strict=True)]
            expected.append([x if i in first else x.sum(0) for i, x in zip(form.wanted, stacked, strict=True)])
        found = compiled(_vmapped_twice, form, first)(leaves, g)
        total = [jnp.stack(x) for x in zip(*expected, strict=True)]
        compare(s, found, total, "under two vmaps, the inner over one argument")
    return "as two loops"


def _grid(gs: list[list[Arrays]]) -> Arrays:
    rows = [[jnp.stack(x) for x in zip(*row, strict=True)] for row in gs]
    return [jnp.stack(x) for x in zip(*rows, strict=True)]


def _vmapped_twice(form: Form, first: tuple[int, ...]) -> Callable[..., Any]:
    outer = [0 if i in form.moving else None for i in range(len(form.avals))]
    inner = [0 if i in first else None for i in range(len(form.avals))]

    def pull(leaves: Arrays, g: Arrays) -> Arrays:
        mapped = jax.vmap(jax.vmap(form.ours, in_axes=inner), in_axes=outer)
        of_wanted = partially(mapped, leaves, form.wanted)
        return list(jax.vjp(of_wanted, *[leaves[i] for i in form.wanted])[1](g))

    return pull


def scan_and_checkpoint(trial: Trial) -> str:
    """In the body of a `scan`, and recomputed by `jax.checkpoint`."""
    for s in trial.main:
        if not s.form.wanted:
            continue
        leaves, gs = _stacked(s, s.form.moving, (BATCH,)), [s.random_g(b) for b in range(BATCH)]
        expected = [s.form.pull(_example(leaves, s.form.moving, b), gs[b])[1] for b in range(BATCH)]
        stacked = [jnp.stack(x) for x in zip(*expected, strict=True)]
        g = [jnp.stack(x) for x in zip(*gs, strict=True)]
        scanned, recomputed = compiled(_looped, s.form)(leaves, g)
        compare(s, scanned, stacked, "in a scan")
        compare(s, recomputed, expected[0], "under jax.checkpoint")
    return "as outside"


def _looped(form: Form) -> Callable[..., Any]:
    def scanned(*leaves: Any) -> Arrays:
        steps = [leaves[i] for i in form.moving]

        def body(carry: None, step: Arrays) -> tuple[None, Arrays]:
            return carry, form.ours(*put(leaves, form.moving, step))

        return jax.lax.scan(body, None, steps)[1]

    def pull(leaves: Arrays, g: Arrays) -> tuple[Arrays, Arrays]:
        of_wanted = partially(scanned, leaves, form.wanted)
        found = jax.vjp(of_wanted, *[leaves[i] for i in form.wanted])[1](list(g))
        one = _example(leaves, form.moving, 0)
        recomputed = partially(jax.checkpoint(form.ours), one, form.wanted)
        return list(found), list(jax.vjp(recomputed, *[one[i] for i in form.wanted])[1]([x[0] for x in g]))

    return pull


def reverse_pass(trial: Trial) -> str:
    """By a plan: the rule reads what the plan says it reads."""
    for s in trial.main:
        g = s.random_g()
        if s.form.wanted and g:
            compare(s, compiled(_planned, s.form)(s.leaves, g), s.form.pull(s.leaves, g)[1], "by fg.vjp")
    return "as by jax.vjp"


def _planned(form: Form) -> Callable[..., Any]:
    def pull(leaves: Arrays, g: Arrays) -> Arrays:
        return list(vjp(partially(form.ours, leaves, form.wanted), *[leaves[i] for i in form.wanted])[1](list(g)))

    return pull


def compare(s: Subject, found: Arrays, expected: Arrays, how: str, sizes: list[float] | None = None) -> None:
    """`Wrong` unless the cotangents are what they are in the plain case."""
    for n, (i, a, b) in enumerate(zip(s.form.wanted, found, expected, strict=True)):
        name, by = s.form.names[i], s.form.blame(i)
        if a.shape != b.shape:
            raise Wrong(f"the cotangent of {name} by {by} has another shape {how}: {a.shape} instead of {b.shape}")
        if apart := difference(a, b, EXACT, EXACT * sizes[n] if sizes else 0.0):
            raise Wrong(
                f"the cotangent of {name}{index_text(apart.index)} by {by} is another one {how} (at {s}): {apart}"
            )
