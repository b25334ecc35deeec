"""Train an LSTM to write like Moby-Dick, one character at a time: the task of characters.py.

    python examples/lstm.py --text package/data    # where it comes from: see characters.py
    python examples/lstm.py --help

prints the network as a table, trains for some minutes on a CPU, and writes a sample. Every window of characters starts
from a state of zeros.
"""

from dataclasses import dataclass, replace

import tyro
from characters import Task, learn

from funcgrad.networks import lstm_lm


@dataclass(frozen=True)
class Config(Task):
    """What can be chosen."""

    width: int = 256
    depth: int = 1
    dropout: float = 0.0


def main(config: Config) -> None:
    """Train the LSTM."""
    if config.smoke:
        config = replace(config, text=None, steps=3, batch_size=2, context=16, width=16, depth=1, sample=20)
    sizes = {"width": config.width, "depth": config.depth, "rate": config.dropout}
    learn(lambda vocabulary: lstm_lm(vocabulary, **sizes), config, "lstm")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
