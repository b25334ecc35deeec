"""Where the value of an argument comes from: by what a rule knows a weight, wherever it is used.

A weight may be read by several nodes, transposed, cast, in all turns of a loop, or be one slice in each turn. It comes
from one value of the whole graph all the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax

from funcgrad.aliases import Array, Aval
from funcgrad.registry.random_keys import key_at

ORIGIN = "_origin"
"""What a rule writes after the name of an argument to ask for its origin."""


class Turn(NamedTuple):
    """The number of the turn that runs, of one of the loops around a node."""

    depth: int
    """Which loop, counted from the outermost."""


@dataclass(frozen=True)
class Origin:
    """The value that an argument comes from."""

    name: str
    aval: Aval
    """Of the value, or of the slice of it that is meant."""
    at: tuple[Any, ...] = ()
    """Which slice: along each of its first axes a number, a `Turn`, or a value of the node's graph."""
    moves: tuple[Callable[[Array], Array], ...] = ()
    """What the graph does to the slice on its way to the argument: transposes, casts."""
    first: int = 0
    """Where its numbers stand among those of the node."""
    numbers: Any = ()
    """What `at` stands for, where the rule runs."""

    def told(self, numbers: Sequence[Any]) -> "Origin":
        """The same, of these numbers of the node."""
        return replace(self, numbers=tuple(numbers[self.first + i] for i in range(len(self.at)))) if self.at else self

    def key(self, key: Any) -> Any:
        """A random key made of `key` and the value's name: another one for each slice of it."""
        key = key_at(key, self.name)
        for number in self.numbers:
            key = jax.random.fold_in(key, number)
        return key

    def moved(self, x: Array) -> Array:
        """What `x`, in the place of the slice, is as the argument."""
        for move in self.moves:
            x = move(x)
        return x
