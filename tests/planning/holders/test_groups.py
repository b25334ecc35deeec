"""Turns of a loop that run again in groups: the same numbers, and memory that goes with the root of the turns."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental import io_callback

import funcgrad as fg
from funcgrad.planning import fitting, turns
from funcgrad.planning.segments import Remaking
from tests.planning.holders import test_loops as loops

W, H = loops.W, loops.H
XS = jnp.linspace(-1.0, 1.0, 28).reshape(7, 4)


@pytest.fixture
def grouped(monkeypatch):
    """Plans with `memory="min"` whose loops run again in groups of so many turns, whatever is best."""

    def with_groups(*sizes):
        def ways(plan):
            return [Remaking((), {step.node: sizes for step in turns.loops_of(plan)})]

        monkeypatch.setattr(fitting, "_ways", ways)
        return partial(fg.value_and_grad, memory="min")

    return with_groups


def groups_of(plan):
    return [step.groups.sizes for step in turns.loops_of(plan) if step.groups]


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


@pytest.mark.parametrize("sizes", [(1,), (3,), (4,), (6, 3), (5, 2), (4, 2, 1)], ids=str)
def test_every_size_of_a_group_gives_the_same_gradient(sizes, grouped):
    args = (W, H, XS, jax.random.key(3))
    wrap = grouped(*sizes)
    assert groups_of(fg.plan(noisy, *args, argnums=(0, 1, 2), memory="min")) == [sizes]
    found = jax.jit(wrap(noisy, (0, 1, 2)))(*args)
    chex.assert_trees_all_close(found, jax.jit(fg.value_and_grad(noisy, (0, 1, 2)))(*args), rtol=1e-13)


def test_two_turns_run_again_one_at_a_time_and_one_does_not(grouped):
    f = lambda w, h, xs: noisy(w, h, xs, jax.random.key(3))
    wrap = grouped(1)
    assert groups_of(fg.plan(f, W, H, XS[:1], memory="min")) == []
    assert groups_of(fg.plan(f, W, H, XS[:2], memory="min")) == [(1,)]
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

    found = grouped(3)(f)(H, XS)
    assert groups_of(fg.plan(f, H, XS, memory="min")) == [(3,)]
    jax.effects_barrier()
    assert capfd.readouterr().out.count("turn") == len(XS)
    chex.assert_trees_all_close(found, jax.value_and_grad(f)(H, XS), rtol=1e-12)


def test_what_must_not_run_twice_keeps_its_turns(grouped):
    called = lambda x: io_callback(lambda x: x, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    def f(see, h, xs):
        return lax.scan(lambda h, x: (jnp.sin(h * lax.stop_gradient(see(x))), None), h, xs)[0].sum()

    args = H, jnp.ones((64, 4))
    for see, runs_again in ((jnp.cos, True), (called, False)):
        (step,) = turns.loops_of(fg.plan(partial(f, see), *args))
        assert any(choice.remaking.groups for choice in turns.choices_of(step)) == runs_again
    grouped(8)
    assert groups_of(fg.plan(partial(f, called), *args, memory="min")) == []


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
    assert [v.name for v in plan.steps[0].saved] == ["scan/carry0:every3"]
    assert plan.steps[0].saved[0].aval.shape == (3, 4)
    chex.assert_trees_all_close(found, jax.value_and_grad(f)(H, XS), rtol=1e-12)


@jax.custom_vjp
def squashed(x):
    return jnp.tanh(x)


squashed.defvjp(lambda x: (jnp.tanh(x), jnp.cosh(x)), lambda c, g: (g / c**2,))


def in_a_loop(w, h, xs):
    """What depends on constants alone; a derivative of its own, whose residuals are kept; a loop inside."""

    def turn(h, x):
        h = squashed(h @ jnp.exp(-(w**2)) + x)
        h, ys = lax.scan(lambda h, y: (jnp.sin(h * y), h), h, jnp.stack([x, h, x]))
        return h, ys.sum()

    h, ys = lax.scan(turn, h, xs, reverse=True)
    return jnp.sum(h) + jnp.sum(ys**2)


HELD = {
    "as it is": in_a_loop,
    "in a branch": lambda w, h, xs: lax.cond(h[0] > 0, in_a_loop, lambda *args: -in_a_loop(*args), w, h, xs),
    "in a checkpoint": jax.checkpoint(in_a_loop),
    "in a jitted function": jax.jit(in_a_loop),
}


@pytest.mark.parametrize("held", HELD)
def test_loops_run_in_groups_wherever_they_are(held, grouped):
    args, every = (W, H, XS), (0, 1, 2)
    wrap = grouped(4, 2)
    assert groups_of(fg.plan(HELD[held], *args, memory="min"))[:2] == [(4, 2), (2,)]
    found = jax.jit(wrap(HELD[held], every))(*args)
    chex.assert_trees_all_close(found, jax.jit(jax.value_and_grad(in_a_loop, every))(*args), rtol=1e-11)


def test_groups_on_a_mesh_whose_axes_are_explicit(grouped):
    mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Explicit,))
    h, xs = jnp.stack([H, 2 * H, 3 * H, -H]), jnp.stack([XS] * 4, 1)
    expected = jax.value_and_grad(loops.rnn, (0, 1, 2))(W, h, xs)
    with jax.set_mesh(mesh):
        h = jax.device_put(h, jax.P("d"))
        xs = jax.device_put(xs, jax.P(None, "d"))
        found = jax.jit(grouped(3)(loops.rnn, (0, 1, 2)))(W, h, xs)
    assert found[1][2].sharding.is_equivalent_to(xs.sharding, 3)
    chex.assert_trees_all_close(found, expected, rtol=1e-11)


def test_groups_inside_shard_map(grouped):
    mesh, part = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,)), jax.P("d")
    args = jnp.tile(W[None], (4, 1, 1)), jnp.stack([H, 2 * H, 3 * H, -H]), jnp.stack([XS] * 4)
    options = {"wrt": ["w", "xs", "cell/h"], "taps": "cell/h", "stats": "norm"}
    gradient = grouped(3)(loops.rnn, **options)
    one = lambda w, h, xs: jax.tree.map(lambda x: jnp.asarray(x)[None], gradient(w[0], h[0], xs[0]))
    with jax.set_mesh(mesh):
        found = jax.jit(jax.shard_map(one, mesh=mesh, in_specs=(part,) * 3, out_specs=part))(*args)
    expected = jax.vmap(fg.value_and_grad(loops.rnn, **options))(*args)
    chex.assert_trees_all_close(found, expected, rtol=1e-11)


def test_a_carry_that_must_not_be_made_again_keeps_its_turns(grouped):
    """What a turn leaves could be made again from its carry, but not that."""

    def f(h, xs):
        def turn(state, x):
            h, n = state
            n = io_callback(lambda n: n, jax.ShapeDtypeStruct(n.shape, n.dtype), lax.stop_gradient(n) + 1)
            return (jnp.sin(h) * jnp.cos(n), n), None

        return lax.scan(turn, (h, jnp.zeros_like(h)), xs)[0][0].sum()

    found = grouped(3)(f)(H, XS)
    assert groups_of(fg.plan(f, H, XS, memory="min")) == []
    chex.assert_trees_all_close(found, fg.value_and_grad(f)(H, XS), rtol=1e-12)


def deep(n, rows=128, width=16):
    def f(ws, h):
        return jnp.sum(lax.scan(lambda h, w: (jnp.tanh(h @ w), None), h, ws)[0])

    return f, jnp.ones((n, width, width), jnp.float32) / width, jnp.ones((rows, width), jnp.float32)


def peak_of(program):
    found = program.memory_analysis()
    return found.temp_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes


def grouped_program(n, memory):
    f, *args = deep(n)
    traced = jax.jit(fg.grad(f, memory=memory)).trace(*args)
    return fg.plan(f, *args, memory=memory), traced.jaxpr, peak_of(traced.lower().compile())


def n_equations(jaxpr):
    inner = (p.jaxpr for e in jaxpr.eqns for p in e.params.values() if hasattr(p, "jaxpr"))
    return len(jaxpr.eqns) + sum(map(n_equations, inner))


def test_memory_goes_with_the_root_of_the_turns_or_less():
    # An activation has 128 rows of 16 floats. Whatever is kept, there are the gradient of n matrices, and in a turn the
    # cotangent, the product and what hardly counts. A turn leaves what it starts from, and the tanh.
    activation, fixed = 128 * 16 * 4, lambda n: n * 16 * 16 * 4 + 3.2 * 128 * 16 * 4
    # √n: of 64 turns in groups of 8, 8 carries, the one that a group begins with, and 8 turns; of 256, 16, 1 and 16.
    for n, group, n_activations in ((64, 8, 25), (256, 16, 49)):
        plan, _, taken = grouped_program(n, int(n_activations * activation + fixed(n)))
        assert groups_of(plan) == [(group,)]
        assert taken == pytest.approx(n_activations * activation + fixed(n), rel=0.02)
        assert plan.memory.peak == pytest.approx(taken, rel=0.02)
    # log n: of four times as many turns, one size more, which takes 4 carries and the one that its groups begin with.
    for n, sizes, n_activations in ((64, (16, 4), 18), (256, (64, 16, 4), 23), (1024, (256, 64, 16, 4), 28)):
        plan, _, taken = grouped_program(n, "min")
        assert groups_of(plan) == [sizes]
        assert taken == pytest.approx(n_activations * activation + fixed(n), rel=0.02)
        assert plan.memory.peak == pytest.approx(taken, rel=0.02)


def test_as_many_equations_for_any_number_of_turns():
    sizes = {n: n * 1024 + (3 * n**0.5 + 5) * 8192 for n in (64, 256)}
    counts = {n: n_equations(grouped_program(n, int(size))[1].jaxpr) for n, size in sizes.items()}
    assert counts[64] == counts[256]


@pytest.mark.parametrize(
    ("n", "left", "depth", "expected"),
    [
        (64, 1, 1, (8,)),
        (64, 1, 2, (16, 4)),
        (64, 4, 1, (4,)),  # of 16 carries and 4 turns of 4 each
        (60, 1, 1, (10,)),  # as good as 6, and less is there all along
        (61, 1, 1, (8,)),  # 5 are left over
        (2, 1, 1, (1,)),
        (3, 9, 1, (1,)),
    ],
)
def test_the_sizes_of_groups(n, left, depth, expected):
    assert turns.group_sizes(n, 1, left, depth)[1] == expected


@pytest.mark.parametrize(("n", "depth"), [(1, 1), (3, 2), (4, 3)])
def test_few_turns_have_few_sizes(n, depth):
    assert turns.group_sizes(n, 1, 1, depth)[0] == float("inf")


def test_the_plan_says_what_runs_again():
    plan, *_ = grouped_program(64, "min")
    assert "scan (16 and 4 turns at a time): run again on the way back" in str(plan)
    held = {h.why: h.bytes for h in plan.memory.at_peak}
    # The carries of 4 groups, 4 turns with two arrays each, the carry that each of the two begins with; and, all along,
    # 4 carries between those of 16.
    assert held["run again, 16 and 4 turns at a time"] == 14 * 8192
    assert held["kept for scan"] == 4 * 8192
    assert plan.memory.overhead == pytest.approx(2.0, rel=0.01)


@pytest.mark.parametrize("memory", [0.6, "min"])
def test_several_loops_take_what_was_foreseen(memory):
    """XLA has room for the stacks of all loops from the start, so a second run of a whole loop would spare nothing."""

    def f(ws, h):
        for w in ws:
            h, _ = lax.scan(lambda h, w: (jnp.tanh(h @ w["up"]) @ w["down"] + h, None), h, w)
        return jnp.sum(h**2)

    ones = lambda *shape: jnp.full(shape, 1 / shape[-1], jnp.float32)
    args = [{"up": ones(32, 8, 32), "down": ones(32, 32, 8)} for _ in range(4)], ones(128, 8)
    plan = fg.plan(f, *args, memory=memory)
    assert plan.memory.overhead > 0.3
    taken = peak_of(jax.jit(fg.grad(f, memory=memory)).lower(*args).compile())
    assert plan.memory.peak == pytest.approx(taken, rel=0.05)
