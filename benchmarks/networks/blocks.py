"""The pre-norm transformer block of both transformers: attention, then a GELU MLP. Tokens are `[b, t, d]`."""

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.networks.network import Draw, plain_layer_norm
from funcgrad import ops

ROTARY_BASE = 10000.0


def draw_norm(width: int) -> dict[str, jax.Array]:
    return {"scale": jnp.ones(width), "bias": jnp.zeros(width)}


def draw_block(draw: Draw, width: int) -> dict[str, Any]:
    """`qkv[d, 3 d]` holds the projections to queries, keys and values side by side, heads outermost in each."""
    return {
        "norm1": draw_norm(width),
        "qkv": draw.weight(width, 3 * width),
        "out": draw.weight(width, width),
        "norm2": draw_norm(width),
        "up": {"w": draw.weight(width, 4 * width), "b": jnp.zeros(4 * width)},
        "down": {"w": draw.weight(4 * width, width), "b": jnp.zeros(width)},
    }


def block(p: Any, x: jax.Array, heads: int, causal: bool) -> jax.Array:
    """With funcgrad ops; causal attention has rotary positions."""
    b, t, d = x.shape
    normed = ops.layer_norm(x, p["norm1"]["scale"], p["norm1"]["bias"])
    q, k, v = (a.reshape(b, t, heads, d // heads) for a in jnp.split(ops.linear(normed, p["qkv"]), 3, axis=-1))
    if causal:
        positions = jnp.arange(t)
        q, k = ops.rotary(q, positions, base=ROTARY_BASE), ops.rotary(k, positions, base=ROTARY_BASE)
    x = x + ops.linear(ops.attention(q, k, v, causal=causal).reshape(b, t, d), p["out"])
    normed = ops.layer_norm(x, p["norm2"]["scale"], p["norm2"]["bias"])
    return x + ops.linear(ops.gelu(ops.linear(normed, p["up"]["w"], p["up"]["b"])), p["down"]["w"], p["down"]["b"])


def plain_block(p: Any, x: jax.Array, heads: int, causal: bool) -> jax.Array:
    """In plain JAX."""
    b, t, d = x.shape
    normed = plain_layer_norm(x, p["norm1"]["scale"], p["norm1"]["bias"])
    q, k, v = (a.reshape(b, t, heads, d // heads) for a in jnp.split(normed @ p["qkv"], 3, axis=-1))
    if causal:
        q, k = plain_rotary(q), plain_rotary(k)
    x = x + jax.nn.dot_product_attention(q, k, v, is_causal=causal).reshape(b, t, d) @ p["out"]
    normed = plain_layer_norm(x, p["norm2"]["scale"], p["norm2"]["bias"])
    return x + jax.nn.gelu(normed @ p["up"]["w"] + p["up"]["b"]) @ p["down"]["w"] + p["down"]["b"]


def plain_rotary(x: jax.Array) -> jax.Array:
    """Rotate the pairs `(i, i + d/2)` of `x[b, t, h, d]` by the angle `t base^(-2 i / d)`."""
    t, half = x.shape[1], x.shape[-1] // 2
    angles = jnp.outer(jnp.arange(t), ROTARY_BASE ** (-jnp.arange(half) / half))[:, None, :]
    a, b = jnp.split(x, 2, axis=-1)
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
