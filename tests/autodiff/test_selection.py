"""Gradients with respect to named values: intermediates, inputs, globs."""

import jax.numpy as jnp
import numpy as np

import funcgrad as fg
from funcgrad import ops
from tests.raising import raises_sentence

X = jnp.linspace(-1.0, 1.3, 6).reshape(2, 3)
W = jnp.linspace(0.5, -0.7, 9).reshape(3, 3)


def loss(params, x):
    with fg.scope("block0"):
        h = fg.name(ops.tanh(ops.linear(x, params["w"])), "h")
    with fg.scope("block1"):
        h = fg.name(ops.tanh(ops.linear(h, params["w"])), "h")
    return jnp.sum(h**2)


def by_hand():
    """Cotangents of the two h's and of w, in plain numpy."""
    x, w = np.asarray(X), np.asarray(W)
    h0 = np.tanh(x @ w)
    h1 = np.tanh(h0 @ w)
    h1_bar = 2 * h1
    s1_bar = h1_bar * (1 - h1**2)
    h0_bar = s1_bar @ w.T
    s0_bar = h0_bar * (1 - h0**2)
    return h0_bar, h1_bar, h0.T @ s1_bar + x.T @ s0_bar


def test_one_name_gives_its_cotangent():
    h0_bar, h1_bar, w_bar = by_hand()
    np.testing.assert_allclose(fg.grad(loss, wrt="block0/h")({"w": W}, X), h0_bar, rtol=1e-12)
    np.testing.assert_allclose(fg.grad(loss, wrt="block1/h")({"w": W}, X), h1_bar, rtol=1e-12)
    np.testing.assert_allclose(fg.grad(loss, wrt="params/w")({"w": W}, X), w_bar, rtol=1e-12)


def test_globs_and_lists_give_a_mapping():
    h0_bar, _, w_bar = by_hand()
    found = fg.grad(loss, wrt="*/h")({"w": W}, X)
    assert list(found) == ["block0/h", "block1/h"]
    np.testing.assert_allclose(found["block0/h"], h0_bar, rtol=1e-12)
    value, found = fg.value_and_grad(loss, wrt=["params/**", "block1/h"])({"w": W}, X)
    assert list(found) == ["params/w", "block1/h"]
    np.testing.assert_allclose(found["params/w"], w_bar, rtol=1e-12)
    np.testing.assert_allclose(value, loss({"w": W}, X))


def test_a_gradient_at_a_node_prunes_what_lies_before_it():
    plan = fg.plan(loss, {"w": W}, X, wrt="block1/h")
    assert [s.node.name for s in plan.steps] == ["integer_pow", "reduce_sum"]


def test_a_glob_leaves_out_what_the_loss_does_not_depend_on():
    f = lambda x: jnp.sum(fg.name(jnp.sin(x), "used")) + 0.0 * jnp.sum(fg.detach(fg.name(jnp.cos(x), "not_used")))
    assert "not_used" not in fg.grad(f, wrt="**")(X)
    with raises_sentence(
        fg.errors.GradientError,
        r"The loss does not depend on 'not_used'; leave it out of wrt, or pass unreachable='zero'\.",
    ):
        fg.grad(f, wrt="not_used")(X)


def test_unknown_names_get_a_suggestion():
    with raises_sentence(
        fg.errors.GradientError, r"No value or scope is named 'block0/k'; did you mean 'block0/h' or 'block0'\?"
    ):
        fg.grad(loss, wrt="block0/k")({"w": W}, X)


def test_integers_have_no_gradient():
    f = lambda x, labels: jnp.sum(ops.cross_entropy(x, labels))
    labels = jnp.array([0, 2])
    with raises_sentence(
        fg.errors.GradientError, r"'labels' is i\d+\[2\]; only floating or complex values have gradients\."
    ):
        fg.grad(f, wrt="labels")(X, labels)
    assert "labels" not in fg.grad(f, wrt="*")(X, labels)
