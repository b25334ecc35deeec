"""The hand-made numbers themselves: a comparison that cannot fail shows nothing, nor does a wrong oracle."""

import numpy as np
import pytest

from .by_hand import SIGMA, assert_equals, mlp_backward, mlp_forward, random_mlp


@pytest.mark.parametrize("wrong", [lambda g: 1.01 * g, lambda g: g.T, lambda g: g.astype(np.float32), np.zeros_like])
def test_the_comparison_can_fail(wrong):
    g = np.random.default_rng(0).normal(size=(3, 3))
    assert_equals(g, g)
    with pytest.raises(AssertionError):
        assert_equals(wrong(g), g)


def test_the_comparison_refuses_to_compare_zeros():
    with pytest.raises(AssertionError, match="nothing is compared"):
        assert_equals(np.zeros(3), np.zeros(3))


@pytest.mark.parametrize("name", SIGMA)
def test_hand_made_gradients_are_slopes(name):
    """Central differences of the loss agree with `mlp_backward` at every weight and at the input."""
    sigma, dsigma = SIGMA[name]
    weights, biases, x, t = random_mlp([3, 4, 2])

    def loss():
        return ((mlp_forward(weights, biases, x, sigma)[1][-1] - t) ** 2).sum()

    ss, xs = mlp_forward(weights, biases, x, sigma)
    s_bars, x_bars, W_bars = mlp_backward(weights, ss, xs, 2 * (xs[-1] - t), dsigma)
    for array, expected in zip([*weights, *biases, x], [*W_bars, *s_bars, x_bars[0]], strict=True):
        slopes = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            middle, h = array[index], 1e-6
            array[index] = middle + h
            above = loss()
            array[index] = middle - h
            below = loss()
            array[index] = middle
            slopes[index] = (above - below) / (2 * h)
        assert_equals(slopes, expected, rtol=1e-7)
