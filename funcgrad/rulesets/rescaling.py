"""The rescale rules of DeepLift: slopes between the input and a reference, which run side by side.

They read each other's values along an axis that both are mapped over (`attribution.deeplift_rescale`).
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array
from funcgrad.registry import RuleSet
from funcgrad.rulesets.families import MAX_POOLING, NONLINEARITY

PAIR = "input and reference"
"""The axis that `deeplift_rescale` maps over."""
_CLOSE = 1e-10
"""Nearer than this the slope stands for the quotient, as in captum."""


def rescaled(
    g: Array,
    pull: Callable[[Array], Array],
    y: Array,
    x: Array | None = None,
    a: Array | None = None,
    arr: Array | None = None,
    out: Array | None = None,
) -> Array:
    """`x_bar = g (y - y') / (x - x')`, whatever the function calls its argument and output."""
    if out is not None and x is not None:  # maximum(x, y) with a number, which does not move
        x, y = x + y, out
    moved = next(value for value in (x, a, arr) if value is not None)
    gained, near = _gained(moved)
    return jnp.where(near, pull(g), g * _gained(y)[0] / jnp.where(near, 1, gained))


def pooled(
    g: Array, pull: Callable[[Array], Array], y: Array, x: Array | None = None, operand: Array | None = None
) -> Array:
    """`x_bar = (Pᵀ g (m - y') + P'ᵀ g (y - m)) / (x - x')`, `m = max(y, y')`, `Pᵀ` to where the maxima stand.

    So what the input's maximum has over the reference's goes to where it stands, and the other way round.
    """
    moved = next(value for value in (x, operand) if value is not None)
    gained, near = _gained(moved)
    sign = jnp.where(lax.axis_index(PAIR) == 0, 1, -1).astype(y.dtype)
    over = sign * (jnp.maximum(y, _the_others(y)) - _the_others(y))
    return jnp.where(near, pull(g), sign * lax.psum(pull(g * over), PAIR) / jnp.where(near, 1, gained))


def _gained(x: Array) -> tuple[Array, Array]:
    """How far a value is from that of the other of the pair, and whether that is next to nothing."""
    gained = x - _the_others(x)
    return gained, jnp.abs(gained) < _CLOSE


def _the_others(x: Array) -> Array:
    return lax.ppermute(x, PAIR, [(0, 1), (1, 0)])


def rescale_rules() -> RuleSet:
    """The rule of each kind of nonlinearity; no model has all of them."""
    rules = RuleSet().override(NONLINEARITY, rescaled, optional=True).override(MAX_POOLING, pooled, optional=True)
    for gelu in (jax.nn.gelu, partial(jax.nn.gelu, approximate=False)):  # JAX writes it out where it is called
        rules = rules.override(gelu, rescaled, "x", optional=True)
    return rules
