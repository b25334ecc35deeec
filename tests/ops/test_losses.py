"""Losses: conventions, far ends, errors, what is kept."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.errors import ShapeError
from tests.ops.asserting import assert_close
from tests.raising import raises_sentence

Z = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5)))
LABELS = jnp.asarray([0, 4, 2, 2])


def test_smoothing_is_cross_entropy_against_smoothed_targets():
    targets = 0.9 * jax.nn.one_hot(LABELS, 5) + 0.1 / 5
    ours = jax.vjp(lambda z: ops.cross_entropy(z, LABELS, smoothing=0.1), Z)
    soft = jax.vjp(lambda z: ops.soft_cross_entropy(z, targets), Z)
    assert_close(ours[0], soft[0], "loss")
    assert_close(ours[1](jnp.arange(4.0))[0], soft[1](jnp.arange(4.0))[0], "gradient")


def test_no_smoothing_is_cross_entropy():
    assert jnp.array_equal(ops.cross_entropy(Z, LABELS, smoothing=0), ops.cross_entropy(Z, LABELS))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_keeps_no_probabilities(smoothing: float):
    z = jnp.ones((8, 1000), np.float32)
    loss = lambda z: ops.cross_entropy(z, jnp.zeros(8, np.int32), smoothing=smoothing).sum()
    _, tape = fg.record(loss, z)
    assert sum(x.size for x in jax.tree.leaves(tape) if hasattr(x, "size")) <= z.size + 5 * 8


def test_a_class_masked_out_takes_no_part():
    masked = Z.at[:, 3].set(-jnp.inf)
    rest = jnp.asarray([0, 1, 2, 4])
    targets = jax.nn.one_hot(LABELS, 5)
    for loss in (lambda z: ops.cross_entropy(z, LABELS).sum(), lambda z: ops.soft_cross_entropy(z, targets).sum()):
        value, z_bar = jax.value_and_grad(loss)(masked)
        small = jax.grad(lambda z: ops.cross_entropy(z, jnp.asarray([0, 3, 2, 2])).sum())(Z[:, rest])
        assert jnp.isfinite(value)
        assert_close(z_bar[:, rest], small, "gradient of the classes left")
        assert not z_bar[:, 3].any()


def test_logsumexp_of_nothing_is_minus_infinity_with_gradient_0():
    value, x_bar = jax.value_and_grad(lambda x: ops.logsumexp(x, axis=-1))(jnp.full(3, -jnp.inf))
    assert value == -jnp.inf
    assert x_bar.tolist() == [0, 0, 0]


def test_logsumexp_loses_no_digits_to_a_large_output():
    x = np.float32([1e6, 1e6 + 1, 1e6 - 2])
    x_bar = jax.grad(lambda x: ops.logsumexp(x, axis=0))(jnp.asarray(x))
    assert_close(x_bar, jax.nn.softmax(jnp.asarray(x, np.float64)), "softmax", np.float32, ulps=4)


def test_a_sure_and_right_answer_has_a_small_loss_and_gradient_not_0():
    z = jnp.asarray([30.0, -30.0], np.float32)
    loss, z_bar = jax.vjp(lambda z: ops.binary_cross_entropy(z, jnp.asarray([1.0, 0.0], np.float32)), z)
    assert_close(loss, [np.exp(-30.0)] * 2, "loss", np.float32, ulps=8)
    assert_close(z_bar(jnp.ones_like(z))[0], [-np.exp(-30.0), np.exp(-30.0)], "gradient", np.float32, ulps=8)


def test_huber_is_squared_error_near_and_absolute_far():
    p, t = jnp.asarray([0.2, 5.0]), jnp.zeros(2)
    assert_close(ops.huber(p, t, delta=2), [0.02, 2 * (5 - 1)], "huber")


ERRORS = [
    (lambda: ops.cross_entropy(Z, LABELS, smoothing=1.5),
     "cross_entropy: cannot take logits: f64[4,5], labels: i64[4]; smoothing must be between 0 and 1, got 1.5."),
    (lambda: ops.cross_entropy(Z, Z[:, 0]), "cross_entropy: cannot take logits: f64[4,5], labels: f64[4]; "
     "labels must be integers (class numbers), got float64."),
    (lambda: ops.soft_cross_entropy(Z, Z[:, 1:]), "soft_cross_entropy: targets must be [4, 5] "
     "(because of logits: f64[4,5]), got f64[4,4]."),
    (lambda: ops.huber(Z, Z, delta=0), "huber: cannot take prediction: f64[4,5], target: f64[4,5]; "
     "delta must be positive, got 0."),
    (lambda: ops.absolute_error(np.asarray(Z, complex), np.asarray(Z, complex)), "absolute_error: cannot take "
     "prediction: c128[4,5], target: c128[4,5]; the arguments must be real."),
]  # fmt: skip


@pytest.mark.parametrize(("call", "sentence"), ERRORS)
def test_errors(call, sentence: str):
    with raises_sentence(ShapeError, re.escape(sentence)):
        call()
