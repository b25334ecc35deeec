"""What the rules cost: the memory they make the forward keep, and the arithmetic."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax

from funcgrad.checking.forms import Form, partially
from funcgrad.checking.oracles import oracle
from funcgrad.checking.reports import Open, Row, Wrong, judge
from funcgrad.checking.tracing import trace
from funcgrad.checking.trials import Trial
from funcgrad.plans.table import quantity
from funcgrad.registry import Rule


def rows(trial: Trial) -> Iterator[Row]:
    """Reads, bytes, FLOPs."""
    yield judge("economy", "reads", partial(reads, trial))
    yield judge("economy", "kept bytes", partial(kept, trial))
    yield judge("economy", "FLOPs", partial(flops, trial))


def _rules(form: Form) -> list[Rule]:
    served = {form.owners[i] for i in form.wanted}
    found = dict.fromkeys(r for _, r in form.rules if isinstance(r, Rule))
    return [r for r in found if served & set(r.arguments)]


def reads(trial: Trial) -> str:
    """A rule reads what it asks for: the forward keeps it for that reason alone."""
    asked: dict[Rule, set[str]] = {}
    unread: dict[Rule, set[str]] = {}
    for s in trial.subjects:
        for rule in _rules(s.form):
            found = trace(s.form, rule)
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


def kept(trial: Trial) -> str:
    """Bytes kept for all rules together, beside what `jax.vjp` of the plain forward keeps."""
    s = trial.main[0]
    rules = _rules(s.form)
    if not rules:
        raise Open("no rule by hand")
    ours = sum(trace(s.form, r).kept for r in rules), sum(trace(s.form, r).in_place for r in rules)
    text = f"{quantity(ours[0], 'B')} and {quantity(ours[1], 'B')} of arguments, rule by rule"
    if not oracle(s.form).is_jax:
        return text
    return f"{text}; jax.vjp {quantity(_residual_bytes(s.form), 'B')} in all"


def _residual_bytes(form: Form) -> int:
    """Bytes that the function `jax.vjp` returns holds, arguments included."""

    def residuals(*leaves: Any) -> list[Any]:
        pull = jax.vjp(partially(form.plain, leaves, form.wanted), *[leaves[i] for i in form.wanted])[1]
        return [x for x in jax.tree.leaves(pull) if hasattr(x, "dtype")]

    found = jax.eval_shape(residuals, *form.avals)
    return sum(x.size * x.dtype.itemsize for x in found if not jax.numpy.issubdtype(x.dtype, jax.dtypes.extended))


def flops(trial: Trial) -> str:
    """Forward and backward together, as XLA counts them in the compiled program."""
    s = trial.main[0]
    if not _rules(s.form) or not oracle(s.form).is_jax:
        raise Open("no rule by hand" if not _rules(s.form) else "JAX cannot differentiate the forward")
    ours, theirs = (_counted(f, s.form) for f in (s.form.pull, oracle(s.form).pull))
    if ours is None or theirs is None:
        raise Open("this backend does not count them")
    return f"{quantity(ours)} forward and backward; jax.vjp {quantity(theirs)}"


def _counted(program: Callable[..., Any], form: Form) -> float | None:
    analysis = program.lower(list(form.avals), form.outputs).cost_analysis()  # pyright: ignore[reportFunctionMemberAccess]
    return (analysis or {}).get("flops")
