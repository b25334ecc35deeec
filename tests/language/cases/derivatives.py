"""What changes a derivative: custom rules, checkpoints, stopped gradients, implicit solutions, nested gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from tests.language.case import Family
from tests.language.drawing import booleans, definite, integers, normal, positive

import funcgrad as fg

FAMILY = Family("derivatives")
case, each = FAMILY.case, FAMILY.each
lax, policies = jax.lax, jax.checkpoint_policies


@jax.custom_jvp
def tripled(x, y):
    """x y, with three times its derivative by x, so that one sees whose rule was taken."""
    return x * y


@tripled.defjvp
def tripled_jvp(primals, tangents):
    (x, y), (dx, dy) = primals, tangents
    return tripled(x, y), 3.0 * dx * y + x * dy


@partial(jax.custom_jvp, nondiff_argnums=(0, 2))
def applied(function, x, times):
    for _ in range(times):
        x = function(x)
    return x


@applied.defjvp
def applied_jvp(function, times, primals, tangents):
    return applied(function, primals[0], times), 7.0 * tangents[0]


@jax.custom_jvp
def summed(x, y):
    return jnp.sin(x) + y


summed.defjvps(lambda dx, out, x, y: 5.0 * dx, None)


@jax.custom_vjp
def clipped(x, low):
    """x, with its cotangent clipped."""
    return x


clipped.defvjp(lambda x, low: (x, low), lambda low, g: (jnp.maximum(g, low), jnp.zeros_like(low)))


@partial(jax.custom_vjp, nondiff_argnums=(0, 2))
def mapped(function, x, factor):
    return function(x) * factor


mapped.defvjp(
    lambda function, x, factor: (function(x) * factor, x), lambda function, factor, x, g: (11.0 * factor * g * x,)
)


@jax.custom_vjp
def picked(table, i):
    """A row of a table by an integer, whose cotangent is `float0`."""
    return table[i]


picked.defvjp(
    lambda table, i: (table[i], (i, table.shape)),
    lambda kept, g: (2.0 * jnp.zeros(kept[1], g.dtype).at[kept[0]].set(g), np.zeros((), jax.dtypes.float0)),
)


@jax.custom_vjp
def noticing(x, y):
    """x y; its rule sees which arguments are differentiated, and which cotangents are zero."""
    return x * y, x + y


def noticing_forward(x, y):
    return (x.value * y.value, x.value + y.value), (x.value, y.value, x.perturbed, y.perturbed)


def noticing_backward(kept, g):
    x, y, _, _ = kept
    first = jnp.zeros_like(x) if isinstance(g[0], jax.custom_derivatives.SymbolicZero) else g[0]
    return 13.0 * first * y, first * x


noticing.defvjp(noticing_forward, noticing_backward, symbolic_zeros=True)


@jax.custom_jvp
def lazily(x, y):
    return x * y


def lazily_jvp(primals, tangents):
    (x, y), (dx, dy) = primals, tangents
    moving = [t for t in (dx, dy) if not isinstance(t, jax.custom_derivatives.SymbolicZero)]
    return x * y, sum((t * 2.0 for t in moving), start=jnp.zeros_like(x))


lazily.defjvp(lazily_jvp, symbolic_zeros=True)


case("custom_jvp", normal(3), normal(3), call=lambda x, y: jnp.sin(tripled(x, y)) * x)
case("custom_jvp", normal(3), call=lambda x: applied(jnp.sin, x, 2), label="nondiff_argnums")
case("custom_jvp", normal(3), normal(3), call=summed, label="defjvps")
case("custom_jvp", normal(3), normal(3), call=lambda x, y: lazily(x, y) + lazily(x, 2.0 * jnp.ones_like(x)), label="symbolic zeros")
case("custom_jvp", normal(4, 3), normal(3), call=jax.vmap(tripled, (0, None)), label="vmapped")
case("custom_jvp", normal(3), normal(4, 3), call=lambda c, xs: lax.scan(lambda c, x: (tripled(c, x), c), c, xs), label="inside scan")
case("custom_jvp", normal(3), normal(3), call=jax.jit(lambda x, y: jax.jit(tripled)(x, y) * y), label="inside jit")
case("custom_vjp", normal(3), np.array(-0.1), call=lambda x, low: clipped(jnp.sin(x), low) * 2)
case("custom_vjp", normal(3), call=lambda x: mapped(jnp.sin, x, 3.0), label="nondiff_argnums")
case("custom_vjp", normal(4, 3), np.int32(2), call=lambda t, i: jnp.sin(picked(t, i)), label="integer input")
case("custom_vjp", normal(3), normal(3), call=lambda x, y: noticing(x, y)[0] * x, label="symbolic zeros")
case("custom_vjp", normal(3), call=lambda x: noticing(x, jnp.ones_like(x)), label="symbolic zeros, not perturbed")
case("custom_vjp", normal(4, 3), np.array(-0.1), call=jax.vmap(clipped, (0, None)), label="vmapped")
case("custom_vjp", normal(3), normal(4, 3), call=lambda c, xs: lax.scan(lambda c, x: (clipped(c * x, x), c), c, xs), label="inside scan")
case("custom_vjp", normal(3), np.array(-0.1), call=jax.checkpoint(lambda x, low: jnp.sin(clipped(x, low))), label="inside checkpoint")
case("custom_gradient custom_derivatives.custom_gradient", normal(3), call=jax.custom_gradient(lambda x: (x**2, lambda g: (17.0 * g * x,))))
case("closure_convert custom_derivatives.closure_convert", normal(3), normal(3), call=lambda x, y: (lambda f, extra: f(x, *extra))(*jax.closure_convert(lambda v: jnp.sin(v) * y, x)))
case("custom_derivatives.linear_call", normal(3), call=lambda x: jax.custom_derivatives.linear_call(lambda s, x: x * s, lambda s, g: 19.0 * g * s, jnp.ones_like(x) * 2, jnp.sin(x)))
case("custom_derivatives.zero_from_primal", normal(3), call=lambda x: x + jax.custom_derivatives.zero_from_primal(x))
case("custom_derivatives.custom_vjp_primal_tree_values", normal(3), call=lambda x: x * 2 if not hasattr(x, "value") else jax.custom_derivatives.custom_vjp_primal_tree_values(x))


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
    "offload": dict(policy=policies.save_and_offload_only_these_names(names_which_can_be_saved=["hidden"], names_which_can_be_offloaded=[], offload_src="device", offload_dst="pinned_host")),
    "cse": dict(prevent_cse=False),
}
for label, options in _POLICIES.items():
    case("checkpoint ad_checkpoint.checkpoint_name", normal(3, 3), normal(3, 3), call=jax.checkpoint(layers, **options), label=label, slow=label not in ("plain", "names"), tolerance=64, dtypes=None if label in ("plain", "nothing", "cse") else "fh")
case("remat", normal(3), np.int32(2), call=jax.remat(lambda x, n: x**n + jnp.sin(x)), label="integer input")
case("checkpoint", normal(3), call=partial(lambda f, x: f(x, 3), jax.checkpoint(lambda x, n: x**n, static_argnums=1)), label="static_argnums")
case("checkpoint", normal(3), call=jax.checkpoint(lambda x: jax.checkpoint(jnp.sin)(x) * x), label="nested")
case("lax.stop_gradient", {"a": normal(3), "n": integers(3, 2)}, call=lambda tree: lax.stop_gradient(tree)["a"] * tree["a"], label="pytree")
case("lax.stop_gradient", normal(3), call=lambda x: lax.stop_gradient(x) * 2, label="all of it")

SOLVE = dict(solve=lambda matvec, b: jnp.linalg.solve(jax.jacobian(matvec)(b), b), transpose_solve=lambda vecmat, b: jnp.linalg.solve(jax.jacobian(vecmat)(b), b))
case("lax.custom_linear_solve", definite(3, 3), normal(3), call=lambda a, b: lax.custom_linear_solve(lambda x: a @ x, b, **SOLVE), tolerance=1024)
case("lax.custom_linear_solve", definite(3, 3), normal(3), call=lambda a, b: lax.custom_linear_solve(lambda x: (a + a.T) @ x, b, SOLVE["solve"], symmetric=True), label="symmetric", tolerance=1024)
case("lax.custom_root", positive(), call=lambda a: lax.custom_root(lambda x: x**2 - a, jnp.ones_like(a), lambda f, x: lax.fori_loop(0, 30, lambda i, x: x - f(x) / (2 * x), x), lambda g, y: y / g(jnp.ones_like(y))), tolerance=1024)
case("scipy.optimize.minimize", normal(2), call=lambda x: jax.scipy.optimize.minimize(lambda v: jnp.sum((v - x) ** 2), x, method="BFGS").x, dtypes="f", raises="a minimiser: an iteration of unknown length")
case("pure_callback", normal(3), call=lambda x: jax.pure_callback(np.sin, x, x), raises="a gradient through a callback to Python")
case("pure_callback", normal(3), call=lambda x: x * jax.pure_callback(np.sin, x, lax.stop_gradient(x)), label="off the path")

case("grad", normal(3), call=jax.grad(lambda x: jnp.sum(jnp.sin(x) ** 3)), label="jax.grad inside")
case("value_and_grad", normal(3), call=fg.value_and_grad(lambda x: jnp.sum(jnp.sin(x) ** 3)), label="fg.value_and_grad inside")
case("vjp", normal(3), normal(3), call=lambda x, g: jax.vjp(jnp.sin, x)[1](g))
case("vjp", normal(3), normal(3), call=lambda x, g: fg.vjp(jnp.sin, x)[1](g), label="fg.vjp inside")
case("jvp", normal(3), normal(3), call=lambda x, t: jax.jvp(jnp.sin, (x,), (t,)))
case("linearize", normal(3), normal(3), call=lambda x, t: jax.linearize(jnp.sin, x)[1](t))
case("linear_transpose", normal(3), call=lambda x: jax.linear_transpose(lambda v: 2.0 * v, x)(x))
case("fwd_and_bwd", normal(3), call=lambda x: (lambda fwd, bwd: bwd(fwd(x)[1], x))(*jax.fwd_and_bwd(jnp.sin, 0)))
for name in "jacfwd jacrev jacobian hessian".split():
    case(name, normal(3), call=getattr(jax, name)(lambda x: jnp.sin(x) * x.sum()))
