"""Rules that hide a NaN, or that take an argument computed again for the one that the output was made of."""

import jax.numpy as jnp
import numpy as np

import funcgrad as fg
from funcgrad.checking import Verdict
from tests.mutants import bases
from tests.mutants.mutant import Base


def capped_x(g, x):
    return jnp.where(x < 6, g, jnp.where(x == 6, g / 2, 0))


CAPPED = Base(lambda x: jnp.minimum(x, 6), {"x": capped_x}, (), kind=fg.subgradient("half at 6"))


def row(base: Base, name: str, *cases: np.ndarray, **rules):
    return fg.check(base.make("checked", **rules), cases or base.cases, groups=["values"]).row("values", name)


def test_a_hidden_nan_is_named():
    hiding = lambda g, x: jnp.nan_to_num(g * jnp.cos(x))
    assert row(bases.SINE, "at NaN").verdict is Verdict.RIGHT
    assert row(bases.SINE, "at NaN", np.ones(3), x=hiding).detail == (
        "the cotangent of x by rule <lambda> hides the NaN that jax.vjp has where x holds one, (f64[3]); let it through"
    )


def test_a_nan_that_jax_chooses_away_may_be_chosen_away():
    assert row(bases.RELU, "at NaN").detail == "1 arguments made NaN in turn: 0 cotangents show it, none hides it"


def test_an_argument_that_the_output_ignores_tells_nothing():
    first = Base(lambda x: x[..., 0], {"x": lambda g, x: jnp.zeros_like(x).at[..., 0].set(g)}, ())
    found = row(first, "at NaN", np.ones(3))
    assert (found.verdict, found.detail) == (Verdict.OPEN, "no output shows a NaN of an argument")


def test_a_comparison_with_the_output_is_named():
    only_equal = lambda g, x, y: jnp.where(x == y[..., None], g[..., None], 0)
    found = row(bases.HIGHEST, "recomputed", np.array([[1.0, 3.0]]), x=only_equal)
    assert found.verdict is Verdict.WRONG
    assert found.detail.startswith(
        "the cotangent of x[0,1] by rule <lambda> takes arguments and output to be rounded alike, and arguments may be "
        "computed again, (f64[1,2]): expected "
    )
    assert found.detail.endswith(", found 0; 1 of 2 entries differ; do not compare the two")


def test_a_kink_is_no_comparison_with_the_output():
    both = lambda g, x, y: capped_x(g, x) * (y / y)
    found = row(CAPPED, "recomputed", np.array([6.0, 1.0, 8.0]), x=both)
    assert found.detail == "1 cotangents are the same where arguments are computed again, rounded otherwise"
    assert row(CAPPED, "recomputed", np.array([6.0, 1.0])).detail == "no rule reads both arguments and outputs"
