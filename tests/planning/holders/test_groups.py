"""Turns of a loop that run again in groups: the same numbers, and memory that goes with the root of the turns."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import funcgrad as fg
from funcgrad.planning import fitting, turns
from funcgrad.planning.segments import Remaking
from tests.planning.holders import test_loops as loops

W, H = loops.W, loops.H
XS = jnp.linspace(-1.0, 1.0, 28).reshape(7, 4)


@pytest.fixture
def grouped(monkeypatch):
    """Plans with `memory="min"` whose loops run again in groups of so many turns, whatever is best."""

    def with_groups(size):
        def ways(plan):
            return [Remaking((), {step.node: size for step in turns.loops_of(plan)})]

        monkeypatch.setattr(fitting, "_ways", ways)
        return partial(fg.value_and_grad, memory="min")

    return with_groups


def groups_of(plan):
    return [step.groups.turns for step in turns.loops_of(plan) if step.groups]


@pytest.mark.parametrize("case", loops.CASES)
def test_a_loop_in_groups_has_the_gradient_that_jax_gives_it(case, grouped):
    f, *args = loops.CASES[case]
    every = tuple(range(len(args)))
    found = jax.jit(grouped(2)(f, every))(*args)
    expected = jax.jit(jax.value_and_grad(f, every))(*args)
    chex.assert_trees_all_equal_shapes_and_dtypes(found, expected)
    chex.assert_trees_all_close(found, expected, rtol=1e-11, atol=1e-13)


def noisy(w, h, xs, key):
    """A key in the carry; slices that are read and slices that are made."""

    def turn(state, x):
        h, key = state
        key, own = jax.random.split(key)
        h = fg.name(jnp.tanh(h @ w + x + jax.random.normal(own, h.shape, h.dtype)), "h")
        return (h, key), jnp.sin(h)

    (h, _), hs = lax.scan(turn, (h, key), xs)
    return jnp.sum(h**2) + jnp.sum(hs**3)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6])
def test_every_size_of_a_group_gives_the_same_gradient(size, grouped):
    args = (W, H, XS, jax.random.key(3))
    wrap = grouped(size)
    assert groups_of(fg.plan(noisy, *args, argnums=(0, 1, 2), memory="min")) == [size]
    found = jax.jit(wrap(noisy, (0, 1, 2)))(*args)
    chex.assert_trees_all_close(found, jax.jit(fg.value_and_grad(noisy, (0, 1, 2)))(*args), rtol=1e-13)
