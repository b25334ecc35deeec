"""The arguments a function was traced with: which leaves are arrays of the graph, which are fixed in it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from funcgrad.adapters import named_leaves, without_modules
from funcgrad.aliases import PyTreeDef
from funcgrad.errors import GraphError
from funcgrad.naming import paths_of


@dataclass(frozen=True, eq=False)
class Arguments:
    """The structure of `(args, kwargs)`; leaves that are no arrays (numbers, strings, functions) are fixed.

    Fixing them is what lets traced code branch on them, as it may under `jax.grad`.
    """

    tree: PyTreeDef
    names: tuple[str, ...]
    """A path for every leaf: `params/w1`."""
    places: tuple[int | str, ...]
    """The argument that every leaf belongs to: its position, or its keyword."""
    is_input: tuple[bool, ...]
    fixed: tuple[Any, ...]
    known: Mapping[int, Any] = field(default_factory=dict)
    """The contents of leaves that are inputs and yet handed to the function as they are: it may look at them."""

    @classmethod
    def of(
        cls,
        parameters: Sequence[str],
        args: Sequence[Any],
        kwargs: dict[str, Any],
        traced: Sequence[int | str] = (),
        described: bool = True,
    ) -> "Arguments":
        """Describe arguments; what is no array in the arguments `traced` (positions, keywords) is an input too.

        `parameters` are the names of the positional ones (`adapters.parameter_names`).
        Unless `described`, a `jax.ShapeDtypeStruct` is no array but an object like any other.
        """
        paths, places, is_input, fixed = [], [], [], []
        for path, leaf in named_leaves((tuple(args), kwargs)):
            positional = path[0].idx == 0
            place = path[1].idx if positional else path[1].key
            paths.append((parameters[place] if positional else place, *path[2:]))
            places.append(place)
            is_only_described = not described and isinstance(leaf, jax.ShapeDtypeStruct)
            is_input.append((is_array(leaf) and not is_only_described) or place in traced)
            fixed.append(None if is_input[-1] else leaf)
        tree = jax.tree.structure((tuple(args), kwargs))
        return cls(tree, tuple(paths_of(paths)), tuple(places), tuple(is_input), tuple(fixed))

    @property
    def input_names(self) -> tuple[str, ...]:
        """Paths of the leaves that are inputs."""
        return tuple(n for n, flag in zip(self.names, self.is_input, strict=True) if flag)

    def leaves_of(self, place: int | str) -> tuple[int, ...]:
        """Which leaves the argument at a position, or of a keyword, has."""
        return tuple(i for i, p in enumerate(self.places) if p == place)

    def inputs(self, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Any]:
        """The input leaves; GraphError unless the structure is the one that was traced."""
        leaves, tree = jax.tree.flatten(without_modules((tuple(args), kwargs)))
        if tree != self.tree:
            raise GraphError(f"The graph was traced with arguments of structure {self.tree}, got {tree}; trace again.")
        return self.inputs_among(leaves)

    def inputs_among(self, leaves: Sequence[Any]) -> list[Any]:
        """Those of all leaves that are inputs."""
        return [leaf for leaf, flag in zip(leaves, self.is_input, strict=True) if flag]

    def unflatten(self, inputs: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The `(args, kwargs)` of which `inputs` are the input leaves."""
        source = iter(inputs)
        leaves = [next(source) if flag else f for f, flag in zip(self.fixed, self.is_input, strict=True)]
        return jax.tree.unflatten(self.tree, [self.known.get(i, leaf) for i, leaf in enumerate(leaves)])

    def positions(self, leaves: Collection[int]) -> list[int]:
        """Where some of the leaves stand among those that are inputs."""
        inputs = [i for i, flag in enumerate(self.is_input) if flag]
        return [k for k, i in enumerate(inputs) if i in leaves]

    def knowing(self, args: Sequence[Any], kwargs: dict[str, Any], traced: Collection[int]) -> "Arguments":
        """Describe the same arguments, with the contents of all arrays but the leaves `traced`."""
        leaves = enumerate(jax.tree.leaves(without_modules((tuple(args), kwargs))))
        known = {i: x for i, x in leaves if self.is_input[i] and i not in traced and is_concrete(x)}
        return replace(self, known=known)


def is_concrete(leaf: Any) -> bool:
    """Whether a leaf is an array with contents."""
    return isinstance(leaf, jax.Array | np.ndarray) and not isinstance(leaf, Tracer)


def is_array(leaf: Any) -> bool:
    """Whether a leaf is an array, a tracer or the description of one."""
    return isinstance(leaf, jax.Array | np.ndarray | jax.ShapeDtypeStruct)
