"""Which test produces which error: what `raises_sentence` sees while the tests that use it run."""

import ast
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import raising
from tests.errors.sites import Site, site_of

ROOT = Path(__file__).parents[2]


def record() -> dict[Site, list[tuple[str, str]]]:
    """Run the tests that hold an error to its sentence; (test, sentence) of every place, sorted.

    Raises:
        RuntimeError: a test failed.
    """
    found: dict[Site, set[tuple[str, str]]] = defaultdict(set)

    def observe(error: BaseException) -> None:
        test = os.environ["PYTEST_CURRENT_TEST"].rpartition(" (")[0]
        for cause in _causes(error):
            if (site := site_of(cause, str(error))) is not None:
                found[site].add((test, str(error)))

    raising.observers.append(observe)
    try:
        code = pytest.main(["-q", "-p", "no:xdist", "-o", "addopts=", *producing_tests()])
    finally:
        raising.observers.remove(observe)
    if code != pytest.ExitCode.OK:
        raise RuntimeError("the tests of errors fail; mend them first")
    return {site: sorted(pairs) for site, pairs in found.items()}


def producing_tests() -> list[str]:
    """The tests that use `raises_sentence`, as pytest names them, without their parameters."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [f"{file.relative_to(ROOT).as_posix()}::{name}" for file in files for name in _users(file)]


def _users(file: Path) -> list[str]:
    """Tests of a file that mention `raises_sentence`, or a function beside them that does."""
    functions = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)]
    mentioned = {f.name: {n.id for n in ast.walk(f) if isinstance(n, ast.Name)} for f in functions}
    using = {"raises_sentence"}
    while new := {f for f, names in mentioned.items() if names & using} - using:
        using |= new
    return [f.name for f in functions if f.name in using and f.name.startswith("test_")]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
