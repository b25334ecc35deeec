"""The other side of every comparison: numpy loops that follow the lecture's lines, without JAX and funcgrad."""

from itertools import pairwise

import numpy as np

# The activations of the lecture: σ, and σ' as a function of the pre-activation s.
SIGMA = {
    "sigmoid": (lambda s: 1 / (1 + np.exp(-s)), lambda s: np.exp(-s) / (1 + np.exp(-s)) ** 2),
    "tanh": (np.tanh, lambda s: 1 / np.cosh(s) ** 2),
    "relu": (lambda s: np.where(s > 0, s, 0.0), lambda s: np.where(s > 0, 1.0, 0.0)),
}


def assert_equals(actual, expected, rtol=1e-10):
    """Float64 on both sides, the same shape, every entry within `rtol` of the largest."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype == expected.dtype == np.float64
    assert actual.shape == expected.shape
    assert np.abs(expected).max() > 0, "nothing is compared where everything is zero"
    np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * np.abs(expected).max())


def affine(W, x, b):
    """`s_i = Σ_j W_ij x_j + b_i`."""
    s = np.zeros(len(b))
    for i in range(W.shape[0]):
        s[i] = b[i]
        for j in range(W.shape[1]):
            s[i] += W[i, j] * x[j]
    return s


def transposed_product(W, g):
    """`(W^T g)_j = Σ_i W_ij g_i`."""
    result = np.zeros(W.shape[1])
    for i in range(W.shape[0]):
        for j in range(W.shape[1]):
            result[j] += W[i, j] * g[i]
    return result


def outer(g, x):
    """`(g x^T)_ij = g_i x_j`."""
    result = np.zeros((len(g), len(x)))
    for i in range(len(g)):
        for j in range(len(x)):
            result[i, j] = g[i] * x[j]
    return result


def mlp_forward(weights, biases, x, sigma):
    """`s^(l) = W^(l) x^(l-1) + b^(l)`, `x^(l) = σ(s^(l))`; returns all s and all x, `xs[0]` the input."""
    ss, xs = [], [x]
    for W, b in zip(weights, biases, strict=True):
        ss.append(affine(W, xs[-1], b))
        xs.append(sigma(ss[-1]))
    return ss, xs


def mlp_backward(weights, ss, xs, x_bar, dsigma):
    """From `[∂ℓ/∂x^(L)]` down to `[∂ℓ/∂x^(0)]`; lists in forward order."""
    s_bars, x_bars, W_bars = [], [x_bar], []
    for W, s, x in reversed(list(zip(weights, ss, xs[:-1], strict=True))):
        s_bar = x_bar * dsigma(s)  # [∂ℓ/∂s^(l)] = [∂ℓ/∂x^(l)] ⊙ σ'(s^(l))
        x_bar = transposed_product(W, s_bar)  # [∂ℓ/∂x^(l-1)] = (W^(l))^T [∂ℓ/∂s^(l)]
        s_bars.insert(0, s_bar)
        x_bars.insert(0, x_bar)
        W_bars.insert(0, outer(s_bar, x))  # [[∂ℓ/∂W^(l)]] = [∂ℓ/∂s^(l)] (x^(l-1))^T
    return s_bars, x_bars, W_bars  # and [∂ℓ/∂b^(l)] = [∂ℓ/∂s^(l)]


def random_mlp(widths, seed=0):
    """Weights `[n_l, n_(l-1)]` and biases, an input and a target."""
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=(m, n)) / np.sqrt(n) for n, m in pairwise(widths)]
    biases = [0.3 + rng.normal(size=m) for m in widths[1:]]
    return weights, biases, rng.normal(size=widths[0]), rng.normal(size=widths[-1])
