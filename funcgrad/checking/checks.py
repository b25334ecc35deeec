"""`fg.check`: all tests of the rules of one op."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

from funcgrad.checking import contract, economy, linearity, numerics, transformations, values
from funcgrad.checking.examples import chosen
from funcgrad.checking.reports import Report, Row, Verdict
from funcgrad.checking.trials import Trial
from funcgrad.errors import CheckError
from funcgrad.registry import Op, Rule


def check(
    op: Op,
    cases: Sequence[Any] | None = None,
    attributes: Mapping[str, Any] | None = None,
    strict: bool = False,
    thorough: bool = False,
    fail_fast: bool = False,
) -> Report:
    """Check the rules of an op against what they claim to be.

    Every cotangent is compared entry by entry with JAX's own derivative of the plain forward, in float64 whatever
    `jax_enable_x64` says; besides, what a rule owes the library, that it is linear in the cotangent, that it is the
    same under every transformation, and how exact it is in each floating type. A `subgradient` may differ at kinks,
    by a subgradient; a `surrogate` is compared with the function it declares; a `modified` rule claims to be linear,
    and no more. Print the report.

    Args:
        op: the op.
        cases: examples of its arguments, each a tuple; the first is used for the costlier tests. Without them, those
            registered with `op.example`, or one made from the declared shapes.
        attributes: static attributes for all of them.
        strict: raise where something is wrong.
        thorough: run the costlier tests on every example.
        fail_fast: stop at the first row that is wrong.

    Raises:
        CheckError: there is nothing to check it on; with `strict`, the first wrong row, with the table as a note.

    >>> print(fg.check(linear, cases=[(x, w)]))
    """
    if not isinstance(op, Op):
        raise CheckError(f"fg.check expects an op made by fg.op, got {type(op).__name__}.")
    x64 = jax.config.jax_enable_x64
    with jax.enable_x64(True):
        examples = chosen(op, cases, attributes or {})
        rows = []
        for row in _rows(Trial(op, examples, thorough, x64)):
            rows.append(row)
            if fail_fast and row.verdict is Verdict.WRONG:
                break
    report = Report(op.name, _described(op), tuple(map(str, examples)), tuple(rows))
    if strict:
        report.raise_if_wrong()
    return report


def assert_rules(
    op: Op, cases: Sequence[Any] | None = None, attributes: Mapping[str, Any] | None = None, thorough: bool = False
) -> None:
    """`check` for a test suite: pass where all rules are right, else fail with the first wrong row and the table.

    >>> @pytest.mark.parametrize("op", [linear, softmax], ids=str)
    ... def test_rules(op):
    ...     fg.checking.assert_rules(op)

    Raises:
        CheckError: a rule is wrong, or there is nothing to check it on. It is an AssertionError.
    """
    check(op, cases, attributes, strict=True, thorough=thorough)


def _rows(trial: Trial) -> Iterator[Row]:
    """All rows; only the contract's where a rule cannot be run at all."""
    found = list(contract.rows(trial))
    yield from found
    if found[0].verdict is Verdict.WRONG:
        return
    for group in (values, linearity, transformations, numerics, economy):
        yield from group.rows(trial)


def _described(op: Op) -> tuple[str, ...]:
    """One line per argument: who gives its cotangent, and what that claims."""
    rules = {a: op.rules.get(a) for a in op.arguments}
    return tuple(
        f"{a}: {r.name}, {r.kind}" if isinstance(r, Rule) else f"{a}: {r.value if r else 'derived by jax.vjp'}"
        for a, r in rules.items()
    )
