"""Functions that change their arguments while they run, as functions that return what they changed."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from funcgrad.adapters import hand_over
from funcgrad.aliases import PyTreeDef
from funcgrad.errors import GradientError
from funcgrad.registry import name_of


class Changing:
    """A function of copies of its arguments, which returns beside its result those leaves that it changed.

    Modules of Flax NNX count batches and draw random numbers while they run. A transformation of JAX's hands the
    function copies; `hand_over` lets the modules that were given have what changed in these.
    """

    def __init__(self, where: str, fun: Callable[..., Any], tree: PyTreeDef):
        """`where` is what errors call the caller; `tree` is the structure of the tuple of arguments."""
        self.where, self.fun, self.tree = where, fun, tree
        self._changed: list[int] = []

    def __call__(self, *copies: Any) -> tuple[Any, list[Any]]:
        """Run it: the result, and the leaves that it changed.

        Raises:
            GradientError: it changed what its arguments consist of.
        """
        before = jax.tree.leaves(copies)
        out = self.fun(*copies)
        after, found = jax.tree.flatten(copies)
        if found != self.tree:
            raise GradientError(
                f"{self.where}: {name_of(self.fun)} adds to its arguments or takes from them while it runs, which "
                f"would be lost; use fg.grad."
            )
        self._changed[:] = [i for i, (old, new) in enumerate(zip(before, after, strict=True)) if new is not old]
        return out, [after[i] for i in self._changed]

    def hand_over(self, given: Sequence[Any], new: Sequence[Any]) -> None:
        """Let arguments have what changed in the copies of them, as it came out."""
        if self._changed:
            news = dict(zip(self._changed, new, strict=True))
            hand_over(given, jax.tree.unflatten(self.tree, [news.get(i) for i in range(self.tree.num_leaves)]))


def put(leaves: Sequence[Any], places: Sequence[int], moved: Sequence[Any]) -> list[Any]:
    """The leaves, with others at some places."""
    found = dict(zip(places, moved, strict=True))
    return [found.get(i, x) for i, x in enumerate(leaves)]
