"""What the rules cost: the memory they make the forward keep, and the arithmetic."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax

from funcgrad.checking.rules.flat_ops import FlatOp, partially
from funcgrad.checking.rules.oracles import oracle
from funcgrad.checking.rules.reports import Open, Row, Wrong, judge
from funcgrad.checking.rules.rule_traces import trace_rule
from funcgrad.checking.rules.trials import Trial
from funcgrad.registry import Rule
from funcgrad.view import quantity


def make_rows(trial: Trial) -> Iterator[Row]:
    """Reads, bytes, FLOPs."""
    yield judge("costs", "reads", partial(check_reads, trial))
    yield judge("costs", "kept bytes", partial(report_kept_bytes, trial))
    yield judge("costs", "FLOPs", partial(report_flops, trial))


def _rules(flat: FlatOp) -> list[Rule]:
    served = {flat.owners[i] for i in flat.wanted}
    found = dict.fromkeys(r for _, r in flat.rules if isinstance(r, Rule))
    return [r for r in found if served & set(r.arguments)]


def check_reads(trial: Trial) -> str:
    """A rule reads what it asks for: the forward keeps it for that reason alone."""
    asked: dict[Rule, set[str]] = {}
    unread: dict[Rule, set[str]] = {}
    for case in trial.cases:
        for rule in _rules(case.flat):
            found = trace_rule(case.flat, rule)
            asked.setdefault(rule, set()).update(found.asked)
            unread.setdefault(rule, set(found.unread)).intersection_update(found.unread)
    if not asked:
        raise Open("no rule by hand")
    notes = []
    for rule, names in unread.items():
        if not names:
            continue
        sentence = f"rule {rule.name} asks for {', '.join(sorted(names))} and never reads it"
        if not set(rule.needs) & set(trial.op.attributes):
            raise Wrong(f"{sentence}; drop the parameter, or the forward keeps the value for nothing")
        notes.append(f"{sentence} with these attributes")
    return "; ".join([*(f"{r.name}: {', '.join(sorted(n)) or 'g only'}" for r, n in asked.items()), *notes])


def report_kept_bytes(trial: Trial) -> str:
    """Bytes kept for all rules together, beside what `jax.vjp` of the plain forward keeps."""
    case = trial.main[0]
    rules = _rules(case.flat)
    if not rules:
        raise Open("no rule by hand")
    ours = sum(trace_rule(case.flat, r).kept for r in rules), sum(trace_rule(case.flat, r).in_place for r in rules)
    text = f"{quantity(ours[0], 'B')} and {quantity(ours[1], 'B')} of arguments, rule by rule"
    if not oracle(case.flat).is_jax:
        return text
    return f"{text}; jax.vjp {quantity(_residual_bytes(case.flat), 'B')} in all"


def _residual_bytes(flat: FlatOp) -> int:
    """Bytes that the function `jax.vjp` returns holds, arguments included."""

    def residuals(*leaves: Any) -> list[Any]:
        pull = jax.vjp(partially(flat.plain, leaves, flat.wanted), *[leaves[i] for i in flat.wanted])[1]
        return [x for x in jax.tree.leaves(pull) if hasattr(x, "dtype")]

    found = jax.eval_shape(residuals, *flat.avals)
    return sum(x.size * x.dtype.itemsize for x in found if not jax.numpy.issubdtype(x.dtype, jax.dtypes.extended))


def report_flops(trial: Trial) -> str:
    """Forward and backward together, as XLA counts them in the compiled program."""
    case = trial.main[0]
    if not _rules(case.flat) or not oracle(case.flat).is_jax:
        raise Open("no rule by hand" if not _rules(case.flat) else "JAX cannot differentiate the forward")
    ours, theirs = (_counted(f, case.flat) for f in (case.flat.pull, oracle(case.flat).pull))
    if ours is None or theirs is None:
        raise Open("this backend does not count them")
    return f"{quantity(ours)} forward and backward; jax.vjp {quantity(theirs)}"


def _counted(program: Callable[..., Any], flat: FlatOp) -> float | None:
    analysis = program.lower(list(flat.avals), flat.outputs).cost_analysis()  # pyright: ignore[reportFunctionMemberAccess]
    return (analysis or {}).get("flops")
