"""Models in Flax NNX: perceptron, ResNet with batch normalization, transformer, and an LSTM that scans over time."""

from typing import Any

import jax
import optax
from flax import nnx

from benchmarks.models.model import Model, integers, normal
from benchmarks.peers.flax_nnx import Mlp, ResNet, Transformer


def cross_entropy(model: nnx.Module, x: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(model(x), labels).mean()


def _model(name: str, model: nnx.Module, *batch: Any) -> Model:
    return Model(
        f"nnx {name}",
        cross_entropy,
        model,
        batch,
        value_and_grad=nnx.value_and_grad,
        arrays=nnx.state,
        rebuild=lambda model, state: nnx.merge(nnx.graphdef(model), state, copy=True),
        changed=lambda model: nnx.state(model, nnx.BatchStat),
    )


def mlp(batch: int = 256, width: int = 256, depth: int = 16) -> Model:
    model = Mlp(width, depth, rngs=nnx.Rngs(0))
    return _model("mlp", model, normal(0, batch, width), integers(1, batch, below=width))


def cnn(batch: int = 32, size: int = 32, width: int = 16, blocks: tuple[int, ...] = (2, 2)) -> Model:
    """Batch normalization: its running statistics change."""
    model = ResNet(width, list(blocks), rngs=nnx.Rngs(0))
    return _model("cnn", model, normal(0, batch, size, size, 3), integers(1, batch, below=10))


def transformer(batch: int = 8, length: int = 128, width: int = 128, depth: int = 4, vocabulary: int = 500) -> Model:
    model = Transformer(vocabulary, width, depth, rngs=nnx.Rngs(0))
    text = integers(0, batch, length + 1, below=vocabulary)
    return _model("transformer", model, text[:, :-1], text[:, 1:])


class Lstm(nnx.Module):
    """A language model: embed, run an LSTM over time, read out."""

    def __init__(self, vocabulary: int, width: int, *, rngs: nnx.Rngs):
        self.embed = nnx.Embed(vocabulary, width, rngs=rngs)
        self.rnn = nnx.RNN(nnx.OptimizedLSTMCell(width, width, rngs=rngs))
        self.out = nnx.Linear(width, vocabulary, rngs=rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        return self.out(self.rnn(self.embed(tokens)))


def lstm(batch: int = 16, length: int = 64, width: int = 128, vocabulary: int = 100) -> Model:
    model = Lstm(vocabulary, width, rngs=nnx.Rngs(0))
    text = integers(0, batch, length + 1, below=vocabulary)
    return _model("lstm", model, text[:, :-1], text[:, 1:])
