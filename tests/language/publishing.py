"""The cases as a page for readers: what passes, what raises, what does not work, what has no case."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from tests.language.case import Case, Family
from tests.language.cases import CASES, FAMILIES
from tests.language.exceptions import NEWER, REASONS

KINDS = {"f": "full", "h": "half", "c": "complex"}

INTRODUCTION = """\
# What of JAX's language funcgrad takes

This page is generated from the cases in `tests/language`:

    python -m tests.language --publish docs/language.md

A case is a public function of JAX (names stand here without `jax.`) at some arguments. For each, `fg.vjp` must give
the values and cotangents that `jax.vjp` gives, from random output cotangents, for all arguments at once (`float0` for
integers and booleans), and, where the result is a real scalar, `fg.value_and_grad` what `jax.value_and_grad` gives.
They agree to rounding in every dtype that the function takes: *full* is float64 and float32, *half* bfloat16 and
float16, *complex* complex128 and complex64. A dtype is left out only where JAX itself refuses it, which is tested as
well. Names with a star exist only in the newer of the two versions of JAX we test with.

The other tests there put gradients inside and outside of one another and of `vmap`, `jit`, `scan`, `cond`,
`checkpoint`, `shard_map`, `checkify` and meshes, follow prints and references, take second and third derivatives
of a `custom_jvp` whose rule writes its function out (what is differentiated again is the rule's text, as in JAX), and
make sure that a planted wrong derivative fails the comparison.
"""


LOST = """\
- Names and rules inside of a function with a custom rule that is defined where it is used and closes over an array
  that a `vmap` around it has batched, or, called in a loop, over one from outside of the loop: JAX differentiates such
  a function as one node. (Under `jax.grad` of a `jit` it has no derivative at all.)
"""


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION, _summary(), "## What passes\n", *map(_passing, FAMILIES)]
    parts += [_raising(), _failing(), _without_case()]
    return "\n".join(parts)


def _summary() -> str:
    passing = [c for c in CASES if not c.raises and not c.fails]
    functions = {n for c in passing for n in c.names}
    runs = sum(len(list(c.dtypes)) for c in passing)
    return (
        f"{len(functions)} functions pass, in {len(passing)} cases and {runs} runs over dtypes; "
        f"{sum(bool(c.raises) for c in CASES)} cases raise, as JAX does; {sum(bool(c.fails) for c in CASES)} "
        f"{'does' if sum(bool(c.fails) for c in CASES) == 1 else 'do'} not work; "
        f"{sum(len(names.split()) for names in REASONS.values())} functions need no case.\n"
    )


def _passing(family: Family) -> str:
    """A table of one family: the functions that take the same dtypes in one row."""
    kinds: dict[str, set[str]] = defaultdict(set)
    counts: dict[str, int] = defaultdict(int)
    for case in family.cases:
        if not case.raises and not case.fails:
            for name in case.names:
                kinds[name].update(case.kinds)
                counts[name] += 1
    rows: dict[str, list[str]] = defaultdict(list)
    for name in sorted(kinds):
        times = f" ({counts[name]})" if counts[name] > 1 else ""
        rows[", ".join(word for kind, word in KINDS.items() if kind in kinds[name])].append(_code(name) + times)
    lines = [
        f"### {family.name.replace('_', ' ').capitalize()}",
        "",
        "| dtypes | functions (cases, where several) |",
        "|---|---|",
    ]
    lines += [f"| {dtypes} | {', '.join(rows[dtypes])} |" for dtypes in sorted(rows)]
    return "\n".join([*lines, ""])


def _raising() -> str:
    lines = [
        "## What raises, as in JAX",
        "",
        "JAX has no derivative of these, and says so; we raise where it does.",
        "",
        "| what | functions |",
        "|---|---|",
    ]
    return "\n".join([*lines, *_by_reason((c.raises, c.names[0]) for c in CASES if c.raises), ""])


def _failing() -> str:
    lines = ["## What does not work", ""]
    failing: Iterable[Case] = [c for c in CASES if c.fails]
    return "\n".join([*lines, *(f"- `{case}`: {case.fails}." for case in failing), LOST])


def _without_case() -> str:
    lines = ["## What needs no case", "", "| why | functions |", "|---|---|"]
    pairs = ((reason, name) for reason, names in REASONS.items() for name in names.split())
    return "\n".join([*lines, *_by_reason(pairs), ""])


def _by_reason(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    rows: dict[str, dict[str, None]] = defaultdict(dict)
    for reason, name in pairs:
        rows[reason][_code(name)] = None
    return (f"| {reason} | {', '.join(names)} |" for reason, names in rows.items())


def _code(name: str) -> str:
    return f"`{name}`" + "*" * (name in NEWER)
