"""The networks in Equinox: a module for one example, `vmap` over the batch, images channels first, as its docs do."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from equinox import nn

from benchmarks.networks.network import Network
from benchmarks.networks.resnet import EPS, MOMENTUM
from benchmarks.networks.transformer import HEAD
from benchmarks.networks.vit import PATCH
from benchmarks.peers.peer import Peer, projections

KEY = jax.random.key(0)


def _peer(model: Any, convert: Callable[[Any], list[Any]], batch: tuple[Any, ...]) -> Peer:
    """Of a model for one example; `convert` lists arrays in the order of the model's leaves."""
    like, static = eqx.partition(model, eqx.is_inexact_array)

    def loss(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
        logits = jax.vmap(eqx.combine(params, static))(x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    return Peer(loss, lambda ours: _fill(like, convert(ours)), batch)


def _fill(like: Any, leaves: list[Any]) -> Any:
    old, tree = jax.tree.flatten(like)
    assert [x.shape for x in old] == [x.shape for x in leaves], "a converted array has another shape than the module's"
    return jax.tree.unflatten(tree, leaves)


def _linear(p: Any) -> list[jax.Array]:
    return [p["w"].T, p["b"]]


def _kernel(kernel: jax.Array) -> jax.Array:
    return kernel.transpose(3, 2, 0, 1)


def _channels_first(images: jax.Array) -> jax.Array:
    return images.transpose(0, 3, 1, 2)


class Dag(eqx.Module):
    """A shared layer is a layer called twice."""

    w1: nn.Linear
    w2: nn.Linear
    out: nn.Linear

    def __init__(self, width: int):
        self.w1 = nn.Linear(width, width, use_bias=False, key=KEY)
        self.w2 = nn.Linear(width, width, use_bias=False, key=KEY)
        self.out = nn.Linear(width, 10, use_bias=False, key=KEY)

    def __call__(self, x: jax.Array) -> jax.Array:
        x1 = jnp.tanh(self.w1(x))
        x2 = jax.nn.relu(self.w2(x1 + x))
        return self.out(jax.nn.relu(self.w1(x1 + x2)))


def dag(network: Network) -> Peer:
    model = Dag(network.params["w1"].shape[0])
    return _peer(model, lambda p: [p["w1"].T, p["w2"].T, p["out"].T], network.batch)


def mlp(network: Network) -> Peer:
    width, depth = len(network.params[0]["b"]), len(network.params)
    model = nn.MLP(width, width, width, depth - 1, jax.nn.relu, jax.nn.relu, key=KEY)
    return _peer(model, lambda params: [leaf for p in params for leaf in _linear(p)], network.batch)


class ResidualBlock(eqx.Module):
    norm: nn.LayerNorm
    linear: nn.Linear

    def __init__(self, width: int):
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.linear = nn.Linear(width, width, key=KEY)

    def __call__(self, x: jax.Array, *, key: Any = None) -> jax.Array:
        del key  # nn.Sequential gives one
        return x + jax.nn.gelu(self.linear(self.norm(x)))


def residual(network: Network) -> Peer:
    model = nn.Sequential([ResidualBlock(len(p["b"])) for p in network.params])
    convert = lambda params: [leaf for p in params for leaf in (p["s"], p["c"], *_linear(p))]  # noqa: E731
    return _peer(model, convert, network.batch)


class Convnet(eqx.Module):
    convs: list[nn.Conv2d]
    pool: nn.MaxPool2d
    hidden: nn.Linear
    out: nn.Linear

    def __init__(self, width: int, flat: int):
        sizes = ((3, width), (width, 2 * width), (2 * width, 2 * width))
        self.convs = [nn.Conv2d(i, o, 3, padding=1, use_bias=False, key=KEY) for i, o in sizes]
        self.pool = nn.MaxPool2d(2, 2)
        self.hidden = nn.Linear(flat, 128, use_bias=False, key=KEY)
        self.out = nn.Linear(128, 10, use_bias=False, key=KEY)

    def __call__(self, x: jax.Array) -> jax.Array:
        for conv in self.convs:
            x = self.pool(jax.nn.relu(conv(x)))
        return self.out(jax.nn.relu(self.hidden(jnp.ravel(x))))


def convnet(network: Network) -> Peer:
    images, labels = network.batch
    side, width = images.shape[1] // 8, network.params["kernels"][0].shape[-1]

    def convert(p: Any) -> list[jax.Array]:
        hidden = p["w"].reshape(side, side, 2 * width, 128).transpose(3, 2, 0, 1).reshape(128, -1)
        return [*map(_kernel, p["kernels"]), hidden, p["out"].T]

    model = Convnet(width, network.params["w"].shape[0])
    return _peer(model, convert, (_channels_first(images), labels))


class ConvNorm(eqx.Module):
    """A convolution and its batch normalization."""

    conv: nn.Conv2d
    norm: nn.BatchNorm

    def __init__(self, incoming: int, channels: int, window: int, stride: int):
        self.conv = nn.Conv2d(incoming, channels, window, stride, window // 2, use_bias=False, key=KEY)
        self.norm = nn.BatchNorm(channels, "batch", eps=EPS, momentum=MOMENTUM, mode="batch")

    def __call__(self, x: jax.Array, state: nn.State) -> tuple[jax.Array, nn.State]:
        return self.norm(self.conv(x), state)


class BasicBlock(eqx.Module):
    first: ConvNorm
    second: ConvNorm
    shortcut: ConvNorm | None

    def __init__(self, incoming: int, channels: int, stride: int):
        self.first = ConvNorm(incoming, channels, 3, stride)
        self.second = ConvNorm(channels, channels, 3, 1)
        self.shortcut = ConvNorm(incoming, channels, 1, stride) if stride > 1 else None

    def __call__(self, x: jax.Array, state: nn.State) -> tuple[jax.Array, nn.State]:
        y, state = self.first(x, state)
        y, state = self.second(jax.nn.relu(y), state)
        if self.shortcut is not None:
            x, state = self.shortcut(x, state)
        return jax.nn.relu(x + y), state


class ResNet(eqx.Module):
    stem: ConvNorm
    blocks: list[BasicBlock]
    out: nn.Linear

    def __init__(self, width: int, blocks: list[int]):
        self.stem, self.blocks, channels = ConvNorm(3, width, 3, 1), [], width
        for stage, n_blocks in enumerate(blocks):
            for i in range(n_blocks):
                incoming, channels = channels, width * 2**stage
                self.blocks.append(BasicBlock(incoming, channels, 2 if stage and not i else 1))
        self.out = nn.Linear(channels, 10, key=KEY)

    def __call__(self, x: jax.Array, state: nn.State) -> tuple[jax.Array, nn.State]:
        x, state = self.stem(x, state)
        x = jax.nn.relu(x)
        for block in self.blocks:
            x, state = block(x, state)
        return self.out(x.mean((1, 2))), state


def resnet(network: Network) -> Peer:
    _, images, labels = network.batch
    blocks = [len(stage) for stage in network.params["stages"]]
    model, state = nn.make_with_state(ResNet)(len(network.params["stem"]["bias"]), blocks)
    like, static = eqx.partition(model, eqx.is_inexact_array)

    def loss(params: Any, state: nn.State, x: jax.Array, labels: jax.Array) -> tuple[jax.Array, nn.State]:
        batched = jax.vmap(eqx.combine(params, static), in_axes=(0, None), out_axes=(0, None), axis_name="batch")
        logits, state = batched(x, state)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), state

    def conv_norm(p: Any) -> list[jax.Array]:
        return [_kernel(p["kernel"]), p["scale"], p["bias"]]

    def convert(params: Any) -> Any:
        order = ("first", "second", "shortcut")
        blocks = [b for stage in params["stages"] for b in stage]
        convs = [params["stem"], *(b[n] for b in blocks for n in order if n in b)]
        return _fill(like, [leaf for p in convs for leaf in conv_norm(p)] + _linear(params["out"]))

    return Peer(loss, convert, (state, _channels_first(images), labels))


class Block(eqx.Module):
    """A pre-norm transformer block, on the tokens of one example."""

    norm1: nn.LayerNorm
    attention: nn.MultiheadAttention
    norm2: nn.LayerNorm
    up: nn.Linear
    down: nn.Linear
    rotary: nn.RotaryPositionalEmbedding
    causal: bool = eqx.field(static=True)

    def __init__(self, width: int, causal: bool):
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attention = nn.MultiheadAttention(width // HEAD, width, key=KEY)
        self.up = nn.Linear(width, 4 * width, key=KEY)
        self.down = nn.Linear(4 * width, width, key=KEY)
        self.rotary, self.causal = nn.RotaryPositionalEmbedding(HEAD), causal

    def __call__(self, x: jax.Array) -> jax.Array:
        normed, mask = jax.vmap(self.norm1)(x), None
        if self.causal:
            mask = jnp.tril(jnp.ones((len(x), len(x)), bool))
        x = x + self.attention(normed, normed, normed, mask, process_heads=self._rotate if self.causal else None)
        return x + jax.vmap(self._mlp)(x)

    def _mlp(self, token: jax.Array) -> jax.Array:
        return self.down(jax.nn.gelu(self.up(self.norm2(token))))

    def _rotate(self, q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        rotary = jax.vmap(self.rotary, in_axes=1, out_axes=1)
        return rotary(q), rotary(k), v


def _norm(p: Any) -> list[jax.Array]:
    return [p["scale"], p["bias"]]


def _block(p: Any) -> list[jax.Array]:
    attention = [*(w.T for w in projections(p).values()), p["out"].T]
    return [*_norm(p["norm1"]), *attention, *_norm(p["norm2"]), *_linear(p["up"]), *_linear(p["down"])]


class Transformer(eqx.Module):
    embedding: nn.Embedding
    blocks: list[Block]
    norm: nn.LayerNorm

    def __init__(self, vocabulary: int, width: int, depth: int):
        self.embedding = nn.Embedding(vocabulary, width, key=KEY)
        self.blocks = [Block(width, causal=True) for _ in range(depth)]
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = jax.vmap(self.embedding)(tokens)
        for block in self.blocks:
            x = block(x)
        return jax.vmap(self.norm)(x) @ self.embedding.weight.T


def transformer(network: Network) -> Peer:
    def convert(p: Any) -> list[jax.Array]:
        return [p["embedding"], *(leaf for b in p["blocks"] for leaf in _block(b)), *_norm(p["norm"])]

    vocabulary, width = network.params["embedding"].shape
    model = Transformer(vocabulary, width, len(network.params["blocks"]))
    return _peer(model, convert, network.batch)


class ViT(eqx.Module):
    patch: nn.Conv2d
    positions: jax.Array
    blocks: list[Block]
    norm: nn.LayerNorm
    out: nn.Linear

    def __init__(self, patches: int, width: int, depth: int):
        self.patch = nn.Conv2d(3, width, PATCH, PATCH, key=KEY)
        self.positions = jnp.zeros((patches, width))
        self.blocks = [Block(width, causal=False) for _ in range(depth)]
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.out = nn.Linear(width, 10, key=KEY)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.patch(x)
        x = x.reshape(x.shape[0], -1).T + self.positions
        for block in self.blocks:
            x = block(x)
        return self.out(jax.vmap(self.norm)(x).mean(0))


def vit(network: Network) -> Peer:
    def convert(p: Any) -> list[jax.Array]:
        patch = [_kernel(p["patch"]["kernel"]), p["patch"]["b"].reshape(-1, 1, 1)]
        blocks = [leaf for b in p["blocks"] for leaf in _block(b)]
        return [*patch, p["positions"], *blocks, *_norm(p["norm"]), *_linear(p["out"])]

    images, labels = network.batch
    patches, width = network.params["positions"].shape
    model = ViT(patches, width, len(network.params["blocks"]))
    return _peer(model, convert, (_channels_first(images), labels))
