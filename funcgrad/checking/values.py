"""The cotangents are what the rules claim them to be, in float64: entry by entry, not along one direction."""

from collections.abc import Iterator
from functools import partial

import jax.numpy as jnp
import numpy as np

from funcgrad.checking import curvature, hazards
from funcgrad.checking.comparing import difference, index_text, wide
from funcgrad.checking.forms import Form, put
from funcgrad.checking.kinks import declared, kinky, outside_the_hull
from funcgrad.checking.oracles import oracle
from funcgrad.checking.reports import Open, Row, Wrong, judge
from funcgrad.checking.subjects import Subject
from funcgrad.checking.trials import Measurement, Trial
from funcgrad.registry import Marker


def rows(trial: Trial) -> Iterator[Row]:
    """One row per argument, then those for all."""
    yield from cotangents(trial)
    yield judge("values", "at kinks", partial(conventions, trial))
    yield from hazards.rows(trial)
    yield from curvature.rows(trial)


def cotangents(trial: Trial) -> Iterator[Row]:
    """One row per argument."""
    for name in trial.names:
        yield judge("values", f"cotangent of {name}", partial(cotangent, trial, name))


def cotangent(trial: Trial, name: str) -> str:
    """The full cotangent of one leaf, at all points and for all seeds."""
    own, places, seen = 0, set(), ""
    for m in trial.measured:
        if (found := m.of(name)) is None or m.expected[found[1]] is None:
            continue
        i, c = found
        share = oracle(m.form).share
        places.add((id(m.subject), m.point))
        seen = seen or f"{m.form.blame(i)}: as {claim(m.form, i)}"
        apart = difference(m.found[c], m.expected[c], share, share * m.floors[c])
        if apart is None:
            continue
        if not _is_a_convention(m, i, c):
            raise Wrong(
                f"the cotangent of {name}{index_text(apart.index)} by {m.form.blame(i)} is not that of "
                f"{claim(m.form, i)} {m.where}: {apart}"
            )
        own += 1
    if not places:
        raise Open("modified: claims only to be linear")
    convention = f"; at {own} of them its own subgradient" if own else ""
    return f"{seen}, at {len(places)} points{convention}"


def claim(form: Form, i: int) -> str:
    """What the oracle differentiates for the i-th leaf."""
    kind = form.kind(i)
    if form.rule(i) is Marker.NON_DIFFERENTIABLE:
        return "an argument marked non-differentiable"
    if kind is not None and kind.of is not None:
        return f"the {kind}"
    return f"{oracle(form).method} of the plain forward"


def _is_a_convention(m: Measurement, i: int, c: int) -> bool:
    """Whether what differs stands at kinks only, and is a subgradient there, by a rule that claims no more."""
    kind = m.form.kind(i)
    if kind is None or kind.name != "subgradient":
        return False
    pull = oracle(m.form).pull
    at_kinks = kinky(m.form, m.leaves, lambda leaves: pull(leaves, m.g)[1][c : c + 1])[0]
    smooth_part = difference(m.found[c], m.expected[c], oracle(m.form).share, open=at_kinks)
    return smooth_part is None and outside_the_hull(m.form, m.leaves, c) is None


def conventions(trial: Trial) -> str:
    """The slope at a kink is the declared one, where the convention says it in numbers: `0 at 0 and 6`."""
    said = []
    for s in trial.given[:1]:
        for i in s.form.wanted:
            kind = s.form.kind(i)
            if kind is None or kind.name != "subgradient":
                continue
            said.append(f"{s.form.names[i]}: {kind.convention}")
            slopes = declared(kind.convention) if _is_elementwise(s.form) else {}
            for point, slope in slopes.items():
                found = _slope(s, i, point)
                if (apart := difference(found, np.full(found.shape, slope))) is not None:
                    raise Wrong(
                        f"{s.form.blame(i)} declares a slope of {slope:g} at {s.form.names[i]} = {point:g}: {apart}"
                    )
    if not said:
        raise Open("no rule declares a subgradient")
    return "; ".join(said)


def _is_elementwise(form: Form) -> bool:
    return form.op.core_axes == 0 and len(form.moving) == 1 and len(form.outputs) == 1


def _slope(s: Subject, i: int, point: float) -> np.ndarray:
    leaves = put(s.leaves, (i,), (jnp.full_like(s.leaves[i], point),))
    return wide(s.form.pull(leaves, [jnp.ones(y.shape, y.dtype) for y in s.form.outputs])[1][0])
