"""Several outputs."""

import jax.numpy as jnp

from tests.mutants import bases
from tests.mutants.mutant import planted, wrong


@wrong(bases.MOMENTS, "x", "the second output forgotten")
def second_output_forgotten(g_mean, x):
    return jnp.broadcast_to(g_mean[..., None] / x.shape[-1], x.shape)


@wrong(bases.MOMENTS, "x", "wrong for the second output only")
def second_output_halved(g_mean, g_var, x, mean):
    return (g_mean[..., None] + g_var[..., None] * (x - mean[..., None])) / x.shape[-1]


@wrong(bases.MOMENTS, "x", "the outputs' cotangents swapped")
def outputs_swapped(g_mean, g_var, x, mean):
    return bases.moments_x(g_var, g_mean, x, mean)


@wrong(bases.MOMENTS, "x", "zero where only one output has a cotangent")
def both_or_nothing(g_mean, g_var, x, mean):
    both = jnp.any(g_mean != 0) & jnp.any(g_var != 0)
    full = bases.moments_x(g_mean, g_var, x, mean)
    return jnp.where(both, full, jnp.zeros_like(full))


@planted(bases.SQUARE, "the cotangents of two arguments swapped")
def arguments_swapped(name):
    op = bases.Base(bases.product, {}, bases.SQUARE.cases).make(name)

    @op.pullback("x", "w")
    def swapped(g, x, w):
        return {"x": x.T @ g, "w": g @ w.T}

    return op


@planted(bases.SQUARE, "a cotangent that nobody asked for", group="contract", beyond="no names")
def over_broad(name):
    op = bases.Base(bases.product, {"w": bases.product_w}, ()).make(name)

    @op.pullback("x")
    def too_much(g, x, w):
        return {"x": g @ w.T, "w": x.T @ g}

    return op


@planted(bases.SQUARE, "one of two promised cotangents is missing", group="contract", beyond="no names")
def missing(name):
    op = bases.Base(bases.product, {}, ()).make(name)

    @op.pullback("x", "w")
    def half(g, w):
        return {"x": g @ w.T}

    return op
