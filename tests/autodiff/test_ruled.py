"""Gradients by other libraries obey the rules of `fg.with_rules`: those of `fg.grad`, or JAX's with another sign."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import funcgrad as fg
from funcgrad.errors import GradientError, RuleError
from tests.raising import raises_sentence

REVERSED = fg.RuleSet().override(jnp.tanh, lambda g, pull: -pull(g))
X = jnp.array([[0.3, -0.5], [1.0, 0.2]])


def agree(found, expected):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def loss(p, x, n=2):
    return jnp.sum(jnp.tanh(x @ p["w"]) ** n + p["b"][None])


P = {"w": jnp.array([[1.0, 2.0], [0.5, -1.0]]), "b": jnp.ones(2)}


@pytest.mark.parametrize("jit", [lambda f: f, jax.jit])
def test_jax(jit):
    ruled = fg.with_rules(loss, REVERSED)
    agree(ruled(P, X), loss(P, X))
    agree(jit(jax.grad(ruled, argnums=(0, 1)))(P, X), fg.grad(loss, argnums=(0, 1), rules=REVERSED)(P, X))
    own = jax.grad(loss)(P, X)
    agree(jax.grad(ruled)(P, X), {"w": -own["w"], "b": own["b"]})
    agree(
        jit(jax.vmap(jax.grad(ruled), (None, 0)))(P, X[:, None]),
        jax.vmap(fg.grad(loss, rules=REVERSED), (None, 0))(P, X[:, None]),
    )


def test_by_name_and_inside_of_more():
    ruled = fg.with_rules(loss, REVERSED)
    agree(
        jax.grad(lambda p: 3 * ruled(p, x=X, n=3))(P),
        jax.tree.map(lambda g: 3 * g, fg.grad(lambda p: loss(p, X, 3), rules=REVERSED)(P)),
    )
    scanned = lambda p: jax.lax.scan(lambda c, x: (c + ruled(p, x), None), 0.0, X[:, None])[0]
    agree(jax.grad(scanned)(P), fg.grad(loss, rules=REVERSED)(P, X[:, None].reshape(2, 2)))


def test_libraries():
    linear = nnx.Linear(2, 3, rngs=nnx.Rngs(0), param_dtype=jnp.float64)

    def of_flax(m):
        return jnp.sum(jnp.tanh(m(X)) ** 2)

    agree(nnx.grad(fg.with_rules(of_flax, REVERSED))(linear), jax.tree.map(lambda g: -g, nnx.grad(of_flax)(linear)))

    class Twice(nnx.Module):  # its variables in another order than that of their names
        def __init__(self):
            self.b, self.a = nnx.Param(jnp.ones((2, 2))), nnx.Param(jnp.eye(2))

        def __call__(self, x):
            return jnp.tanh(x @ self.b) @ self.a

    def of_two(m):
        return jnp.sum(m(X) ** 2)

    found, own = nnx.grad(fg.with_rules(of_two, REVERSED))(Twice()), nnx.grad(of_two)(Twice())
    agree(found.b[...], -own.b[...])
    agree(found.a[...], own.a[...])
    module = eqx.nn.Linear(2, 3, key=jax.random.key(0))

    def of_equinox(m):
        return jnp.sum(jnp.tanh(jax.vmap(m)(X)) ** 2)

    ruled = fg.with_rules(of_equinox, fg.RuleSet().override(eqx.nn.Linear, lambda g, pull: -pull(g), "weight"))
    found, own = eqx.filter_grad(ruled)(module), eqx.filter_grad(of_equinox)(module)
    agree(found.weight, -own.weight)
    agree(found.bias, own.bias)


def test_what_it_refuses():
    with raises_sentence(RuleError, r"rules= expects an fg\.RuleSet, got a function; .*"):
        fg.with_rules(loss, lambda g: g)
    with raises_sentence(GradientError, r"with_rules takes a function first, got 3\."):
        fg.with_rules(3, REVERSED)
    with raises_sentence(
        GradientError,
        r"with_rules: argument 'n' can only be given by name, and gradients are of arguments by position; fix it by a "
        r"lambda\.",
    ):
        fg.with_rules(lambda x, *, n: jnp.tanh(x) ** n, REVERSED)(X, n=2)
