"""The Jacobian in tensorial form: [∂φ_q/∂c_r] for a value or parameter c that is a vector or a matrix.

Its shape is that of the output followed by that of the argument. One pull with the basis cotangent e_q gives its row
q; contracting it with any cotangent gives J^T.
"""

import jax
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops

from .by_hand import SIGMA, affine, assert_equals


def delta(i, j):
    return 1.0 if i == j else 0.0


def affine_column(W, x, b):
    return ops.add(ops.matmul(W, x), b)


def layer_column(W, x, b):
    return ops.sigmoid(affine_column(W, x, b))


def product(W, X):
    return ops.matmul(W, X)


def linear_rows(x, w):
    return ops.linear(x, w)


def softmax(x):
    return ops.softmax(x)


def affine_jacobians(W, x, b):
    m, n = W.shape
    by_W, by_x, by_b = np.zeros((m, m, n)), np.zeros((m, n)), np.zeros((m, m))
    for q in range(m):
        for k in range(n):
            by_x[q, k] = W[q, k]  # J_{s|x} = W
            for j in range(m):
                by_W[q, j, k] = delta(q, j) * x[k]  # ∂s_q/∂W_jk
                by_b[q, j] = delta(q, j)
    return by_W, by_x, by_b


def layer_jacobians(W, x, b):
    slope = SIGMA["sigmoid"][1](affine(W, x, b))  # J_{σ∘s} = diag(σ'(s)) J_s
    by_W, by_x, by_b = affine_jacobians(W, x, b)
    for q in range(len(b)):
        by_W[q] *= slope[q]
        by_x[q] *= slope[q]
        by_b[q] *= slope[q]
    return by_W, by_x, by_b


def product_jacobians(W, X):
    (m, n), p = W.shape, X.shape[1]
    by_W, by_X = np.zeros((m, p, m, n)), np.zeros((m, p, n, p))
    for i in range(m):
        for q in range(p):
            for k in range(n):
                for j in range(m):
                    by_W[i, q, j, k] = delta(i, j) * X[k, q]
                for r in range(p):
                    by_X[i, q, k, r] = W[i, k] * delta(q, r)
    return by_W, by_X


def linear_jacobians(x, w):
    (p, n), m = x.shape, w.shape[1]
    by_x, by_w = np.zeros((p, m, p, n)), np.zeros((p, m, n, m))
    for q in range(p):
        for i in range(m):
            for k in range(n):
                for r in range(p):
                    by_x[q, i, r, k] = delta(q, r) * w[k, i]
                for j in range(m):
                    by_w[q, i, k, j] = x[q, k] * delta(i, j)
    return by_x, by_w


def softmax_jacobians(x):
    y = np.exp(x) / np.exp(x).sum()
    return (np.array([[y[q] * (delta(q, k) - y[k]) for k in range(len(x))] for q in range(len(x))]),)


CASES = {
    "affine": (affine_column, affine_jacobians, [(4, 3), (3,), (4,)]),
    "layer": (layer_column, layer_jacobians, [(4, 3), (3,), (4,)]),
    "matrix product": (product, product_jacobians, [(4, 3), (3, 2)]),
    "linear, rows": (linear_rows, linear_jacobians, [(2, 3), (3, 4)]),
    "softmax": (softmax, softmax_jacobians, [(4,)]),
}


@pytest.fixture(params=CASES)
def case(request):
    """A function, arguments for it, and its Jacobians by hand, one per argument."""
    function, jacobians, shapes = CASES[request.param]
    rng = np.random.default_rng(4)
    args = [rng.normal(size=shape) for shape in shapes]
    return function, args, jacobians(*args)


def basis(shape):
    """Every e_q: ones at one place, `[n, *shape]` for n places."""
    n = int(np.prod(shape))
    return np.eye(n).reshape(n, *shape)


def test_rows_come_one_by_one_from_vjp(case):
    function, args, expected = case
    output, pull = fg.vjp(function, *args)
    rows = [pull(jax.numpy.asarray(e)) for e in basis(output.shape)]
    for a, jacobian in enumerate(expected):
        found = np.stack([row[a] for row in rows]).reshape(*output.shape, *args[a].shape)
        assert_equals(found, jacobian)


def test_rows_come_all_at_once_from_a_tape_under_vmap(case):
    function, args, expected = case
    output, tape = fg.record(function, *args)
    rows = jax.vmap(tape.pull)(jax.numpy.asarray(basis(output.shape)))
    for found, arg, jacobian in zip(rows, args, expected, strict=True):
        assert_equals(found.reshape(*output.shape, *arg.shape), jacobian)


@pytest.mark.parametrize("transform", [jax.jacrev, jax.jacfwd])
def test_jaxs_own_transforms_agree(case, transform):
    function, args, expected = case
    found = transform(function, argnums=tuple(range(len(args))))(*map(jax.numpy.asarray, args))
    for jacobian, by_hand in zip(found, expected, strict=True):
        assert_equals(jacobian, by_hand)


def test_the_transposed_jacobian_is_the_pullback(case):
    """[∂ℓ/∂c]_r = Σ_q [∂ℓ/∂a]_q ∂φ_q/∂c_r, contracted over all axes of the output."""
    function, args, expected = case
    output, pull = fg.vjp(function, *args)
    g = np.random.default_rng(5).normal(size=output.shape)
    for found, jacobian in zip(pull(jax.numpy.asarray(g)), expected, strict=True):
        assert_equals(found, np.tensordot(g, jacobian, axes=g.ndim))


def test_jacobians_of_a_composition_multiply():
    """J_{φ2∘φ1} = J_{φ2}(φ1(x)) J_{φ1}(x), and its transpose pulls in the other order."""
    rng = np.random.default_rng(6)
    V, c, W, x, b = (rng.normal(size=shape) for shape in [(2, 4), (2,), (4, 3), (3,), (4,)])
    hidden = SIGMA["sigmoid"][0](affine(W, x, b))
    expected = np.einsum("ij,jk->ik", layer_jacobians(V, hidden, c)[1], layer_jacobians(W, x, b)[1])

    output, tape = fg.record(lambda x: layer_column(V, layer_column(W, x, b), c), x)
    (found,) = jax.vmap(tape.pull)(jax.numpy.asarray(basis(output.shape)))
    assert_equals(found, expected)
