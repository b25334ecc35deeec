"""A loop whose turns are run again, a group of them at a time, each from the carry that the group begins with."""

from dataclasses import dataclass
from functools import cached_property
from math import prod

from funcgrad.graph import Value
from funcgrad.plans.recomputation import Recomputation


@dataclass(frozen=True, eq=False)
class Groups:
    """What of a loop is run again where only the carry between groups of turns is kept.

    Of n turns in groups of s, the forward loop leaves n / s carries, and the reverse pass stacks what s turns leave.
    """

    turns: int
    """In a group; the last one to run may have fewer."""
    again: Recomputation
    """Of one turn, from what it reads to what it leaves and to the carry of the next one."""
    left: tuple[Value, ...]
    """What a turn leaves then, until its group is pulled back."""

    @cached_property
    def bytes(self) -> int:
        """Of what the turns of one group leave."""
        avals = [v.seen_from(self.again.plan.structure.loops) for v in self.left]
        return self.turns * sum(prod(aval.shape) * aval.dtype.itemsize for aval in avals)
