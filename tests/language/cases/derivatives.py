"""What changes a derivative without a rule of its own: checkpoints, stopped gradients, implicit solutions, nesting."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import funcgrad as fg
from tests.language.case import Family
from tests.language.drawing import definite, integers, normal, positive

FAMILY = Family("derivatives")
case, each = FAMILY.case, FAMILY.each
lax, policies = jax.lax, jax.checkpoint_policies


case(
    "custom_gradient custom_derivatives.custom_gradient",
    normal(3),
    call=jax.custom_gradient(lambda x: (x**2, lambda g: (17.0 * g * x,))),
)
case(
    "closure_convert custom_derivatives.closure_convert",
    normal(3),
    normal(3),
    call=lambda x, y: (lambda f, extra: f(x, *extra))(*jax.closure_convert(lambda v: jnp.sin(v) * y, x)),
)
case(
    "custom_derivatives.linear_call",
    normal(3),
    call=lambda x: jax.custom_derivatives.linear_call(
        lambda s, x: x * s, lambda s, g: 19.0 * g * s, jnp.ones_like(x) * 2, jnp.sin(x)
    ),
)
case("custom_derivatives.zero_from_primal", normal(3), call=lambda x: x + jax.custom_derivatives.zero_from_primal(x))
case(
    "custom_derivatives.custom_vjp_primal_tree_values",
    normal(3),
    call=lambda x: x * 2 if not hasattr(x, "value") else jax.custom_derivatives.custom_vjp_primal_tree_values(x),
)


def layers(x, w):
    """Two layers, the first named for policies."""
    h = jax.ad_checkpoint.checkpoint_name(jnp.sin(x @ w), "hidden")
    return jnp.cos(h @ w) * h


_POLICIES = {
    "plain": {},
    "nothing": dict(policy=policies.nothing_saveable),
    "everything": dict(policy=policies.everything_saveable),
    "dots": dict(policy=policies.dots_with_no_batch_dims_saveable),
    "names": dict(policy=policies.save_only_these_names("hidden")),
    "except names": dict(policy=policies.save_anything_except_these_names("hidden")),
    "offload": dict(
        policy=policies.save_and_offload_only_these_names(
            names_which_can_be_saved=["hidden"],
            names_which_can_be_offloaded=[],
            offload_src="device",
            offload_dst="pinned_host",
        )
    ),
    "cse": dict(prevent_cse=False),
}
for label, options in _POLICIES.items():
    case(
        "checkpoint ad_checkpoint.checkpoint_name",
        normal(3, 3),
        normal(3, 3),
        call=jax.checkpoint(layers, **options),
        label=label,
        slow=label not in ("plain", "names"),
        tolerance=64,
        dtypes=None if label in ("plain", "nothing", "cse") else "fh",
    )
case("ad_checkpoint.checkpoint_name_fwd", normal(3), name="hidden")
case("remat", normal(3), np.int32(2), call=jax.remat(lambda x, n: x**n + jnp.sin(x)), label="integer input")
case(
    "checkpoint",
    normal(3),
    call=partial(lambda f, x: f(x, 3), jax.checkpoint(lambda x, n: x**n, static_argnums=1)),
    label="static_argnums",
)
case("checkpoint", normal(3), call=jax.checkpoint(lambda x: jax.checkpoint(jnp.sin)(x) * x), label="nested")
case(
    "lax.stop_gradient",
    {"a": normal(3), "n": integers(3, 2)},
    call=lambda tree: lax.stop_gradient(tree)["a"] * tree["a"],
    label="pytree",
)
case("lax.stop_gradient", normal(3), call=lambda x: lax.stop_gradient(x) * 2, label="all of it")

SOLVE = dict(
    solve=lambda matvec, b: jnp.linalg.solve(jax.jacobian(matvec)(b), b),
    transpose_solve=lambda vecmat, b: jnp.linalg.solve(jax.jacobian(vecmat)(b), b),
)
case(
    "lax.custom_linear_solve",
    definite(3, 3),
    normal(3),
    call=lambda a, b: lax.custom_linear_solve(lambda x: a @ x, b, **SOLVE),
    tolerance=1024,
)
case(
    "lax.custom_linear_solve",
    definite(3, 3),
    normal(3),
    call=lambda a, b: lax.custom_linear_solve(lambda x: (a + a.T) @ x, b, SOLVE["solve"], symmetric=True),
    label="symmetric",
    tolerance=1024,
)
case(
    "lax.custom_root",
    positive(),
    call=lambda a: lax.custom_root(
        lambda x: x**2 - a,
        jnp.ones_like(a),
        lambda f, x: lax.fori_loop(0, 30, lambda i, x: x - f(x) / (2 * x), x),
        lambda g, y: y / g(jnp.ones_like(y)),
    ),
    tolerance=1024,
)
case(
    "scipy.optimize.minimize",
    normal(2),
    call=lambda x: jax.scipy.optimize.minimize(lambda v: jnp.sum((v - x) ** 2), x, method="BFGS").x,
    dtypes="f",
    raises="a minimiser: an iteration of unknown length",
    slow=True,
)
case(
    "pure_callback",
    normal(3),
    call=lambda x: jax.pure_callback(np.sin, x, x),
    raises="a gradient through a callback to Python",
)
case(
    "pure_callback",
    normal(3),
    call=lambda x: x * jax.pure_callback(np.sin, x, lax.stop_gradient(x)),
    label="off the path",
)

case("grad", normal(3), call=jax.grad(lambda x: jnp.sum(jnp.sin(x) ** 3)), label="jax.grad inside")
case(
    "value_and_grad",
    normal(3),
    call=fg.value_and_grad(lambda x: jnp.sum(jnp.sin(x) ** 3)),
    label="fg.value_and_grad inside",
)
case("vjp", normal(3), normal(3), call=lambda x, g: jax.vjp(jnp.sin, x)[1](g))
case("vjp", normal(3), normal(3), call=lambda x, g: fg.vjp(jnp.sin, x)[1](g), label="fg.vjp inside")
case("jvp", normal(3), normal(3), call=lambda x, t: jax.jvp(jnp.sin, (x,), (t,)))
case("linearize", normal(3), normal(3), call=lambda x, t: jax.linearize(jnp.sin, x)[1](t))
case("linear_transpose", normal(3), call=lambda x: jax.linear_transpose(lambda v: 2.0 * v, x)(x))
case("fwd_and_bwd", normal(3), call=lambda x: (lambda fwd, bwd: bwd(fwd(x)[1], x))(*jax.fwd_and_bwd(jnp.sin, 0)))
for name in "jacfwd jacrev jacobian hessian".split():
    case(name, normal(3), call=getattr(jax, name)(lambda x: jnp.sin(x) * x.sum()))
