"""What the tests of control flow compare with."""

import chex
import jax

import funcgrad as fg


def assert_like_jax(f, *args):
    """Value and all gradients, jitted and not."""
    every = tuple(range(len(args)))
    expected = jax.jit(jax.value_and_grad(f, every))(*args)
    for found in (jax.jit(fg.value_and_grad(f, every))(*args), fg.value_and_grad(f, every)(*args)):
        chex.assert_trees_all_equal_shapes_and_dtypes(found, expected)
        chex.assert_trees_all_close(found, expected, rtol=1e-11, atol=1e-13)
