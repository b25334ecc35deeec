"""What passes beside floating numbers, and how values may flow: integers, booleans, keys, structure, effects, jits."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from tests.language.case import Family
from tests.language.drawing import booleans, integers, normal

FAMILY = Family("values")
case, each = FAMILY.case, FAMILY.each
lax = jax.lax
WEIGHTS = np.linspace(-1.0, 1.0, 3, dtype=np.float32)

# Structure.
case("jit", normal(3), normal(3), call=lambda x, y: (x, y, x, 2.0), label="inputs and a literal returned")
case("jit", normal(3), normal(3), call=lambda x, y: x * x + x, label="an unused input")
case("jit", normal(3), call=lambda x: jnp.split(x, 3)[0], label="unused outputs")
case("jit", normal(3), call=lambda x: {"a": [x * 2, None], "b": ()}, label="pytrees out")
case(
    "jit",
    {"a": normal(3), "b": [normal(), normal(2)]},
    call=lambda tree: jax.tree.map(jnp.sin, tree),
    label="pytrees in",
)
case("jit", normal(3), call=lambda x: None, label="nothing returned")
case("jit", normal(3), call=lambda x: jnp.float32(3.0), label="a constant returned")
case("jit", normal(0), normal(), call=lambda x, y: x * y, label="empty")
case("jit", normal(3), call=lambda x: x * WEIGHTS.astype(x.dtype), label="closure over an array")
case(
    "jit", normal(3), call=lambda x: (lambda y: jax.jit(lambda z: z * y)(x))(jnp.sin(x)), label="closure over a tracer"
)

# Integers, booleans, keys: float0.
case(
    "jit",
    normal(3),
    integers(4, 3),
    booleans(3),
    call=lambda x, n, b: (jnp.where(b, x * n, x), n + 1, ~b),
    label="integers and booleans",
)
case("jit", integers(4, 3), call=lambda n: n * 2, label="integers only")
case(
    "jit",
    normal(3),
    call=lambda x: (x.astype(np.int32), x > 0, jnp.argmax(x)),
    label="integer outputs only",
    dtypes="fh",
)
case("jit", normal(3), jax.random.key(0), call=lambda x, key: (x * 2, jax.random.split(key)), label="keys in and out")
case(
    "jit",
    normal(3),
    call=lambda x: (x * jnp.array([1, 2, 3], jnp.int4).astype(x.dtype), x.astype(jnp.float8_e4m3fn).astype(x.dtype)),
    label="narrow types",
    dtypes="fh",
)
case("jit", normal(3), call=lambda x: x.astype(jnp.bfloat16).astype(x.dtype) * x, label="there and back", dtypes="fh")
case(
    "jit",
    normal(3, 4),
    normal(4, 2),
    call=lambda x, w: jnp.matmul(x, w, preferred_element_type=np.float32).astype(x.dtype),
    label="float32 accumulation",
    dtypes="fh",
)

# Complex numbers: conjugates come and go as in JAX.
case(
    "jit",
    normal(3),
    call=lambda z: jnp.real(z * jnp.conj(z)) + jnp.imag(jnp.exp(z)),
    label="real and imaginary parts",
    dtypes="cfh",
)
case("jit", normal(3), call=lambda x: jnp.exp(1j * x).sum(), label="real to complex", dtypes="cfh")
case(
    "jit",
    normal(3),
    normal(3, stays_real=True),
    call=lambda z, x: z * x + jnp.abs(z),
    label="real times complex",
    dtypes="cfh",
)
case("jit", normal(3), call=lambda z: z @ z.conj(), label="scalar", dtypes="cfh")

# Nested jits.
case("jit", normal(3), call=jax.jit(lambda x: jax.jit(jnp.sin)(x) + jax.jit(jnp.sin)(2 * x)), label="nested")
case(
    "jit",
    normal(3),
    call=partial(
        lambda f, x: f(x, 3, mode="cube"),
        jax.jit(lambda x, n, mode: x**n if mode == "cube" else x, static_argnums=1, static_argnames="mode"),
    ),
    label="static arguments",
)
case("jit", normal(3), call=lambda x: jax.jit(lambda v: jnp.sin(v), donate_argnums=0)(x * 2), label="a donated buffer")
case("jit", normal(3), normal(3), call=jax.jit(lambda x, y: x * 2, keep_unused=True), label="an unused input kept")
case("jit", normal(3), call=jax.jit(lambda x: jax.jit(jnp.sin, inline=True)(x)), label="inlined")
case(
    "named_call named_scope",
    normal(3),
    call=lambda x: jax.named_call(lambda v: jax.named_scope("inner")(jnp.sin)(v), name="outer")(x),
)
case(
    "eval_shape make_jaxpr",
    normal(3),
    call=lambda x: x * jax.eval_shape(jnp.sin, x).ndim * len(jax.make_jaxpr(jnp.sin)(x).eqns),
)
case("ensure_compile_time_eval", normal(3), call=lambda x: x * _computed_now())


def _computed_now():
    with jax.ensure_compile_time_eval():
        return int(jnp.arange(4).sum())


# Effects.
def through_a_reference(x):
    """A mutable array that is written twice."""
    reference = jax.new_ref(jnp.zeros_like(x))
    reference[...] = jnp.sin(x)
    reference[0] = x[1] * reference[0]
    return jax.freeze(reference)


case("debug.log", normal(3), call=lambda x: (jax.debug.log("{}", x), jnp.sin(x))[1])
case("lax.stage", normal(3))
case("new_ref freeze", normal(3), call=lambda x: through_a_reference(x))
case("debug.print", normal(3), call=lambda x: (jax.debug.print("{}", x), jnp.sin(x))[1])
case("debug.callback", normal(3), call=lambda x: (jax.debug.callback(lambda v: None, x), jnp.sin(x))[1])
case(
    "lax.optimization_barrier",
    {"a": normal(3), "n": integers(3, 2)},
    call=lambda tree: lax.optimization_barrier(tree)["a"] * 2,
    label="pytree",
)

# Mapped axes.
case("vmap", normal(4, 3), normal(3), call=jax.vmap(lambda x, y: jnp.sin(x) @ y, (0, None)))
case("vmap", normal(4, 3), call=jax.vmap(jax.vmap(jnp.sin), in_axes=1, out_axes=1), label="nested, other axes")
case(
    "vmap",
    normal(4, 3),
    {"w": normal(3), "n": integers(3, 4)},
    call=jax.vmap(lambda x, p: x[p["n"]] * p["w"], in_axes=(0, {"w": None, "n": 0})),
    label="pytree of axes",
)


def over_rows(function, *args):
    """Mapped over the rows of every argument, with a name for that axis."""
    return jax.vmap(function, axis_name="i")(*args)


for name in "psum pmean pmax pmin".split():
    case(
        f"lax.{name}",
        normal(4, 3),
        call=partial(over_rows, lambda x, name=name: jnp.sin(x) * getattr(lax, name)(x, "i")),
        raises="the largest over a mapped axis" if name in ("pmax", "pmin") else "",
    )
case("lax.all_gather", normal(4, 3), call=partial(over_rows, lambda x: lax.all_gather(x, "i").sum(0) * x))
case(
    "lax.ppermute lax.pshuffle",
    normal(4, 3),
    call=partial(
        over_rows, lambda x: lax.ppermute(x, "i", [(0, 1), (1, 2), (2, 3), (3, 0)]) + lax.pshuffle(x, "i", [1, 0, 3, 2])
    ),
)
case(
    "lax.all_to_all lax.pswapaxes",
    normal(4, 4),
    call=partial(over_rows, lambda x: lax.all_to_all(x, "i", 0, 0) * lax.pswapaxes(x, "i", 0)),
)
case(
    "lax.axis_index lax.axis_size",
    normal(4, 3),
    call=partial(over_rows, lambda x: x * lax.axis_index("i") / lax.axis_size("i")),
)
case("lax.psum_scatter", normal(4, 4), call=partial(over_rows, lambda x: lax.psum_scatter(jnp.sin(x), "i")))
