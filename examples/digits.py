"""Train a DAG network with a skip connection and a shared parameter on the digits that ship with scikit-learn.

    python examples/digits.py --help

prints the plan of its backward pass, trains for some seconds on a CPU, and draws the learning curves and how the
gradient flows through the nodes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import funcgrad as fg
from funcgrad import ops, train
from funcgrad.layers import chain, conv2d, dag, dropout, flatten, layer_norm, linear, max_pool2d, node

Batch = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Config:
    """What can be chosen."""

    seed: int = 0
    """Of the parameters, the order of the batches, shifts and dropout; the split of the data is always the same."""
    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 4e-3
    output: Path = Path("runs")
    """Where digits.png and digits.jsonl go."""
    smoke: bool = False
    """Run for three steps only, to see that everything works."""


def make_network() -> dag:
    """The same convolution twice, and a skip connection around the pair."""
    block = chain(conv2d(24, 3), layer_norm(), ops.relu)
    return dag(
        "image",
        stem=node(block, "image"),
        once=node(block, "stem", params="shared"),
        twice=node(block, "once", params="shared"),
        skip=node(ops.add, "stem", "twice"),
        features=node(chain(max_pool2d(2), conv2d(48, 3), layer_norm(), ops.relu, flatten()), "skip"),
        logits=node(chain(dropout(0.3), linear(10)), "features"),
    )


def load_data() -> tuple[Batch, Batch]:
    """Training and test images, f32[n, 8, 8, 1] in [0, 1], with their labels, i32[n]; the same split every time."""
    digits: Any = load_digits()
    images, labels = (digits.images[..., None] / 16).astype(np.float32), digits.target.astype(np.int32)
    split: Any = train_test_split(images, labels, test_size=0.2, random_state=0, stratify=labels)
    return (split[0], split[2]), (split[1], split[3])


def shifted(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image moved by at most one pixel up, down, left or right, in [n, h, w, c]."""
    n, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = rng.integers(0, 3, (n, 1)) + np.arange(height)
    columns = rng.integers(0, 3, (n, 1)) + np.arange(width)
    return padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


def objective(logits: jax.Array, labels: jax.typing.ArrayLike) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean cross-entropy, and the accuracy to watch."""
    accuracy = jnp.mean(jnp.argmax(logits, axis=-1) == labels)
    return ops.mean(ops.cross_entropy(logits, labels)), {"accuracy": accuracy}


def gradient_flow(net: dag, params: Any, batch: Batch) -> dict[str, float]:
    """The norm of the cotangent at every node, dropout off."""
    nodes = [name for name, _ in net.nodes]
    cotangents = jax.jit(fg.grad(lambda p, x, labels: objective(net(p, x), labels)[0], wrt=nodes))(params, *batch)
    return {name: float(jnp.linalg.norm(cotangents[name])) for name in nodes}


def draw(path: Path, records: list[dict[str, Any]], flows: Mapping[str, Mapping[str, float]]) -> None:
    """Learning curves on the left, the flow of the gradient on the right."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    curves, flow = figure.subplots(1, 2)
    for name, style in (("loss", "-"), ("test_loss", "o-"), ("test_error", "s-")):
        chosen = [r for r in records if name in r]
        curves.semilogy([r["step"] for r in chosen], [r[name] for r in chosen], style, lw=0.8, ms=3, label=name)
    curves.set(xlabel="step", title="Learning")
    curves.legend()
    for label, norms in flows.items():
        flow.semilogy(list(norms), list(norms.values()), "o-", label=label)
    flow.set(ylabel="norm of the cotangent", title="Gradient flow: ∂loss/∂node")
    flow.legend()
    figure.savefig(path, dpi=120)


def main(config: Config) -> None:
    """Plan, train, draw."""
    training, test = load_data()
    net = make_network()
    key, init_key = jax.random.split(jax.random.key(config.seed))
    params, model_state = net.init(init_key, training[0][: config.batch_size])
    batches = train.minibatches(training, config.batch_size, seed=config.seed)
    n_steps = 3 if config.smoke else config.epochs * len(batches)

    def epoch(number: int) -> Iterator[Batch]:
        rng = np.random.default_rng((config.seed, number))
        return ((shifted(images, rng), labels) for images, labels in batches(number))

    loss = train.supervised(net, objective)
    print(net, "\n")
    print(fg.plan(loss, params, model_state, next(batches(0)), key, has_aux=True), "\n")
    before = gradient_flow(net, params, next(batches(0)))

    @jax.jit
    def evaluate(params: Any, model_state: Any) -> dict[str, jax.Array]:
        logits, _ = net.apply(params, model_state, test[0])
        loss, metrics = objective(logits, test[1])
        return {"test_loss": loss, "test_accuracy": metrics["accuracy"], "test_error": 1 - metrics["accuracy"]}

    optimizer = optax.adamw(optax.cosine_decay_schedule(config.learning_rate, n_steps), weight_decay=0.01)
    state, records = train.fit(
        train.init(params, optimizer, model_state),
        train.step(loss, optimizer, clip_norm=1.0),
        epoch,
        key=key,
        steps=n_steps,
        evaluate=evaluate,
        evaluate_every=len(batches),
        log=config.output / "digits.jsonl",
    )
    after = gradient_flow(net, state.params, next(batches(0)))
    draw(config.output / "digits.png", records, {"before training": before, "after training": after})
    final = records[-1]
    print(f"test accuracy {final['test_accuracy']:.2%}, test loss {final['test_loss']:.4f} after {final['step']} steps")
    print(f"picture in {config.output / 'digits.png'}, metrics in {config.output / 'digits.jsonl'}")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
