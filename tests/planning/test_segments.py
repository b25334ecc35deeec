"""Values outside of any checkpoint that are made again: each once, for all steps that read them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.planning import make_plan
from funcgrad.reverse import forward, reverse

X, W = jnp.linspace(-1.0, 1.0, 256 * 16).reshape(256, 16), jnp.cos(jnp.arange(16.0 * 64)).reshape(16, 64) / 8


def block(x, w):
    return x + ops.linear(ops.tanh(ops.linear(ops.layer_norm(x), w)), w.T)


def chain(x, w):
    for k in range(6):
        with fg.scope(f"block{k}"):
            x = block(x, w)
    return jnp.sum(x**2)


def inner(structure, scope):
    """What is made in a scope and read nowhere else."""
    made = [v for n in structure.all_nodes if n.scope == scope for v in n.outputs]
    outside = [n for n in structure.all_nodes if n.scope != scope]
    read = {*structure.outputs, *(v for n in outside for v in n.inputs)}
    return [v for v in made if v not in read]


def planned(f, args, segments=lambda structure: ()):
    """The plan of a scalar function's gradient, all its inputs wanted."""
    structure = fg.trace(f, *args).structure
    return make_plan(structure, structure.inputs, structure.outputs, segments=segments(structure))


def gradient(plan, *args):
    _, kept = forward(plan, (), args)
    return reverse(plan, kept, [jnp.ones(())])


def each_block(structure):
    return [inner(structure, f"block{k}") for k in range(6)]


@pytest.fixture(scope="module")
def plans():
    return planned(chain, (X, W)), planned(chain, (X, W), each_block)


def named(plan, name):
    """How often the equations of a gradient are an op, by its name."""
    return str(jax.make_jaxpr(partial(gradient, plan))(X, W)).count(f" {name}[")


def test_the_plan_keeps_what_segments_begin_with(plans):
    kept, remade = plans
    assert remade.totals.kept_bytes < 0.35 * kept.totals.kept_bytes
    names = {v.name for v in remade.kept} - {v.name for v in remade.structure.inputs}
    assert names == {f"block{k}/add" for k in range(6)}
    assert {v.name for v in remade.remade} > {"block3/tanh", "block3/layer_norm"}


def test_each_node_is_run_again_once(plans):
    kept, remade = plans
    again = [n.name for s in remade.steps for n in s.runs_again]
    assert len(again) == len(set(again))
    assert {n.split("/")[1] for n in again} == {"layer_norm", "linear", "tanh"}
    assert len(again) == 6 * 3
    for name, once, twice in (("tanh", 6, 12), ("layer_norm", 6, 12)):
        assert (named(kept, name), named(remade, name)) == (once, twice)
    assert sum(s.again is not None for s in remade.steps) == 6
    more = sum(n.flops for s in remade.steps for n in s.runs_again)
    assert remade.totals.backward_flops == kept.totals.backward_flops + more


def test_the_compiled_program_needs_less_and_computes_the_same(plans):
    compiled = [jax.jit(partial(gradient, plan)).lower(X, W).compile() for plan in plans]
    more, less = (c.memory_analysis().temp_size_in_bytes for c in compiled)
    assert less < 0.5 * more
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-12), *(c(X, W) for c in compiled))
    expected = jax.grad(chain, (0, 1))(X, W)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9), gradient(plans[1], X, W), list(expected))


def test_what_is_made_again_is_dropped_after_its_last_reader(plans):
    _, remade = plans
    values = dict.fromkeys(remade.kept, 0.0)
    for step in reversed(remade.steps):
        values.update(dict.fromkeys(step.again.made if step.again else (), 0.0))
        assert step.borrowed <= values.keys()
        for v in step.returned:
            del values[v]
    assert values.keys() == set(remade.kept)


def test_a_segment_may_read_what_another_makes():
    """Both ways round: the sine of the first is read by the second, whose cosine the first reads."""

    def f(x):
        a = fg.name(jnp.sin(x), "a")
        b = fg.name(jnp.cos(a), "b")
        c = fg.name(jnp.sin(b * a), "c")
        return jnp.sum(c * jnp.exp(b) * a)

    def values(structure, *names):
        return [v for v in structure.values if v.name in names]

    x = jnp.linspace(0.1, 0.9, 5)
    expected = jax.grad(f)(x)
    for first, second in [("ab", "c"), ("ac", "b"), ("c", "ab"), ("a", "bc")]:
        plan = planned(f, (x,), lambda s, one=first, two=second: [values(s, *one), values(s, *two)])
        assert {v.name for v in plan.remade} == {"a", "b", "c"}
        assert [v.name for v in plan.kept if v.name in "abc"] == []
        again = [n.name for s in plan.steps for n in s.runs_again]
        assert len(again) == len(set(again)) == 3
        np.testing.assert_allclose(gradient(plan, x)[0], expected, rtol=1e-12)


def test_inputs_and_what_happens_only_once_stay_kept(capfd):
    def f(x):
        y = jnp.sin(x)
        jax.debug.print("turn {y}", y=y[0])
        return jnp.sum(jnp.cos(y) * y)

    plan = planned(f, (X[0],), lambda s: [[*s.inputs, *(v for v in s.values if v not in s.outputs)]])
    np.testing.assert_allclose(
        gradient(plan, X[0])[0], jax.grad(lambda x: jnp.sum(jnp.cos(jnp.sin(x)) * jnp.sin(x)))(X[0])
    )
    jax.effects_barrier()
    assert capfd.readouterr().out.count("turn") == 1
    assert plan.structure.inputs[0] in plan.kept


def test_inside_of_loops_and_checkpoints_and_around_them():
    def turn(x, w):
        y = jnp.sin(fg.name(ops.tanh(ops.linear(x, w)), "y") ** 2)
        return jax.checkpoint(lambda y: jnp.cos(jnp.sin(y)))(y), None

    def f(x, ws):
        x = fg.name(jnp.sin(x), "x1")
        x, _ = jax.lax.scan(turn, x, ws)
        return jnp.sum(jnp.exp(x))

    def everything(structure):
        values = [v for n in structure.all_nodes if not n.bodies for v in n.outputs if v not in structure.outputs]
        return [[v for v in values if v.loops], [v for v in values if not v.loops]]

    x, ws = X[:3, :8], jnp.cos(jnp.arange(4 * 64.0)).reshape(4, 8, 8)
    bare, plan = planned(f, (x, ws)), planned(f, (x, ws), everything)
    for found in (gradient(plan, x, ws), jax.jit(partial(gradient, plan))(x, ws)):
        for a, b in zip(found, jax.grad(f, (0, 1))(x, ws), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10)
    assert plan.totals.kept_bytes < bare.totals.kept_bytes
