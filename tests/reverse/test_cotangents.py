"""The sum over readers, and the loop on a graph small enough to do by hand."""

import jax
import jax.numpy as jnp
import numpy as np

import funcgrad as fg
from funcgrad.graph import Value
from funcgrad.planning import make_plan
from funcgrad.reverse import Cotangents, forward, reverse


def value(name: str) -> Value:
    return Value(name, jax.typeof(jnp.ones(2)))


def test_the_first_cotangent_is_stored_and_later_ones_are_added():
    a = value("a")
    cotangents = Cotangents(())
    first = jnp.array([1.0, 2.0])
    cotangents.add([a], [first])
    assert cotangents.pop([a])[a] is first
    cotangents.add([a, a], [first, first])
    np.testing.assert_array_equal(cotangents.pop([a])[a], [2.0, 4.0])


def test_a_value_that_nothing_reached_has_zeros_of_its_own_shape_and_dtype():
    a = Value("a", jax.typeof(jnp.ones((3, 1), jnp.bfloat16)))
    (zero,) = Cotangents(()).pop([a]).values()
    assert (zero.shape, zero.dtype) == ((3, 1), jnp.bfloat16)
    assert not zero.any()


def test_only_wanted_cotangents_outlive_their_node():
    a, b = value("a"), value("b")
    cotangents = Cotangents([a])
    cotangents.add([a, b], [jnp.ones(2), jnp.ones(2)])
    cotangents.pop([a, b])
    assert cotangents.pop([a])[a].any()
    assert not cotangents.pop([b])[b].any()


def test_the_loop_on_a_value_that_is_read_twice():
    """y = sin(x) x, so x_bar = g (cos(x) x + sin(x)), by hand."""
    x = jnp.array([0.3, -1.2])
    g = jnp.array([1.0, -2.0])
    structure = fg.trace(lambda x: jnp.sin(x) * x, x).structure
    plan = make_plan(structure, structure.inputs, structure.outputs)
    (y,), kept = forward(plan, (), [x])
    (x_bar,) = reverse(plan, kept, [g])
    np.testing.assert_allclose(y, np.sin(x) * x, rtol=1e-12)
    np.testing.assert_allclose(x_bar, g * (np.cos(x) * x + np.sin(x)), rtol=1e-12)


def test_a_source_listed_twice_gets_both_seeds():
    structure = fg.trace(lambda x: (x, x), jnp.ones(2)).structure
    plan = make_plan(structure, structure.inputs, structure.outputs)
    (x_bar,) = reverse(plan, [], [jnp.array([1.0, 2.0]), jnp.array([10.0, 20.0])])
    np.testing.assert_array_equal(x_bar, [11.0, 22.0])
