"""Loops, branches, checkpoints as values: they run as JAX runs the equation, whatever stands in for the bodies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Primitive  # noqa: TID251  (a user's own)
from jax.interpreters import ad, mlir  # noqa: TID251

import funcgrad as fg
from funcgrad.primitive import Checkpoint, Cond, JittedCall, Scan, While, as_function, holder_of
from tests.planning.asserting import assert_like_jax

X = jnp.linspace(0.1, 0.9, 4)
EACH = jnp.linspace(-1.0, 1.0, 12).reshape(3, 4)


def summing(reverse):
    return lambda x, each: jax.lax.scan(lambda c, e: (c * x + e, (c.sum(), e)), x, each, reverse=reverse)


def branching(index):
    return lambda x, each: jax.lax.switch(index + jnp.int32(each[0, 0]), [jnp.sin, jnp.cos, lambda x: x * each[1]], x)


def doubling(x, each):
    return jax.lax.while_loop(lambda c: c.sum() < x.sum() * each[2, 3] * 9.0, lambda c: c * 2.0 + each[2], x)


HOLDERS = {
    "forward": (summing(False), Scan),
    "backward": (summing(True), Scan),
    "first branch": (branching(1), Cond),
    "last branch": (branching(3), Cond),
    "index beyond": (branching(9), Cond),
    "platforms": (lambda x, each: jax.lax.platform_dependent(x, cpu=jnp.sin, default=lambda x: x * each[1]), Cond),
    "while": (doubling, While),
    "checkpoint": (jax.checkpoint(lambda x, each: jnp.sin(x) * each[1]), Checkpoint),
}


def held(name):
    """A holder, its operands, and what JAX makes of them."""
    function, kind = HOLDERS[name]
    traced = jax.make_jaxpr(function)(X, EACH)
    (at,) = [i for i, e in enumerate(traced.eqns) if holder_of(e) is not None]
    equation = traced.eqns[at]
    holder = holder_of(equation)
    assert type(holder) is kind
    operands = traced.jaxpr.replace(eqns=traced.eqns[:at], outvars=list(equation.invars))
    leaves = jax.core.eval_jaxpr(operands, traced.consts, X, EACH)
    return holder, leaves, equation.primitive.bind(*leaves, **equation.primitive.get_bind_params(equation.params))


@pytest.mark.parametrize("name", HOLDERS)
def test_it_runs_as_the_equation(name):
    holder, leaves, outputs = held(name)
    found = holder.run([as_function(inner) for inner in holder.jaxprs], *leaves)
    jax.tree.map(np.testing.assert_array_equal, found, list(outputs))


@pytest.mark.parametrize("name", [name for name in HOLDERS if name != "while"])
def test_what_other_functions_return_beyond_the_outputs_comes_after_the_results(name):
    holder, leaves, outputs = held(name)

    def longer(inner):
        return lambda *inputs: [*as_function(inner)(*inputs), jnp.float32(7)]

    *found, more = holder.run([longer(inner) for inner in holder.jaxprs], *leaves)
    jax.tree.map(np.testing.assert_array_equal, found, list(outputs))
    np.testing.assert_array_equal(more, np.full(holder.lengths, 7, "float32"))


@pytest.mark.parametrize("name", [name for name in HOLDERS if HOLDERS[name][1] not in (Scan, While)])
def test_what_is_entered_is_what_runs(name):
    holder, leaves, outputs = held(name)
    k, inputs = holder.entering(leaves)
    jax.tree.map(np.testing.assert_array_equal, as_function(holder.jaxprs[k])(*inputs), list(outputs))


@pytest.mark.parametrize(("name", "numbers"), {"forward": [0, 1, 2], "backward": [2, 1, 0], "while": [0, 1, 2]}.items())
def test_turn_by_turn_it_comes_to_the_same(name, numbers):
    holder, leaves, outputs = held(name)
    turns = list(holder.turns(leaves, jax.jit(as_function(holder.jaxprs[0]))))
    assert [turn.number for turn in turns] == numbers
    jax.tree.map(np.testing.assert_array_equal, list(turns[0].inputs), list(holder.entering(leaves)[1]))
    np.testing.assert_allclose(turns[-1].outputs[0], outputs[0], rtol=1e-12)


def test_a_loop_without_turns_enters_no_body():
    (equation,) = jax.make_jaxpr(summing(False))(X, EACH[:0]).eqns
    assert holder_of(equation).entering([X, X, EACH[:0]]) is None


def test_a_jitted_call_is_one_only_where_a_trace_leaves_it_whole():
    (equation,) = jax.make_jaxpr(jax.jit(jnp.sin))(X).eqns
    assert holder_of(equation) is None
    assert JittedCall().run([lambda x: [x + 1]], X)[0] is not X


def test_a_branch_in_a_loop_costs_its_dearest_side_every_turn():
    def f(x, each):
        dear = lambda c: jnp.tanh(c @ jnp.ones((4, 4)))
        return jax.lax.scan(lambda c, e: (jax.lax.cond(e.sum() > 0, dear, jnp.sin, c), None), x, each)[0]

    *_, scan = fg.trace(f, X, EACH).nodes
    # A turn: the sum of e (4), its comparison (1), the index (0), and of the branches the product and tanh (32 + 4).
    assert scan.flops == 3 * (4 + 1 + 32 + 4)


@pytest.mark.parametrize("name", ["scan", "cond", "while", "checkpoint", "remat2"])
def test_a_primitive_of_ones_own_called_as_one_of_jax_is_none(name):
    twice = Primitive(name)
    twice.def_impl(lambda x, length: length * x)
    twice.def_abstract_eval(lambda x, length: x)
    ad.deflinear2(twice, lambda g, x, length: (twice.bind(g, length=length),))
    mlir.register_lowering(twice, mlir.lower_fun(lambda x, length: length * x, False))
    assert_like_jax(lambda x: jnp.sum(twice.bind(jnp.sin(x), length=2)), X)
    (_, node) = fg.trace(lambda x: twice.bind(jnp.sin(x), length=2), X).nodes
    assert (node.op_name, node.holder, node.flops) == (name, None, X.size)
