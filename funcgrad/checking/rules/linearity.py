"""A pullback is a linear map of the cotangents, whatever it claims to be, also a surrogate or modified rule.

But for one that claims not to be: a `nonlinear` rule.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import jax.numpy as jnp
import numpy as np

from funcgrad.checking.differences import EXACT, difference, index_text, largest, wide
from funcgrad.checking.rules.cases import Case
from funcgrad.checking.rules.flat_ops import Arrays, FlatOp, compiled
from funcgrad.checking.rules.oracles import oracle
from funcgrad.checking.rules.reports import Open, Row, Wrong, judge
from funcgrad.checking.rules.trials import Trial

SCALES = (1e-20, -3.0, 7.5, 1e20)
MOST_SUBSETS = 7


def make_rows(trial: Trial) -> Iterator[Row]:
    """Zero, sums, multiples, one output at a time, one argument at a time."""
    of_linear = {
        "zero": check_zero, "sums": check_sums, "tiny and huge": check_multiples,
        "each output alone": check_single_outputs,
    }  # fmt: skip
    for name, test in of_linear.items():
        yield judge("linearity", name, partial(_if_claimed, test, trial))
    yield judge("linearity", "wanted arguments", partial(check_wanted, trial))
    yield judge("linearity", "NaN", partial(check_nan, trial))


def _if_claimed(test: Callable[[Trial], str], trial: Trial) -> str:
    """A test of what some rule claims."""
    wanted = [(case.flat, i) for case in trial.given for i in case.flat.wanted]
    if wanted and not any(flat.claims_linear(i) for flat, i in wanted):
        raise Open("nonlinear: claims not to be linear in g")
    return test(trial)


def check_zero(trial: Trial) -> str:
    """A zero cotangent gives exact zeros, wherever the oracle's are."""
    zeros = [m for m in trial.comparisons if m.seed == "zero"]
    for m in zeros:
        for i, found, expected in zip(m.flat.wanted, m.found, m.expected, strict=True):
            if not m.flat.claims_linear(i):
                continue
            excused = None if expected is None else np.isnan(wide(expected))
            if apart := difference(found, np.zeros(found.shape), open=excused):
                raise Wrong(f"{_whose(m.flat, i, apart.index)} {m.where} must be exactly zero: {apart}")
    return f"exact zeros at {len(zeros)} points"


def _whose(flat: FlatOp, i: int, index: tuple[int, ...]) -> str:
    return f"the cotangent of {flat.names[i]}{index_text(index)} by {flat.maker(i)}"


def check_sums(trial: Trial) -> str:
    """J^T (a + b) = J^T a + J^T b."""
    for case in trial.cases:
        a, b = case.random_g(1), case.random_g(2)
        each = [case.flat.pull(case.leaves, g)[1] for g in (a, b)]
        both = case.flat.pull(case.leaves, [x + y for x, y in zip(a, b, strict=True)])[1]
        expected = [x + y for x, y in zip(*each, strict=True)]
        _assert_linear(case, both, expected, "of a sum of cotangents is not the sum of theirs", _size(each[0]))
    return f"J^T (a + b) = J^T a + J^T b at {len(trial.cases)} examples"


def check_multiples(trial: Trial) -> str:
    """J^T (c g) = c J^T g for tiny, negative and huge c."""
    for case in trial.cases:
        g = case.random_g(3)
        one = case.flat.pull(case.leaves, g)[1]
        for c in SCALES:
            found = case.flat.pull(case.leaves, [c * x for x in g])[1]
            expected = [c * x for x in one]
            why = f"of {c:g} times a cotangent is not {c:g} times as large"
            _assert_linear(case, found, expected, why, _size(expected))
    return f"J^T (c g) = c J^T g for c in {', '.join(f'{c:g}' for c in SCALES)}"


def check_single_outputs(trial: Trial) -> str:
    """The cotangent of each output alone, the others zero: their sum is that of all."""
    found = 0
    for case in trial.cases:
        g = case.random_g()
        if len(g) < 2:
            continue
        alone = [
            case.flat.pull(case.leaves, [x if i == j else jnp.zeros_like(x) for j, x in enumerate(g)])[1]
            for i in range(len(g))
        ]
        total = [jnp.stack(parts).sum(0) for parts in zip(*alone, strict=True)]
        together = case.flat.pull(case.leaves, g)[1]
        _assert_linear(case, together, total, "of all outputs is not the sum over them", _size(total))
        found += 1
    if not found:
        raise Open("one output")
    return f"add up to that of all, at {found} examples; each is in the values"


def check_wanted(trial: Trial) -> str:
    """Asking for fewer cotangents gives the same ones."""
    tried = 0
    for case in trial.main:
        n = len(case.flat.wanted)
        some = [w for size in range(1, n) for w in combinations(case.flat.wanted, size)]
        if not some:
            continue
        if len(some) > MOST_SUBSETS:
            some = [w for w in some if len(w) in (1, n - 1)]
        g = case.random_g()
        together = dict(zip(case.flat.wanted, case.flat.pull(case.leaves, g)[1], strict=True))
        for subset, found in zip(some, compiled(_subsets, case.flat, tuple(some))(case.leaves, g), strict=True):
            names = ", ".join(case.flat.names[i] for i in subset)
            why = f"is another one when only {names} is wanted"
            _assert_same(case, found, [together[i] for i in subset], why, _size(list(together.values())), subset)
        tried += len(some)
    if not tried:
        raise Open("one argument")
    return f"{tried} subsets give the same cotangents"


def _subsets(flat: FlatOp, some: tuple[tuple[int, ...], ...]) -> Callable[..., Any]:
    def pull(leaves: Sequence[Any], g: Arrays) -> list[Arrays]:
        return [flat.pulling(subset)(leaves, g)[1] for subset in some]

    return pull


def check_nan(trial: Trial) -> str:
    """A NaN in the cotangent is not swallowed: it reaches what the oracle lets it reach, and nothing else."""
    for case in trial.main:
        g = [jnp.full(y.shape, jnp.nan, y.dtype) for y in case.flat.outputs]
        found, expected = case.flat.pull(case.leaves, g)[1], oracle(case.flat).pull(case.leaves, g)[1]
        for i, x, x0 in zip(case.flat.wanted, found, expected, strict=True):
            if x0 is None:
                continue
            a, b = np.isnan(wide(x)), np.isnan(wide(x0))
            # A rule may select where the oracle multiplies by 0, so it may give fewer NaNs, but not none.
            if a.any() != b.any():
                raise Wrong(f"{_whose(case.flat, i, ())} is {'NaN' if a.any() else 'free of NaN'} for a g of NaNs only")
            if (a & ~b).any():
                raise Wrong(f"{_whose(case.flat, i, ())} has more NaNs than the oracle's for a g of NaNs only")
    return "in g reaches every cotangent that reads it"


def _size(arrays: Arrays) -> float:
    """The largest entry of all cotangents: where one is nothing but cancellation, its error is relative to this."""
    return max([largest(x) for x in arrays], default=0.0)


def _assert_linear(case: Case, found: Arrays, expected: Arrays, why: str, size: float) -> None:
    """`Wrong` unless they are the same, but for what is not claimed to be linear."""
    claimed = [n for n, i in enumerate(case.flat.wanted) if case.flat.claims_linear(i)]
    which = [case.flat.wanted[n] for n in claimed]
    _assert_same(case, [found[n] for n in claimed], [expected[n] for n in claimed], why, size, which)


def _assert_same(
    case: Case, found: Arrays, expected: Arrays, why: str, size: float, which: Sequence[int] | None = None
) -> None:
    for i, a, b in zip(case.flat.wanted if which is None else which, found, expected, strict=True):
        if apart := difference(a, b, EXACT, EXACT * size):
            raise Wrong(f"{_whose(case.flat, i, apart.index)} {why} (at {case}): {apart}")
