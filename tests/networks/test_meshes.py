"""Every reference network on a mesh with explicit axes, its batch over four devices: the numbers of one device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import funcgrad as fg
from tests.networks.test_networks import SMALL, begin, heavy


@pytest.mark.parametrize("name", [n if n in ("mlp", "transformer") else heavy(n) for n in SMALL])
def test_a_batch_over_several_devices(name):
    net, params, state, x = begin(name)
    x = jnp.concatenate([x] * (4 // len(x)) if len(x) < 4 else [x])

    def loss(params, state, x):
        output, after = net.apply(params, state, x, train=True)
        return jnp.mean(jnp.sin(output)), after

    def run(lib, *args):
        return lib.value_and_grad(loss, has_aux=True)(*args)

    alone = jax.jit(run, static_argnums=0)(jax, params, state, x)
    scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(alone[1]))
    mesh = jax.make_mesh((4,), ("data",))
    with jax.set_mesh(mesh):
        params, state = jax.device_put((params, state), NamedSharding(mesh, P()))
        x = jax.device_put(x, NamedSharding(mesh, P("data")))
        for lib in (fg, jax):
            spread = jax.jit(run, static_argnums=0)(lib, params, state, x)
            for a, b in zip(jax.tree.leaves(spread), jax.tree.leaves(alone), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10 * scale)
            assert all(g.sharding.is_fully_replicated for g in jax.tree.leaves(spread))
