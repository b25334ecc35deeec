"""How an op's results are cut on a mesh with explicit axes, told by what the op says of its batch axes.

`elementwise=`, `core_axes=` and `leading=` say which axes of the arguments the results have in front. Where nothing
but those is cut, the results are cut as they are. Anything else (a parameter cut, an op that declares nothing) is left
to the types that JAX gives the plain function.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jax.sharding import PartitionSpec

from funcgrad.aliases import Array, Aval
from funcgrad.errors import describe
from funcgrad.primitive import cut, labelled_cut

if TYPE_CHECKING:
    from funcgrad.registry.call import Call


@dataclass(frozen=True)
class BatchCut:
    """How the batch axes, which the results have in front, are cut."""

    spec: PartitionSpec
    shape: tuple[int, ...]

    def __call__(self, result: Array) -> PartitionSpec:
        """How a result is cut; a saved value may be of a parameter alone, which has no batch."""
        return self.spec if result.shape[: len(self.shape)] == self.shape else PartitionSpec()


def batch_cut(call: "Call", avals: Sequence[Aval]) -> BatchCut | None:
    """How the first axes of all results are cut; None where nothing is, or where the declaration does not tell."""
    cuts = [cut(aval) for aval in avals]
    if not any(name is not None for axes in cuts for name in axes):
        return None
    terms, sizes = [], dict.fromkeys(range(len(call.levels)), 1)
    for position, (aval, axes) in enumerate(zip(avals, cuts, strict=True)):
        # Axes of `vmap`s are labelled from 0 on, batch axes from the last one down to it: -1, -2, ...
        levels = [k for k, level in enumerate(call.levels) if level.batched[position]]
        labels = [*levels, *range(-_batch_axes(call, position, len(axes) - len(levels)), 0)]
        if any(name is not None for name in axes[len(labels) :]):
            return None
        terms.append((labels, axes))
        for label, size in zip(labels, aval.shape, strict=False):
            sizes[label] = size if sizes.get(label, 1) == 1 else sizes[label]
    levels, batch = (sorted(label for label in sizes if (label < 0) == is_batch) for is_batch in (False, True))
    output = [*levels, *batch]
    return BatchCut(labelled_cut(terms, output), tuple(sizes[label] for label in output))


def describe_cut(aval: Aval) -> str:
    """An aval as `f32[8,64]`, or as `f32[8,64] cut P('data', None)`."""
    axes = cut(aval)
    return describe(aval) if set(axes) <= {None} else f"{describe(aval)} cut P({', '.join(map(repr, axes))})"


def _batch_axes(call: "Call", position: int, rank: int) -> int:
    """How many of a leaf's first axes the results have in front, as far as the op says."""
    op, argument = call.op, call.argument_of(position)
    if op.core_axes is not None:
        return max(rank - op.core_axes, 0)
    axes = op.shapes.axes.get(argument, ())
    return rank - len(axes) + 1 if argument in op.leading and axes[:1] == ("...",) else 0
