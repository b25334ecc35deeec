"""Where an op makes sense: example arguments, at which its rules are checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax

from funcgrad.errors import describe


@dataclass(frozen=True, eq=False)
class Example:
    """One way to call an op: arrays (or pytrees of arrays) by position, static attributes by name."""

    arguments: tuple[Any, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        leaves = [describe(x) for x in jax.tree.leaves(self.arguments)]
        return ", ".join([*leaves, *(f"{n}={v!r}" for n, v in self.attributes.items())])
