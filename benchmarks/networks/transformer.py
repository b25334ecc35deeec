"""A transformer language model: rotary positions, tied embedding, pre-norm blocks with GELU."""

from typing import Any

import jax

from benchmarks.networks.blocks import block, draw_block, draw_norm, plain_block
from benchmarks.networks.network import Draw, Network, plain_cross_entropy, plain_layer_norm
from funcgrad import ops

HEAD = 32
"""Width of a head."""


def transformer(batch: int = 8, length: int = 128, width: int = 256, depth: int = 6, vocabulary: int = 1000) -> Network:
    """Predict the next token at each place."""
    draw = Draw()
    params = {
        "embedding": draw.normal(vocabulary, width) * width**-0.5,
        "blocks": [draw_block(draw, width) for _ in range(depth)],
        "norm": draw_norm(width),
    }
    text = draw.integers(batch, length + 1, below=vocabulary)
    return Network("transformer", with_ops, plain, params, (text[:, :-1], text[:, 1:]))


def with_ops(params: Any, tokens: jax.Array, following: jax.Array) -> jax.Array:
    x = ops.embedding(params["embedding"], tokens)
    for p in params["blocks"]:
        x = block(p, x, x.shape[-1] // HEAD, causal=True)
    x = ops.layer_norm(x, params["norm"]["scale"], params["norm"]["bias"])
    return ops.mean(ops.cross_entropy(ops.linear(x, params["embedding"].T), following))


def plain(params: Any, tokens: jax.Array, following: jax.Array) -> jax.Array:
    x = params["embedding"][tokens]
    for p in params["blocks"]:
        x = plain_block(p, x, x.shape[-1] // HEAD, causal=True)
    x = plain_layer_norm(x, params["norm"]["scale"], params["norm"]["bias"])
    return plain_cross_entropy(x @ params["embedding"].T, following)
