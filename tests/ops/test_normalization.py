"""Normalization: what offsets cost, what is kept, which axes, sharding, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcgrad import ops
from funcgrad.errors import ShapeError
from tests.raising import raises_sentence

X = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3, 2, 8)))
NORMS = {
    "layer": lambda x, scale, bias: ops.layer_norm(x, scale, bias),
    "rms": lambda x, scale, bias: ops.rms_norm(x, scale) + bias.reshape((1,) * (x.ndim - 1) + bias.shape),
    "group": lambda x, scale, bias: ops.group_norm(x, scale, bias, groups=2),
    "batch": lambda x, scale, bias: ops.batch_norm(x, scale, bias)[0],
    "inference": lambda x, scale, bias: ops.batch_norm_inference(x, bias, scale**2, scale, bias),
}


@pytest.mark.parametrize("name", ["layer", "group", "batch"])
def test_an_offset_costs_no_digits(name):
    x = (X + 1e3).astype(np.float32)
    scale, bias = jnp.ones(8), jnp.zeros(8)
    expected, pull = jax.vjp(NORMS[name], jnp.asarray(x, jnp.float64), scale, bias)
    found, low_pull = jax.vjp(NORMS[name], x, scale.astype(np.float32), bias.astype(np.float32))
    # A mean near 1e3 is known to 6e-5 at most; E[x²] - E[x]² would be off by 0.06 in a variance of 1.
    np.testing.assert_allclose(found, expected, atol=2e-4)
    g = np.random.default_rng(1).normal(size=X.shape)
    for a, b in zip(low_pull(jnp.asarray(g, jnp.float32)), pull(jnp.asarray(g)), strict=True):
        np.testing.assert_allclose(a, b, atol=3e-4 * np.abs(b).max())


@pytest.mark.parametrize(
    ("op", "options", "n"),
    [(ops.layer_norm, {}, 2 * 4 * 3 * 2), (ops.rms_norm, {}, 4 * 3 * 2), (ops.group_norm, {"groups": 2}, 2 * 4 * 2)],
    ids=lambda v: getattr(v, "name", None),
)
def test_beside_x_only_statistics_are_kept(op, options, n):
    parameters = [None] * (len(op.arguments) - 1)
    _, saved = op.saving_function(X, *parameters, eps=1e-6, **options)
    assert sum(v.size for v in jax.tree.leaves(saved)) == n
    assert not any("y" in rule.needs for rule in op.rules.values())


def test_one_group_is_the_whole_example_and_one_each_is_instance_norm():
    whole = ops.layer_norm(X.reshape(4, -1), eps=1e-5).reshape(X.shape)
    np.testing.assert_allclose(ops.group_norm(X, groups=1), whole, rtol=1e-12, atol=1e-12)
    each = (X - X.mean((1, 2), keepdims=True)) / np.sqrt(X.var((1, 2), keepdims=True) + 1e-5)
    np.testing.assert_allclose(ops.group_norm(X, groups=8), each, rtol=1e-12, atol=1e-12)


def test_batch_statistics():
    y, mean, variance = ops.batch_norm(X)
    np.testing.assert_allclose(mean, X.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(variance, X.var((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(y, ops.batch_norm_inference(X, mean, variance), rtol=1e-12, atol=1e-12)


def test_statistics_are_float32_at_least():
    _, mean, variance = ops.batch_norm(jnp.asarray(X, jnp.bfloat16))
    assert mean.dtype == variance.dtype == jnp.float32
    # 4096 entries of 1 and one of 257 would not be told from 4096 in bfloat16.
    ones = jnp.ones((4096, 1), jnp.bfloat16)
    g = jax.grad(lambda b: ops.batch_norm(ones, None, b)[0].sum())(jnp.zeros(1, jnp.float32))
    np.testing.assert_array_equal(g, [4096.0])


@pytest.mark.parametrize("op", [ops.layer_norm, ops.rms_norm], ids=lambda op: op.name)
def test_a_vmap_is_one_axis_more(op):
    jaxpr = jax.make_jaxpr(jax.vmap(lambda x: op(x, jnp.ones(8))))(X)
    (equation,) = [e for e in jaxpr.eqns if e.primitive.name == op.name]
    assert equation.params["call"].levels == ()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: ops.group_norm(X, groups=3),
            r"group_norm: cannot take x: f64\[4,3,2,8\]; "
            r"groups must divide the number of channels, 8, got 3\.",
        ),
        (
            lambda: ops.group_norm(np.ones(3), groups=1),
            r"group_norm: cannot take x: f64\[3\]; x must be \[b, \.\.\., c\], with an axis of examples\.",
        ),
        (
            lambda: ops.batch_norm(X, np.ones(3)),
            r"batch_norm: scale must be \[8\] \(because of x: f64\[4,3,2,8\]\), got f64\[3\]\.",
        ),
        (
            lambda: ops.rms_norm(X, np.ones((1, 8))),
            r"rms_norm: scale must be \[8\] \(because of x: f64\[4,3,2,8\]\), got f64\[1,8\]\.",
        ),
    ],
)
def test_errors(call, sentence):
    with raises_sentence(ShapeError, sentence):
        call()
