"""`fg.check`: all tests of the rules of one op, or of one primitive of JAX's."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from funcgrad.checking.rules import contract, correctness, costs, linearity, numerics, transformations
from funcgrad.checking.rules.examples import choose_examples
from funcgrad.checking.rules.flat_ops import compiled
from funcgrad.checking.rules.primitives import name_of_primitive, op_of
from funcgrad.checking.rules.reports import GROUPS, Open, Report, Row, Verdict, Wrong, judge
from funcgrad.checking.rules.rule_traces import trace_rule
from funcgrad.checking.rules.search import find_simplest
from funcgrad.checking.rules.sets import under
from funcgrad.checking.rules.trials import Trial, is_defined
from funcgrad.errors import CheckError, require
from funcgrad.registry import Example, Op, Rule, RuleSet


def check(
    op: Op | str | Callable[..., Any],
    cases: Sequence[Any] | None = None,
    attributes: Mapping[str, Any] | None = None,
    strict: bool = False,
    thorough: bool = False,
    fail_fast: bool = False,
    made_up: int = 0,
    groups: Sequence[str] = GROUPS,
    rules: RuleSet | None = None,
) -> Report:
    """Check the rules of an op against what they claim to be.

    Every cotangent is compared entry by entry with JAX's own derivative of the plain forward, in float64 whatever
    `jax_enable_x64` says; besides, what a rule owes the library, that it is linear in the cotangent, that it is the
    same under every transformation, and how exact it is in each floating type. A `subgradient` may differ at kinks,
    by a subgradient; a `surrogate` is compared with the function it declares; a `modified` rule claims to be linear,
    and no more; a `nonlinear` one claims not even that.

    Args:
        op: the op; or a primitive of JAX's for which rules are written down, by its name, `"dot_general"`, or as the
            function of JAX's that is this primitive, `jax.lax.tanh`, `jnp.maximum`.
        cases: examples of its arguments, each a tuple; the first is used for the costlier tests. Without them, those
            registered with `op.example`, or one made from the declared shapes. Those of a primitive stand in its row.
        attributes: static attributes for all of them.
        strict: raise where something is wrong.
        thorough: run the costlier tests on every example.
        fail_fast: stop at the first row that is wrong.
        made_up: try so many examples more, made up by Hypothesis from the declared shapes, and report the simplest
            wrong one. Each compiles anew.
        groups: which groups of rows to run, beside the contract; all of them by default: `"values"`, `"linearity"`,
            `"transformations"`, `"numerics"`, `"costs"`.
        rules: check a set of rules: the op with those of its rules that the set replaces, wherever it has them stand;
            or the gradient of any function under the set, at `cases`. What the set claims is what its rules do: of
            several, or where a hook is among them, that it is linear, unless one of them is `nonlinear`.

    Returns:
        A row per property that was tested, right, wrong or not tested, and why. Print it, or ask `.ok`.

    Raises:
        CheckError: there is nothing to check it on, or no such group, or no rule for such a primitive; with
            `strict`, the first wrong row, with the table as a note.

    >>> import jax.numpy as jnp
    >>> import funcgrad as fg
    >>> @fg.op(elementwise=True)
    ... def checked_cube(x):
    ...     return x**3
    >>> @checked_cube.pullback("x")
    ... def cube_x(g, x):
    ...     return 2 * g * x**2
    >>> report = fg.check(checked_cube, cases=[jnp.array([1.0, 2.0])], groups=["values"], fail_fast=True)
    >>> report.ok, report.wrong[0].name
    (False, 'cotangent of x')
    >>> fg.check("tanh", groups=["linearity"]).ok
    True
    """
    if not (isinstance(op, Op | str) or callable(op)):
        raise CheckError(
            f"fg.check expects an op made by fg.op, the name of a primitive of JAX's, or its function, got "
            f"{type(op).__name__}."
        )
    require(groups, (tuple, list, set, frozenset), "groups", "several of the names of groups", CheckError)
    require(cases, (tuple, list, type(None)), "cases", "a list of tuples of arguments, [(x, w), ...]", CheckError)
    require(attributes, (Mapping, type(None)), "attributes", "a mapping by name, {'axis': 0}", CheckError)
    if unknown := [g for g in groups if g not in GROUPS]:
        raise CheckError(f"fg.check has no group '{unknown[0]}'; the groups are {', '.join(GROUPS)}.")
    x64 = bool(jax.config.read("jax_enable_x64"))
    # A rule may read something in Python that is another thing than at the last check.
    compiled.forget()
    trace_rule.forget()
    with jax.enable_x64(True):
        if rules is not None:
            op, groups = under(op, rules, cases, attributes or {}, groups)
        elif not isinstance(op, Op):
            op = op_of(op if isinstance(op, str) else name_of_primitive(op))
        examples = choose_examples(op, cases, attributes or {})
        rows = []
        for row in _rows(Trial(op, examples, thorough, x64), groups, made_up):
            rows.append(row)
            if fail_fast and row.verdict is Verdict.WRONG:
                break
    report = Report(op.name, _described(op), tuple(map(str, examples)), tuple(rows))
    if strict:
        report.raise_if_wrong()
    return report


def assert_rules(
    op: Op | str | Callable[..., Any],
    cases: Sequence[Any] | None = None,
    attributes: Mapping[str, Any] | None = None,
    thorough: bool = False,
) -> None:
    """`check` for a test suite: pass where all rules are right, else fail with the first wrong row and the table.

    Args:
        op: as in `check`.
        cases: as there.
        attributes: as there.
        thorough: as there.

    Raises:
        CheckError: a rule is wrong, or there is nothing to check it on. It is an AssertionError.

    >>> import funcgrad as fg
    >>> for op in (fg.ops.tanh, "exp"):  # or pytest.mark.parametrize
    ...     fg.checking.assert_rules(op)
    """
    check(op, cases, attributes, strict=True, thorough=thorough)


def _rows(trial: Trial, groups: Sequence[str], made_up: int) -> Iterator[Row]:
    """All rows; only the contract's where a rule cannot be run at all."""
    found = list(contract.make_rows(trial))
    yield from found
    if found[0].verdict is Verdict.WRONG:
        return
    tests = (correctness, linearity, transformations, numerics, costs)
    for name, group in zip(GROUPS[1:], tests, strict=True):
        if name in groups:
            yield from group.make_rows(trial)
    if made_up:
        yield judge("values", "made-up arguments", partial(_search, trial, made_up))


def _search(trial: Trial, n: int) -> str:
    """Contract and cotangents at made-up arguments."""
    accepted: list[Example] = []

    def is_wrong(example: Example) -> bool:
        return any(r.verdict is Verdict.WRONG for r in _at(trial.op, example, accepted))

    found = find_simplest(trial.op, trial.given[0].example, is_wrong, n)
    if found is not None:
        wrong = next(r for r in _at(trial.op, found, accepted) if r.verdict is Verdict.WRONG)
        pairs = zip(trial.op.arguments, found.arguments, strict=False)
        numbers = ", ".join(f"{n} = {np.asarray(x).tolist()}" for n, x in pairs)
        raise Wrong(f"{wrong.name}: {wrong.detail}; there {numbers}")
    if not accepted:
        raise Open("the forward refuses all that follows from the declared shapes")
    return f"right at {len(accepted)} examples made up from the declared shapes"


def _at(op: Op, example: Example, accepted: list[Example]) -> list[Row]:
    """Rows of contract and cotangents at one made-up example; none where the forward refuses it."""
    trial = Trial(op, [example], others=False)
    try:
        outputs = trial.given[0].flat.outputs
    except Exception:  # the forward's own refusal, of any kind
        return []
    if not outputs or not is_defined(trial.given[0], trial.given[0].leaves):
        return []
    accepted.append(example)
    return [*contract.make_rows(trial), *correctness.make_cotangent_rows(trial)]


def _described(op: Op) -> tuple[str, ...]:
    """One line per argument: who gives its cotangent, and what that claims."""
    rules = {a: op.rules.get(a) for a in op.arguments}
    return tuple(
        f"{a}: {r.name}, {r.kind}" if isinstance(r, Rule) else f"{a}: {r.value if r else 'derived by jax.vjp'}"
        for a, r in rules.items()
    )
