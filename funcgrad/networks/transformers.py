"""Transformers: of images (ViT) and of tokens (a decoder-only language model)."""

from typing import Any

from funcgrad import ops
from funcgrad.layers import (
    Layer,
    chain,
    class_token,
    dag,
    dropout,
    embedding,
    initializer,
    layer_norm,
    linear,
    multi_head_attention,
    node,
    parallel,
    patches,
    position_embedding,
    repeat,
    residual,
    rms_norm,
    select,
    unembed,
)

_NORMAL = initializer("normal", stddev=0.02)


def vit(
    classes: int = 1000,
    *,
    patch: int = 16,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    hidden: int = 3072,
    rate: float = 0.0,
    scan: bool = False,
) -> chain:
    """A vision transformer: `x[b, h, w, c] -> logits[b, classes]`; 86,567,656 parameters as it stands at 224x224.

    Pre-norm blocks with GELU, a class token, learned positions. Weights start Xavier-uniform in the blocks and the
    embeddings normal, 0.02. Source: Dosovitskiy et al. 2021, table 1 (the defaults are ViT-B/16).

    Args:
        classes: number of outputs.
        patch: side of the square patches, which must divide the image's sides.
        width: of every token.
        depth: number of blocks.
        heads: of the attention; they must divide the width.
        hidden: width inside the feed-forward parts.
        rate: of the dropout after the embedding, the attention and the feed-forward part.
        scan: run the blocks through `repeat`, so that time to trace and compile does not grow with depth.

    Returns:
        The network, a `chain`; its last layer is called `head`.

    Raises:
        GraphError: from `init`, the heads do not divide the width.
        ShapeError: from `init`, the patches do not tile the image.

    Example:
        >>> net, x = fg.networks.vit(scan=True), jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
        >>> params, _ = jax.eval_shape(net.init, jax.random.key(0), x)
        >>> sum(leaf.size for leaf in jax.tree.leaves(params))
        86567656
    """
    attend = multi_head_attention(heads, use_bias=True, w_init="xavier_uniform")
    feed = (linear(hidden, w_init="xavier_uniform"), ops.gelu, linear(width, w_init="xavier_uniform"))
    block = chain(
        attention=residual(chain(layer_norm(), attend, *_drop(rate))),
        feed_forward=residual(chain(layer_norm(), *feed, *_drop(rate))),
    )
    return chain(
        *(patches(width, patch), class_token(), position_embedding(), *_drop(rate)),
        blocks=_copies(block, depth, scan),
        norm=layer_norm(),
        token=select(0, axis=-2),
        head=linear(classes, w_init="zeros"),
    )


def transformer_lm(
    vocabulary: int,
    *,
    width: int = 256,
    depth: int = 6,
    heads: int = 8,
    kv_heads: int | None = None,
    hidden: int | None = None,
    tied: bool = True,
    rate: float = 0.0,
    scan: bool = False,
) -> dag:
    """A decoder-only language model: integer `tokens[b, t] -> logits[b, t, vocabulary]`.

    Pre-norm (RMS), rotary positions, grouped-query attention, SwiGLU, no biases. The embedding is shared with the
    output by default, so `wrt=["embedding@embedded/table", "embedding@logits/table"]` gives the two terms of its
    gradient. Weights start normal, 0.02. Source: Touvron et al. 2023 (a); untied, with 32 blocks of width 4096,
    32 heads, hidden 11008 and 32000 tokens it has their 6,738,415,616 parameters.

    Args:
        vocabulary: number of tokens.
        width: of every token.
        depth: number of blocks.
        heads: of the queries; they must divide the width.
        kv_heads: heads of keys and values, shared by groups of queries; as many as `heads` by default.
        hidden: width inside the feed-forward parts; by default 8/3 of the width, rounded up to a multiple of 32.
        tied: whether the output reads the embedding's table.
        rate: of the dropout after the embedding, the attention and the feed-forward part.
        scan: run the blocks through `repeat`, so that time to trace and compile does not grow with depth.

    Returns:
        The network, a `dag` of `embedded`, `blocks`, `normed` and `logits`.

    Raises:
        GraphError: `heads` is no multiple of `kv_heads`; from `init`, the heads do not divide the width.

    Example:
        >>> net, tokens = fg.networks.transformer_lm(1000, width=64, depth=2, heads=4), jnp.zeros((1, 8), jnp.int32)
        >>> params, state = jax.eval_shape(net.init, jax.random.key(0), tokens)
        >>> net.output_spec(params, state, tokens).shape
        (1, 8, 1000)
    """
    hidden = hidden or -(-8 * width // 96) * 32
    attend = multi_head_attention(heads, kv_heads=kv_heads, causal=True, rotary=10_000.0, w_init=_NORMAL)
    inner, outer = (linear(n, use_bias=False, w_init=_NORMAL) for n in (hidden, width))
    block = chain(
        attention=residual(chain(rms_norm(), attend, *_drop(rate))),
        feed_forward=residual(chain(rms_norm(), parallel(gate=inner, up=inner), ops.swiglu, outer, *_drop(rate))),
    )
    output = node(unembed, "normed", params="embedding")
    return dag(
        "tokens",
        embedded=node(embedding(vocabulary, width), "tokens", params="embedding" if tied else None),
        blocks=node(chain(*_drop(rate), blocks=_copies(block, depth, scan)), "embedded"),
        normed=node(rms_norm(), "blocks"),
        logits=output if tied else node(linear(vocabulary, use_bias=False, w_init=_NORMAL), "normed"),
    )


def _copies(block: Layer, n: int, scan: bool) -> Layer:
    return repeat(block, n) if scan else chain(**{f"block{i}": block for i in range(n)})


def _drop(rate: float) -> list[Any]:
    return [dropout(rate)] if rate else []
