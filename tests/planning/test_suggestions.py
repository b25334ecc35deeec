"""A plan says where plain JAX does what an op of ours does with less, and does not where it does not."""

import jax
import jax.numpy as jnp
import pytest

import funcgrad as fg
from funcgrad import ops

X = jnp.linspace(-1.0, 1.0, 24).reshape(2, 3, 4)
IMAGE = jnp.ones((1, 4, 4, 2))


def layer_norm(x):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-5)


def attention(x):
    scores = jnp.einsum("bqd,bkd->bqk", x, x) / 2.0
    scores = jnp.where(jnp.tril(jnp.ones((3, 3), bool)), scores, -1e9)
    return jnp.einsum("bqk,bkd->bqd", jax.nn.softmax(scores), x)


def cross_entropy(x):
    return -jnp.take_along_axis(jax.nn.log_softmax(x), jnp.zeros((2, 3, 1), jnp.int32), -1)


def max_pool(x):
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


FOUND = {
    "layer norm": (layer_norm, X, {"layer_norm"}),
    "by a root": (lambda x: x / jnp.sqrt((x**2).mean(-1, keepdims=True) + 1e-5), X, {"layer_norm"}),
    "variance of jnp": (lambda x: (x - x.mean()) * jax.lax.rsqrt(jnp.var(x) + 1e-5), X, {"layer_norm"}),
    "softmax": (jax.nn.softmax, X, {"softmax"}),
    "attention": (attention, X, {"attention", "softmax"}),
    "cross entropy": (cross_entropy, X, {"cross_entropy"}),
    "cross entropy with labels": (
        lambda x: -(jax.nn.log_softmax(x) * jax.nn.one_hot(jnp.zeros((2, 3), int), 4)).sum(-1),
        X,
        {"cross_entropy"},
    ),
    "max pool": (max_pool, IMAGE, {"max_pool2d"}),
    "in a loop": (lambda x: jax.lax.scan(lambda c, _: (layer_norm(c), None), x, length=2)[0], X, {"layer_norm"}),
    "our ops": (lambda x: ops.softmax(ops.layer_norm(x, jnp.ones(4), jnp.zeros(4))), X, set()),
    "something else": (lambda x: jnp.exp(x) / (1.0 + x.sum()) * jax.lax.rsqrt(x * x + 1.0), X, set()),
}


@pytest.mark.parametrize("case", FOUND)
def test_a_plan_says_what_could_be_replaced(case):
    function, x, expected = FOUND[case]
    plan = fg.plan(lambda x: jnp.sum(function(x)), x)
    assert {s.op for s in plan.suggestions} == expected
    assert all(hasattr(ops, s.op) for s in plan.suggestions)
    assert ("could be " in str(plan)) == bool(expected)


def test_many_are_counted():
    def f(x):
        for _ in range(5):
            x = layer_norm(x)
        return x.sum()

    line = fg.plan(f, X).table().splitlines()[-1]
    assert line.startswith("could be layer_norm at mul (")
    assert line.endswith(") and 2 more: see fg.ops")


@pytest.mark.parametrize("name", ["div", "dot_general", "reduce_window_max", "conv_general_dilated"])
def test_an_op_of_ones_own_is_not_taken_for_a_primitive_of_its_name(name):
    own = fg.op(name=name, replace=True)(lambda a: jnp.tanh(a))
    f = lambda x: jnp.sum(jax.lax.scan(lambda c, _: (own(c), None), own(x), None, length=2)[0])
    plan = fg.plan(f, jnp.ones((2, 2)))
    assert not plan.suggestions
    assert plan.rows[0].forward_flops == 4
    assert f"{name}" in str(plan)
