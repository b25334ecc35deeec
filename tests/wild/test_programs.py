"""Every program: `fg.value_and_grad` is `jax.value_and_grad`, and watching all of its values changes nothing."""

from typing import Any

import jax
import numpy as np
import pytest

import funcgrad as fg
from tests.language.agreement import assert_alike, assert_near
from tests.wild.program import Program
from tests.wild.programs import PROGRAMS

pytestmark = pytest.mark.filterwarnings("default")


def parameters() -> list[Any]:
    """A test per program."""
    return [pytest.param(p, id=str(p), marks=[pytest.mark.slow] if p.slow else []) for p in PROGRAMS]


def assert_equal(found: Any, expected: Any, tolerance: float) -> None:
    """Alike, and the values and the gradients equal up to rounding.

    An entry counts beside the largest of its gradient: that of a bias that cancels is rounding alone.
    """
    assert_alike(found, expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert_near(ravel(ours), ravel(theirs), tolerance)


def ravel(tree: Any) -> np.ndarray:
    """All entries of a pytree in one vector."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def test_no_two_programs_have_the_same_name():
    names = [str(program) for program in PROGRAMS]
    assert len(set(names)) == len(names) >= 40


@pytest.mark.parametrize("program", parameters())
def test_value_gradient_and_types_are_those_of_jax_also_when_watched(program: Program):
    for package in program.packages:
        pytest.importorskip(package, reason=f"{package} is not installed", exc_type=ImportError)
    function, args = program.build()
    compiled = jax.jit if program.jit else lambda run: run
    expected = compiled(jax.value_and_grad(function, program.argnums))(*args)
    assert any(leaf.any() for leaf in jax.tree.leaves(expected[1])), "a gradient of zeros tells nothing"
    assert_equal(compiled(fg.value_and_grad(function, program.argnums))(*args), expected, program.tolerance)
    *watched, readings = compiled(fg.value_and_grad(function, program.argnums, taps="**", stats="norm"))(*args)
    assert readings
    assert_equal(tuple(watched), expected, program.tolerance)
