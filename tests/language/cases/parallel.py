"""Computations over four devices: `shard_map` with its collectives, sharding constraints, transfers."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from tests.language.case import Family
from tests.language.drawing import normal

FAMILY = Family("parallel")
case, each = FAMILY.case, FAMILY.each
lax = jax.lax
ROWS = P("d")


def four_devices():
    return jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))


def on_mesh(function, *args, in_specs=ROWS, out_specs=ROWS, **options):
    """`shard_map` over four devices."""
    return jax.shard_map(function, mesh=four_devices(), in_specs=in_specs, out_specs=out_specs, **options)(*args)


def constrained(x):
    return lax.with_sharding_constraint(jnp.sin(x), NamedSharding(four_devices(), ROWS))


case("lax.with_sharding_constraint", normal(8, 3), call=lambda x: constrained(x) * 2)
case("device_put", normal(3), call=lambda x: jax.device_put(x, jax.devices()[0]) * 2)
case("pmap", normal(4, 3), call=lambda x: jax.pmap(lambda r: jnp.sin(r) * lax.psum(r, "i"), axis_name="i")(x))
case(
    "jit",
    normal(8, 3),
    call=lambda x: jax.jit(jnp.sin, out_shardings=NamedSharding(four_devices(), ROWS))(x) * x,
    label="out_shardings",
)
case("shard_map", normal(8, 3), call=partial(on_mesh, jnp.sin))
case(
    "shard_map lax.psum",
    normal(8, 3),
    normal(3),
    call=partial(on_mesh, lambda x, w: lax.psum(jnp.sum(jnp.sin(x) * w), "d"), in_specs=(P("d"), P()), out_specs=P()),
    label="a replicated weight",
)
case(
    "shard_map",
    normal(8, 3),
    call=partial(on_mesh, lambda x: lax.ppermute(x, "d", [(i, (i + 1) % 4) for i in range(4)]) * x),
    label="ring",
)
case(
    "shard_map lax.all_gather",
    normal(8, 3),
    call=partial(on_mesh, lambda x: lax.all_gather(x, "d", tiled=True).sum(0, keepdims=True) * x),
    label="all_gather",
)
case(
    "shard_map lax.psum_scatter",
    normal(16, 3),
    call=partial(on_mesh, lambda x: lax.psum_scatter(jnp.sin(x), "d", tiled=True)),
    label="psum_scatter",
)
case(
    "shard_map lax.all_to_all",
    normal(16, 3),
    call=partial(on_mesh, lambda x: lax.all_to_all(x, "d", 0, 0, tiled=True) * x),
    label="all_to_all",
)
case(
    "shard_map lax.pcast",
    normal(8, 3),
    normal(3),
    call=partial(on_mesh, lambda x, w: x * lax.pcast(w, "d", to="varying"), in_specs=(P("d"), P())),
    label="pcast",
)
case(
    "shard_map",
    normal(8, 3),
    call=partial(on_mesh, lambda x: x * lax.axis_index("d"), check_vma=False),
    label="unchecked",
)
case(
    "shard_map lax.scan",
    normal(8, 3),
    call=partial(on_mesh, lambda x: lax.scan(lambda c, r: (jnp.sin(c) + r, c), x[0], x)[1]),
    label="a scan inside",
)
