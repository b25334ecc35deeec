"""Activations beside those of `jax.nn`: values, kinks, far ends, what is kept."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.errors import ShapeError
from funcgrad.ops.activations import gelu_x
from tests.ops.asserting import assert_close
from tests.raising import raises_sentence

SAME_NAME = (
    *("relu", "relu6", "leaky_relu", "elu", "celu", "selu", "hard_tanh", "hard_sigmoid", "hard_silu", "sigmoid"),
    *("log_sigmoid", "soft_sign", "softplus", "squareplus", "silu", "mish", "gelu", "sparse_plus", "sparse_sigmoid"),
)
KINKS = np.array([-6.0, -3.0, -1.0, -0.0, 0.0, 1.0, 3.0, 6.0])
# What jax.nn holds beside activations.
OTHERS = {
    *("logsumexp", "logmeanexp", "softmax", "log_softmax", "standardize", "one_hot", "dot_product_attention"),
    *("get_scaled_dot_general_config", "scaled_dot_general", "scaled_matmul", "log1mexp"),
}


def test_no_activation_of_jax_is_missing():
    functions = {n for n, f in vars(jax.nn).items() if callable(f) and not n.startswith("_")}
    aliases = {"swish": "silu", "hard_swish": "hard_silu", "identity": None}
    missing = {n for n in functions - OTHERS - set(aliases) - {"tanh"} if not hasattr(ops, n)}
    assert not missing


@pytest.mark.parametrize("name", SAME_NAME)
def test_value_and_kinks_are_those_of_jax(name: str):
    ours, theirs = getattr(ops, name), getattr(jax.nn, name)
    x = jnp.asarray([*KINKS, *np.linspace(-8, 8, 101)])
    assert_close(ours(x), theirs(x), name)
    for derivative in (jax.grad, jax.jacfwd):
        assert_close(jax.vmap(derivative(ours))(x), jax.vmap(derivative(theirs))(x), f"{name}: {derivative.__name__}")


def test_defaults_are_those_of_jax():
    for name in SAME_NAME:
        theirs = inspect.signature(getattr(jax.nn, name)).parameters
        for attribute, parameter in inspect.signature(getattr(ops, name).function).parameters.items():
            assert parameter.default == theirs[attribute].default, name


@pytest.mark.parametrize("approximate", [True, False])
@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32, np.float64])
def test_gelu_has_slope_0_and_1_far_out(approximate: bool, dtype):
    largest = float(jnp.finfo(dtype).max)
    x = jnp.asarray([-np.inf, -largest, -1e4, 1e4, largest, np.inf]).astype(dtype)
    slope = jax.vmap(jax.grad(lambda x: ops.gelu(x, approximate=approximate)))(x)
    assert np.array_equal(np.asarray(slope, np.float64), [0, 0, 0, 1, 1, 1])


def test_swiglu_is_silu_times_up_and_keeps_only_its_arguments():
    gate, up = jnp.linspace(-3, 3, 8), jnp.linspace(2, 5, 8)
    assert_close(ops.swiglu(gate, up), jax.nn.silu(gate) * up, "swiglu")
    _, pull = jax.vjp(ops.swiglu, gate, up)
    kept = {id(x) for x in jax.tree.leaves(pull) if x.size > 1}
    assert len(kept) <= 3  # gate, up, and the output, which is dead


def test_glu_is_that_of_jax():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 6)))
    for axis in (0, 1, -1):
        assert_close(ops.glu(x, axis=axis), jax.nn.glu(x, axis), "glu")


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda x: ops.glu(x), "axis -1 must have an even size, got 3"),
        (lambda x: ops.glu(x, axis=1), "axis must be one of the 1 axes of x, got 1"),
        (lambda x: ops.squareplus(x, b=0.0), "b must be positive, got 0.0; use relu for 0"),
        (lambda x: ops.celu(x, alpha=0), "alpha must be positive, got 0"),
        (lambda x: ops.elu(x, alpha=-1), "alpha must not be negative, got -1"),
    ],
)
def test_errors(call, sentence: str):
    with raises_sentence(ShapeError, rf"\w+: cannot take x: f32\[3\]; {sentence.replace('.', chr(92) + '.')}\."):
        call(jnp.ones(3, np.float32))


def test_relu6_is_differentiated_through_a_plan():
    grad = fg.grad(lambda x: ops.relu6(x).sum())(jnp.asarray([-1.0, 0.0, 3.0, 6.0, 7.0]))
    assert grad.tolist() == [0, 0, 1, 0, 0]


def test_the_rule_of_gelu_does_not_share_the_forward_tanh() -> None:
    """If it did, XLA would store the tanh of every layer until the backward pass."""
    x = jnp.ones((3, 4))
    forward = str(jax.make_jaxpr(ops.gelu.function)(x))
    pulled = str(jax.make_jaxpr(gelu_x, static_argnums=2)(x, x, True))
    assert "tanh" in forward
    assert "tanh" not in pulled
    assert "logistic" in pulled


def test_soft_sign_of_complex_numbers_is_pulled_back_as_what_it_is():
    """No holomorphic function: `1 + |x|` is real. Strict promotion refuses that, numpy's does not."""
    x = jnp.array([1 + 2j, -0.5 + 0.3j, 3 - 4j, 2 + 0j, -1j])
    g = jnp.array([1 + 1j, 2j, -1 + 0.5j, 1 + 0j, 0.3 - 2j])
    with jax.numpy_dtype_promotion("standard"):
        (expected,) = jax.vjp(lambda x: x / (1 + jnp.abs(x)), x)[1](g)
        (found,) = fg.vjp(ops.soft_sign, x)[1](g)
        (at_zero,) = fg.vjp(ops.soft_sign, jnp.zeros(1, complex))[1](g[:1])
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    np.testing.assert_allclose(at_zero, g[:1])


def test_hard_tanh_orders_complex_numbers_as_its_forward_does():
    x = jnp.array([2j, 1 + 2j, -0.7 + 0.1j, 0.3 - 2j, 3 + 0j, -3 + 1j])
    (expected,) = jax.vjp(lambda x: jnp.where((x > -1) & (x < 1), x, 1 + 0j), x)[1](jnp.ones(6, complex))
    np.testing.assert_array_equal(fg.vjp(ops.hard_tanh, x)[1](jnp.ones(6, complex))[0], expected)
