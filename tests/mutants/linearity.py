"""Not linear in g."""

import jax.numpy as jnp

import funcgrad as fg
from tests.mutants import bases
from tests.mutants.mutant import Base, wrong

KIND = "finite differences reject every modified rule"
FREE = Base(bases.sine, {"x": lambda g: -g}, bases.WHOLE.cases, kind=fg.modified)
"""Gradient reversal: linear, and no derivative of anything."""


@wrong(bases.PRODUCT, "w", "NaN at g = 0")
def nan_at_zero(g, x):
    return x.T @ (g * g / g)


@wrong(bases.PRODUCT, "w", "a constant: g ignored")
def constant(g, x):
    return x.T @ jnp.ones_like(g)


@wrong(bases.PRODUCT, "w", "a constant added")
def shifted(g, x):
    return x.T @ g + 1e-3


@wrong(bases.PRODUCT, "w", "g clipped at ±5")
def clipped(g, x):
    return x.T @ jnp.clip(g, -5, 5)


@wrong(bases.SINE, "x", "a small quadratic term")
def quadratic_term(g, x):
    return g * jnp.cos(x) + 1e-9 * g * g


@wrong(bases.SINE, "x", "the size of g")
def absolute(g, x):
    return jnp.abs(g) * jnp.cos(x)


@wrong(bases.SINE, "x", "small cotangents flushed to zero")
def flushed(g, x):
    return jnp.where(jnp.abs(g) < 1e-12, jnp.zeros_like(g), g) * jnp.cos(x)


@wrong(bases.SINE, "x", "NaN swallowed", group="linearity")
def swallowed_nan(g, x):
    return jnp.nan_to_num(g) * jnp.cos(x)


@wrong(FREE, "x", "modified: the sign of g only", group="linearity", beyond=KIND)
def sign_of_g(g):
    return jnp.sign(g)


@wrong(FREE, "x", "modified: g scaled to length 1", group="linearity", beyond=KIND)
def unit_length(g):
    return g / jnp.sqrt((g * g).sum() + 1e-30)


@wrong(FREE, "x", "modified: g clipped", group="linearity", beyond=KIND)
def clipped_modified(g):
    return -jnp.clip(g, -1, 1)


@wrong(FREE, "x", "modified: something added to g", beyond=KIND)
def added(g, x):
    return x - g
