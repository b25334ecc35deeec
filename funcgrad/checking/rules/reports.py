"""What a check found: a row per property, as data and as the table that `print` shows."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from funcgrad.errors import CheckError

GROUPS = ("contract", "values", "linearity", "transformations", "numerics", "costs")


class Verdict(Enum):
    """How a row ended."""

    RIGHT = "right"
    WRONG = "WRONG"
    OPEN = "not tested"
    """The rule does not claim it, or nobody can say; the detail gives the reason."""


class Wrong(Exception):
    """Raised by a test: the rule is wrong, and this sentence says where."""


class Open(Exception):
    """Raised by a test: there is nothing to test, for this reason."""


@dataclass(frozen=True)
class Row:
    """One property of the rules of an op.

    Attributes:
        group: which part of the check it is of, `values`.
        name: what was tested, `cotangent of x`.
        verdict: how it ended.
        detail: what was seen; for a wrong row one sentence: where, expected, found; for one that was not tested, why.

    >>> import funcgrad as fg
    >>> row = fg.check(fg.ops.tanh, groups=["linearity"]).row("linearity", "zero")
    >>> row.verdict is fg.checking.Verdict.RIGHT, row.detail.startswith("exact zeros at ")
    (True, True)
    """

    group: str
    name: str
    verdict: Verdict
    detail: str


def judge(group: str, name: str, test: Callable[[], str]) -> Row:
    """Run one test. It returns what it saw, or raises `Wrong` or `Open`; another error is the rule's fault.

    Raises:
        CheckError: nothing can be tested.
    """
    try:
        return Row(group, name, Verdict.RIGHT, test())
    except CheckError:
        raise
    except Open as reason:
        return Row(group, name, Verdict.OPEN, str(reason))
    except Wrong as sentence:
        return Row(group, name, Verdict.WRONG, str(sentence))
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        return Row(group, name, Verdict.WRONG, f"raises {type(error).__name__}: {first}")


@dataclass(frozen=True)
class Report:
    """What `fg.check` found of one op. Print it.

    Attributes:
        op: its name.
        rules: one entry per argument, `x: relu_x, subgradient (0 at 0)`.
        examples: where it was checked, `f32[2,3], f32[3,4]`.
        rows: one per property.

    >>> import funcgrad as fg
    >>> report = fg.check(fg.ops.tanh, groups=[])
    >>> report.ok, report.op, report.rules
    (True, 'tanh', ('x: tanh_x, exact',))
    >>> [row.name for row in report.rows]
    ['rules', 'saving forward', 'saved values', 'markers']
    """

    op: str
    rules: tuple[str, ...]
    examples: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        """Whether no row is wrong."""
        return not self.wrong

    @property
    def wrong(self) -> tuple[Row, ...]:
        """The rows that are wrong."""
        return tuple(r for r in self.rows if r.verdict is Verdict.WRONG)

    def row(self, group: str, name: str) -> Row:
        """A row by its group and name.

        Args:
            group: its group, `"values"`.
            name: its name, `"cotangent of x"`.

        Returns:
            The row.

        Raises:
            CheckError: there is none.
        """
        found = [r for r in self.rows if (r.group, r.name) == (group, name)]
        if not found:
            rows = ", ".join(r.name for r in self.rows if r.group == group) or "none"
            raise CheckError(f"{self.op}: the report has no row '{name}' in the group '{group}', which has {rows}.")
        return found[0]

    def raise_if_wrong(self) -> None:
        """Fail where something is wrong.

        Raises:
            CheckError: the first wrong row; the whole table is a note to it.
        """
        if self.ok:
            return
        first, *others = self.wrong
        more = f" ({len(others)} more wrong: {', '.join(r.name for r in others)})" if others else ""
        error = CheckError(f"{self.op}: {first.group}, {first.name}: {first.detail.rstrip('.')}{more}.")
        error.add_note(str(self))
        raise error

    def __str__(self) -> str:
        verdict = "right" if self.ok else f"WRONG in {len(self.wrong)} of {len(self.rows)} rows"
        widths = [max(len(r.group) for r in self.rows), max(len(r.name) for r in self.rows)]
        lines = [f"{self.op}: {verdict}", *(f"    {rule}" for rule in self.rules)]
        lines += [f"    at {len(self.examples)} examples, first ({self.examples[0]})", ""]
        group = ""
        for r in self.rows:
            shown, group = ("" if r.group == group else r.group), r.group
            lines.append(f"{shown:<{widths[0]}}  {r.name:<{widths[1]}}  {r.verdict.value:<10}  {r.detail}".rstrip())
        return "\n".join(lines)
