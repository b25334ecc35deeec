"""Arrays that are not differentiated may be looked at, as under `jax.grad` outside of `jit`."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from tests.raising import raises_sentence

X, SIGNS = jnp.linspace(0.1, 0.9, 4), jnp.array([1.0, -1.0, 2.0, 3.0])


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def scaled(x, factor):
    return factor * x


scaled.defvjp(lambda x, factor: (factor * x, None), lambda factor, _, g: (3 * factor * g,))


def repeated(x, n):
    for _ in range(n):
        x = x * x
    return jnp.sum(x[:n])


def constant_mask(x):
    return jnp.sum(x[2 * jnp.array([1.0, -1.0, 1.0, 1.0]) > 0] ** 2)


CASES = {
    "a mask": (lambda x, signs: jnp.sum(x[signs > 0] ** 2), (X, SIGNS)),
    "a mask in numpy": (lambda x, mask: jnp.sum(x[mask] ** 2), (X, np.array([True, False, True, True]))),
    "a mask of constants": (constant_mask, (X,)),
    "a shape": (lambda x, shape: jnp.sum(x.reshape(tuple(shape)) ** 2), (X, np.array([2, 2]))),
    "a count": (repeated, (X, jnp.array(2))),
    "a branch": (lambda x, n: jnp.sum(x**2) if n > 1 else jnp.sum(x), (X, jnp.array(2.0))),
    "numpy's own methods": (lambda x, y: jnp.sum(x) * y.tolist()[1] * float(y.dot(y)), (X, np.arange(4.0))),
    "an argument of a custom rule": (lambda x, y: jnp.sum(scaled(x, y)), (X, jnp.array(2.0))),
    "the same inside a map": (lambda x, y: jnp.sum(jax.vmap(lambda v: scaled(v, y))(x)), (X, jnp.array(2.0))),
    "unique entries": (lambda x, k: jnp.sum(x[jnp.unique(k)]), (X, jnp.array([1, 1, 2, 3]))),
}


@pytest.mark.parametrize("case", CASES)
def test_contents_are_there_where_the_function_asks_for_them(case):
    f, args = CASES[case]
    ours, theirs = fg.value_and_grad(f)(*args), jax.value_and_grad(f)(*args)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-12), ours, theirs)
    _, readings = fg.grad(f, taps="x", stats="max")(*args)
    np.testing.assert_allclose(readings["x"].cotangent["max"], np.abs(jax.grad(f)(*args)).max())
    np.testing.assert_allclose(fg.grad(f, wrt=["x"])(*args)["x"], jax.grad(f)(*args), rtol=1e-12)


def test_the_next_call_sees_its_own_contents():
    f = lambda x, signs: jnp.sum(x[signs > 0] ** 2)
    for signs in (SIGNS, -SIGNS, SIGNS):
        np.testing.assert_allclose(fg.grad(f)(X, signs), jax.grad(f)(X, signs))


def test_what_is_differentiated_or_traced_has_none():
    f = lambda x, y: jnp.sum(x) if y > 1 else jnp.sum(y)
    sentence = (
        r"test_contents\.py:\d+ \(`.*`\) branches on the value of an array, which has none while a function is traced; "
        r"use jnp\.where, jax\.lax\.cond or jax\.lax\.while_loop, or pass what decides as a number\."
    )
    assert fg.grad(f)(X, jnp.array(2.0)).tolist() == [1.0] * 4
    with raises_sentence(fg.errors.GraphError, sentence):
        fg.grad(f, argnums=1)(X, jnp.array(2.0))
    with raises_sentence(fg.errors.GraphError, sentence):
        jax.jit(fg.grad(f))(X, jnp.array(2.0))


def test_where_nobody_looks_the_graph_stays_whole():
    f = lambda x, y: jnp.sum(x * fg.name(jnp.sin(y), "h"))
    np.testing.assert_allclose(fg.grad(f, wrt="h")(X, SIGNS), X)
