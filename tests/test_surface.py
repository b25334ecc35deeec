"""The public surface: what `help(funcgrad)` promises is there, and nothing shadows it."""

import importlib
import pkgutil
import re
import types

import pytest

import funcgrad as fg
from funcgrad.errors import MissingError
from tests.raising import raises_sentence

PACKAGES = [fg.layers, fg.networks, fg.ops, fg.train]


def test_everything_public_is_described_in_the_first_screen():
    described = set(re.findall(r"\w+", fg.__doc__))
    assert {n for n in fg.__all__ if n not in ("Graph", "Plan", "Tape")} <= described
    assert len(fg.__doc__.splitlines()) < 40


def test_no_module_hides_a_function_of_the_same_name():
    modules = {"errors", "layers", "networks", "ops", "rulesets", "train", "view"}
    for name in fg.__all__:
        assert isinstance(getattr(fg, name), types.ModuleType) == (name in modules), name


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.__name__)
def test_a_package_shows_what_it_says_and_no_module(package):
    imported = {n for n, v in vars(package).items() if not (n.startswith("_") or isinstance(v, types.ModuleType))}
    assert sorted(package.__all__) == sorted(imported)


def test_no_module_shares_a_name_with_a_public_function():
    public = {name for package in PACKAGES for name in package.__all__}
    for package in PACKAGES:
        modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
        assert not modules & public, package
        for name in modules:  # hidden, and imported as ever
            assert importlib.import_module(f"{package.__name__}.{name}").__name__ == f"{package.__name__}.{name}"
            assert not hasattr(package, name)


@pytest.mark.parametrize(
    ("package", "name", "hint"),
    [
        (fg.layers, "attention", "did you mean 'flatten' or 'multi_head_attention'?"),
        (fg.layers, "pooling", "did you mean 'avg_pool1d' or 'avg_pool2d' or 'avg_pool3d'?"),
        (fg.ops, "convolution", "did you mean 'conv1d' or 'conv2d' or 'conv3d'?"),
        (fg.train, "fitting", "did you mean 'fit'?"),
        (fg.networks, "gpt", r"help(funcgrad.networks) lists what there is."),
    ],
)
def test_what_a_package_does_not_have(package, name, hint):
    with raises_sentence(MissingError, re.escape(f"{package.__name__} has no '{name}'; {hint}")):
        getattr(package, name)


def test_every_public_function_and_class_is_documented():
    for name in fg.__all__:
        if callable(getattr(fg, name)):
            assert len(getattr(fg, name).__doc__ or "") > 40, name
