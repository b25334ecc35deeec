"""The comparison that every case goes through fails where it must: planted wrong derivatives."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from tests.language.agreement import assert_agrees, assert_near

X = jnp.linspace(-1.0, 1.3, 3)


def scaled(by: float, which: int = 0) -> Callable[..., Any]:
    """A `vjp` with one wrong cotangent."""

    def wrong_vjp(function: Callable[..., Any], *primals: Any) -> Any:
        output, pull = fg.vjp(function, *primals)
        return output, lambda g: tuple(x * by if i == which else x for i, x in enumerate(pull(g)))

    return wrong_vjp


def shifted_vjp(function: Callable[..., Any], *primals: Any) -> Any:
    output, pull = fg.vjp(function, *primals)
    return output + 1e-9, pull


def widened_vjp(function: Callable[..., Any], *primals: Any) -> Any:
    output, pull = fg.vjp(function, *primals)
    return output, lambda g: tuple(x.astype(jnp.float32) for x in pull(g))


SABOTAGE = {
    "a cotangent a little too large": dict(vjp=scaled(1.0 + 1e-12)),
    "the second cotangent": dict(vjp=scaled(1.01, which=1)),
    "a zero": dict(vjp=scaled(0.0)),
    "a value": dict(vjp=shifted_vjp),
    "a dtype": dict(vjp=widened_vjp),
    "value_and_grad": dict(value_and_grad=lambda f, n: lambda *args: (f(*args), tuple(1.01 * x for x in args))),
}


@pytest.mark.parametrize("name", SABOTAGE)
def test_a_wrong_derivative_fails_the_comparison(name: str):
    function = lambda x, y: jnp.sum(jnp.sin(x) * y)
    assert_agrees(function, (X, jnp.cos(X)))
    with pytest.raises(AssertionError):
        assert_agrees(function, (X, jnp.cos(X)), **SABOTAGE[name])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16, jnp.complex64, jnp.complex128])
def test_a_wrong_derivative_fails_in_every_dtype(dtype: Any):
    by = 1.0 + 64 * float(jnp.finfo(dtype).eps)
    with pytest.raises(AssertionError):
        assert_agrees(lambda x, y: x * y, (X.astype(dtype), X.astype(dtype)), vjp=scaled(by))


def test_a_planted_rule_fails_the_comparison():
    wrong = fg.RuleSet().override(fg.ops.sigmoid, lambda g, y: g * y * (1 - y) * 1.001)
    planted = lambda function, *primals: fg.vjp(function, *primals, rules=wrong)
    assert_agrees(fg.ops.sigmoid, (X,))
    with pytest.raises(AssertionError):
        assert_agrees(fg.ops.sigmoid, (X,), vjp=planted)


def test_nan_in_the_wrong_place_fails_the_comparison():
    with pytest.raises(AssertionError):
        assert_near(np.array([np.nan, 1.0]), np.array([0.0, 1.0]))
    with pytest.raises(AssertionError):
        assert_near(np.array([0.0, 1.0]), np.array([np.nan, 1.0]))
    assert_near(np.array([np.nan, np.inf]), np.array([np.nan, np.inf]))


def test_a_wrong_derivative_in_another_dtype_fails_the_comparison():
    def wrong_in_float32(function: Callable[..., Any], *primals: Any) -> Any:
        return (scaled(1.01) if primals[0].dtype == jnp.float32 else fg.vjp)(function, *primals)

    dtypes = (X,), (X.astype(jnp.float32),)
    assert_agrees(jnp.sin, *dtypes, tolerances=(16.0, 16.0))
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_agrees(jnp.sin, *dtypes, tolerances=(16.0, 16.0), vjp=wrong_in_float32)
