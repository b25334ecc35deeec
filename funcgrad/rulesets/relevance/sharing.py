"""What the rules have in common: shares of what contributed, and which products are meant."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from funcgrad.aliases import Array
from funcgrad.naming import Where
from funcgrad.registry import Region, Rule, RuleSet, modified

CONVOLUTIONS = ("conv_general_dilated", "conv1d", "conv2d", "conv3d")
DENSE = ("dot_general", "linear", "matmul")
At = str | Where


def shares(
    g: Array, product: Callable[..., Array], parts: Sequence[tuple[Array, Array]], bias: Array, eps: float
) -> Array:
    """`Σ_k x_k Σ_j w_kj g_j / (z_j + ε sign(z_j))`, where `z = Σ_k product(x_k, w_k) + bias`."""
    z, pulls = bias, []
    for x, w in parts:
        y, pull = jax.vjp(lambda x, w=w: product(x, w), x)
        z = z + y
        pulls.append((x, pull))
    c = g / away_from_zero(z, eps)
    first, *others = (x * pull(c)[0] for x, pull in pulls)
    return sum(others, first)


def away_from_zero(z: Array, eps: float) -> Array:
    """`z + ε sign(z)`, where the sign of 0 is 1."""
    return z + jnp.where(z >= 0, eps, -eps).astype(z.dtype)


def signed_parts(x: Array) -> tuple[Array, Array]:
    """`x⁺` and `x⁻`."""
    return jnp.maximum(x, 0), jnp.minimum(x, 0)


def passed(g: Array) -> Array:
    """All that arrives."""
    return g


def of_products(rule: Any, title: str, of: Any, at: At, first: bool = False) -> RuleSet:
    """A rule for the activations of products with parameters."""
    region = Region(affine=of, first=first)
    return RuleSet().override(region, Rule(rule, ("x",), modified, title), at=at)


def made_optional(rules: RuleSet) -> RuleSet:
    """A set whose overrides may match nothing."""
    return replace(rules, overrides=tuple(replace(o, optional=True) for o in rules.overrides))
