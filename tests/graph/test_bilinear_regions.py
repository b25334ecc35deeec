"""Products of two activations as regions: told from products with parameters, and with what counts as constant."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.errors import RuleError
from tests.raising import raises_sentence


def tripled(g, pull):
    return {name: 3 * bar for name, bar in pull(g).items()}


def of(*names, constants=(), optional=False):
    region = fg.Region(bilinear=names, constants=constants)
    return fg.RuleSet().override(region, tripled, "x0", "x1", optional=optional)


X, W, MASK = jnp.arange(1.0, 4.0), {"w": jnp.array([2.0, -1.0, 3.0])}, jnp.array([1.0, 0.0, 1.0])


def gradient(f, *args, rules, **kwargs):
    return fg.grad(lambda *args: f(*args).sum(), rules=rules, **kwargs)(*args)


@pytest.mark.parametrize(
    ("f", "factor"),
    [
        (lambda x: jnp.sin(x) * jnp.cos(x), 3),
        (lambda x: jnp.sin(x) * W["w"], 1),  # with a parameter
        (lambda x: jnp.sin(x) * MASK, 1),  # with what the function closes over
        (lambda x: 2.0 * jnp.sin(x), 1),
        (lambda x: jnp.sin(x) * jax.lax.rsqrt(W["w"] ** 2), 1),  # with what is made of parameters
        (lambda x: jax.lax.scan(lambda c, _: (c, jnp.sin(c) * jnp.cos(c)), x, None, length=1)[1], 3),
        (lambda x: jax.checkpoint(lambda x: jnp.sin(x) * jnp.cos(x))(x), 3),
    ],
)
def test_which_products_are_of_two_activations(f, factor):
    found = gradient(f, X, rules=of("mul", optional=True))
    np.testing.assert_allclose(found, factor * jax.grad(lambda x: f(x).sum())(X), rtol=1e-6)


def test_an_argument_that_is_not_differentiated_is_no_activation():
    f = lambda x, mask: jnp.sin(x) * mask
    optional = of("mul", optional=True)
    np.testing.assert_allclose(gradient(f, X, MASK, rules=optional), jnp.cos(X) * MASK)
    both = gradient(f, X, MASK, rules=optional, argnums=(0, 1))
    np.testing.assert_allclose(both[0], 3 * jnp.cos(X) * MASK)
    np.testing.assert_allclose(both[1], 3 * jnp.sin(X))


def test_what_is_constant_to_one_region_is_not_to_another():
    f = lambda x: x * jax.lax.rsqrt(x)
    both = of("mul") | of("dot_general", constants=("rsqrt",), optional=True)
    np.testing.assert_allclose(gradient(f, X, rules=both), gradient(f, X, rules=of("mul")))
    np.testing.assert_allclose(gradient(f, X, rules=both), 3 * 0.5 / jnp.sqrt(X), rtol=1e-6)


def test_a_value_inside_is_half_of_a_product_however_it_is_asked_for():
    f = lambda x: fg.name(jnp.sin(x), "h") * jnp.cos(x)
    np.testing.assert_allclose(gradient(f, X, rules=of("mul"), wrt="h"), 3 * jnp.cos(X))


def test_what_counts_as_constant():
    def f(x):
        with jax.named_scope("gate"):
            gate = jnp.tanh(x)
        return x * gate * jax.lax.rsqrt(x)

    x, own = X, jax.grad(lambda x: f(x).sum())(X)
    inner, outer = jnp.tanh(x), x * jnp.tanh(x)
    r, r_bar = jax.lax.rsqrt(x), -0.5 * x**-1.5
    product = lambda a, b: a * (inner + x * (1 - inner**2)) * r + b * outer * r_bar
    np.testing.assert_allclose(own, product(1, 1), rtol=1e-6)
    np.testing.assert_allclose(gradient(f, x, rules=of("mul")), product(9, 3), rtol=1e-6)
    np.testing.assert_allclose(gradient(f, x, rules=of("mul", constants="rsqrt")), product(3, 1), rtol=1e-6)
    np.testing.assert_allclose(gradient(f, x, rules=of("mul", constants="gate")), product(3, 3), rtol=1e-6)


def test_none_is_there():
    with raises_sentence(
        RuleError,
        r"The override of bilinear mul at '\*\*' matches nothing; the graph has no such product of two activations "
        r"that are differentiated\.",
    ):
        gradient(lambda x: 2 * x, X, rules=of("mul"))


@pytest.mark.parametrize("more", [{"affine": "mul", "constants": "rsqrt"}, {"bilinear": "mul", "first": True}])
def test_what_says_more_of_another_kind_of_region(more):
    with raises_sentence(
        RuleError, r"fg\.Region: first= is of affine= products, constants= of bilinear= ones; leave it out\."
    ):
        fg.Region(**more)
