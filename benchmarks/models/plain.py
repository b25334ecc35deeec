"""A model in plain JAX, shaped like GPT-2: learned positions, biases everywhere, a scan over stacked layers."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks.models.model import Model, integers, normal


def gpt2(
    batch: int = 8, length: int = 128, width: int = 128, depth: int = 4, heads: int = 4, vocabulary: int = 500
) -> Model:
    """Predict the next token at each place."""

    def dense(seed: int, n: int, m: int) -> dict[str, jax.Array]:
        return {"w": normal(seed, depth, n, m) * 0.02, "b": jnp.zeros((depth, m))}

    def norm(*lead: int) -> dict[str, jax.Array]:
        return {"g": jnp.ones((*lead, width)), "b": jnp.zeros((*lead, width))}

    attention = {"c_attn": dense(0, width, 3 * width), "c_proj": dense(1, width, width)}
    mlp = {"c_fc": dense(2, width, 4 * width), "c_proj": dense(3, 4 * width, width)}
    params = {
        "wte": normal(4, vocabulary, width) * 0.02,
        "wpe": normal(5, length, width) * 0.01,
        "h": {"ln_1": norm(depth), "attn": attention, "ln_2": norm(depth), "mlp": mlp},
        "ln_f": norm(),
    }

    def loss(params: Any, tokens: jax.Array, following: jax.Array) -> jax.Array:
        x = params["wte"][tokens] + params["wpe"]
        x, _ = jax.lax.scan(lambda x, layer: (_block(layer, x, heads), None), x, params["h"])
        logits = _norm(params["ln_f"], x) @ params["wte"].T
        return optax.softmax_cross_entropy_with_integer_labels(logits, following).mean()

    text = integers(6, batch, length + 1, below=vocabulary)
    return Model("gpt2", loss, params, (text[:, :-1], text[:, 1:]))


def _block(p: Any, x: jax.Array, heads: int) -> jax.Array:
    b, t, d = x.shape
    with jax.named_scope("attn"):
        q, k, v = jnp.split(_dense(p["attn"]["c_attn"], _norm(p["ln_1"], x)), 3, axis=-1)
        q, k, v = (a.reshape(b, t, heads, -1) for a in (q, k, v))
        attended = jax.nn.dot_product_attention(q, k, v, is_causal=True)
        x = x + _dense(p["attn"]["c_proj"], attended.reshape(b, t, d))
    with jax.named_scope("mlp"):
        return x + _dense(p["mlp"]["c_proj"], jax.nn.gelu(_dense(p["mlp"]["c_fc"], _norm(p["ln_2"], x))))


def _dense(p: Any, x: jax.Array) -> jax.Array:
    return x @ p["w"] + p["b"]


def _norm(p: Any, x: jax.Array) -> jax.Array:
    return jax.nn.standardize(x, axis=-1, epsilon=1e-5) * p["g"] + p["b"]
