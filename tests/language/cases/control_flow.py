"""Loops, branches and maps."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.language.case import Family
from tests.language.drawing import integers, normal

FAMILY = Family("control_flow")
case, each = FAMILY.case, FAMILY.each
lax = jax.lax


def step(carry, x):
    """One step of a recurrence, with a carry and an output."""
    carry = jnp.sin(carry) * x
    return carry, carry**2


def several(carry, x):
    """A step on pytrees, with an integer counter in the carry."""
    return {"h": carry["h"] * x["a"] + x["b"], "n": carry["n"] + 1}, (carry["h"].sum(), carry["n"])


def noisy(carry, key):
    x, own = carry
    return (x * jax.random.normal(key, (3,), np.float32).astype(x.dtype), jax.random.split(own)[0]), x


case("lax.scan", normal(3), normal(5, 3), call=lambda c, xs: lax.scan(step, c, xs))
case(
    "lax.scan",
    normal(3),
    normal(5, 3),
    call=lambda c, xs: lax.scan(step, c, xs, reverse=True),
    label="reverse",
    slow=True,
)
case("lax.scan", normal(3), normal(5, 3), call=lambda c, xs: lax.scan(step, c, xs, unroll=2), label="unroll")
case(
    "lax.scan",
    normal(3),
    normal(5, 3),
    call=lambda c, xs: lax.scan(step, c, xs, reverse=True, unroll=True),
    label="reverse and unrolled",
    slow=True,
)
case(
    "lax.scan",
    normal(3),
    {"a": normal(4, 3), "b": normal(4, 3)},
    call=lambda h, xs: lax.scan(several, {"h": h, "n": 0}, xs),
    label="pytrees and integers",
)
case(
    "lax.scan",
    normal(3),
    normal(3),
    call=lambda c, w: lax.scan(lambda c, _: (jnp.tanh(c * w), None), c, length=4)[0],
    label="closure, no inputs",
)
case(
    "lax.scan",
    normal(2, 3),
    call=lambda xs: lax.scan(lambda c, x: (c, jnp.sin(x)), None, xs)[1],
    label="no carry",
    slow=True,
)
case("lax.scan", normal(0, 3), normal(3), call=lambda xs, c: lax.scan(step, c, xs), label="empty", slow=True)
case(
    "lax.scan",
    normal(3),
    normal(2, 4, 3),
    call=lambda c, xs: lax.scan(lambda c, x: lax.scan(step, c, x), c, xs),
    label="nested",
)
case(
    "lax.scan lax.cond",
    normal(3),
    normal(4, 3),
    call=lambda c, xs: lax.scan(lambda c, x: lax.cond(x[0] > 0, step, lambda c, x: (c, x), c, x), c, xs),
    label="a branch inside",
)
case(
    "lax.scan",
    normal(3),
    normal(4, 3),
    call=lambda c, xs: lax.scan(jax.checkpoint(step), c, xs),
    label="checkpointed step",
)
case(
    "lax.scan",
    normal(3),
    normal(4, 3),
    call=lambda c, xs: jax.vmap(lambda c, x: lax.scan(step, c, x), (0, 1))(c, xs),
    label="vmapped",
    slow=True,
)
case(
    "lax.scan",
    normal(3),
    integers(5, 4),
    call=lambda w, xs: lax.scan(lambda c, i: (c * w[i % 3], w[i % 3]), jnp.ones((), w.dtype), xs),
    label="integer inputs",
)

case(
    "lax.scan",
    normal(3),
    jax.random.split(jax.random.key(0), 4),
    call=lambda x, keys: lax.scan(noisy, (x, jax.random.key(1)), keys)[1],
    label="keys in the carry and the inputs",
)
case("lax.map", normal(5, 3), call=lambda x: lax.map(lambda r: jnp.sin(r) * r.sum(), x))
case(
    "lax.map",
    normal(5, 3),
    call=lambda x: lax.map(lambda r: jnp.sin(r) * r.sum(), x, batch_size=2),
    label="batches",
    slow=True,
)
case("lax.fori_loop", normal(3), call=lambda x: lax.fori_loop(0, 4, lambda i, c: jnp.sin(c) * (i + 1), x))
case(
    "lax.fori_loop",
    normal(3),
    normal(4, 3),
    call=lambda x, w: lax.fori_loop(0, 4, lambda i, c: jnp.sin(c) * w[i], x),
    label="indexed",
    slow=True,
)
case(
    "lax.fori_loop",
    normal(3),
    np.int32(4),
    call=lambda x, n: lax.fori_loop(0, n, lambda i, c: jnp.sin(c), x),
    label="dynamic trip count",
    raises="a gradient through a loop of unknown length",
)
case(
    "lax.while_loop",
    normal(3),
    call=lambda x: lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.sin(c[1])), (0, x))[1],
    label="gradient",
    raises="a gradient through a loop of unknown length",
)
case(
    "lax.while_loop",
    normal(3),
    call=lambda x: x * lax.while_loop(lambda c: c < 50, lambda c: c * 2, 3),
    label="off the path",
)
case(
    "lax.while_loop",
    normal(3),
    call=lambda x: x * lax.stop_gradient(lax.while_loop(lambda c: c.sum() < 20, lambda c: c + 1, x)),
    label="stopped",
)

case("lax.cond", normal(3), call=lambda x: lax.cond(x[0] > 0, jnp.sin, jnp.cos, x))
case(
    "lax.cond",
    np.array(True),
    normal(3),
    normal(3),
    call=lambda p, x, y: lax.cond(p, lambda x, y: (x * y, 1), lambda x, y: (x, 2), x, y),
    label="operands and integers",
)
case(
    "lax.cond",
    normal(3),
    normal(3),
    call=lambda x, y: lax.cond(x[0] > 0, lambda: x * y, lambda: y),
    label="closures",
    slow=True,
)
case("lax.cond", normal(4, 3), call=jax.vmap(lambda x: lax.cond(x[0] > 0, jnp.sin, jnp.cos, x)), label="vmapped")
case(
    "lax.cond",
    normal(3),
    call=lambda x: lax.cond(x[0] > 9, lambda x: lax.cond(x[1] > 0, jnp.sin, jnp.exp, x), jnp.cos, x),
    label="nested",
    slow=True,
)
case("lax.switch", np.int32(1), normal(3), call=lambda i, x: lax.switch(i, [jnp.sin, jnp.cos, jnp.exp], x))
case(
    "lax.switch",
    np.int32(7),
    normal(3),
    call=lambda i, x: lax.switch(i, [jnp.sin, jnp.cos, jnp.exp], x),
    label="clamped",
    slow=True,
)
case(
    "lax.switch",
    integers(3, 4),
    normal(4, 3),
    call=jax.vmap(lambda i, x: lax.switch(i, [jnp.sin, jnp.cos, jnp.exp], x)),
    label="vmapped",
    slow=True,
)
case("lax.platform_dependent", normal(3), call=lambda x: lax.platform_dependent(x, cpu=jnp.sin, default=jnp.cos))
case(
    "lax.composite",
    normal(3),
    call=lambda x: lax.composite(lambda x: jnp.sin(x) * x, "my.composite")(x),
    raises="a composite",
)
