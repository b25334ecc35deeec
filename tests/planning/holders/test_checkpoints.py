"""A checkpoint keeps its inputs and what its policy saves; the rest is computed again."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from tests.lowering import defers, lowered
from tests.planning.asserting import assert_like_jax
from tests.planning.holders.test_loops import XS, H, W, rnn

X = jnp.linspace(-1.0, 1.0, 12).reshape(3, 4)
policies = jax.checkpoint_policies


def block(x, w):
    with fg.scope("block"):
        return fg.name(jnp.sin(jnp.dot(x, w)), "h") ** 2


SAVED = {
    "nothing": (policies.nothing_saveable, []),
    "no policy": (None, []),
    "products": (policies.dots_saveable, ["block/dot_general"]),
    "by name": (policies.save_only_these_names("h"), ["block/h"]),
    "everything": (policies.everything_saveable, ["block/dot_general", "block/h"]),
    "all but a name": (policies.save_any_names_but_these("h"), []),
}


@pytest.mark.parametrize("case", SAVED)
def test_a_policy_says_what_is_kept(case):
    policy, expected = SAVED[case]
    f = lambda x, w: jnp.sum(jax.checkpoint(block, policy=policy)(x, w))
    assert_like_jax(f, X, W)
    step = next(s for s in fg.plan(f, X, W).steps if s.node.bodies)
    assert [v.name for v in step.saved] == expected


def test_offloading_is_left_to_jax():
    policy = policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[], names_which_can_be_offloaded=["h"], offload_src="device", offload_dst="pinned_host"
    )
    (node, *_) = fg.trace(lambda x: jax.checkpoint(block, policy=policy)(x, W), X).nodes
    assert not node.bodies


def test_the_body_runs_again_and_the_compiler_is_told():
    def count(f, name):
        return str(jax.make_jaxpr(fg.grad(f))(X, W)).count(f" {name}")

    f = lambda x, w: jnp.sum(jax.checkpoint(block)(x, w))
    assert count(f, "sin ") == 2
    assert count(f, "optimization_barrier") == 1
    plain = lambda x, w: jnp.sum(jax.checkpoint(block, prevent_cse=False)(x, w))
    assert count(plain, "optimization_barrier") == 0
    saving = lambda x, w: jnp.sum(jax.checkpoint(block, policy=policies.everything_saveable)(x, w))
    assert count(saving, "sin ") == 1


@pytest.mark.parametrize(("prevent_cse", "expected"), [((False, True), 2), ((True, False), 2), ((False, False), 0)])
def test_the_compiler_is_told_of_the_arguments_that_were_asked_for(prevent_cse, expected):
    f = lambda x, w: jnp.sum(jax.checkpoint(block, prevent_cse=prevent_cse)(x, w))
    equations = jax.make_jaxpr(fg.grad(f, (0, 1)))(X, W).eqns
    found = [len(e.invars) for e in equations if e.primitive.name == "optimization_barrier"]
    assert found == [expected] * bool(expected)


def test_loops_and_branches_inside():
    assert_like_jax(jax.checkpoint(rnn), W, H, XS)
    assert_like_jax(jax.checkpoint(lambda x: jax.lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x).sum()), X)
    assert_like_jax(lambda x: jax.checkpoint(jax.checkpoint(lambda x: jnp.sin(jnp.sin(x))))(x).sum(), X)


def test_rules_and_wanted_values_reach_inside():
    f = lambda x, w: jnp.sum(jax.checkpoint(lambda x, w: ops.relu(fg.name(ops.linear(x, w), "s")))(x, w))
    rules = fg.RuleSet().override(ops.relu, lambda g: 2 * g)
    np.testing.assert_array_equal(fg.grad(f, wrt="s", rules=rules)(X, W), np.full((3, 4), 2.0))


def test_what_prints_is_not_run_again(capfd):
    def f(x):
        jax.debug.print("turn {x}", x=x[0, 0])
        return jnp.sin(x)

    fg.grad(lambda x: jax.checkpoint(f)(x).sum())(X)
    jax.effects_barrier()
    assert capfd.readouterr().out.count("turn") == 1


def deep(block, x, w, n_blocks=6):
    """Blocks of ops, each a checkpoint or not; all have the same weights, of the last one's rank."""
    for _ in range(n_blocks):
        x = block(x, w)
    return jnp.sum(x**2)


def ops_block(x, w):
    return x + ops.linear(ops.tanh(ops.linear(ops.layer_norm(x), w)), w.T)


TALL, WIDE = jnp.linspace(-1.0, 1.0, 256 * 16).reshape(256, 16), jnp.cos(jnp.arange(16.0 * 64)).reshape(16, 64) / 8


SMALLER = {
    "a checkpoint": (jax.checkpoint(ops_block), ops_block),
    "with a policy": (jax.checkpoint(ops_block, policy=policies.save_only_these_names("none")), ops_block),
    "nested": (
        jax.checkpoint(lambda x, w: jax.checkpoint(ops_block)(jax.checkpoint(ops_block)(x, w), w)),
        lambda x, w: ops_block(ops_block(x, w), w),
    ),
}


@pytest.mark.parametrize("case", SMALLER)
def test_the_compiled_program_keeps_less_and_computes_the_same(case):
    """XLA:CPU drops barriers, and would keep all that is made in the forward pass rather than make it again."""
    gradients = [jax.jit(fg.grad(partial(deep, block), (0, 1))).lower(TALL, WIDE).compile() for block in SMALLER[case]]
    less, more = (g.memory_analysis().temp_size_in_bytes for g in gradients)
    assert less < 0.5 * more
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-12), *(g(TALL, WIDE) for g in gradients))


def test_only_the_cpu_needs_more_than_a_barrier():
    gradient = fg.grad(jax.checkpoint(lambda x: jnp.sum(jnp.sin(x) ** 2)))
    here, there = lowered(gradient, X, platforms=("cpu",)), lowered(gradient, X)
    assert defers(here)
    assert not defers(there)
    assert "optimization_barrier" in there


def in_turns(x, w):
    return jax.lax.scan(lambda x, w: (jax.checkpoint(ops_block)(x, w), None), x, jnp.stack([w, -w]))[0].sum()


def over_examples(x, w):
    return jax.vmap(jax.checkpoint(ops_block), (0, None))(x, w).sum()


def in_a_branch(x, w):
    return jax.lax.cond(x[0, 0] < 0, jax.checkpoint(ops_block), ops_block, x, w).sum()


def of_whole_numbers(x, w):
    """A fenced integer, and an output whose cotangent is nothing."""
    picked = lambda i, x: (jnp.sin(jnp.take(x, i, axis=0)), i + 1)
    y, _ = jax.checkpoint(picked)(jnp.arange(3), x)
    return jnp.sum(jax.checkpoint(ops_block)(y, w))


@pytest.mark.parametrize("f", [in_turns, over_examples, in_a_branch, of_whole_numbers])
def test_a_fenced_body_has_the_derivatives_of_any_other(f):
    x, w = TALL[:5], WIDE[:, :8]
    assert_like_jax(f, x, w)
    expected = jax.jvp(jax.grad(f), (x, w), (x, w))[1]
    found = jax.jit(lambda x, w: jax.jvp(fg.grad(f), (x, w), (x, w))[1])(x, w)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    twice = jax.jit(fg.grad(lambda x, w: jnp.sum(fg.grad(f)(x, w) * x)))(x, w)
    np.testing.assert_allclose(twice, jax.grad(lambda x, w: jnp.sum(jax.grad(f)(x, w) * x))(x, w), rtol=1e-9)


def test_the_plan_says_what_is_run_again():
    f = lambda x, w: jnp.sum(jax.checkpoint(block, policy=policies.dots_saveable)(jnp.sin(x), w))
    plan = fg.plan(f, X, W, argnums=(0, 1))
    (row,) = (r for r in plan.rows if r.remakes)
    assert row.remakes == ("block/sin",)
    assert plan.totals.remade == 1
    assert "remade   block/sin: run again on the way back, and what they make is not kept" in str(plan)
    kept = fg.plan(lambda x, w: jnp.sum(block(jnp.sin(x), w)), X, W, argnums=(0, 1)).totals
    assert plan.totals.backward_flops == kept.backward_flops + X.size  # the sine once more
