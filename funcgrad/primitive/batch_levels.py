"""Batch levels: the `vmap`s a call has been through.

A call that cannot absorb a batch axis into its own shapes carries it as a level: which of its operands have the
axis (always in front, the newest level outermost), and how long it is. `vectorize` turns the levels back into
`jax.vmap`s around the per-example function.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from funcgrad.aliases import Array, Aval


class Level(NamedTuple):
    """One `vmap`: which operands carry its axis in front, the axis's length, and the mesh axis it is spread over."""

    batched: tuple[bool, ...]
    size: int
    spmd_axis_name: Any = None
    axis_name: Any = None
    """The axis's name, where the function asks for it."""

    def vmap(self, function: Callable[..., Any], batched: tuple[bool, ...]) -> Callable[..., Any]:
        """`function` over this level's axis, in the operands where `batched`."""
        names = {} if self.axis_name is None else {"axis_name": self.axis_name}
        options = {"axis_size": self.size, "spmd_axis_name": self.spmd_axis_name, **names}
        if not any(batched):  # the function varies along the axis by itself
            alone = jax.vmap(lambda _, operands: function(*operands), in_axes=(0, None), **options)
            return lambda *operands: alone(np.zeros(self.size, bool), operands)
        return jax.vmap(function, in_axes=tuple(0 if flag else None for flag in batched), **options)


Levels = tuple[Level, ...]


def example_of(aval: Aval, depth: int) -> Aval:
    """The aval of one example, of a value that carries `depth` levels: without its first axes."""
    if depth == 0:
        return aval
    return aval.update(shape=aval.shape[depth:], sharding=aval.sharding.update(spec=aval.sharding.spec[depth:]))


def vectorize(function: Callable[..., list[Array]], levels: Levels) -> Callable[..., list[Array]]:
    """The per-example `function` over all levels."""
    for level in reversed(levels):
        function = level.vmap(function, level.batched)
    return function


class Linear(NamedTuple):
    """What a tangent (or its transpose) is linear in, beside the call it belongs to.

    Its operands are the call's primals, its outputs, its saved values and one tangent per entry of `active`;
    `levels` flags all of them.
    """

    n_primals: int
    n_outputs: int
    n_saved: int
    active: tuple[int, ...]
    levels: Levels = ()

    def __repr__(self) -> str:
        return f"wrt{self.active}"

    @property
    def n_values(self) -> int:
        """Number of operands that are not tangents."""
        return self.n_primals + self.n_outputs + self.n_saved

    def split(self, operands: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Operands of the tangent as (values, tangents)."""
        return list(operands[: self.n_values]), list(operands[self.n_values :])

    def transpose(
        self, pull: Callable[..., Sequence[Array]], values: Sequence[int], targets: Sequence[int], n_whole: int = 0
    ) -> Callable[..., Sequence[Array]]:
        """A per-example pullback over all levels.

        `pull` takes the operands at positions `values`, then cotangents, and returns a cotangent for each primal
        in `targets`. Where a primal does not carry a level's axis, it was broadcast along it, so its cotangents
        are summed along it. The last `n_whole` operands are the same for all examples. Positions after those of all
        values are of what was made of these in each example, with all levels.
        """
        for level in reversed(self.levels):
            pull = _pull_level(pull, level, self, values, targets, n_whole)
        return pull


def _pull_level(
    pull: Callable[..., Sequence[Array]],
    level: Level,
    linear: Linear,
    values: Sequence[int],
    targets: Sequence[int],
    n_whole: int,
) -> Callable[..., list[Array]]:
    operand_flags = tuple(v >= linear.n_values or level.batched[v] for v in values)
    target_flags = [level.batched[linear.n_values + linear.active.index(t)] for t in targets]

    def over_level(*operands: Array) -> list[Array]:
        n_cotangents = len(operands) - len(operand_flags) - n_whole
        mapped = level.vmap(pull, operand_flags + (True,) * n_cotangents + (False,) * n_whole)
        return [x if flag else x.sum(0) for x, flag in zip(mapped(*operands), target_flags, strict=True)]

    return over_level
