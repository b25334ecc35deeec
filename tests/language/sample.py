"""A function to put inside and outside of transformations."""

import jax
import jax.numpy as jnp

import funcgrad as fg

X, W = jnp.linspace(-1.0, 1.3, 3), jnp.linspace(0.5, -0.7, 9).reshape(3, 3)


def loss(x: jax.Array) -> jax.Array:
    """A scalar with an op's rule, a derived one and a loop in it."""
    h = fg.ops.sigmoid(fg.ops.linear(x, W, X))
    return jax.lax.scan(lambda c, w: (jnp.sin(c) @ w, None), h, jnp.stack([W, W.T]))[0].sum()
