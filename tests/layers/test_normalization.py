"""Normalizing layers: against numpy, and the state of batch norm in every combinator and in training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcgrad as fg
from funcgrad import ops, train
from funcgrad.errors import GraphError, ShapeError
from funcgrad.layers import (
    batch_norm,
    chain,
    dag,
    group_norm,
    layer_norm,
    linear,
    node,
    parallel,
    repeat,
    residual,
    rms_norm,
)
from tests.raising import raises_sentence

KEY = jax.random.key(3)


@pytest.mark.parametrize(
    ("net", "names"),
    [
        (layer_norm(use_scale=False), ["bias"]),
        (layer_norm(use_bias=False), ["scale"]),
        (rms_norm(), ["scale"]),
        (rms_norm(use_scale=False), []),
        (group_norm(2), ["bias", "scale"]),
        (group_norm(None, use_scale=False, use_bias=False), []),
        (batch_norm(use_bias=False), ["scale"]),
    ],
    ids=repr,
)
def test_parameters(net, names, rng):
    x = rng.normal(size=(3, 5, 4))
    params, state = net.init(KEY, x)
    assert sorted(params) == names
    axes = {layer_norm: -1, rms_norm: -1, batch_norm: (0, 1)}.get(type(net), 1)
    y, _ = net.apply(params, state, x, train=True)
    if type(net) is rms_norm:
        np.testing.assert_allclose(np.mean(np.square(y), -1), 1, rtol=1e-4)
    elif net != group_norm(2):
        np.testing.assert_allclose(np.mean(y, axes), 0, atol=1e-12)
        np.testing.assert_allclose(np.var(y, axes), 1, rtol=1e-3)


def test_running_statistics(rng):
    net = batch_norm(momentum=0.75)
    x = rng.normal(size=(6, 5, 3)) * 2 + 1
    params, state = net.init(KEY, x)
    y, after = net.apply(params, state, x, train=True)
    np.testing.assert_allclose(after["mean"], 0.25 * x.mean((0, 1)), rtol=1e-12)
    np.testing.assert_allclose(after["variance"], 0.75 + 0.25 * x.var((0, 1)), rtol=1e-12)
    np.testing.assert_allclose(y, (x - x.mean((0, 1))) / np.sqrt(x.var((0, 1)) + 1e-5), rtol=1e-10, atol=1e-12)
    quiet, same = net.apply(params, after, x)
    expected = (x - np.asarray(after["mean"])) / np.sqrt(np.asarray(after["variance"]) + 1e-5)
    np.testing.assert_allclose(quiet, expected, rtol=1e-10, atol=1e-12)
    assert same is after


def test_running_statistics_are_float32_at_least():
    spec = jax.ShapeDtypeStruct((4, 3), jnp.bfloat16)
    params, state = jax.eval_shape(batch_norm().init, KEY, spec)
    y, after = jax.eval_shape(lambda *a: batch_norm().apply(*a, train=True), params, state, spec)
    assert y.dtype == params["scale"].dtype == jnp.bfloat16
    assert {v.dtype for v in jax.tree.leaves((state, after))} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("grad", [jax.grad, fg.grad], ids=["jax", "funcgrad"])
def test_no_gradient_flows_into_the_state(grad, rng):
    x = jnp.asarray(rng.normal(size=(6, 3)))
    params, state = batch_norm().init(KEY, x)

    def of_state(x):
        return sum(jnp.sum(v) for v in jax.tree.leaves(batch_norm().apply(params, state, x, train=True)[1]))

    np.testing.assert_array_equal(grad(of_state)(x), np.zeros((6, 3)))


COMBINED = {
    "chain": chain(linear(4), batch_norm(), ops.relu),
    "residual": residual(chain(linear(4), batch_norm()), shortcut=batch_norm()),
    "parallel": chain(parallel(batch_norm(), batch_norm(0.5)), ops.add),
    "repeat": repeat(residual(chain(linear(4), batch_norm(), jnp.tanh)), 3),
    "dag": dag("x", a=node(batch_norm(), "x"), b=node(linear(4), "a"), c=node(batch_norm(), "b")),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n == "repeat" else n for n in COMBINED])
def test_state_in_combinators(name, rng):
    net, x = COMBINED[name], jnp.asarray(rng.normal(size=(8, 4)) + 3)
    params, state = net.init(KEY, x)
    first, after = net.apply(params, state, x, train=True)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert all(bool(jnp.all(a != b)) for a, b in zip(*map(jax.tree.leaves, (after, state)), strict=True))
    for _ in range(200):
        _, after = net.apply(params, after, x, train=True)
    # The running statistics have become the batch's, so inference gives what training gives.
    np.testing.assert_allclose(net.apply(params, after, x)[0], first, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", COMBINED)
def test_the_shorthand_refuses_to_lose_state(name, rng):
    net, x = COMBINED[name], rng.normal(size=(8, 4))
    params, _ = net.init(KEY, x)
    sentence = rf"{type(net).__name__}: keeps state, which net\(params, x\) would lose; use net\.apply\."
    for train_ in (False, True):
        with raises_sentence(GraphError, sentence):
            net(params, x, train=train_)


def test_the_shorthand_of_a_repeated_layer_without_state(rng):
    net, x = repeat(chain(linear(4), ops.tanh), 2), rng.normal(size=(3, 4))
    params, state = net.init(KEY, x)
    np.testing.assert_array_equal(net(params, x), net.apply(params, state, x)[0])


@pytest.mark.parametrize("microbatches", [1, 2])
def test_state_through_a_training_step(microbatches, rng):
    net = chain(linear(4), batch_norm(0.5), ops.relu, linear(2))
    x, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    params, state = net.init(KEY, x)
    loss = train.supervised(net, lambda out, target: (ops.mean(ops.squared_error(out, target)), {}))
    optimizer = optax.sgd(0.0)
    step = train.step(loss, optimizer, microbatches=microbatches)
    after, _ = step(train.init(params, optimizer, state), (x, y), KEY)
    running = state
    for part in np.split(x, microbatches):
        _, running = net.apply(params, running, part, train=True)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), after.model_state, running)


@pytest.mark.parametrize(
    ("call", "kind", "sentence"),
    [
        (
            lambda: batch_norm().apply({"scale": jnp.ones(3), "bias": jnp.zeros(3)}, {}, jnp.ones((2, 3))),
            GraphError,
            r"batch_norm: state must have 'mean', got none; pass the state that init returned\.",
        ),
        (
            lambda: batch_norm(momentum=1.5),
            GraphError,
            r"batch_norm: momentum must be in \[0, 1\], got 1\.5\.",
        ),
        (
            lambda: chain(group_norm(2)).init(KEY, jnp.ones((2, 3))),
            ShapeError,
            r"group_norm0/group_norm: cannot take x: f64\[2,3\], scale: f64\[3\], bias: f64\[3\]; "
            r"groups must divide the number of channels, 3, got 2\.",
        ),
    ],
)
def test_errors(call, kind, sentence):
    with raises_sentence(kind, sentence):
        call()
