"""The sums that rules share: what they add up, and how it is written where that decides what XLA makes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcgrad.ops.contraction import bias_cotangent, sum_last
from tests.ops.asserting import assert_close


@pytest.mark.parametrize("shape", [(3, 0), (3, 1), (3, 64), (3, 72), (3, 100), (2, 3, 256)])
def test_sum_last_is_the_sum(shape: tuple[int, ...]) -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape))
    assert_close(sum_last(x), jnp.sum(x, axis=-1), "sum_last")


@pytest.mark.parametrize(("n", "sums"), [(64, 1), (72, 2), (100, 1), (256, 2)])
def test_long_rows_are_summed_in_lanes_and_without_products(n: int, sums: int) -> None:
    jaxpr = str(jax.make_jaxpr(sum_last)(jnp.ones((3, n))))
    assert jaxpr.count("reduce_sum") == sums
    assert "dot_general" not in jaxpr


def test_sum_last_under_transformations() -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3, 128)))
    assert_close(jax.vmap(sum_last)(x), jnp.sum(x, axis=-1), "vmap")

    def cubes(x: jax.Array) -> jax.Array:
        return jnp.sum(sum_last(x) ** 3)

    expected = 3 * jnp.sum(x, axis=-1, keepdims=True) ** 2 * jnp.ones_like(x)
    assert_close(jax.grad(cubes)(x), expected, "grad")
    assert_close(jax.jvp(sum_last, (x,), (x,))[1], jnp.sum(x, axis=-1), "jvp")


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 0, 5)])
def test_bias_cotangent_sums_all_axes_but_the_last(shape: tuple[int, ...]) -> None:
    g = jnp.asarray(np.random.default_rng(0).normal(size=shape))
    assert_close(bias_cotangent(g), np.asarray(g).reshape(-1, 5).sum(0), "bias_cotangent")


def test_bias_cotangent_is_compiled_apart_from_what_made_the_cotangent() -> None:
    """Else XLA:CPU takes the sum over two axes of a product entry by entry."""

    def made_and_summed(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        g = x * x
        return g, bias_cotangent(g)

    jaxpr = jax.make_jaxpr(made_and_summed)(jnp.ones((2, 3, 5))).jaxpr
    names = [e.primitive.name for e in jaxpr.eqns]
    assert names.index("optimization_barrier") < names.index("reduce_sum")
    assert jaxpr.eqns[names.index("reduce_sum")].invars[0].aval.shape == (6, 5)
