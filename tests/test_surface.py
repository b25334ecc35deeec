"""The public surface: what `help(funcgrad)` promises is there, and nothing shadows it."""

import re
import types

import funcgrad as fg


def test_everything_public_is_described_in_the_first_screen():
    described = set(re.findall(r"\w+", fg.__doc__))
    assert {n for n in fg.__all__ if n not in ("Graph", "Plan", "Tape")} <= described
    assert len(fg.__doc__.splitlines()) < 40


def test_no_module_hides_a_function_of_the_same_name():
    modules = {"errors", "layers", "networks", "ops", "train", "view"}
    for name in fg.__all__:
        assert isinstance(getattr(fg, name), types.ModuleType) == (name in modules), name


def test_every_public_function_and_class_is_documented():
    for name in fg.__all__:
        if callable(getattr(fg, name)):
            assert len(getattr(fg, name).__doc__ or "") > 40, name
