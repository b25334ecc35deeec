"""Which parameters: one value that the gradient, the training step and the optimizer share."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax

from funcgrad.adapters import named_leaves
from funcgrad.aliases import PyTree
from funcgrad.errors import GradientError
from funcgrad.registry import matches


@dataclass(frozen=True)
class Selector:
    """A choice among the leaves of any pytree of parameters, by their paths; `~` chooses the others.

    Made by `fg.select` and `fg.freeze`. Give it to `fg.grad(wrt=...)` and to `fg.train.init(trainable=...)`.
    """

    patterns: tuple[str, ...]
    is_inverted: bool = False

    def __invert__(self) -> "Selector":
        return replace(self, is_inverted=not self.is_inverted)

    def __str__(self) -> str:
        return f"fg.{'freeze' if self.is_inverted else 'select'}({', '.join(map(repr, self.patterns))})"

    def flags(self, params: PyTree) -> list[bool]:
        """Whether each leaf of `params` is chosen.

        Raises:
            GradientError: a pattern matches no leaf, or no leaf is left to choose.
        """
        paths = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in named_leaves(params)]
        for pattern in self.patterns:
            if not any(matches(pattern, path) for path in paths):
                raise GradientError(f"{self}: no parameter's path matches '{pattern}'; {_hint(pattern, paths)}")
        flags = [any(matches(p, path) for p in self.patterns) != self.is_inverted for path in paths]
        if not any(flags):
            raise GradientError(f"{self} chooses none of the {len(paths)} parameters; narrow its patterns.")
        return flags

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


def _hint(pattern: str, paths: Sequence[str]) -> str:
    if any(path.startswith(f"{pattern}/") for path in paths):
        return f"what is below it matches '{pattern}/**'."
    if near := difflib.get_close_matches(pattern, paths, n=2):
        return f"did you mean {' or '.join(map(repr, near))}?"
    return f"the first path is '{paths[0]}'." if paths else "there are no parameters."
