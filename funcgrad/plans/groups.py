"""A loop whose turns are run again, a group of them at a time, each from the carry that the group begins with."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import prod

from funcgrad.graph import Value
from funcgrad.plans.recomputation import Recomputation


@dataclass(frozen=True, eq=False)
class Groups:
    """What of a loop is run again where only the carry between groups of turns is kept.

    Of n turns in groups of s, the forward loop leaves n / s carries, and the reverse pass stacks what s turns leave. Or
    it runs the s turns for their carries alone, and smaller groups of them once more.
    """

    sizes: tuple[int, ...]
    """How many turns run again at a time: those of a group, those of a group in it, and so on."""
    again: Recomputation
    """Of one turn, from what it reads to what it leaves and to the carry of the next one."""
    carry: tuple[Value, ...]
    """What a group begins with."""
    left: tuple[Value, ...]
    """What a turn leaves, until the smallest group that it is in is pulled back."""

    @cached_property
    def bytes(self) -> int:
        """What is there while a group is pulled back: the carry that it and those in it begin with, the carries between
        these, and what turns leave.
        """
        n_carries = len(self.sizes) + sum(-(-outer // inner) for outer, inner in pairwise(self.sizes))
        return n_carries * self._bytes(self.carry) + self.sizes[-1] * self._bytes(self.left)

    def _bytes(self, values: tuple[Value, ...]) -> int:
        avals = [v.seen_from(self.again.plan.structure.loops) for v in values]
        return sum(prod(aval.shape) * aval.dtype.itemsize for aval in avals)

    def __str__(self) -> str:
        return f"{' and '.join(map(str, self.sizes))} turns at a time"
