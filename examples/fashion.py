"""Train a ResNet-18 on Fashion-MNIST, or on scikit-learn's digits where Fashion-MNIST is not installed.

    apt install dataset-fashion-mnist
    python examples/fashion.py --help

prints the network as a table, trains for some minutes on a CPU, and draws the learning curve and which class is taken
for which. Fashion-MNIST: Xiao, Rasul & Vollgraf 2017; ResNet: He et al. 2016.
"""

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import digits
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

import funcgrad as fg
from funcgrad import train
from funcgrad.networks import resnet

CLOTHES = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


@dataclass(frozen=True)
class Config:
    """What can be chosen."""

    data: Path = Path("/usr/share/datasets/fashion-mnist")
    """The folder with train-images-idx3-ubyte.gz and its three siblings."""
    seed: int = 0
    """Of the parameters, the order of the batches, shifts and mirroring."""
    steps: int = 700
    batch_size: int = 64
    width: int = 16
    """Channels of the first stage; 64 in the paper."""
    learning_rate: float = 4e-3
    output: Path = Path("runs")
    """Where fashion.png and fashion.jsonl go."""
    smoke: bool = False
    """Run for three steps of a tiny network only, to see that everything works."""


def read_idx(path: Path) -> np.ndarray:
    """An array in the IDX format: a magic number that ends in the rank, big-endian sizes, then the bytes."""
    raw = gzip.decompress(path.read_bytes())
    sizes = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(sizes)


def load_data(folder: Path) -> tuple[digits.Batch, digits.Batch, Sequence[str]]:
    """Training and test images, f32[n, h, w, 1] in [0, 1], with their labels, i32[n]; and the classes' names."""
    if not (folder / "train-images-idx3-ubyte.gz").exists():
        print(f"No Fashion-MNIST in {folder} (get it with: apt install dataset-fashion-mnist); training on digits.\n")
        return *digits.load_data(), [str(n) for n in range(10)]

    def read(part: str) -> digits.Batch:
        images, labels = (read_idx(folder / f"{part}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
        return images[..., None].astype(np.float32) / 255, labels.astype(np.int32)

    return read("train"), read("t10k"), CLOTHES


def mirrored(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image mirrored left to right, or not, in [n, h, w, c]."""
    return np.where(rng.random((len(images), 1, 1, 1)) < 0.5, images[:, :, ::-1], images)


def draw(path: Path, records: list[dict[str, Any]], confusion: np.ndarray, names: Sequence[str]) -> None:
    """The learning curve on the left, true against predicted classes on the right."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    curves, matrix = figure.subplots(1, 2)
    for name, style in (("loss", "-"), ("test_loss", "o-")):
        chosen = [r for r in records if name in r]
        curves.semilogy([r["step"] for r in chosen], [r[name] for r in chosen], style, lw=0.8, ms=3, label=name)
    curves.set(xlabel="step", title="Learning")
    curves.legend()
    matrix.imshow(np.log1p(confusion), cmap="Blues", alpha=0.6)
    for (row, column), count in np.ndenumerate(confusion):
        matrix.text(column, row, str(count) if count else "", ha="center", va="center", fontsize=7)
    matrix.set(xlabel="predicted", ylabel="true", title="Test images", yticks=range(len(names)), yticklabels=names)
    matrix.set_xticks(range(len(names)), names, rotation=90)
    figure.savefig(path, dpi=120)


def main(config: Config) -> None:
    """Load, train, draw."""
    training, test, names = load_data(config.data)
    if config.smoke:
        config = replace(config, steps=3, batch_size=8, width=2)
        test = (test[0][:40], test[1][:40])
    net = resnet(18, len(names), width=config.width, small_images=True)
    key, init_key = jax.random.split(jax.random.key(config.seed))
    params, model_state = net.init(init_key, training[0][:1])
    print(fg.summary(net, training[0][: config.batch_size], train=True), "\n")
    batches = train.minibatches(training, config.batch_size, seed=config.seed)

    def epoch(number: int) -> Iterator[digits.Batch]:
        rng = np.random.default_rng((config.seed, number))
        for images, labels in batches(number):
            moved = digits.shifted(images, rng)
            yield mirrored(moved, rng) if names is CLOTHES else moved, labels

    parts = np.array_split(test[0], -(-len(test[0]) // 250))
    predict = jax.jit(lambda params, model_state, images: net.apply(params, model_state, images)[0])

    def evaluate(params: Any, model_state: Any) -> dict[str, jax.Array]:
        logits = jnp.concatenate([predict(params, model_state, images) for images in parts])
        loss, metrics = digits.objective(logits, test[1])
        return {"test_loss": loss, "test_accuracy": metrics["accuracy"]}

    optimizer = optax.adamw(optax.cosine_decay_schedule(config.learning_rate, config.steps), weight_decay=0.01)
    state, records = train.fit(
        train.init(params, optimizer, model_state),
        train.step(train.supervised(net, digits.objective), optimizer, clip_norm=1.0),
        epoch,
        key=key,
        steps=config.steps,
        evaluate=evaluate,
        evaluate_every=max(config.steps // 5, 1),
        log=config.output / "fashion.jsonl",
    )
    logits = np.concatenate([predict(state.params, state.model_state, images) for images in parts])
    confusion = confusion_matrix(test[1], logits.argmax(axis=-1), labels=range(len(names)))
    draw(config.output / "fashion.png", records, confusion, names)
    final = records[-1]
    print(f"test accuracy {final['test_accuracy']:.2%}, test loss {final['test_loss']:.4f} after {final['step']} steps")
    print(f"picture in {config.output / 'fashion.png'}, metrics in {config.output / 'fashion.jsonl'}")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
