"""What a rule gets wrong in silence where it was never tried: zeros for NaN, or for what was rounded another way."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from funcgrad.aliases import Array
from funcgrad.checking.differences import difference, index_text, largest, wide
from funcgrad.checking.rules.flat_ops import Arrays, FlatOp, compiled, put
from funcgrad.checking.rules.oracles import ROUGH, oracle
from funcgrad.checking.rules.reports import Open, Row, Wrong, judge
from funcgrad.checking.rules.rule_traces import trace_rule
from funcgrad.checking.rules.trials import Trial
from funcgrad.registry import Rule

NUDGE = 1 + 2.0**-50
"""A few roundings of float64, and nothing for zero: equal entries stay equal."""


def make_rows(trial: Trial) -> Iterator[Row]:
    """NaN, and roundings."""
    yield judge("values", "at NaN", partial(check_nan, trial))
    yield judge("values", "recomputed", partial(check_recomputed, trial))


def check_nan(trial: Trial) -> str:
    """A NaN in an argument that the output shows is in every cotangent that the oracle has it in, at any entry."""
    poisoned, shown = 0, 0
    for case in trial.main:
        flat, by_jax = case.flat, oracle(case.flat)
        for i in flat.moving if by_jax.is_jax else ():
            leaves, g = put(case.leaves, (i,), (_poisoned(case.leaves[i]),)), case.random_g()
            outputs, found = flat.pull(leaves, g)
            if not any(map(_has_nan, outputs)):
                continue
            poisoned += 1
            without = [c for c, x in enumerate(found) if not _has_nan(x)]
            shown += len(found) - len(without)
            # The oracle by steps is slow to start, and needed only to acquit.
            expected = by_jax.pull_by_steps(leaves, g)[1] if without else []
            for c in without:
                if (x0 := expected[c]) is not None and _has_nan(x0):
                    raise Wrong(
                        f"the cotangent of {flat.names[flat.wanted[c]]} by {flat.maker(flat.wanted[c])} hides the NaN "
                        f"that {by_jax.method} has where {flat.names[i]} holds one, ({case}); let it through"
                    )
    if not poisoned:
        raise Open("no output shows a NaN of an argument")
    return f"{poisoned} arguments made NaN in turn: {shown} cotangents show it, none hides it"


def _poisoned(x: Array) -> Array:
    """One entry, in the middle, is NaN."""
    return jnp.where(jnp.arange(x.size).reshape(x.shape) == x.size // 2, jnp.nan, x)


def _has_nan(x: Array) -> bool:
    return bool(np.isnan(wide(x)).any())


def check_recomputed(trial: Trial) -> str:
    """Arguments that are computed again may be rounded otherwise than those that the output was made of.

    A rule that looks for the argument that equals the output finds none then. Where the cotangent jumps with the
    output as well, the point is at a kink, which is no fault.
    """
    counted = 0
    for case in trial.main:
        flat, here, g = case.flat, case.leaves, case.random_g()
        if not any(both := [_reads_both(flat, i) for i in flat.wanted]):
            continue
        nudged = [x * NUDGE if i in flat.moving else x for i, x in enumerate(here)]
        pull = compiled(_pull, flat)
        expected, beside, found = (pull(*x, g) for x in ((here, here), (nudged, nudged), (here, nudged)))
        size = max(largest(x) for x in (*g, *(x for x in expected if x is not None)))
        for i, at_risk, x0, x1, x in zip(flat.wanted, both, expected, beside, found, strict=True):
            if not at_risk:
                continue
            counted += 1
            jumps = ~np.isclose(wide(x1), wide(x0), rtol=0, atol=ROUGH * size, equal_nan=True)
            if apart := difference(x, x0, 0, ROUGH * size, open=jumps):
                raise Wrong(
                    f"the cotangent of {flat.names[i]}{index_text(apart.index)} by {flat.maker(i)} takes arguments and "
                    f"output to be rounded alike, and arguments may be computed again, ({case}): {apart}; do not "
                    f"compare the two"
                )
    if not counted:
        raise Open("no rule reads both arguments and outputs")
    return f"{counted} cotangents are the same where arguments are computed again, rounded otherwise"


def _reads_both(flat: FlatOp, i: int) -> bool:
    """Whether the rule for the i-th leaf reads arguments beside what the forward made of them."""
    rule = flat.rule(i)
    return isinstance(rule, Rule) and min(trace_rule(flat, rule).kept, trace_rule(flat, rule).in_place) > 0


def _pull(flat: FlatOp) -> Callable[..., Any]:
    """All rules, on what the forward makes of `leaves`, beside `arguments` in the place of these."""
    linear = flat.call.linear(flat.avals, flat.wanted)

    def pull(leaves: Arrays, arguments: Arrays, g: Arrays) -> list[Array | None]:
        return flat.call.differential(linear).pull([*arguments, *flat.call.evaluate(*leaves)], g)

    return pull
