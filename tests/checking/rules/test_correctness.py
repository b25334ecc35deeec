"""What a rule declares of kinks and ties is data, and verified."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import funcgrad as fg
from funcgrad.checking import Verdict
from tests.mutants import bases
from tests.mutants.mutant import Base


def at_kinks(base: Base, *case: np.ndarray, **attributes: float):
    return fg.check(base.make("checked"), [case], attributes, groups=["values"]).row("values", "at kinks")


def with_slope(slope):
    """Relu with that slope at its kink."""
    return lambda g, x: jnp.where(x > 0, g, jnp.where(x == 0, slope * g, jnp.zeros_like(g)))


@pytest.mark.parametrize(("slope", "declared", "right"), [(0.5, 0.5, True), (0.5, 0, False), (0, 0.5, False)])
def test_a_slope_in_numbers_is_verified(slope, declared, right):
    base = Base(bases.relu, {"x": with_slope(slope)}, (), {"elementwise": True}, kind=fg.subgradient({0: declared}))
    row = at_kinks(base, np.array([-1.0, 2.0]))
    assert row.verdict is (Verdict.RIGHT if right else Verdict.WRONG)
    told = f"rule <lambda> declares a slope of {declared:g} at x = 0: expected {declared:g}, found {slope:g}; 2 of 2"
    assert row.detail.startswith(f"x: {declared:g} at 0" if right else told)


@pytest.mark.parametrize("alpha", [0.5, 2.0])
@pytest.mark.parametrize("right", [True, False])
def test_a_slope_may_be_an_attribute(alpha, right):
    rule = lambda g, x, alpha: g * jnp.where(x > 0, jnp.ones_like(x), jnp.full_like(x, alpha))
    wrong = lambda g, x, alpha: g * jnp.where(x >= 0, jnp.ones_like(x), jnp.full_like(x, alpha))

    def bent(x, *, alpha):
        return jnp.where(x > 0, x, alpha * x)

    base = Base(bent, {"x": rule if right else wrong}, (), {"elementwise": True}, kind=fg.subgradient({0: "alpha"}))
    row = at_kinks(base, np.array([-1.0, 2.0]), alpha=alpha)
    assert row.verdict is (Verdict.RIGHT if right else Verdict.WRONG)
    assert row.detail.startswith("x: alpha at 0" if right else f"rule <lambda> declares a slope of {alpha:g} at x = 0")


def larger(share):
    """The larger of two, with that share of a tie for the first."""

    def part(g, mine, other, of_tie):
        mine, other = jnp.broadcast_arrays(mine, other)
        return g * jnp.where(mine > other, 1.0, jnp.where(mine == other, of_tie, 0.0))

    rules = {"a": lambda g, a, b: part(g, a, b, share), "b": lambda g, a, b: part(g, b, a, 1 - share)}
    kind = fg.subgradient("half to each at a tie", even_at_ties=True)
    return Base(lambda a, b: lax.max(*jnp.broadcast_arrays(a, b)), rules, (), {"elementwise": True}, kind=kind)


@pytest.mark.parametrize("share", [0.5, 0.25])
def test_equal_parts_at_ties_are_verified(share):
    row = at_kinks(larger(share), np.array([[-1.0, 2.0]]), np.array([[0.0], [1.0], [3.0]]))
    if share == 0.5:
        assert row.detail == "a: half to each at a tie; b: half to each at a tie"
    else:
        assert row.detail == (
            "rule <lambda> declares equal parts at ties, and a gets others: expected 1.5, found 0.75; 2 of 2 entries "
            "differ"
        )


@pytest.mark.parametrize("first", [True, False])
def test_equal_parts_of_the_entries_of_one_argument(first):
    def to_first(g, x):
        best = x == x.max(-1, keepdims=True)
        return jnp.where(best & (jnp.cumsum(best, -1) == 1), g[..., None], 0.0)

    op = bases.HIGHEST.make("checked", **({"x": to_first} if first else {}))
    row = fg.check(op, bases.HIGHEST.cases, groups=["values"]).row("values", "at kinks")
    assert row.verdict is (Verdict.WRONG if first else Verdict.RIGHT)
    assert ("declares equal parts at ties, and x gets others" in row.detail) is first


def test_words_are_printed_and_not_tested():
    base = Base(bases.relu, {"x": with_slope(0.5)}, (), {"elementwise": True}, kind=fg.subgradient("half at 0"))
    assert at_kinks(base, np.array([-1.0, 2.0])).detail == "x: half at 0 (in words, not tested)"
