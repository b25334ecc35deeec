"""Every layer on a mesh with explicit axes, its batch over several devices: the numbers of one device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import funcgrad as fg
from tests.layers.networks import NETWORKS

KEY = jax.random.key(7)


# The ops stand on meshes in tests/ops; here by default a chain, examples in front, a loop, statistics of the batch.
FIRST = ("mlp", "attention", "recurrent", "normalized")


@pytest.mark.parametrize("name", [n if n in FIRST else pytest.param(n, marks=pytest.mark.slow) for n in NETWORKS])
def test_a_batch_over_several_devices(name, rng):
    net, shape = NETWORKS[name]
    if name == "attention":  # whose first axis is time
        shape = (2, *shape)
    x = rng.normal(size=(max(shape[0], 2), *shape[1:]))
    params, state = net.init(KEY, x)

    def loss(params, x):
        output, after = net.apply(params, state, x, key=KEY, train=True)
        return sum(jnp.sum(jnp.sin(y)) for y in jax.tree.leaves(output)), after

    def run(lib, params, x):
        return lib.value_and_grad(loss, (0, 1), has_aux=True)(params, x)

    alone = jax.jit(run, static_argnums=0)(jax, params, x)
    mesh = jax.make_mesh((len(x),), ("data",))
    with jax.set_mesh(mesh):
        params, state = jax.device_put((params, state), NamedSharding(mesh, P()))
        x = jax.device_put(x, NamedSharding(mesh, P("data")))
        for lib in (fg, jax):
            spread = jax.jit(run, static_argnums=0)(lib, params, x)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), spread, alone)
            of_params, of_x = spread[1]
            assert all(g.sharding.is_fully_replicated for g in jax.tree.leaves(of_params))
            assert of_x.sharding.is_equivalent_to(x.sharding, x.ndim)
