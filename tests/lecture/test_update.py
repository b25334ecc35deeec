"""Gradient descent, W ← W - η [[∂ℓ/∂W]], for the sum of the losses of all examples."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcgrad as fg
from funcgrad import ops, train
from funcgrad.layers import chain, linear

from .by_hand import SIGMA, assert_equals, mlp_backward, mlp_forward, random_mlp

STEPS, RATE, N = 4, 0.05, 6
network = chain(l1=linear(4), a1=ops.tanh, l2=linear(2), a2=ops.tanh)


def objective(output, targets):
    """ℓ = Σ (f(x) - t)², over examples and entries."""
    return ops.sum(ops.squared_error(output, targets))


def loss(params, X, T):
    return objective(network(params, X), T)


@pytest.fixture
def start():
    weights, biases, _, _ = random_mlp([3, 4, 2])
    rng = np.random.default_rng(8)
    return weights, biases, rng.normal(size=(N, 3)), rng.normal(size=(N, 2))


@pytest.fixture
def descended(start):
    """Weights and biases after a few steps by hand, and the loss before each step."""
    weights, biases, X, T = start
    weights, biases = [W.copy() for W in weights], [b.copy() for b in biases]
    sigma, dsigma = SIGMA["tanh"]
    losses = []
    for _ in range(STEPS):
        losses.append(0.0)
        W_bars, b_bars = [np.zeros_like(W) for W in weights], [np.zeros_like(b) for b in biases]
        for x, t in zip(X, T, strict=True):
            ss, xs = mlp_forward(weights, biases, x, sigma)
            losses[-1] += ((xs[-1] - t) ** 2).sum()
            s_bars, _, terms = mlp_backward(weights, ss, xs, 2 * (xs[-1] - t), dsigma)
            for k in range(2):
                W_bars[k] += terms[k]
                b_bars[k] += s_bars[k]
        for k in range(2):
            weights[k] = weights[k] - RATE * W_bars[k]
            biases[k] = biases[k] - RATE * b_bars[k]
    return as_params(weights, biases), losses


def as_params(weights, biases):
    layers = zip(("l1", "l2"), weights, biases, strict=True)
    return {layer: {"w": jnp.asarray(W.T), "b": jnp.asarray(b)} for layer, W, b in layers}


def assert_params_equal(actual, expected):
    for layer in ("l1", "l2"):
        for name in ("w", "b"):
            assert_equals(actual[layer][name], expected[layer][name])


def test_the_update_written_out(start, descended):
    weights, biases, X, T = start
    params, losses = as_params(weights, biases), []
    for _ in range(STEPS):
        value, gradient = fg.value_and_grad(loss)(params, X, T)
        losses.append(value)
        params = jax.tree.map(lambda W, W_bar: W - RATE * W_bar, params, gradient)
    assert_params_equal(params, descended[0])
    assert_equals(losses, np.array(descended[1]))
    assert losses[-1] < losses[0]


def test_the_update_by_optax(start, descended):
    weights, biases, X, T = start
    optimizer = optax.sgd(RATE)
    params = as_params(weights, biases)
    state = optimizer.init(params)
    for _ in range(STEPS):
        updates, state = optimizer.update(fg.grad(loss)(params, X, T), state)
        params = optax.apply_updates(params, updates)
    assert_params_equal(params, descended[0])


@pytest.mark.parametrize("microbatches", [1, 2])
def test_the_update_by_a_training_step(start, descended, microbatches):
    """A step averages over microbatches, so the sum over all examples needs the rate once per microbatch."""
    weights, biases, X, T = start
    optimizer = optax.sgd(RATE * microbatches)
    state = train.init(as_params(weights, biases), optimizer)
    step = train.step(train.supervised(network, objective), optimizer, microbatches=microbatches)
    for expected in descended[1]:
        state, metrics = step(state, (jnp.asarray(X), jnp.asarray(T)), jax.random.key(0))
        assert_equals(metrics["loss"] * microbatches, np.float64(expected))
    assert_params_equal(state.params, descended[0])
    assert state.step == STEPS
