"""Which parameters: one value that the gradient, the training step and the optimizer share."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax

from funcgrad.adapters import named_leaves
from funcgrad.aliases import PyTree
from funcgrad.errors import GradientError
from funcgrad.registry import matches

_HOLE = object()


@dataclass(frozen=True)
class Selector:
    """A choice among the leaves of any pytree of parameters, by their paths; `~` chooses the others.

    Made by `fg.select` and `fg.freeze`. Give it to `fg.grad(wrt=...)` and to `fg.train.init(trainable=...)`. Called on
    parameters it is the pytree of booleans that optax takes for a mask, so it stands wherever optax takes a function
    that makes one, and where optax takes one that makes labels, which are then True and False:

    >>> optax.adamw(1e-3, mask=fg.select("**/w"))
    >>> optax.multi_transform({True: optax.adam(1e-3), False: optax.sgd(1e-2)}, fg.select("encoder/**"))
    """

    patterns: tuple[str, ...]
    is_inverted: bool = False

    def __invert__(self) -> "Selector":
        return replace(self, is_inverted=not self.is_inverted)

    def __str__(self) -> str:
        return f"fg.{'freeze' if self.is_inverted else 'select'}({', '.join(map(repr, self.patterns))})"

    def __call__(self, params: PyTree) -> PyTree:
        """A pytree like `params`, or like updates, that says True where a leaf is chosen and False elsewhere.

        An optimizer may be given a part of the parameters only, the others None or masked. A pattern is then held
        against these too, and all leaves that are left may be chosen, or none.

        Raises:
            GradientError: a pattern matches no leaf, and nothing that was left out.
        """
        paths, absent = _paths(params), _paths_of_holes(params)
        for pattern in self.patterns:
            if not any(_leads_to(pattern, hole) for hole in absent):
                self._check_matches(pattern, paths)
        return jax.tree.structure(params).unflatten(map(self._chooses, paths))

    def __bool__(self) -> bool:
        raise GradientError(
            f"{self} is neither true nor false; call it on parameters for a mask of them, or compare it with None."
        )

    def flags(self, params: PyTree) -> list[bool]:
        """Whether each leaf of `params` is chosen.

        Raises:
            GradientError: a pattern matches no leaf, or no leaf is left to choose.
        """
        paths = _paths(params)
        for pattern in self.patterns:
            self._check_matches(pattern, paths)
        flags = [self._chooses(path) for path in paths]
        if not any(flags):
            raise GradientError(f"{self} chooses none of the {len(paths)} parameters; narrow its patterns.")
        return flags

    def _chooses(self, path: str) -> bool:
        return any(matches(p, path) for p in self.patterns) != self.is_inverted

    def _check_matches(self, pattern: str, paths: Sequence[str]) -> None:
        if not any(matches(pattern, path) for path in paths):
            raise GradientError(f"{self}: no parameter's path matches '{pattern}'; {_hint(pattern, paths)}")

    def split(self, params: PyTree) -> tuple[PyTree, PyTree]:
        """The parameters that are chosen, and the others: two pytrees like `params`, None at the leaves they lack."""
        flags = self.flags(params)
        leaves, tree = jax.tree.flatten(params)
        chosen = [x if flag else None for x, flag in zip(leaves, flags, strict=True)]
        others = [None if flag else x for x, flag in zip(leaves, flags, strict=True)]
        return tree.unflatten(chosen), tree.unflatten(others)


def join(chosen: PyTree, others: PyTree) -> PyTree:
    """What `Selector.split` took apart."""
    return jax.tree.map(lambda a, b: b if a is None else a, chosen, others, is_leaf=lambda x: x is None)


def select(*patterns: str) -> Selector:
    """Choose the parameters whose paths match: `*` stands for a part of one segment, `**` for any segments.

    The paths are those inside the parameters, `"encoder/0/w"`: without the name of the argument that holds them.

    >>> head = fg.select("head/**")
    >>> fg.grad(loss, wrt=head)(params, x)                  # like params, None at what is not chosen
    >>> state = fg.train.init(params, optimizer, trainable=head)
    """
    return Selector(_checked("select", patterns))


def freeze(*patterns: str) -> Selector:
    """Choose all parameters but those whose paths match; `fg.freeze(...)` is `~fg.select(...)`.

    What is frozen costs no FLOPs in the backward pass, has no state in the optimizer, and is not decayed by it.

    >>> fg.train.init(params, optimizer, trainable=fg.freeze("encoder/**"))
    """
    return Selector(_checked("freeze", patterns), is_inverted=True)


def _checked(name: str, patterns: tuple[str, ...]) -> tuple[str, ...]:
    if not patterns or not all(isinstance(p, str) for p in patterns):
        raise GradientError(f"fg.{name} takes patterns such as 'encoder/**', got {patterns!r}.")
    return patterns


def _paths(params: PyTree) -> list[str]:
    return [_written(path) for path, _ in named_leaves(params)]


def _paths_of_holes(params: PyTree) -> list[str]:
    """Of what was taken out of a pytree: None, or a node without leaves, such as `optax.MaskedNode()`."""
    is_hole = lambda x: not jax.tree.leaves(x)  # noqa: E731
    filled = jax.tree.map(lambda x: _HOLE if is_hole(x) else x, params, is_leaf=is_hole)
    return [_written(path) for path, leaf in named_leaves(filled) if leaf is _HOLE]


def _leads_to(pattern: str, hole: str) -> bool:
    """Whether a pattern may match what stood at a hole, or below it, the pattern's first segments being the hole's."""
    first = "/".join(pattern.split("/")[: hole.count("/") + 1])
    return matches(pattern, hole) or ("**" not in first and matches(first, hole))


def _written(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _hint(pattern: str, paths: Sequence[str]) -> str:
    if any(path.startswith(f"{pattern}/") for path in paths):
        return f"what is below it matches '{pattern}/**'."
    if near := difflib.get_close_matches(pattern, paths, n=2):
        return f"did you mean {' or '.join(map(repr, near))}?"
    return f"the first path is '{paths[0]}'." if paths else "there are no parameters."
