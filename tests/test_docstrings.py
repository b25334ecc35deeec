"""What `help` says of everything public: every parameter, what comes back, an example that prints what it says."""

import doctest
import inspect
import pydoc
import re
import types
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from tests.rulesets.entries import around_grad
from tests.rulesets.entries import public as entries
from tests.test_documents import run

PACKAGES = [fg, fg.ops, fg.layers, fg.networks, fg.train, fg.rulesets]
CATALOGUE = [getattr(fg.rulesets, name) for name in fg.rulesets.__all__]
"""Modules of functions that return a set of rules, or go around a gradient."""
NOT_MADE_BY_HAND = {"Graph", "Marker", "Nonfinite", "NonfiniteError", "Plan", "Selector", "State", "Summary", "Tape"}
"""Classes whose objects come from a function, which has the arguments; and an enumeration."""
RETURNS_NOTHING = {"scope"}
"""A context, which gives nothing to what is inside."""
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def public(package: types.ModuleType) -> dict[str, object]:
    """What a package shows that is a function, an op or a class."""
    named = {n: getattr(package, n) for n in package.__all__}
    return {n: x for n, x in named.items() if callable(x)}


EVERYTHING = [(package, name) for package in PACKAGES for name in public(package)]
EVERYTHING += [(module, name) for module in CATALOGUE for name in entries(module) | around_grad(module)]
METHODS = [
    (x, name)
    for package in PACKAGES
    for x in public(package).values()
    if inspect.isclass(x)
    for name, method in vars(x).items()
    if inspect.isfunction(method) and not name.startswith("_") and ">>>" in (method.__doc__ or "")
]
"""Those of public classes that have an example."""
each = pytest.mark.parametrize(("package", "name"), EVERYTHING, ids=lambda x: getattr(x, "__name__", x))


def section(doc: str, title: str) -> str:
    """The text of a section, without its title; empty where there is none."""
    found = re.search(rf"^{title}:\n((?: .*\n|\n)+)", doc + "\n", re.MULTILINE)
    return inspect.cleandoc(found[1]) if found else ""


def parameters_of(thing: object) -> set[str]:
    """Names of the parameters; those of all its overloads, where a function has several."""
    signatures = (
        [inspect.signature(f) for f in (thing, *typing.get_overloads(thing))] if inspect.isfunction(thing) else []
    )
    return {name for s in signatures or [inspect.signature(thing)] for name in s.parameters}


@each
def test_the_parameters_are_those_described(package, name):
    thing = getattr(package, name)
    described = re.findall(r"^(\w+): \S", section(inspect.getdoc(thing), "Args"), re.MULTILINE)
    expected = set() if name in NOT_MADE_BY_HAND else parameters_of(thing)
    assert len(described) == len(set(described))
    assert set(described) == expected


@each
def test_a_function_says_what_it_returns(package, name):
    thing = getattr(package, name)
    if not inspect.isclass(thing) and name not in RETURNS_NOTHING:
        assert section(inspect.getdoc(thing), "Returns")


def examples_of(owner: types.ModuleType | type, name: str) -> doctest.DocTest:
    space = {"__name__": "__main__", "fg": fg, "jax": jax, "jnp": jnp, "np": np}
    doc = inspect.getdoc(getattr(owner, name))
    return doctest.DocTestParser().get_doctest(doc, space, f"{owner.__name__}.{name}", None, 0)


def failures(test: doctest.DocTest) -> str:
    said: list[str] = []
    doctest.DocTestRunner(verbose=False, optionflags=OPTIONS).run(test, out=said.append)
    return "".join(said)


@pytest.mark.parametrize(("owner", "name"), EVERYTHING + METHODS, ids=lambda x: getattr(x, "__name__", x))
def test_the_example_prints_what_it_says(owner, name):
    test = examples_of(owner, name)
    assert test.examples
    assert any(example.want for example in test.examples)
    assert not failures(test)


def test_a_wrong_example_is_found():
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    assert "Got:\n    2" in failures(test)


@pytest.mark.slow
def test_examples_print_the_same_for_a_user():
    """In float32, promoting what JAX promotes, where these tests have float64 and promote nothing."""
    lines = [
        "import tests.test_docstrings as t",
        "print(''.join(t.failures(t.examples_of(owner, name)) for owner, name in t.EVERYTHING + t.METHODS))",
    ]
    assert run("\n".join(lines)).strip() == ""


def listed(doc: str) -> list[str]:
    """The names that a listing has: what stands before two spaces in its indented lines, but for comments below."""
    lines = [line for line in doc.splitlines() if re.match(r" {4}\S", line)]
    return [name for line in lines for name in re.split(r", ", re.split(r" {2,}", line.strip())[0])]


@pytest.mark.parametrize("package", PACKAGES[1:], ids=lambda p: p.__name__)
def test_help_of_a_package_begins_with_all_that_it_has(package):
    assert sorted(listed(package.__doc__)) == sorted(package.__all__)
    top = pydoc.plain(pydoc.render_doc(package)).partition("PACKAGE CONTENTS")[0]
    assert set(package.__all__) <= set(re.findall(r"\w+", top))
    assert len(top.splitlines()) < 70


def test_relevance_begins_with_all_its_sets():
    assert sorted(listed(fg.rulesets.relevance.__doc__)) == sorted(entries(fg.rulesets.relevance))


@pytest.mark.parametrize(
    "thing", [fg.ops.tanh, fg.layers.linear, fg.grad, fg.train.fit], ids=lambda x: getattr(x, "__name__", "op")
)
def test_help_of_one_shows_its_docstring(thing):
    assert inspect.getdoc(thing).splitlines()[0] in pydoc.plain(pydoc.render_doc(thing))
