"""Calls whose attributes are equal and not the same share nothing."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops

X = jnp.array([3.0, 5.0])


def over(x, *, by):
    """Floor division by integers, division by anything else; the sign of zero decides, too."""
    if isinstance(by, tuple):
        by = by[0]
    if isinstance(by, bool):
        return x * 0 + 7
    if by == 0:
        return x / jnp.abs(x) / by
    return x // by if isinstance(by, int) else x / jnp.asarray(by, x.dtype)


DIVIDE = fg.op(name="divide_by_attribute", replace=True)(over)


@pytest.mark.parametrize(
    ("one", "two"), [*itertools.permutations([1, 1.0, True], 2), (2, np.float64(2)), ((1.0,), (1,)), ((1,), (True,))]
)
def test_value_and_gradient_are_of_the_attribute_passed(one, two):
    divide = fg.op(name="divide_by_attribute", replace=True)(over)
    for by in (one, two):
        plain = lambda x, by=by: jnp.sum(over(x, by=by))
        f = lambda x, by=by: jnp.sum(divide(x, by=by))
        expected = jax.value_and_grad(plain)(X)
        for found in (fg.value_and_grad(f)(X), jax.value_and_grad(f)(X), jax.jit(fg.value_and_grad(f))(X)):
            np.testing.assert_allclose(found[0], expected[0])
            np.testing.assert_allclose(found[1], expected[1])


def test_one_jaxpr_holds_calls_with_equal_attributes_apart():
    """JAX's own caches compare the parameters of equations, and a call is the only one."""
    f = lambda x: jnp.stack([DIVIDE(x, by=2), DIVIDE(x, by=2.0), DIVIDE(x, by=0.0), DIVIDE(x, by=-0.0)])
    x = jnp.array([3.0])
    expected = np.array([[1.0], [1.5], [np.inf], [-np.inf]])
    for found in (f(x), jax.jit(f)(x), jax.vmap(f)(x[None])[0], jax.vmap(f, out_axes=1)(x)[:, 0][:, None]):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("order", [(3, 3.0), (3.0, 3)])
def test_a_power_of_integers_has_the_dtype_of_its_exponent(order):
    with jax.numpy_dtype_promotion("standard"):
        for exponent in order:
            found = ops.power(jnp.arange(3), exponent=exponent)
            assert found.dtype == jnp.power(jnp.arange(3), exponent).dtype


def test_calls_compare_by_what_a_trace_sees():
    nan = float("nan")
    tree = jax.tree.structure((1,))
    call = lambda by: fg.registry.Call(DIVIDE, tree, (("by", by),))
    assert call(2) == call(2)
    assert hash(call(nan)) == hash(call(nan))
    assert call(nan) == call(float("nan"))
    assert call(2) != call(2.0) != call(True)
    assert call(0.0) != call(-0.0)
    assert call((1, (2,))) != call((1, (2.0,)))
