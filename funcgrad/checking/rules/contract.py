"""What a rule owes the library before it is right or wrong: forward, shapes, dtypes, names, markers."""

from collections.abc import Iterator
from functools import partial

import jax.numpy as jnp

from funcgrad.checking.differences import difference, index_text
from funcgrad.checking.rules.flat_ops import Arrays, FlatOp
from funcgrad.checking.rules.oracles import oracle
from funcgrad.checking.rules.reports import Open, Row, Wrong, judge
from funcgrad.checking.rules.rule_traces import trace_rule
from funcgrad.checking.rules.trials import Trial
from funcgrad.errors import describe
from funcgrad.primitive import is_inexact
from funcgrad.registry import Marker, Rule


def make_rows(trial: Trial) -> Iterator[Row]:
    """Rules first: where one cannot even be traced, nothing else can be said."""
    yield judge("contract", "rules", partial(check_returned, trial))
    yield judge("contract", "saving forward", partial(check_saving_forward, trial))
    yield judge("contract", "saved values", partial(check_saved_values, trial))
    yield judge("contract", "markers", partial(check_markers, trial))


def check_returned(trial: Trial) -> str:
    """Each rule returns one cotangent per leaf it serves, of its shape, in its precision at least."""
    found = _hand_rules(trial)
    for case in trial.cases:
        for rule in dict.fromkeys(r for _, r in case.flat.rules if isinstance(r, Rule)):
            _precise(case.flat, rule)
    served = sum(len(r.arguments) for r in found)
    return f"{len(found)} serve {served} of {len(trial.op.arguments)} arguments" if found else "none by hand: derived"


def _hand_rules(trial: Trial) -> list[Rule]:
    return list(dict.fromkeys(r for r in trial.op.rules.values() if isinstance(r, Rule)))


def _precise(flat: FlatOp, rule: Rule) -> None:
    if not any(flat.owners[i] in rule.arguments for i in flat.wanted):
        return
    returned = iter(trace_rule(flat, rule).returned)
    served = [i for a in rule.arguments for i, owner in enumerate(flat.owners) if owner == a]
    for i, aval in zip(served, returned, strict=False):
        if aval is not None and is_inexact(flat.avals[i]) and is_inexact(aval):
            if jnp.finfo(aval.dtype).eps > jnp.finfo(flat.avals[i].dtype).eps:
                raise Wrong(
                    f"rule {rule.name} returns the cotangent of {flat.names[i]}: {describe(flat.avals[i])} as "
                    f"{describe(aval)}, which rounds it; keep the dtype of g"
                )


def check_saving_forward(trial: Trial) -> str:
    """It returns what the plain forward does: at all points, and NaN where that returns NaN."""
    if trial.op.saving_function is None:
        raise Open("none: rules read arguments and outputs only")
    for m in trial.comparisons:
        for n, (found, expected) in enumerate(zip(m.outputs, m.expected_outputs, strict=True)):
            share = oracle(m.flat).share
            if apart := difference(found, expected, share):
                raise Wrong(
                    f"the saving forward's output{_number(n, m.outputs)}{index_text(apart.index)} is not that of the "
                    f"plain forward {m.where}: {apart}"
                )
    return f"returns what the plain forward does, and {', '.join(trial.op.saved)}"


def _number(n: int, outputs: Arrays) -> str:
    return f" {n}" if len(outputs) > 1 else ""


def check_saved_values(trial: Trial) -> str:
    """Every saved value is asked for by a rule: else it is memory for nothing."""
    if trial.op.saving_function is None:
        raise Open("none")
    asked = {need for rule in _hand_rules(trial) for need in rule.needs}
    if idle := [n for n in trial.op.saved if n not in asked]:
        raise Wrong(f"{', '.join(idle)} is saved and no rule asks for it; drop it from the saving forward")
    return f"all of {', '.join(trial.op.saved)} are asked for"


def check_markers(trial: Trial) -> str:
    """What cannot move is marked and not served; what is marked zero is zero."""
    for argument, rule in trial.op.rules.items():
        moves = any(f.owners[i] == argument for f in _flat_ops(trial) for i in f.moving)
        if isinstance(rule, Rule) and not moves:
            raise Wrong(
                f"rule {rule.name} serves {argument}, which has no cotangent ({_seen(trial, argument)} in all "
                f"examples); mark it: {trial.op.name}.mark({argument}=fg.Marker.NON_DIFFERENTIABLE)"
            )
    marked = [f"{a}: {r.value}" for a, r in trial.op.rules.items() if isinstance(r, Marker)]
    still = [
        a for a in trial.op.arguments
        if a not in trial.op.rules and any(a in f.owners for f in _flat_ops(trial))
        and not any(f.owners[i] == a for f in _flat_ops(trial) for i in f.moving)
    ]  # fmt: skip
    unmarked = [f"{a}: not marked, cannot move" for a in still]
    return ", ".join(marked + unmarked) or "all arguments can move"


def _flat_ops(trial: Trial) -> list[FlatOp]:
    return [case.flat for case in trial.given]


def _seen(trial: Trial, argument: str) -> str:
    avals = [a for f in _flat_ops(trial) for a, owner in zip(f.avals, f.owners, strict=True) if owner == argument]
    return describe(avals[0]) if avals else "not given"
