"""The cotangents are what the rules claim them to be, in float64: entry by entry, not along one direction."""

from collections.abc import Iterator
from functools import partial

import jax.numpy as jnp
import numpy as np

from funcgrad.checking.differences import difference, index_text, wide
from funcgrad.checking.rules import complex_numbers, hazards, second_order
from funcgrad.checking.rules.cases import Case
from funcgrad.checking.rules.flat_ops import FlatOp, put
from funcgrad.checking.rules.kinks import find_kinks, find_outside_hull
from funcgrad.checking.rules.oracles import oracle
from funcgrad.checking.rules.reports import Open, Row, Wrong, judge
from funcgrad.checking.rules.trials import Comparison, Trial
from funcgrad.registry import Marker


def make_rows(trial: Trial) -> Iterator[Row]:
    """One row per argument, then those for all."""
    yield from make_cotangent_rows(trial)
    yield judge("values", "at kinks", partial(check_conventions, trial))
    yield from hazards.make_rows(trial)
    yield from second_order.make_rows(trial)
    yield from complex_numbers.make_rows(trial)


def make_cotangent_rows(trial: Trial) -> Iterator[Row]:
    """One row per argument."""
    for name in trial.names:
        yield judge("values", f"cotangent of {name}", partial(check_cotangent, trial, name))


def check_cotangent(trial: Trial, name: str) -> str:
    """The full cotangent of one leaf, at all points and for all seeds."""
    own, places, seen = 0, set(), ""
    for m in trial.comparisons:
        if (found := m.of(name)) is None or m.expected[found[1]] is None:
            continue
        i, c = found
        share = oracle(m.flat).share
        places.add((id(m.case), m.point))
        seen = seen or f"{m.flat.maker(i)}: as {claim(m.flat, i)}"
        apart = difference(m.found[c], m.expected[c], share, share * m.floors[c])
        if apart is None:
            continue
        if not _is_a_convention(m, i, c):
            raise Wrong(
                f"the cotangent of {name}{index_text(apart.index)} by {m.flat.maker(i)} is not that of "
                f"{claim(m.flat, i)} {m.where}: {apart}"
            )
        own += 1
    if not places:
        is_linear = any(m.flat.claims_linear(found[0]) for m in trial.comparisons if (found := m.of(name)) is not None)
        raise Open("modified: claims only to be linear" if is_linear else "nonlinear: claims no values")
    convention = f"; at {own} of them its own subgradient" if own else ""
    return f"{seen}, at {len(places)} points{convention}"


def claim(flat: FlatOp, i: int) -> str:
    """What the oracle differentiates for the i-th leaf."""
    kind = flat.kind(i)
    if flat.rule(i) is Marker.NON_DIFFERENTIABLE:
        return "an argument marked non-differentiable"
    if kind is not None and kind.of is not None:
        return f"the {kind}"
    return f"{oracle(flat).method} of the plain forward"


def _is_a_convention(m: Comparison, i: int, c: int) -> bool:
    """Whether what differs stands at kinks only, and is a subgradient there, by a rule that claims no more."""
    kind = m.flat.kind(i)
    if kind is None or kind.name != "subgradient":
        return False
    pull = oracle(m.flat).pull
    at_kinks = find_kinks(m.flat, m.leaves, lambda leaves: pull(leaves, m.g)[1][c : c + 1])[0]
    smooth_part = difference(m.found[c], m.expected[c], oracle(m.flat).share, open=at_kinks)
    return smooth_part is None and find_outside_hull(m.flat, m.leaves, c) is None


def check_conventions(trial: Trial) -> str:
    """What a rule does at kinks and ties is what it declares, where it does so in numbers."""
    said = []
    for case in trial.given[:1]:
        for i in case.flat.wanted:
            kind = case.flat.kind(i)
            if kind is None or kind.name != "subgradient":
                continue
            is_told = bool(kind.slopes) or kind.even_at_ties
            said.append(f"{case.flat.names[i]}: {kind.convention}{'' if is_told else ' (in words, not tested)'}")
            for point, slope in kind.slopes:
                _assert_slope(case, i, point, slope)
            if kind.even_at_ties:
                _assert_even(case, i)
    if not said:
        raise Open("no rule declares a subgradient")
    return "; ".join(said)


def _assert_slope(case: Case, i: int, point: float, slope: float | str) -> None:
    """Of an elementwise function, where its argument is the same number everywhere."""
    flat, attributes = case.flat, dict(case.flat.call.attributes)
    expected = attributes[slope] if isinstance(slope, str) else slope
    found = _pull_ones(case, {i: point})[flat.wanted.index(i)]
    if (apart := difference(found, np.full(found.shape, expected))) is not None:
        raise Wrong(f"{flat.maker(i)} declares a slope of {expected:g} at {flat.names[i]} = {point:g}: {apart}")


def _assert_even(case: Case, i: int) -> None:
    """Where everything ties, arguments share each output's cotangent equally, and so do the entries of each.

    Of `max(a, b)` half goes to `a`, also where it was broadcast; of `max(x, axis)` as much to each entry along that.
    """
    flat = case.flat
    found = _pull_ones(case, dict.fromkeys(flat.moving, 1.0))[flat.wanted.index(i)]
    outputs = sum(int(np.prod(y.shape)) for y in flat.outputs)
    expected = outputs / len(flat.moving) / max(found.size, 1)
    if (apart := difference(found, np.full(found.shape, expected))) is not None:
        raise Wrong(f"{flat.maker(i)} declares equal parts at ties, and {flat.names[i]} gets others: {apart}")


def _pull_ones(case: Case, numbers: dict[int, float]) -> list[np.ndarray]:
    """The cotangents for a `g` of ones, where the leaves at some positions hold one number each."""
    filled = [jnp.full_like(case.leaves[i], x) for i, x in numbers.items()]
    g = [jnp.ones(y.shape, y.dtype) for y in case.flat.outputs]
    return [wide(x) for x in case.flat.pull(put(case.leaves, tuple(numbers), filled), g)[1]]
