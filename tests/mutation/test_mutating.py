"""The mutations are those meant, each a program, and what a child imports is the mutant."""

import ast
import importlib
import itertools
import sys
from importlib.machinery import SourceFileLoader

import pytest

from tests.mutation.focus import _LAST, _NEXT, _find, find_modules, judges_of
from tests.mutation.mutating import find_mutations, sample
from tests.mutation.running import ROOT, plant

MODULE = '''"""A docstring, 1."""
LIMIT = 5


@decorate(2)
def choose(values: "list[3]", n=4):
    """Not 1 either."""
    assert n > 0
    if values and n < 5:
        raise ValueError(f"{n + 1}")
    kept: "list[6]" | None = [v for v in values[n:] if not v.hidden]
    for a, b in zip(kept, kept, strict=True):
        a.x = b * 2
    return any(kept)
'''
EXPECTED = {
    "values and n < 5 -> (values or n < 5)",
    "values and n < 5 -> (not (values and n < 5))",
    "values and n < 5 -> True",
    "n < 5 -> (n <= 5)",
    "5 -> 6",
    'raise ValueError(f"{n + 1}") -> pass',
    "n -> (n + 1)",
    "not v.hidden -> v.hidden",
    "not v.hidden -> True",
    "a.x = b * 2 -> pass",
    "b * 2 -> (b + 2)",
    "2 -> 3",
    "any -> all",
    "return any(kept) -> return None",
}


def test_a_module_offers_all_that_is_behavior(tmp_path):
    (tmp_path / "module.py").write_text(MODULE)
    found = find_mutations(tmp_path, "module.py")
    assert {m.key for m in found} == {f"module.py choose: {change}" for change in EXPECTED}
    mutant = next(m for m in found if m.after == "all").apply(MODULE.encode()).decode()
    assert mutant == MODULE.replace("any(kept)", "all(kept)")


def test_the_mutants_that_are_tried_are_other_programs():
    every = [m for module in find_modules(ROOT) for m in find_mutations(ROOT, module)]
    for module, mutations in itertools.groupby(sample(every, 300), lambda m: m.module):
        source = (ROOT / module).read_bytes()
        unchanged = ast.dump(ast.parse(source))
        for mutation in mutations:
            assert ast.dump(ast.parse(mutation.apply(source))) != unchanged, mutation.key


def test_a_sample_is_the_same_whatever_else_is_offered():
    every = [m for module in find_modules(ROOT) for m in find_mutations(ROOT, module)]
    chosen = sample(every, 50)
    assert len({m.key for m in chosen}) == 50
    part = [m for m in every if m.module != chosen[0].module]
    assert {m.key for m in chosen if m.module != chosen[0].module} <= {m.key for m in sample(part, 50)}


def test_the_tests_that_judge_a_module_exist():
    assert find_modules(ROOT)
    paths = {t for module in find_modules(ROOT) for t in judges_of(module, ROOT)}
    assert [path for path in paths if not (ROOT / path).exists()] == []
    words = [t for tests in (*_NEXT.values(), *_LAST.values()) for t in tests if t.isidentifier()]
    assert [word for word in words if not _find(ROOT, word)] == []


def test_the_first_judge_of_a_module_are_its_own_tests_wherever_they_moved(tmp_path):
    for path in ("tests/planning/holders/test_loops.py", "tests/planning/test_plans.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert judges_of("funcgrad/planning/holders/loops.py", tmp_path)[0] == "tests/planning/holders/test_loops.py"
    assert "tests/planning/holders/test_loops.py" in judges_of("funcgrad/planning/planner.py", tmp_path)


@pytest.fixture
def loader(monkeypatch):
    """The class that `plant` changes, put back as it was."""
    for name in ("get_data", "path_stats"):
        monkeypatch.setattr(SourceFileLoader, name, getattr(SourceFileLoader, name))


def test_a_planted_module_is_imported_in_place_of_its_bytecode(tmp_path, monkeypatch, loader):
    path = tmp_path / "planted_module.py"
    path.write_text("WHO = 'original'\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.import_module("planted_module").WHO == "original"  # and its bytecode is written
    del sys.modules["planted_module"]
    plant(path, b"WHO = 'mutant'\n")
    assert importlib.import_module("planted_module").WHO == "mutant"
    del sys.modules["planted_module"]
