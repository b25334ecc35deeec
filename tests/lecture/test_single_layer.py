"""One layer, s = W x + b and x' = σ(s), under the loss ℓ = Σ (x' - t)²."""

import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops

from .by_hand import SIGMA, affine, assert_equals, outer, transposed_product


def loss_of_column(activation):
    """The lecture's orientation: W is [m, n] and x a column."""

    def loss(W, b, x, t):
        s = fg.name(ops.add(ops.matmul(W, x), b), "s")
        return ops.sum(ops.squared_error(fg.name(activation(s), "x'"), t))

    return loss


def loss_of_rows(activation):
    """The library's orientation: examples are rows, and `ops.linear` is given Wᵀ."""

    def loss(w, b, x, t):
        s = fg.name(ops.linear(x, w, b), "s")
        return ops.sum(ops.squared_error(fg.name(activation(s), "x'"), t))

    return loss


def test_integers_that_can_be_checked_in_the_head():
    W, b = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([0.0, 1.0])
    x, t = np.array([1.0, -1.0]), np.array([3.0, 2.0])
    # s = (2 - 1 + 0, 1 - 3 + 1) = (1, -1), x' = (1, 0), ℓ = 4 + 4
    loss = loss_of_column(ops.relu)
    value, (W_bar, b_bar, x_bar) = fg.value_and_grad(loss, argnums=(0, 1, 2))(W, b, x, t)
    bars = fg.grad(loss, wrt=["x'", "s"])(W, b, x, t)
    assert value == 8
    np.testing.assert_array_equal(bars["x'"], [-4, -4])  # 2 (x' - t)
    np.testing.assert_array_equal(bars["s"], [-4, 0])  # relu lets the first one pass
    np.testing.assert_array_equal(b_bar, [-4, 0])
    np.testing.assert_array_equal(x_bar, [-8, -4])  # -4 times the first row of W
    np.testing.assert_array_equal(W_bar, [[-4, 4], [0, 0]])


@pytest.mark.parametrize("name", SIGMA)
def test_the_four_equations_for_a_column(name):
    sigma, dsigma = SIGMA[name]
    rng = np.random.default_rng(1)
    W, b, x, t = rng.normal(size=(4, 3)), rng.normal(size=4), rng.normal(size=3), rng.normal(size=4)
    s = affine(W, x, b)
    x_out_bar = 2 * (sigma(s) - t)
    s_bar = x_out_bar * dsigma(s)

    loss = loss_of_column(getattr(ops, name))
    W_bar, b_bar, x_bar = fg.grad(loss, argnums=(0, 1, 2))(W, b, x, t)
    assert_equals(fg.grad(loss, wrt="x'")(W, b, x, t), x_out_bar)
    assert_equals(fg.grad(loss, wrt="s")(W, b, x, t), s_bar)  # [∂ℓ/∂s] = [∂ℓ/∂x'] ⊙ σ'(s)
    assert_equals(x_bar, transposed_product(W, s_bar))  # [∂ℓ/∂x] = Wᵀ [∂ℓ/∂s]
    assert_equals(W_bar, outer(s_bar, x))  # [[∂ℓ/∂W]] = [∂ℓ/∂s] xᵀ
    assert_equals(b_bar, s_bar)  # [∂ℓ/∂b] = [∂ℓ/∂s]


@pytest.mark.parametrize("name", SIGMA)
def test_the_same_four_for_a_batch_of_rows(name):
    """Every example has its own s and x; the parameters' gradients are sums over the examples."""
    sigma, dsigma = SIGMA[name]
    rng = np.random.default_rng(2)
    W, b, X, T = rng.normal(size=(4, 3)), rng.normal(size=4), rng.normal(size=(5, 3)), rng.normal(size=(5, 4))
    S_bar, X_bar, W_bar, b_bar = np.zeros((5, 4)), np.zeros((5, 3)), np.zeros((4, 3)), np.zeros(4)
    for n in range(5):
        s = affine(W, X[n], b)
        S_bar[n] = 2 * (sigma(s) - T[n]) * dsigma(s)
        X_bar[n] = transposed_product(W, S_bar[n])
        W_bar += outer(S_bar[n], X[n])
        b_bar += S_bar[n]

    loss = loss_of_rows(getattr(ops, name))
    w_found, b_found, x_found = fg.grad(loss, argnums=(0, 1, 2))(W.T, b, X, T)
    assert_equals(fg.grad(loss, wrt="s")(W.T, b, X, T), S_bar)
    assert_equals(x_found, X_bar)
    assert_equals(w_found, W_bar.T)
    assert_equals(b_found, b_bar)


def test_each_equation_is_a_registered_rule():
    """The plan names one rule per equation, all of them exact."""
    plan = fg.plan(loss_of_rows(ops.sigmoid), *map(np.ones, [(3, 4), 4, (5, 3), (5, 4)]), argnums=(0, 1, 2))
    rules = {row.node: tuple(map(str, row.rules)) for row in plan.rows}
    assert rules["linear"] == ("x: linear_x", "w: linear_w", "b: linear_b")
    assert rules["sigmoid"] == ("x: sigmoid_x",)
    assert {kind for kind, _ in plan.totals.kinds} == {"exact"}
