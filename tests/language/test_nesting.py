"""Gradients of gradients, and gradients that close over what is being traced around them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from tests.language.agreement import assert_same
from tests.language.sample import W, X, loss


@pytest.mark.parametrize("outer", [jax.jacfwd, jax.jacrev], ids=lambda f: f.__name__)
def test_hessians_through_our_gradient(outer: Callable[..., Any]):
    assert_same(jax.jit(outer(fg.grad(loss)))(X), jax.jit(jax.hessian(loss))(X))


def test_third_order():
    total = lambda g: lambda x: jnp.sum(g(x) ** 2)
    third = lambda grad: jax.jit(grad(total(grad(total(grad(loss))))))(X)
    assert_same(third(fg.grad), third(jax.grad))


def test_a_hessian_vector_product_by_each_road():
    v = jnp.cos(X)
    expected = jax.jit(jax.hessian(loss))(X) @ v
    roads = [
        lambda x: jax.jvp(fg.grad(loss), (x,), (v,))[1],
        fg.grad(lambda x: fg.grad(loss)(x) @ v),
        fg.grad(lambda x: jax.jvp(loss, (x,), (v,))[1]),
        lambda x: jax.linearize(fg.grad(loss), x)[1](v),
    ]
    for product in jax.jit(lambda x: [road(x) for road in roads])(X):
        assert_same(product, expected)


@pytest.mark.parametrize("length", [3, None], ids=["fori_loop", "while_loop"])
def test_a_gradient_through_a_loop_of_unknown_length_names_the_loop(length: int | None):
    def looped(x: jax.Array, n: jax.Array) -> jax.Array:
        if length is None:
            return jnp.sum(jax.lax.while_loop(lambda c: c[0] < 4, jnp.sin, x))
        return jnp.sum(jax.lax.fori_loop(0, n, lambda i, c: jnp.sin(c), x))

    with pytest.raises(fg.errors.GradientError, match="while"):
        fg.grad(looped)(X, jnp.int32(3))


def test_higher_order_where_a_custom_jvp_writes_its_function_out():
    """JAX differentiates what the rule returns as the function's value, and not the function."""

    @jax.custom_jvp
    def passed(x: jax.Array) -> jax.Array:
        return jnp.clip(x, -0.5, 0.5)

    passed.defjvp(lambda primals, tangents: (0.5 * primals[0] ** 2, jnp.exp(primals[0]) * tangents[0]))

    def loss(x: jax.Array) -> jax.Array:
        return jnp.sum(passed(x) ** 2 * x)

    def orders(grad: Callable[..., Any], f: Callable[..., Any]) -> list[Any]:
        first = grad(f)
        second = grad(lambda x: jnp.sum(first(x) ** 2))
        return [f(X), first(X), second(X), grad(lambda x: jnp.sum(second(x) ** 2))(X)]

    ways = {
        "plain": loss,
        "jit": jax.jit(loss),
        "scan": lambda x: jax.lax.scan(lambda c, s: (c + loss(x * s), None), 0.0, jnp.array([0.5, 2.0]))[0],
        "vmap": lambda x: jax.vmap(loss)(jnp.stack([x, 2 * x])).sum(),
        "checkpoint": jax.checkpoint(loss),
        "cond": lambda x: jax.lax.cond(x[0] < 9, loss, jnp.sum, x),
    }
    expected = jax.jit(lambda: {name: orders(jax.grad, f) for name, f in ways.items()})()
    found = jax.jit(lambda: {name: orders(fg.grad, f) for name, f in ways.items()})()
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-11), found, expected)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-11), orders(fg.grad, loss), expected["plain"])


def nested(outer: Callable[..., Any], inner: Callable[..., Any]) -> Any:
    """The outer gradient of an inner one that closes over the outer's argument."""
    return jax.jit(outer(lambda y: inner(lambda x: jnp.sum(jnp.sin(x * y) * y))(y * 2).sum()))(X)


@pytest.mark.parametrize(("outer", "inner"), [(fg.grad, fg.grad), (jax.grad, fg.grad), (fg.grad, jax.grad)])
def test_a_gradient_that_closes_over_the_outer_argument(outer: Callable[..., Any], inner: Callable[..., Any]):
    assert_same(nested(outer, inner), nested(jax.grad, jax.grad))


def test_a_gradient_that_closes_over_a_batch_element():
    per_row = lambda grad: jax.vmap(lambda row: grad(lambda x: jnp.sum(jnp.sin(x * row)))(X))(W)
    assert_same(per_row(fg.grad), per_row(jax.grad))


def test_a_gradient_that_closes_over_a_carry():
    def descend(grad: Callable[..., Any]) -> Any:
        step = lambda c, row: (c - 0.1 * grad(lambda x: jnp.sum(jnp.sin(x * c) * row))(X), loss(c))
        return jax.lax.scan(step, X, W)

    assert_same(descend(fg.grad), descend(jax.grad))


@pytest.mark.parametrize(
    "wrap", [jax.checkpoint, jax.jit, jax.named_scope("gradient")], ids=["checkpoint", "jit", "scope"]
)
def test_a_gradient_inside_a_call_that_is_differentiated(wrap: Callable[..., Any]):
    outer = lambda grad: jax.jit(jax.grad(lambda x: jnp.sum(wrap(lambda v: grad(loss)(v) ** 2)(x))))(X)
    assert_same(outer(fg.grad), outer(jax.grad))


@pytest.mark.parametrize("loop", ["while_loop", "cond"])
def test_a_gradient_inside_a_loop_or_branch(loop: str):
    def run(grad: Callable[..., Any]) -> Any:
        if loop == "cond":
            return jax.jit(lambda x: jax.lax.cond(x[0] < 0, grad(loss), lambda x: x, x))(X)
        step = lambda c: (c[0] + 1, c[1] - 0.1 * grad(loss)(c[1]))
        return jax.jit(lambda x: jax.lax.while_loop(lambda c: c[0] < 4, step, (0, x)))(X)[1]

    assert_same(run(fg.grad), run(jax.grad))


def test_our_gradient_as_a_custom_rule():
    def with_rule(vjp: Callable[..., Any]) -> Any:
        @jax.custom_vjp
        def f(x: jax.Array) -> jax.Array:
            return jnp.sin(x) * x

        f.defvjp(lambda x: (f(x), x), lambda x, g: (2.0 * vjp(lambda v: jnp.sin(v) * v, x)[1](g)[0],))
        return jax.grad(lambda x: f(x).sum())(X)

    assert_same(with_rule(fg.vjp), with_rule(jax.vjp))


def test_a_gradient_inside_of_a_function_whose_rule_jax_wrote():
    """The rule of `jnp.logaddexp` as the inner gradient leaves it, which is no rule that could be asked for early."""
    inner = lambda y: jnp.sum(jnp.logaddexp(y, 0.0) + jnp.logaddexp2(y, 1.0))
    x = jnp.linspace(-1.0, 2.0, 4)
    found, expected = (lib.grad(lambda x: jnp.sum(jax.grad(inner)(x) ** 2))(x) for lib in (fg, jax))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
