"""The oracle: reverse mode where JAX has it, forward mode where it has only that, differences where it has nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.checking.differences import EXACT
from funcgrad.checking.rules.cases import Case
from funcgrad.checking.rules.oracles import COARSE, ROUGH, oracle
from funcgrad.registry import Example
from tests.mutants import bases
from tests.mutants.claims import NEWTON, OUTSIDE

X = np.array([0.5, 1.0, 4.0])


@pytest.mark.parametrize(
    ("base", "method", "share", "slope"),
    [
        (bases.SINE, "jax.vjp", EXACT, np.cos(X)),
        (NEWTON, "jax.jvp", EXACT, 0.5 / np.sqrt(X)),
        (OUTSIDE, "finite differences", ROUGH, np.cos(X)),
    ],
    ids=["reverse", "forward", "differences"],
)
def test_the_method_is_the_best_there_is(base, method, share, slope):
    s = Case(base.make("checked"), Example((X,)))
    found = oracle(s.flat)
    assert (found.method, found.share) == (method, share)
    g = jnp.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(found.pull(s.leaves, [g])[1][0], g * slope, rtol=1e-9)


def test_a_forward_that_computes_in_float32_is_held_to_that():
    def coarse(x):
        return jnp.sin(x.astype(jnp.float32)).astype(x.dtype)

    s = Case(bases.Base(coarse, {"x": bases.sine_x}, ()).make("checked"), Example((X,)))
    assert oracle(s.flat).share == COARSE
    report = fg.check(bases.Base(coarse, {"x": bases.sine_x}, ()).make("checked"), [X], fail_fast=True)
    assert report.row("values", "cotangent of x").verdict is fg.checking.Verdict.RIGHT


def test_the_claim_of_each_argument_is_its_own():
    @fg.op(name="checked", replace=True)
    def mixed(a, b, c):
        return a * b * c

    mixed.pullback("a")(lambda g, b, c: g * b * c)
    mixed.pullback("b", kind=fg.modified)(lambda g: g)
    mixed.mark(c=fg.Marker.NON_DIFFERENTIABLE)
    s = Case(mixed, Example((X, 2 * X, 3 * X)))
    a, b, c = oracle(s.flat).pull(s.leaves, [jnp.ones(3)])[1]
    np.testing.assert_allclose(a, 6 * X**2)
    assert b is None
    assert not jnp.any(c)
    assert jax.tree.leaves(s.flat.pull(s.leaves, [jnp.ones(3)])[1])[2].sum() == 0
