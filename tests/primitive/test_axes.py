"""Ops that ask for their place along a mapped axis, or sum over it, are what their functions are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import funcgrad as fg

X = jnp.array([1.0, 2.0, 5.0])
DECLARED = [{}, {"elementwise": True}, {"leading": ("x",)}]


def centred(x):
    return x - jax.lax.pmean(x * x, "i")


def weighted(x):
    return x * (1.0 + jax.lax.axis_index("i").astype(x.dtype))


def shared(x):
    return x * x / jax.lax.psum(1, "i")


def outer(x):
    """An op inside of an op."""
    return INNER(x) * 2


FUNCTIONS = [centred, weighted, shared]
INNER = fg.op(name="inner_along_axis", replace=True)(centred)
MAPPED = {
    "vmap": lambda f: jax.vmap(f, axis_name="i"),
    "of what has no axis": lambda f: lambda x: jax.vmap(lambda a: f(x[0]) * a, axis_name="i")(x),
    "inside a vmap": lambda f: lambda x: jax.vmap(lambda b: jax.vmap(f, axis_name="i")(x * b))(jnp.arange(2.0)),
    "around a vmap": lambda f: jax.vmap(lambda a: jax.vmap(lambda b: f(a * b))(jnp.arange(2.0)), axis_name="i"),
}


@pytest.mark.parametrize("how", MAPPED)
@pytest.mark.parametrize(
    ("function", "declared"), [*((centred, d) for d in DECLARED), (weighted, {}), (shared, DECLARED[1]), (outer, {})]
)
def test_value_and_gradients_along_a_named_axis(function, declared, how):
    op = fg.op(name="along_axis", replace=True, **declared)(function)
    plain = centred_twice if function is outer else function
    loss = lambda f: lambda x: jnp.sum(MAPPED[how](f)(x) ** 2)
    value, gradient = jax.value_and_grad(loss(plain))(X)
    for lib in (jax, fg):
        found = jax.jit(lib.value_and_grad(loss(op)))(X)
        np.testing.assert_allclose(found[0], value, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(found[1], gradient, rtol=1e-13, atol=1e-13)


def centred_twice(x):
    return centred(x) * 2


@pytest.mark.parametrize("function", FUNCTIONS)
def test_value_and_gradients_of_a_vmap_inside_shard_map(function):
    mesh = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Auto,))
    op = fg.op(name="along_axis", replace=True)(function)
    mapped = lambda f: jax.shard_map(jax.vmap(f), mesh=mesh, in_specs=P("i"), out_specs=P("i"))
    loss = lambda f: lambda x: jnp.sum(mapped(f)(x) ** 2)
    x = jnp.arange(8.0)
    value, gradient = jax.value_and_grad(loss(function))(x)
    for lib in (jax, fg):
        found = lib.value_and_grad(loss(op))(x)
        np.testing.assert_allclose(found[0], value, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(found[1], gradient, rtol=1e-13, atol=1e-13)


def test_a_sharded_axis_of_an_explicit_mesh_is_absorbed_too():
    """JAX takes the axis out of a list of its own while it batches, which is another context for the same trace."""
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        x = jax.device_put(jnp.ones((8, 3)), NamedSharding(mesh, P("data")))
        w = jax.device_put(jnp.ones((3, 2)), NamedSharding(mesh, P()))
        loss = lambda w: jnp.sum(jax.vmap(lambda a: fg.ops.relu(fg.ops.linear(a, w)))(x))
        assert "\u00b7vmap" not in str(jax.make_jaxpr(loss)(w))
        np.testing.assert_allclose(np.asarray(jax.jit(fg.grad(loss))(w)), np.full((3, 2), 8.0))
