"""The networks in Flax NNX: modules made once, and a pure function of their split state under `jit`."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.networks.blocks import plain_rotary
from benchmarks.networks.network import Network
from benchmarks.networks.resnet import EPS, MOMENTUM
from benchmarks.networks.transformer import HEAD
from benchmarks.networks.vit import PATCH
from benchmarks.peers.peer import Peer, projections


def _peer(network: Network, model: nnx.Module, convert: Callable[[Any], Any], batch: tuple[Any, ...]) -> Peer:
    """Of a model that maps inputs to logits; `convert` gives a nested dictionary of arrays."""
    graph, like, statistics = nnx.split(model, nnx.Param, ...)

    def loss(params: nnx.State, *batch: Any) -> Any:
        state, x, labels = batch if network.has_state else (statistics, *batch)
        model = nnx.merge(graph, params, state, copy=True)  # its running statistics are written
        value = optax.softmax_cross_entropy_with_integer_labels(model(x), labels).mean()
        return (value, nnx.state(model, nnx.BatchStat)) if network.has_state else value

    def to_state(ours: Any) -> nnx.State:
        state = jax.tree.map(lambda x: x, like)
        nnx.replace_by_pure_dict(state, convert(ours))
        return state

    return Peer(loss, to_state, (statistics, *batch) if network.has_state else batch)


def _numbered(items: Any) -> dict[int, Any]:
    return dict(enumerate(items))


def _linear(p: Any) -> dict[str, jax.Array]:
    return {"kernel": p["w"], "bias": p["b"]}


class Dag(nnx.Module):
    """A shared layer is a layer called twice."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.w1 = nnx.Linear(width, width, use_bias=False, rngs=rngs)
        self.w2 = nnx.Linear(width, width, use_bias=False, rngs=rngs)
        self.out = nnx.Linear(width, 10, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x1 = nnx.tanh(self.w1(x))
        x2 = nnx.relu(self.w2(x1 + x))
        return self.out(nnx.relu(self.w1(x1 + x2)))


def dag(network: Network) -> Peer:
    model = Dag(network.params["w1"].shape[0], rngs=nnx.Rngs(0))
    return _peer(network, model, lambda p: {n: {"kernel": w} for n, w in p.items()}, network.batch)


class Mlp(nnx.Module):
    def __init__(self, width: int, depth: int, *, rngs: nnx.Rngs):
        self.layers = nnx.List([nnx.Linear(width, width, rngs=rngs) for _ in range(depth)])

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers:
            x = nnx.relu(layer(x))
        return x


def mlp(network: Network) -> Peer:
    model = Mlp(len(network.params[0]["b"]), len(network.params), rngs=nnx.Rngs(0))
    return _peer(network, model, lambda params: {"layers": _numbered(map(_linear, params))}, network.batch)


class ResidualBlock(nnx.Module):
    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.linear = nnx.Linear(width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + nnx.gelu(self.linear(self.norm(x)))


def residual(network: Network) -> Peer:
    def convert(params: Any) -> Any:
        blocks = [{"norm": {"scale": p["s"], "bias": p["c"]}, "linear": _linear(p)} for p in params]
        return {"layers": _numbered(blocks)}

    width, rngs = len(network.params[0]["b"]), nnx.Rngs(0)
    model = nnx.Sequential(*(ResidualBlock(width, rngs=rngs) for _ in network.params))
    return _peer(network, model, convert, network.batch)


class Convnet(nnx.Module):
    def __init__(self, width: int, flat: int, *, rngs: nnx.Rngs):
        conv = partial(nnx.Conv, kernel_size=(3, 3), use_bias=False, rngs=rngs)
        self.convs = nnx.List([conv(3, width), conv(width, 2 * width), conv(2 * width, 2 * width)])
        self.hidden = nnx.Linear(flat, 128, use_bias=False, rngs=rngs)
        self.out = nnx.Linear(128, 10, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        for conv in self.convs:
            x = nnx.max_pool(nnx.relu(conv(x)), window_shape=(2, 2), strides=(2, 2))
        return self.out(nnx.relu(self.hidden(x.reshape(x.shape[0], -1))))


def convnet(network: Network) -> Peer:
    def convert(p: Any) -> Any:
        convs = _numbered({"kernel": k} for k in p["kernels"])
        return {"convs": convs, "hidden": {"kernel": p["w"]}, "out": {"kernel": p["out"]}}

    model = Convnet(network.params["kernels"][0].shape[-1], network.params["w"].shape[0], rngs=nnx.Rngs(0))
    return _peer(network, model, convert, network.batch)


class ConvNorm(nnx.Module):
    """A convolution and its batch normalization."""

    def __init__(self, incoming: int, channels: int, window: int, stride: int, *, rngs: nnx.Rngs):
        self.conv = nnx.Conv(
            incoming, channels, (window, window), strides=stride, padding=window // 2, use_bias=False, rngs=rngs
        )
        self.norm = nnx.BatchNorm(channels, momentum=MOMENTUM, epsilon=EPS, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm(self.conv(x))


class BasicBlock(nnx.Module):
    def __init__(self, incoming: int, channels: int, stride: int, *, rngs: nnx.Rngs):
        self.first = ConvNorm(incoming, channels, 3, stride, rngs=rngs)
        self.second = ConvNorm(channels, channels, 3, 1, rngs=rngs)
        self.shortcut = nnx.data(ConvNorm(incoming, channels, 1, stride, rngs=rngs) if stride > 1 else None)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.second(nnx.relu(self.first(x)))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nnx.Module):
    def __init__(self, width: int, blocks: list[int], *, rngs: nnx.Rngs):
        self.stem = ConvNorm(3, width, 3, 1, rngs=rngs)
        self.blocks, channels = nnx.List([]), width
        for stage, n_blocks in enumerate(blocks):
            for i in range(n_blocks):
                incoming, channels = channels, width * 2**stage
                self.blocks.append(BasicBlock(incoming, channels, 2 if stage and not i else 1, rngs=rngs))
        self.out = nnx.Linear(channels, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.out(x.mean((1, 2)))


def resnet(network: Network) -> Peer:
    def conv_norm(p: Any) -> Any:
        return {"conv": {"kernel": p["kernel"]}, "norm": {"scale": p["scale"], "bias": p["bias"]}}

    def convert(params: Any) -> Any:
        blocks = ({n: conv_norm(p) for n, p in block.items()} for stage in params["stages"] for block in stage)
        return {"stem": conv_norm(params["stem"]), "blocks": _numbered(blocks), "out": _linear(params["out"])}

    blocks = [len(stage) for stage in network.params["stages"]]
    model = ResNet(len(network.params["stem"]["bias"]), blocks, rngs=nnx.Rngs(0))
    return _peer(network, model, convert, network.batch[1:])


class Block(nnx.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, *, causal: bool, rngs: nnx.Rngs):
        self.causal = causal
        self.norm1 = nnx.LayerNorm(width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(
            width // HEAD,
            width,
            use_bias=False,
            decode=False,
            attention_fn=_rotary_attention if causal else nnx.dot_product_attention,
            rngs=rngs,
        )
        self.norm2 = nnx.LayerNorm(width, rngs=rngs)
        self.up = nnx.Linear(width, 4 * width, rngs=rngs)
        self.down = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attention(self.norm1(x), is_causal=self.causal)
        return x + self.down(nnx.gelu(self.up(self.norm2(x))))


def _rotary_attention(query: jax.Array, key: jax.Array, value: jax.Array, **options: Any) -> jax.Array:
    return nnx.dot_product_attention(plain_rotary(query), plain_rotary(key), value, **options)


def _block(p: Any) -> Any:
    d = p["qkv"].shape[0]
    attention = {n: {"kernel": w.reshape(d, -1, HEAD)} for n, w in projections(p).items()}
    return {
        "norm1": p["norm1"],
        "attention": attention | {"out": {"kernel": p["out"].reshape(-1, HEAD, d)}},
        "norm2": p["norm2"],
        "up": _linear(p["up"]),
        "down": _linear(p["down"]),
    }


class Transformer(nnx.Module):
    def __init__(self, vocabulary: int, width: int, depth: int, *, rngs: nnx.Rngs):
        self.embedding = nnx.Embed(vocabulary, width, rngs=rngs)
        self.blocks = nnx.List([Block(width, causal=True, rngs=rngs) for _ in range(depth)])
        self.norm = nnx.LayerNorm(width, rngs=rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        return self.embedding.attend(self.norm(x))


def transformer(network: Network) -> Peer:
    def convert(p: Any) -> Any:
        blocks = _numbered(map(_block, p["blocks"]))
        return {"embedding": {"embedding": p["embedding"]}, "blocks": blocks, "norm": p["norm"]}

    vocabulary, width = network.params["embedding"].shape
    model = Transformer(vocabulary, width, len(network.params["blocks"]), rngs=nnx.Rngs(0))
    return _peer(network, model, convert, network.batch)


class ViT(nnx.Module):
    def __init__(self, patches: int, width: int, depth: int, *, rngs: nnx.Rngs):
        self.patch = nnx.Conv(3, width, (PATCH, PATCH), strides=PATCH, padding="VALID", rngs=rngs)
        self.positions = nnx.Param(jnp.zeros((patches, width)))
        self.blocks = nnx.List([Block(width, causal=False, rngs=rngs) for _ in range(depth)])
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.out = nnx.Linear(width, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.patch(x)
        x = x.reshape(x.shape[0], -1, x.shape[-1]) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x).mean(1))


def vit(network: Network) -> Peer:
    def convert(p: Any) -> Any:
        patch = {"kernel": p["patch"]["kernel"], "bias": p["patch"]["b"]}
        blocks = _numbered(map(_block, p["blocks"]))
        rest = {"positions": p["positions"], "norm": p["norm"], "out": _linear(p["out"])}
        return {"patch": patch, "blocks": blocks} | rest

    patches, width = network.params["positions"].shape
    model = ViT(patches, width, len(network.params["blocks"]), rngs=nnx.Rngs(0))
    return _peer(network, model, convert, network.batch)
