"""Batches of arrays that fit in memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from funcgrad.aliases import PyTree
from funcgrad.errors import ShapeError, TrainingError, describe_tree


@dataclass(frozen=True, eq=False)
class minibatches:
    """Arrays cut into batches in a new random order each epoch: `batches(epoch)` gives those of an epoch, one by one.

    The order depends on seed and epoch only. What is left after the last full batch sits out that epoch.

    Args:
        data: a pytree of arrays with the same first axis.
        size: how many examples a batch has.
        seed: of the order.

    Raises:
        ShapeError: the arrays differ in their first axis.
        TrainingError: a batch would be empty, or larger than the data.

    Example:
        >>> batches = fg.train.minibatches((jnp.arange(5.0), jnp.arange(5)), 2)
        >>> len(batches), [x.shape for x, label in batches(0)]
        (2, [(2,), (2,)])
    """

    data: PyTree
    size: int
    seed: int = 0

    def __post_init__(self) -> None:
        sizes = {np.shape(x)[:1] for x in jax.tree.leaves(self.data)}
        if len(sizes) != 1 or () in sizes:
            raise ShapeError(f"minibatches: all arrays must have the same first axis, got {describe_tree(self.data)}.")
        if not 1 <= self.size <= self.n_examples:
            raise TrainingError(f"minibatches: size must be between 1 and {self.n_examples}, got {self.size}.")

    @property
    def n_examples(self) -> int:
        """How many examples there are."""
        return len(jax.tree.leaves(self.data)[0])

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return self.n_examples // self.size

    def __call__(self, epoch: int) -> Iterator[Any]:
        """The batches of an epoch."""
        order = np.random.default_rng((self.seed, epoch)).permutation(self.n_examples)
        for start in range(0, len(self) * self.size, self.size):
            chosen = order[start : start + self.size]
            yield jax.tree.map(lambda x: np.asarray(x)[chosen], self.data)  # noqa: B023 (used at once)


def as_arrays(batch: PyTree) -> PyTree:
    """A batch with NumPy arrays in the place of other libraries' tensors, PyTorch's say; the rest is left alone.

    Raises:
        TrainingError: a tensor cannot be made one.
    """
    return jax.tree.map(_as_array, batch)


def _as_array(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array | np.ndarray | np.generic) or not hasattr(leaf, "__array__"):
        return leaf
    try:
        return np.asarray(leaf)
    except (TypeError, RuntimeError, ValueError) as error:
        said = str(error).strip().splitlines()[0].rstrip(".")
        raise TrainingError(
            f"train.fit: a {type(leaf).__name__} of the batch cannot be made a NumPy array ({said}); convert it "
            f"first, in a DataLoader by collate_fn=."
        ) from None
