"""Straight-through estimators by hand, and PyTorch's own fake quantization."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.rulesets import straight_through

X = np.array([-9.0, -1.3, -0.26, 0.0, 0.26, 0.9, 1.6, 9.0])
G = np.arange(1.0, 9.0)


def pulled(function, rules, *args):
    """The cotangents of all arguments, for the cotangent G."""
    loss = lambda *args: jnp.sum(G * function(*args))
    return [np.asarray(c) for c in fg.grad(loss, tuple(range(len(args))), rules=rules)(*map(jnp.asarray, args))]


@pytest.mark.parametrize(
    "function",
    [jnp.round, jnp.rint, jnp.floor, jnp.sign, jax.lax.round, fg.ops.binarize],
    ids=lambda f: f.__name__ if hasattr(f, "__name__") else str(f),
)
def test_functions_of_jax_and_ops(function):
    (plain,) = pulled(function, None, X)
    np.testing.assert_array_equal(plain, 0)
    np.testing.assert_array_equal(pulled(function, straight_through.identity(function), X), [G])
    inside = [G * (np.abs(X) <= 1)]
    np.testing.assert_array_equal(pulled(function, straight_through.clipped(function), X), inside)
    np.testing.assert_array_equal(
        pulled(function, straight_through.polynomial(function), X), [G * np.maximum(2 - 2 * np.abs(X), 0)]
    )


def test_identity_keeps_nothing_and_of_two_arguments_it_serves_the_first():
    rules = straight_through.identity(fg.ops.ternarize)
    x_bar, threshold_bar = pulled(fg.ops.ternarize, rules, X, np.array(0.5))
    np.testing.assert_array_equal(x_bar, G)
    assert threshold_bar == 0
    rules = straight_through.identity(fg.ops.stochastic_round)
    noisy = lambda x: jnp.sum(fg.ops.stochastic_round(x, jax.random.key(0)))
    plan = fg.plan(noisy, X, rules=rules)
    assert plan.rows[-2].new_bytes == 0
    np.testing.assert_array_equal(fg.grad(noisy, rules=rules)(jnp.asarray(X)), 1)


def test_stochastic_rounding_has_the_right_mean_and_slope():
    x = jnp.linspace(-1.0, 1.0, 9)
    rules = straight_through.identity(fg.ops.stochastic_round)

    def value(x, key):
        y = fg.ops.stochastic_round(x, key)
        return jnp.sum(y**2), y

    keys = jax.random.split(jax.random.key(1), 4000)
    ((_, y), g) = jax.vmap(fg.value_and_grad(value, has_aux=True, rules=rules), (None, 0))(x, keys)
    assert set(np.unique(y)) == {-1.0, 0.0, 1.0}
    np.testing.assert_allclose(y.mean(0), x, atol=0.04)
    np.testing.assert_array_equal(g, 2 * y)


def test_three_pullbacks_of_one_forward_by_hand():
    quantized = lambda x, s: fg.ops.fake_quantize(x, s, low=-4, high=3)
    s = np.array(0.5)
    v = X / s
    whole = np.clip(np.round(v), -4, 3)
    inside, above, below = (v > -4) & (v < 3), v >= 3, v <= -4
    x_bar, s_bar = pulled(quantized, None, X, s)
    np.testing.assert_array_equal(x_bar, 0)
    np.testing.assert_allclose(s_bar, (G * whole).sum())
    x_bar, s_bar = pulled(quantized, straight_through.affine(), X, s)
    np.testing.assert_array_equal(x_bar, G * (np.round(v) >= -4) * (np.round(v) <= 3))
    np.testing.assert_allclose(s_bar, (G * whole).sum())
    x_bar, s_bar = pulled(quantized, straight_through.lsq(scaled=False), X, s)
    np.testing.assert_array_equal(x_bar, G * inside)
    expected = (G * np.where(inside, np.round(v) - v, whole)).sum()
    np.testing.assert_allclose(s_bar, expected)
    _, s_bar = pulled(quantized, straight_through.lsq(), X, s)
    np.testing.assert_allclose(s_bar, expected / np.sqrt(8 * 3))
    x_bar, s_bar = pulled(quantized, straight_through.pact(), X, s)
    np.testing.assert_array_equal(x_bar, G * (v >= -4) * (v < 3))
    np.testing.assert_allclose(s_bar, (G * (3 * above - 4 * below)).sum())


@pytest.mark.parametrize("zero_point", [0, 3])
def test_as_torch(zero_point):
    torch = pytest.importorskip("torch", reason="pip install 'funcgrad[rulesets]'")
    x = torch.tensor(X, dtype=torch.float32, requires_grad=True)
    y = torch.fake_quantize_per_tensor_affine(x, 0.25, zero_point, -8, 7)
    y.backward(torch.tensor(G, dtype=torch.float32))
    quantized = lambda x: fg.ops.fake_quantize(x, 0.25, zero_point, low=-8, high=7)
    np.testing.assert_array_equal(quantized(jnp.asarray(X)), y.detach().numpy())
    np.testing.assert_array_equal(pulled(quantized, straight_through.affine(), X)[0], x.grad.numpy())


@pytest.mark.parametrize("zero_point", [0, 3])
def test_steps_that_are_learned_as_torch(zero_point):
    """PyTorch has LSQ as `_fake_quantize_learnable_per_tensor_affine`; outside it passes as LSQ does."""
    torch = pytest.importorskip("torch", reason="pip install 'funcgrad[rulesets]'")
    x = torch.tensor(X, dtype=torch.float32, requires_grad=True)
    scale = torch.tensor([0.25], requires_grad=True)
    zero = torch.tensor([float(zero_point)])
    y = torch._fake_quantize_learnable_per_tensor_affine(x, scale, zero, -8, 7, 1.0)
    y.backward(torch.tensor(G, dtype=torch.float32))
    quantized = lambda x, s: fg.ops.fake_quantize(x, s, zero_point, low=-8, high=7)
    x_bar, s_bar = pulled(quantized, straight_through.lsq(scaled=False), X, np.array(0.25))
    np.testing.assert_array_equal(x_bar, x.grad.numpy())
    np.testing.assert_allclose(s_bar, scale.grad.numpy()[0], rtol=1e-5)
