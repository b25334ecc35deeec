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


def test_two_turns_run_again_one_at_a_time_and_one_does_not(grouped):
    f = lambda w, h, xs: noisy(w, h, xs, jax.random.key(3))
    wrap = grouped(1)
    assert groups_of(fg.plan(f, W, H, XS[:1], memory="min")) == []
    assert groups_of(fg.plan(f, W, H, XS[:2], memory="min")) == [1]
    found, expected = (jax.jit(g)(W, H, XS[:2]) for g in (wrap(f), jax.value_and_grad(f)))
    chex.assert_trees_all_close(found, expected, rtol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
def test_rules_taps_and_hooks_are_told_the_turn_of_the_whole_loop(reverse, grouped):
    def f(w, h, xs):
        def turn(h, x):
            h = loops.cell(w, h, x)
            return h, h

        h, hs = lax.scan(turn, h, xs, reverse=reverse)
        return jnp.sum(h**2) + jnp.sum(hs**3)

    noise = lambda g, key, y: g * (1 - y * y) + jax.random.normal(key, g.shape, g.dtype)
    rules = fg.RuleSet().override(fg.ops.tanh, noise, at="cell/*") | fg.rulesets.surgery.noise(0.5, at="cell/linear")
    options = {
        "rules": rules.with_key(jax.random.key(2)),
        "wrt": ["w", "xs", "cell/h", "scan/w"],
        "taps": ["cell/h", "scan/carry0"],
        "stats": ("value", "norm"),
    }
    found, expected = (jax.jit(g(f, **options))(W, H, XS) for g in (grouped(3), fg.value_and_grad))
    chex.assert_trees_all_equal_shapes_and_dtypes(found, expected)
    chex.assert_trees_all_close(found, expected, rtol=1e-13)


def test_each_of_a_batch_runs_in_groups(grouped):
    hs = jnp.stack([H, 2 * H, -H])
    found = jax.jit(jax.vmap(grouped(2)(loops.rnn, (0, 1, 2)), (None, 0, None)))(W, hs, XS)
    expected = jax.vmap(jax.value_and_grad(loops.rnn, (0, 1, 2)), (None, 0, None))(W, hs, XS)
    chex.assert_trees_all_close(found, expected, rtol=1e-12)


def test_hessians_through_groups(grouped):
    of_h = lambda h: loops.nested(W, h, XS)
    gradient = lambda h: grouped(3)(of_h)(h)[1]
    expected = jax.jit(jax.hessian(of_h))(H)
    for jacobian in (jax.jacfwd, jax.jacrev):
        np.testing.assert_allclose(jax.jit(jacobian(gradient))(H), expected, rtol=1e-10)


def test_what_prints_is_not_run_again(grouped, capfd):
    def f(h, xs):
        def turn(h, x):
            jax.debug.print("turn {x}", x=x[0])
            return jnp.sin(h * x), None

        return lax.scan(turn, h, xs)[0].sum()

    assert groups_of(fg.plan(f, H, XS, memory="min"))
    found = grouped(3)(f)(H, XS)
    jax.effects_barrier()
    assert capfd.readouterr().out.count("turn") == len(XS)
    chex.assert_trees_all_close(found, jax.value_and_grad(f)(H, XS), rtol=1e-12)


def test_what_must_not_run_twice_keeps_its_turns(grouped):
    def f(h, xs):
        def turn(h, x):
            seen = jax.experimental.io_callback(lambda x: x, jax.ShapeDtypeStruct(x.shape, x.dtype), x)
            return jnp.sin(h * lax.stop_gradient(seen)), None

        return lax.scan(turn, h, xs)[0].sum()

    assert all(not choice.remaking.groups for step in turns.loops_of(fg.plan(f, H, XS)) for choice in turns.choices_of(step))
    grouped(3)
    assert groups_of(fg.plan(f, H, XS, memory="min")) == []


def test_only_what_the_turns_need_again_is_kept_between_groups(grouped):
    def f(h, xs):
        """The sum is carried along, and no turn reads it to make what it leaves."""

        def turn(state, x):
            h, total = state
            h = jnp.sin(h) * x
            return (h, total + jnp.cos(h)), None

        return lax.scan(turn, (h, jnp.zeros_like(h)), xs)[0][1].sum()

    found = grouped(3)(f)(H, XS)
    plan = fg.plan(f, H, XS, memory="min")
    assert [v.name for v in plan.steps[0].saved] == ["scan/carry0:groups"]
    assert plan.steps[0].saved[0].aval.shape == (3, 4)
    chex.assert_trees_all_close(found, jax.value_and_grad(f)(H, XS), rtol=1e-12)
