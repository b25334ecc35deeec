"""What a plan's two passes hold in memory, moment by moment, as foreseen; and what another choice would cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

from funcgrad.budget import Asked, Timeline, frontier, simulate
from funcgrad.plans.accounts import Account, account_of, seconds
from funcgrad.view import quantity

if TYPE_CHECKING:
    from funcgrad.plans.plan import Plan


@dataclass(frozen=True)
class Fitted:
    """The budget that a plan was made for."""

    asked: Asked
    size: int
    """It in bytes."""
    aim: int
    """What the plan was made to stay within: less, where a compiled program had taken more than was foreseen."""
    everything: int
    """The peak where everything is kept."""


@dataclass(frozen=True)
class Moment:
    """What is held while one node runs."""

    node: str
    phase: str
    """`forward`, `reverse`, or `again`, where what was not kept is made for the reverse pass."""
    bytes: int


@dataclass(frozen=True)
class Held:
    """One array at the peak."""

    value: str
    bytes: int
    why: str
    """`kept for 'block0/linear'`, `cotangent`, `gradient`, `made again`, `result`, `workspace of 'conv'`."""


@dataclass(frozen=True)
class Choice:
    """One way to keep less: the peak that it has, and what running again costs."""

    peak: int
    overhead: float
    """As a share of what one forward pass costs."""


class Memory:
    """What a plan's passes hold, beside their arguments: `plan.memory`. `print` it for the peak and what makes it.

    Example:
        >>> loss = lambda w, x: fg.ops.mean(fg.ops.tanh(fg.ops.linear(x, w)))
        >>> memory = fg.plan(loss, jnp.ones((64, 64), jnp.float32), jnp.ones((32, 64), jnp.float32)).memory
        >>> memory.peak, memory.overhead
        (24580, 0.0)
    """

    def __init__(self, plan: "Plan"):
        self._plan = plan

    @cached_property
    def account(self) -> Account:
        """The plan as numbers."""
        return account_of(self._plan)

    @cached_property
    def timeline(self) -> Timeline:
        """What is held when, of the plan as it is."""
        rooms = self.account.room_of
        return simulate(self.account.schedule, {rooms[v] for v in self._plan.kept if v in rooms})

    @property
    def peak(self) -> int:
        """Bytes that the passes hold at most, beside their arguments: results, what is kept, cotangents, workspace."""
        return self.timeline.peak

    @cached_property
    def cost_again(self) -> float:
        """What making values again costs, by the roofline of `plans.accounts`."""
        return self.timeline.overhead + sum(map(_inside, self._plan.steps))

    @property
    def overhead(self) -> float:
        """The same as a share of what one forward pass costs."""
        return self.cost_again / self.account.forward_cost if self.account.forward_cost else 0.0

    @cached_property
    def over_time(self) -> tuple[Moment, ...]:
        """What is held at each node, in the order in which they run."""
        nodes = self._plan.structure.nodes
        return tuple(Moment(nodes[e.node].name, e.phase, e.bytes) for e in self.timeline.events)

    @property
    def summit(self) -> Moment:
        """The moment of the peak."""
        return self.over_time[self.timeline.summit]

    @cached_property
    def at_peak(self) -> tuple[Held, ...]:
        """The arrays that are held at the peak, the largest first."""
        ...

    def curve(self) -> tuple[Choice, ...]:
        """What keeping less costs: for each peak that can be had, the least overhead that was found, largest first."""
        cost = self.account.forward_cost or 1.0
        return tuple(Choice(point.peak, point.overhead / cost) for point in frontier(self.account.schedule))
