"""An L-layer perceptron: the lecture's backward recursion, its result compared at every layer."""

import jax
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import layers, ops

from .by_hand import SIGMA, assert_equals, mlp_backward, mlp_forward, random_mlp

WIDTHS = {1: [3, 2], 2: [3, 4, 2], 5: [3, 8, 7, 6, 5, 2]}


def mlp_loss(activation):
    """Columns, as in the lecture; every s and x carries its name."""

    def loss(weights, biases, x, t):
        x = fg.name(x, "x0")
        for k, (W, b) in enumerate(zip(weights, biases, strict=True), start=1):
            s = fg.name(ops.add(ops.matmul(W, x), b), f"s{k}")
            x = fg.name(activation(s), f"x{k}")
        return ops.sum(ops.squared_error(x, t))

    return loss


@pytest.mark.parametrize("depth", WIDTHS)
@pytest.mark.parametrize("name", SIGMA)
def test_every_cotangent_at_every_layer(name, depth):
    sigma, dsigma = SIGMA[name]
    weights, biases, x, t = random_mlp(WIDTHS[depth], seed=depth)
    ss, xs = mlp_forward(weights, biases, x, sigma)
    s_bars, x_bars, W_bars = mlp_backward(weights, ss, xs, 2 * (xs[-1] - t), dsigma)

    loss = mlp_loss(getattr(ops, name))
    found = fg.grad(loss, wrt="*")(weights, biases, x, t)
    by_argument = fg.grad(loss, argnums=(0, 1, 2))(weights, biases, x, t)
    for k in range(depth):
        assert_equals(found[f"x{k}"], x_bars[k])
        assert_equals(found[f"s{k + 1}"], s_bars[k])
        assert_equals(found[f"x{k + 1}"], x_bars[k + 1])
        assert_equals(by_argument[0][k], W_bars[k])
        assert_equals(by_argument[1][k], s_bars[k])  # [∂ℓ/∂b^(l)] = [∂ℓ/∂s^(l)]
    assert_equals(by_argument[2], x_bars[0])


@pytest.mark.parametrize("wrap", [jax.jit, lambda f: f], ids=["jit", "eager"])
def test_a_tape_pulled_with_the_losses_cotangent_gives_the_same(wrap):
    """`fg.record` of the network, pulled with `[∂ℓ/∂x^(L)]` that was worked out by hand."""
    sigma, dsigma = SIGMA["tanh"]
    weights, biases, x, t = random_mlp(WIDTHS[5])
    ss, xs = mlp_forward(weights, biases, x, sigma)
    x_bar = 2 * (xs[-1] - t)
    s_bars, x_bars, W_bars = mlp_backward(weights, ss, xs, x_bar, dsigma)

    def network(weights, biases, x):
        for W, b in zip(weights, biases, strict=True):
            x = ops.tanh(ops.add(ops.matmul(W, x), b))
        return x

    output, tape = wrap(lambda *args: fg.record(network, *args))(weights, biases, x)
    assert_equals(output, xs[-1])
    for scale in (1.0, -3.0):  # a tape is a value: pulled twice, linear in the cotangent
        W_found, b_found, x_found = tape.pull(jax.numpy.asarray(scale * x_bar))
        for k in range(5):
            assert_equals(W_found[k], scale * W_bars[k])
            assert_equals(b_found[k], scale * s_bars[k])
        assert_equals(x_found, scale * x_bars[0])


def test_matrix_form_for_a_batch():
    """Examples as rows: S = X Wᵀ + b; the sums over examples are matrix products."""
    weights, biases, _, _ = random_mlp(WIDTHS[2])
    rng = np.random.default_rng(3)
    X, T = rng.normal(size=(7, 3)), rng.normal(size=(7, 2))
    sigma, dsigma = SIGMA["sigmoid"]
    W_bars, b_bars = [np.zeros_like(W) for W in weights], [np.zeros_like(b) for b in biases]
    for n in range(7):
        ss, xs = mlp_forward(weights, biases, X[n], sigma)
        s_bars, _, terms = mlp_backward(weights, ss, xs, 2 * (xs[-1] - T[n]), dsigma)
        for k in range(2):
            W_bars[k] += terms[k]
            b_bars[k] += s_bars[k]

    net = layers.chain(l1=layers.linear(4), a1=ops.sigmoid, l2=layers.linear(2), a2=ops.sigmoid)
    params = {f"l{k + 1}": {"w": W.T, "b": b} for k, (W, b) in enumerate(zip(weights, biases, strict=True))}
    found = fg.grad(lambda params: ops.sum(ops.squared_error(net(params, X), T)))(params)
    for k in range(2):
        assert_equals(found[f"l{k + 1}"]["w"], W_bars[k].T)
        assert_equals(found[f"l{k + 1}"]["b"], b_bars[k])
