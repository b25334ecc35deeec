"""The cotangents are what the rules claim them to be, in float64: entry by entry, not along one direction."""

from collections.abc import Iterator
from functools import partial

import jax.numpy as jnp
import numpy as np

from funcgrad.checking.differences import difference, index_text, wide
from funcgrad.checking.rules import complex_numbers, hazards, second_order
from funcgrad.checking.rules.cases import Case
from funcgrad.checking.rules.flat_ops import FlatOp, put
from funcgrad.checking.rules.kinks import declared, find_kinks, find_outside_hull
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
        raise Open("modified: claims only to be linear")
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
    """The slope at a kink is the declared one, where the convention says it in numbers: `0 at 0 and 6`."""
    said = []
    for case in trial.given[:1]:
        flat = case.flat
        for i in flat.wanted:
            kind = flat.kind(i)
            if kind is None or kind.name != "subgradient":
                continue
            said.append(f"{case.flat.names[i]}: {kind.convention}")
            slopes = declared(kind.convention) if _is_elementwise(case.flat) else {}
            for point, slope in slopes.items():
                found = _slope(case, i, point)
                if (apart := difference(found, np.full(found.shape, slope))) is not None:
                    raise Wrong(
                        f"{flat.maker(i)} declares a slope of {slope:g} at {flat.names[i]} = {point:g}: {apart}"
                    )
    if not said:
        raise Open("no rule declares a subgradient")
    return "; ".join(said)


def _is_elementwise(flat: FlatOp) -> bool:
    return flat.op.core_axes == 0 and len(flat.moving) == 1 and len(flat.outputs) == 1


def _slope(case: Case, i: int, point: float) -> np.ndarray:
    leaves = put(case.leaves, (i,), (jnp.full_like(case.leaves[i], point),))
    return wide(case.flat.pull(leaves, [jnp.ones(y.shape, y.dtype) for y in case.flat.outputs])[1][0])
