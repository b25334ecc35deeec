"""Gradients inside axes that `vmap` names, inside `shard_map`, and on meshes with explicit axes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

import funcgrad as fg
from tests.language.agreement import assert_same
from tests.language.sample import W, X

NAMED = {
    "psum": lambda x: jnp.sum(jax.lax.psum(jnp.sin(x), "i") ** 2),
    "all_gather": lambda x: jnp.sum(jax.lax.all_gather(jnp.sin(x), "i") ** 2 * x),
}


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("size", [2, 3])
def test_inside_an_axis_that_vmap_names(name: str, size: int):
    ours, theirs = (jax.vmap(grad(NAMED[name]), axis_name="i")(W[:size]) for grad in (fg.grad, jax.grad))
    assert_same(ours, theirs)


INSIDE_SHARD_MAP = {
    "a loss per device": lambda x, w: jnp.sum(jnp.sin(x) * w),
    "a loss of all": lambda x, w: jax.lax.psum(jnp.sum(jnp.sin(x) * w), "d"),
    "an unused output": lambda x, w: jnp.sum(jax.lax.split(jnp.sin(x) * w, (1, 2), axis=1)[0]),
    "an unused output of a scan": lambda x, w: jnp.sum(jax.lax.scan(lambda c, r: (jnp.sin(c) + r, c), x[0], x)[0] * w),
    "an unused argument": lambda x, w: jnp.sum(jnp.sin(x)),
}


@pytest.mark.parametrize("name", INSIDE_SHARD_MAP)
def test_inside_shard_map(name: str):
    mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    x = jnp.linspace(-1.0, 1.0, 24).reshape(8, 3)

    def on_every_device(grad: Callable[..., Any]) -> Any:
        gradient = grad(INSIDE_SHARD_MAP[name], (0, 1))
        return jax.jit(jax.shard_map(gradient, mesh=mesh, in_specs=(P("d"), P()), out_specs=(P("d"), P())))(x, X)

    assert_same(on_every_device(fg.grad), on_every_device(jax.grad))


EXPLICIT = {
    "reshard": lambda x: jnp.sum(jax.reshard(jnp.sin(jax.reshard(x, P("d"))), P()) ** 2),
    "smap": lambda x: jnp.sum(jax.smap(jnp.sin, in_axes=0, out_axes=0, axis_name="d")(jax.reshard(x, P("d"))) ** 2),
    "in types": lambda x: jnp.sum(jnp.sin(jax.reshard(x, P("d"))) ** 2),
    "an unused output": lambda x: jnp.sum(jax.lax.split(jnp.sin(jax.reshard(x, P("d"))), (1, 2), axis=1)[0]),
}


@pytest.mark.parametrize("name", EXPLICIT)
def test_on_a_mesh_with_explicit_axes(name: str):
    x = jnp.linspace(-1.0, 1.0, 24).reshape(8, 3)
    mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        ours, theirs = (jax.jit(both(EXPLICIT[name]))(x) for both in (fg.value_and_grad, jax.value_and_grad))
    assert_same(ours, theirs)
    assert ours[1].sharding == theirs[1].sharding
