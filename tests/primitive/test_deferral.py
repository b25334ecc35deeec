"""`defer`: the same numbers, made later; `settle`: the same, made once."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from funcgrad.primitive import defer, fence, settle


def convolutions(deferred: bool):
    """The backward pass of six convolutions with ReLU: each kernel gradient reads a transposed copy of its input."""
    same = ((1, 1), (1, 1))

    @jax.custom_vjp
    def conv(x, kernel):
        return lax.conv_general_dilated(x, kernel, (1, 1), same, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def backward(kept, g):
        x, kernel = kept
        read = defer(x, until=g) if deferred else x
        kernel_bar = lax.conv_general_dilated(
            read, g, (1, 1), same, dimension_numbers=("CHWN", "IHWO", "HWNC"), preferred_element_type=x.dtype
        )
        turned = lax.rev(kernel, (0, 1))
        return lax.conv_general_dilated(g, turned, (1, 1), same, dimension_numbers=("NHWC", "HWOI", "NHWC")), kernel_bar

    conv.defvjp(lambda x, kernel: (conv(x, kernel), (x, kernel)), backward)

    def loss(kernels, x):
        for kernel in kernels:
            x = jax.nn.relu(conv(x, kernel))
        return jnp.sum(x * x)

    return jax.jit(jax.grad(loss))


def test_convolutions_need_less_memory_for_the_same_numbers(rng):
    kernels = [jnp.asarray(rng.normal(size=(3, 3, 8, 8)), jnp.float32) / 8 for _ in range(6)]
    x = jnp.asarray(rng.normal(size=(8, 16, 16, 8)), jnp.float32)
    compiled = [convolutions(deferred).lower(kernels, x).compile() for deferred in (True, False)]
    jax.tree.map(np.testing.assert_array_equal, *(c(kernels, x) for c in compiled))
    late, early = (c.memory_analysis().temp_size_in_bytes for c in compiled)
    assert late < 0.8 * early


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64", "int32"])
@pytest.mark.parametrize("until", [0.0, -0.0, -3.0, np.inf, -np.inf, np.nan, 1e-42])
def test_every_number_stays_what_it_is(dtype: str, until: float):
    x = jnp.arange(7) if dtype == "int32" else jnp.asarray([0.0, -0.0, 1.5, -3.0, np.inf, -np.inf, np.nan], dtype)
    float_dtype = "float32" if dtype == "int32" else dtype
    for g in (jnp.full((2, 3), until, float_dtype), -jnp.full((), until, float_dtype)):
        for found in (jax.jit(defer)(x, g), defer(x, g)):
            assert found.dtype == x.dtype
            assert np.asarray(found).tobytes() == np.asarray(x).tobytes()


@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_nothing_waits_for_an_empty_array(shape: tuple[int, ...]):
    empty, x = jnp.zeros(shape), jnp.arange(3.0)
    assert jax.jit(defer)(empty, x).shape == shape
    np.testing.assert_array_equal(jax.jit(defer)(x, empty), x)


def test_only_what_is_batched_gets_a_batch_axis():
    x, g = jnp.arange(3.0), jnp.ones((5, 2))
    out = jax.make_jaxpr(jax.vmap(defer, (None, 0), None))(x, g)
    assert [v.aval.shape for v in out.jaxpr.eqns[0].outvars] == [(3,)]
    both = jax.jit(jax.vmap(defer, (1, None), 1))(jnp.ones((3, 4)), g)
    np.testing.assert_array_equal(both, jnp.ones((3, 4)))


def test_derivatives_are_those_of_a_product_with_one(rng):
    x, g = jnp.asarray(rng.normal(size=3)), jnp.asarray(rng.normal(size=3))
    ours, plain = lambda x, g: jnp.sum(jnp.sin(defer(x, until=g)) * g), lambda x, g: jnp.sum(jnp.sin(x) * g)
    for transform in (jax.grad, jax.jacfwd, jax.hessian):
        for mapped in (lambda f: f, jax.jit):
            for a, b in zip(*(mapped(transform(f, (0, 1)))(x, g) for f in (ours, plain)), strict=True):
                jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_rule_stays_linear_in_its_cotangent():
    x, seed = jnp.arange(3.0), jnp.ones(3)
    (found,) = jax.linear_transpose(lambda g: defer(x, until=g) * g, x)(seed)
    np.testing.assert_array_equal(found, x)


def test_a_fence_waits_for_every_cotangent(rng):
    """One of them may be a constant, zeros say, for which nothing waits."""
    x, g, places = jnp.asarray(rng.normal(size=3)), jnp.asarray(rng.normal(size=2)), jnp.arange(4)
    values, until = fence([x, places], until=[g, places, 2 * g])
    jax.tree.map(np.testing.assert_array_equal, (values, until), ([x, places], [g, places, 2 * g]))
    equations = jax.make_jaxpr(lambda x, g: fence([x], until=[places, g, 2 * g]))(x, g).eqns
    assert [e.primitive.name for e in equations].count("defer") == 2


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64", "int32"])
@pytest.mark.parametrize("witness", [0.0, -3.0, np.inf, np.nan])
def test_what_is_settled_stays_what_it_is(dtype: str, witness: float):
    x = jnp.arange(7) if dtype == "int32" else jnp.asarray([0.0, -0.0, 1.5, -3.0, np.inf, -np.inf, 1e-3], dtype)
    for found in (jax.jit(settle)(x, jnp.float32([witness])), settle(x, jnp.float32([witness]))):
        assert found.dtype == x.dtype
        assert np.asarray(found).tobytes() == np.asarray(x).tobytes()


def test_a_sum_that_many_read_is_stored_once():
    def f(settled, x, weights):
        kept = [jnp.sin(x @ w) for w in weights]
        for y in kept:
            x = x + y * y
            x = settle(x, weights[0]) if settled else x
        return [jnp.cos(x * k) @ weights[0] for k in (2.0, 3.0)]

    weights = [jnp.full((16, 16), 0.1 * k, jnp.float32) for k in range(1, 5)]
    x = jnp.ones((64, 16), jnp.float32)
    loose, stored = (jax.jit(partial(f, flag)).lower(x, weights).compile() for flag in (False, True))
    divisions = stored.as_text().count(" divide(")
    assert loose.as_text().count(" divide(") == 0 < divisions <= len(weights)
    jax.tree.map(np.testing.assert_array_equal, loose(x, weights), stored(x, weights))


def test_what_is_settled_has_the_derivative_of_itself():
    x, witness = jnp.float32([1.0, 2.0]), jnp.float32([3.0])
    _, tangent = jax.jvp(lambda x: settle(x, witness) * x, (x,), (jnp.ones_like(x),))
    np.testing.assert_array_equal(tangent, 2 * x)
    np.testing.assert_array_equal(jax.grad(lambda x: jnp.sum(settle(x, witness) * x))(x), 2 * x)
    np.testing.assert_array_equal(jax.vmap(lambda x: settle(x, witness))(x[:, None]), x[:, None])
