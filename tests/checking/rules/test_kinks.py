"""Kinks: found, and subgradients told from other numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.checking.rules.cases import Case
from funcgrad.checking.rules.kinks import find_kinks, find_outside_hull
from funcgrad.checking.rules.oracles import oracle
from funcgrad.registry import Example
from tests.mutants import bases


def at(base, *args, **rules) -> Case:
    return Case(base.make("checked", **rules), Example(args))


def test_kinks_are_where_the_derivative_jumps():
    s = at(bases.RELU, np.array([-1.0, 0.0, 2.0]))
    pull = oracle(s.flat).pull
    g = [jnp.ones(3)]
    assert find_kinks(s.flat, s.leaves, lambda x: pull(x, g)[1])[0].tolist() == [False, True, False]


TIES = np.array([[1.0, 1.0, 0.0, 1.0]])


@pytest.mark.parametrize("weights", [(1, 0, 0, 0), (0.5, 0.25, 0, 0.25), (0, 0, 0, 1)])
def test_shares_that_sum_to_one_are_subgradients_of_a_maximum(weights):
    s = at(bases.HIGHEST, TIES, x=lambda g, x_aval: g[:, None] * jnp.array([weights], g.dtype))
    assert find_outside_hull(s.flat, s.leaves, 0) is None


@pytest.mark.parametrize("weights", [(1, 1, 0, 1), (0, 0, 0, 0), (0.5, 0, 0.5, 0), (2, -1, 0, 0)])
def test_other_shares_are_not(weights):
    s = at(bases.HIGHEST, TIES, x=lambda g, x_aval: g[:, None] * jnp.array([weights], g.dtype))
    assert find_outside_hull(s.flat, s.leaves, 0) == (0, 0)


def test_a_finite_cotangent_where_jax_has_none_must_be_a_subgradient():
    """The norm at the origin, where JAX's derivative is NaN: 0 is in the ball, 2 is not."""

    def norm(x):
        return jnp.sqrt((x * x).sum())

    def rule(at_origin):
        def norm_x(g, x, y):
            safe = jnp.where(y > 0, y, jnp.ones_like(y))
            return g * jnp.where(y > 0, x / safe, jnp.full_like(x, at_origin))

        return norm_x

    def judged(at_origin) -> bool:
        base = bases.Base(norm, {"x": rule(at_origin)}, (), kind=fg.subgradient("0 at the origin"))
        s = at(base, np.zeros(2))
        assert np.isnan(jax.grad(norm)(jnp.zeros(2))).all()
        return find_outside_hull(s.flat, s.leaves, 0) is None

    assert judged(0.0)
    assert not judged(2.0)
