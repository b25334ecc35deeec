"""A layer at its place in a network: entered under its name, with a key of its own."""

import contextlib
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from funcgrad.aliases import Array, PyTree
from funcgrad.errors import GraphError
from funcgrad.layers.functions import lift, pure
from funcgrad.layers.initialization import as_key
from funcgrad.layers.layer import Layer
from funcgrad.naming import scope


class Begun(NamedTuple):
    """What initializing a layer gives."""

    params: PyTree
    state: PyTree
    output: PyTree
    """The output's specs."""


@dataclass(frozen=True)
class Child:
    """A layer and the name of its scope; a bare function has no scope of its own ("").

    Keys are derived from the name, so moving a layer does not change how it starts.
    """

    name: str
    layer: Layer

    def begin(self, key: Array, *specs: Any) -> Begun:
        """Initialize the layer in its scope."""
        with self.entered():
            self.layer.check_inputs(len(specs))
            params, state = self.layer.init(fold(key, self.name), *specs)
            return Begun(params, state, self.layer.output_spec(params, state, *specs))

    def apply(
        self, params: PyTree, state: PyTree, *inputs: Any, key: Array | None, train: bool
    ) -> tuple[PyTree, PyTree]:
        """Apply the layer in its scope."""
        with self.entered():
            self.layer.check_inputs(len(inputs))
            self.layer.check_arrays(inputs)
            if key is not None:
                key = fold(key, self.name) if self.layer.random else None
            return self.layer.apply(params, state, *inputs, key=key, train=train)

    def entered(self) -> contextlib.AbstractContextManager[None]:
        """The scope."""
        return scope(self.name) if self.name else contextlib.nullcontext()

    def __str__(self) -> str:
        return self.layer.short


def name_children(kind: str, positional: Iterable[Any], named: Mapping[str, Any]) -> tuple[Child, ...]:
    """Children called `linear0`, `linear1`, `dropout0`, ... by type and order, or as given by keyword.

    Raises:
        GraphError: something is no layer, or a name stands twice.
    """
    counts: Counter[str] = Counter()
    children = []
    for value in positional:
        layer = lift(value, kind)
        kind_of = "" if isinstance(layer, pure) else type(layer).__name__
        children.append(Child(f"{kind_of}{counts[kind_of]}" if kind_of else "", layer))
        counts[kind_of] += 1
    for name, value in named.items():
        if any(name == c.name for c in children):
            raise GraphError(f"{kind}: the name '{name}' stands twice (layers without one are numbered); rename it.")
        children.append(Child(name, lift(value, kind)))
    return tuple(children)


def written(children: Iterable[Child], automatic: Iterable[Child]) -> list[str]:
    """Children as arguments: by keyword from the first one on whose name is not the automatic one."""
    arguments, by_keyword = [], False
    for child, unnamed in zip(children, automatic, strict=True):
        by_keyword = by_keyword or child != unnamed
        arguments.append(f"{child.name}={child}" if by_keyword else str(child))
    return arguments


def fold(key: Array, name: str) -> Array:
    """A key for a name."""
    return jax.random.fold_in(as_key(key), jnp.uint32(zlib.crc32(name.encode()))) if name else key


def entry(name: str, tree: PyTree) -> dict[str, PyTree]:
    """What a child adds to its parent's params or state; a child that has none is left out."""
    return {} if isinstance(tree, dict) and not tree else {name: tree}
