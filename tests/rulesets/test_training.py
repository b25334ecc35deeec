"""What the rules are for: nets of spikes, of signs and of whole numbers learn the digits; without rules they do not.

One network, a layer of 64 units between two matrices, trained by Adam on all of the training images at once.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcgrad as fg
from funcgrad.layers import leaky_integrate_and_fire, recurrent
from funcgrad.rulesets import straight_through, surrogates

STEPS = 8
"""Of time, in each of which the spiking net sees the same image."""


def dense(params, x):
    return fg.ops.linear(fg.ops.relu(fg.ops.linear(x, params["w1"], params["b1"])), params["w2"], params["b2"])


def spiking(params, x):
    """Rates of spikes, of both layers; nothing reaches a parameter but through a spike."""
    neurons = recurrent(leaky_integrate_and_fire(beta=0.9))
    current = jnp.broadcast_to(fg.ops.linear(x, params["w1"], params["b1"])[:, None], (len(x), STEPS, 64))
    hidden = neurons({}, current)
    return 5 * jnp.mean(neurons({}, fg.ops.linear(hidden, params["w2"], params["b2"])), axis=1)


def binarized(params, x):
    """Weights of two values in both layers, and activations of two values between them."""
    weights = {n: fg.ops.binarize(params[n]) for n in ("w1", "w2")}
    hidden = fg.ops.binarize(fg.ops.linear(x - 0.5, weights["w1"], params["b1"]) / 8)
    return fg.ops.linear(hidden, weights["w2"], params["b2"]) / 8


def int8(params, x):
    """Weights of int8 in steps of their largest, and activations of uint8."""
    steps = {n: jax.lax.stop_gradient(jnp.max(jnp.abs(params[n]))) / 127 for n in ("w1", "w2")}
    weights = {n: fg.ops.fake_quantize(params[n], step) for n, step in steps.items()}
    hidden = fg.ops.relu(fg.ops.linear(x, weights["w1"], params["b1"]))
    hidden = fg.ops.fake_quantize(hidden, jnp.full((), 8 / 255, hidden.dtype), low=0, high=255)
    return fg.ops.linear(hidden, weights["w2"], params["b2"])


def trained(net: Callable, rules: fg.RuleSet | None, digits, scale: float = 0.2) -> tuple[float, float]:
    """How much of the loss is left after 60 steps, and the share of test images that are right."""
    (x, labels), (test_x, test_labels) = digits
    keys = jax.random.split(jax.random.key(0))
    params = {
        "w1": scale * jax.random.normal(keys[0], (64, 64), jnp.float32), "b1": jnp.zeros(64, jnp.float32),
        "w2": scale * jax.random.normal(keys[1], (64, 10), jnp.float32), "b2": jnp.zeros(10, jnp.float32),
    }  # fmt: skip
    optimizer = optax.adam(0.02)
    loss = lambda params: fg.ops.mean(fg.ops.cross_entropy(net(params, x), labels))

    def step(state, _):
        params, moments = state
        value, gradient = fg.value_and_grad(loss, rules=rules)(params)
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(params, updates), moments), value

    with jax.numpy_dtype_promotion("standard"):  # optax counts in whole numbers
        (params, _), values = jax.lax.scan(step, (params, optimizer.init(params)), length=60)
    right = jnp.argmax(net(params, test_x), -1) == test_labels
    return float(values[-1] / values[0]), float(np.mean(right))


@pytest.fixture(scope="module")
def of_float(digits):
    return trained(dense, None, digits)[1]


def test_the_net_in_floating_numbers_learns(of_float):
    assert of_float > 0.9


@pytest.mark.parametrize("name", ["fast_sigmoid", "atan"])
def test_a_spiking_net_learns_with_a_surrogate(digits, of_float, name):
    left, right = trained(spiking, getattr(surrogates, name)(), digits)
    assert left < 0.3
    assert right > of_float - 0.05


def test_a_spiking_net_does_not_learn_without(digits):
    left, right = trained(spiking, None, digits)
    assert left == 1.0
    assert right < 0.3


def test_a_binarized_net_is_within_six_points_of_float(digits, of_float):
    assert trained(binarized, None, digits)[1] < 0.5  # the last bias learns
    assert trained(binarized, straight_through.clipped(fg.ops.binarize), digits)[1] > of_float - 0.06


def test_a_net_of_int8_is_within_one_point_of_float(digits, of_float):
    assert trained(int8, straight_through.affine(), digits)[1] > of_float - 0.01
