"""A pullback is a linear map of the cotangents, whatever it claims to be: also a surrogate or modified rule."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import jax.numpy as jnp
import numpy as np

from funcgrad.checking.comparing import EXACT, difference, index_text, largest, wide
from funcgrad.checking.forms import Arrays, Form, compiled
from funcgrad.checking.oracles import oracle
from funcgrad.checking.reports import Open, Row, Wrong, judge
from funcgrad.checking.subjects import Subject
from funcgrad.checking.trials import Trial

SCALES = (1e-20, -3.0, 7.5, 1e20)
MOST_SUBSETS = 7


def rows(trial: Trial) -> Iterator[Row]:
    """Zero, sums, multiples, one output at a time, one argument at a time."""
    yield judge("linearity", "zero", partial(zero, trial))
    yield judge("linearity", "sums", partial(sums, trial))
    yield judge("linearity", "tiny and huge", partial(multiples, trial))
    yield judge("linearity", "each output alone", partial(outputs, trial))
    yield judge("linearity", "wanted arguments", partial(wanted, trial))
    yield judge("linearity", "NaN", partial(nan, trial))


def zero(trial: Trial) -> str:
    """A zero cotangent gives exact zeros, wherever the oracle's are."""
    zeros = [m for m in trial.measured if m.seed == "zero"]
    for m in zeros:
        for i, found, expected in zip(m.form.wanted, m.found, m.expected, strict=True):
            excused = None if expected is None else np.isnan(wide(expected))
            if apart := difference(found, np.zeros(found.shape), open=excused):
                raise Wrong(f"{_whose(m.form, i, apart.index)} {m.where} must be exactly zero: {apart}")
    return f"exact zeros at {len(zeros)} points"


def _whose(form: Form, i: int, index: tuple[int, ...]) -> str:
    return f"the cotangent of {form.names[i]}{index_text(index)} by {form.blame(i)}"


def sums(trial: Trial) -> str:
    """J^T (a + b) = J^T a + J^T b."""
    for s in trial.subjects:
        a, b = s.random_g(1), s.random_g(2)
        each = [s.form.pull(s.leaves, g)[1] for g in (a, b)]
        both = s.form.pull(s.leaves, [x + y for x, y in zip(a, b, strict=True)])[1]
        expected = [x + y for x, y in zip(*each, strict=True)]
        _assert_same(s, both, expected, "of a sum of cotangents is not the sum of theirs", _size(each[0]))
    return f"J^T (a + b) = J^T a + J^T b at {len(trial.subjects)} examples"


def multiples(trial: Trial) -> str:
    """J^T (c g) = c J^T g for tiny, negative and huge c."""
    for s in trial.subjects:
        g = s.random_g(3)
        one = s.form.pull(s.leaves, g)[1]
        for c in SCALES:
            found = s.form.pull(s.leaves, [c * x for x in g])[1]
            expected = [c * x for x in one]
            why = f"of {c:g} times a cotangent is not {c:g} times as large"
            _assert_same(s, found, expected, why, _size(expected))
    return f"J^T (c g) = c J^T g for c in {', '.join(f'{c:g}' for c in SCALES)}"


def outputs(trial: Trial) -> str:
    """The cotangent of each output alone, the others zero: their sum is that of all."""
    found = 0
    for s in trial.subjects:
        g = s.random_g()
        if len(g) < 2:
            continue
        alone = [
            s.form.pull(s.leaves, [x if i == j else jnp.zeros_like(x) for j, x in enumerate(g)])[1]
            for i in range(len(g))
        ]
        total = [jnp.stack(parts).sum(0) for parts in zip(*alone, strict=True)]
        _assert_same(s, s.form.pull(s.leaves, g)[1], total, "of all outputs is not the sum over them", _size(total))
        found += 1
    if not found:
        raise Open("one output")
    return f"add up to that of all, at {found} examples; each is in the values"


def wanted(trial: Trial) -> str:
    """Asking for fewer cotangents gives the same ones."""
    tried = 0
    for s in trial.main:
        n = len(s.form.wanted)
        some = [w for size in range(1, n) for w in combinations(s.form.wanted, size)]
        if not some:
            continue
        if len(some) > MOST_SUBSETS:
            some = [w for w in some if len(w) in (1, n - 1)]
        g = s.random_g()
        together = dict(zip(s.form.wanted, s.form.pull(s.leaves, g)[1], strict=True))
        for subset, found in zip(some, compiled(_subsets, s.form, tuple(some))(s.leaves, g), strict=True):
            names = ", ".join(s.form.names[i] for i in subset)
            why = f"is another one when only {names} is wanted"
            _assert_same(s, found, [together[i] for i in subset], why, _size(list(together.values())), subset)
        tried += len(some)
    if not tried:
        raise Open("one argument")
    return f"{tried} subsets give the same cotangents"


def _subsets(form: Form, some: tuple[tuple[int, ...], ...]) -> Callable[..., Any]:
    def pull(leaves: Sequence[Any], g: Arrays) -> list[Arrays]:
        return [form.pulling(subset)(leaves, g)[1] for subset in some]

    return pull


def nan(trial: Trial) -> str:
    """A NaN in the cotangent is not swallowed: it reaches what the oracle lets it reach, and nothing else."""
    for s in trial.main:
        g = [jnp.full(y.shape, jnp.nan, y.dtype) for y in s.form.outputs]
        found, expected = s.form.pull(s.leaves, g)[1], oracle(s.form).pull(s.leaves, g)[1]
        for i, x, x0 in zip(s.form.wanted, found, expected, strict=True):
            if x0 is None:
                continue
            a, b = np.isnan(wide(x)), np.isnan(wide(x0))
            # A rule may select where the oracle multiplies by 0, so it may give fewer NaNs, but not none.
            if a.any() != b.any():
                raise Wrong(f"{_whose(s.form, i, ())} is {'NaN' if a.any() else 'free of NaN'} for a g of NaNs only")
            if (a & ~b).any():
                raise Wrong(f"{_whose(s.form, i, ())} has more NaNs than the oracle's for a g of NaNs only")
    return "in g reaches every cotangent that reads it"


def _size(arrays: Arrays) -> float:
    """The largest entry of all cotangents: where one is nothing but cancellation, its error is relative to this."""
    return max([largest(x) for x in arrays], default=0.0)


def _assert_same(s: Subject, found: Arrays, expected: Arrays, why: str, size: float, which: Sequence[int] = ()) -> None:
    for i, a, b in zip(which or s.form.wanted, found, expected, strict=True):
        if apart := difference(a, b, EXACT, EXACT * size):
            raise Wrong(f"{_whose(s.form, i, apart.index)} {why} (at {s}): {apart}")
