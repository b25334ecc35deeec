"""A checkpoint keeps its inputs and what its policy saves; the rest is computed again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from tests.planning.asserting import assert_like_jax
from tests.planning.test_loops import XS, H, W, rnn

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
