"""What a plan's two passes hold in memory, moment by moment, as foreseen; and what another choice would cost."""

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, Literal

from funcgrad.budget import Budget, Timeline, choose, frontier, simulate
from funcgrad.plans.accounts import Account, account_of, seconds
from funcgrad.plans.recomputation import PRODUCTS
from funcgrad.view import draw_curve, draw_levels, quantity

if TYPE_CHECKING:
    from funcgrad.plans.plan import Plan
    from funcgrad.plans.step import Step

MORE = 2**20
"""Of up to how many bytes more it is said what they would save."""

Phase = Literal["forward", "again", "reverse"]
_PHASES: dict[str, Phase] = {"run": "forward", "remake": "again", "pull": "reverse"}


@dataclass(frozen=True)
class Fitted:
    """The budget that a plan was made for."""

    asked: Budget
    size: int
    """It in bytes."""
    aim: int
    """What the plan was made to stay within: less, where a compiled program took more than was foreseen."""
    everything: int
    """The peak where everything is kept."""


@dataclass(frozen=True)
class Moment:
    """What is held while a node runs forward, runs again for the reverse pass, or is pulled back."""

    node: str
    phase: Phase
    bytes: int


@dataclass(frozen=True)
class Held:
    """One array at the peak."""

    value: str
    bytes: int
    why: str
    """`kept for linear`, `made again for linear`, `read by gelu`, `cotangent`, `gradient`, `result`, `workspace`."""

    def __str__(self) -> str:
        return f"{quantity(self.bytes, 'B')} {self.value} ({self.why})"


@dataclass(frozen=True)
class Choice:
    """A peak that can be had, and what running again then costs, as a share of one forward pass."""

    peak: int
    overhead: float


class Curve(tuple[Choice, ...]):
    """Choices, the largest peak first; print it for a table."""

    def __str__(self) -> str:
        most = self[0].peak or 1
        lines = [f"{quantity(c.peak, 'B'):>9}  {c.peak / most:6.1%}  {c.overhead:8.1%}" for c in self]
        return "\n".join(["     peak   share  overhead", *lines])


class Memory:
    """What a plan's passes hold beside their arguments, as foreseen: `plan.memory`. Print it for the peak.

    Example:
        >>> loss = lambda w, x: fg.ops.mean(fg.ops.tanh(fg.ops.linear(x, w)))
        >>> memory = fg.plan(loss, jnp.ones((64, 64), jnp.float32), jnp.ones((32, 64), jnp.float32)).memory
        >>> memory.peak, memory.summit.node, memory.overhead
        (24580, 'linear', 0.0)
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
        """Bytes held at most: results, what is kept, cotangents, gradients, workspace."""
        return self.timeline.peak

    @cached_property
    def forward_peak(self) -> int:
        """Bytes held at most on the way forward."""
        return max((event.bytes for event in self.timeline.events if event.kind == "run"), default=0)

    @cached_property
    def turn_peaks(self) -> tuple[int, int]:
        """Bytes held at most in one turn of a loop, forward and back, beside the stacks of what turns keep.

        What is kept goes to its stack after its last reader forward. On the way back a product takes its slice out of
        a stack as it comes to it; anything else reads the stack.
        """
        account, timeline, nodes = self.account, self.timeline, self._plan.structure.nodes
        runs, pulls = account.schedule.runs, account.schedule.pulls
        stacked = {i: (last, size) for (kind, i), born, last, size in timeline.lives
                   if kind == "value" and born < len(runs) <= last}  # fmt: skip
        done = {i: place for place, run in enumerate(runs) for i in (*run.writes, *run.reads)}
        forward, back = 0, 0
        for time, event in enumerate(timeline.events):
            if event.kind == "run":
                absent = sum(size for i, (_, size) in stacked.items() if done[i] < time)
                forward = max(forward, event.bytes - absent - (account.schedule.resident - account.result_bytes))
            else:
                pull = pulls[event.step] if event.kind == "pull" else None
                reads = set(pull.reads if pull else runs[event.step].reads)
                reads &= stacked.keys() if nodes[event.step].op_name in PRODUCTS else set()
                absent = sum(size for i, (last, size) in stacked.items() if time <= last and i not in reads)
                back = max(back, event.bytes - absent - account.result_bytes)
        return forward, max(back, 0)

    @cached_property
    def cost_again(self) -> float:
        """What running nodes again costs, those inside of loops and checkpoints included; see `plans.accounts`."""
        return self.timeline.overhead + sum(map(_cost_inside, self._plan.steps))

    @property
    def overhead(self) -> float:
        """The same as a share of what one forward pass costs."""
        forward = self.account.schedule.forward_cost
        return self.cost_again / forward if forward else 0.0

    @cached_property
    def over_time(self) -> tuple[Moment, ...]:
        """What is held at each node, in the order in which they run."""
        nodes = self._plan.structure.nodes
        return tuple(Moment(nodes[e.step].name, _PHASES[e.kind], e.bytes) for e in self.timeline.events)

    @property
    def summit(self) -> Moment:
        """The moment of the peak."""
        return self.over_time[self.timeline.summit] if self.over_time else Moment("", "forward", 0)

    @cached_property
    def at_peak(self) -> tuple[Held, ...]:
        """The arrays that are held at the peak, the largest first."""
        held = [h for h in self._at_peak() if h.bytes > 0]
        return tuple(sorted(held, key=lambda h: -h.bytes))

    def _at_peak(self) -> Iterator[Held]:
        timeline, account = self.timeline, self.account
        if not timeline.events:
            return
        event = timeline.events[timeline.summit]
        for kind, i in timeline.alive_at(timeline.summit):
            size, value = account.schedule.sizes[i], account.rooms[i][0]
            if kind == "value":
                yield Held(value.name, size, self._why(i))
            elif value in self._plan.wanted:
                yield Held(value.name, size, "gradient")
            else:
                yield Held(value.name, size, "cotangent")
        pull = account.schedule.pulls[event.step]
        workspace = pull.workspace if event.kind == "pull" and pull else account.schedule.runs[event.step].workspace
        step = self._plan.step_of.get(self._plan.structure.nodes[event.step])
        if event.kind == "pull" and step and step.groups:
            yield Held(self.summit.node, step.groups.bytes, f"run again, {step.groups}")
            workspace -= step.groups.bytes
        yield Held(self.summit.node, workspace, "workspace")

    def _why(self, room: int) -> str:
        """For whom a value is held at the peak: the first step of the reverse pass that reads it."""
        account, timeline = self.account, self.timeline
        if room in account.schedule.outputs:
            return "result"
        pulls = account.schedule.pulls
        reader = next((i for i in reversed(range(len(pulls))) if (p := pulls[i]) and room in p.reads), None)
        if reader is None:
            return "read on the way"
        name = self._plan.structure.nodes[reader].name
        return f"kept for {name}" if room in timeline.kept else f"made again for {name}"

    @cached_property
    def curve(self) -> Curve:
        """Each peak that can be had, with the least overhead that was found for it, the largest peak first.

        Of the plan's own graph; what turns of loops inside of it leave is as it is.
        """
        return Curve(self._choice(found.peak, float(found.overhead)) for found in frontier(self.account.schedule))

    def within(self, size: int | float | str) -> Choice | None:
        """The least overhead within a size, as bytes, `"2 MiB"` or a share; None where nothing stays within it.

        Raises:
            BudgetError: it is no size.
        """
        asked = Budget.of(size)
        found = choose(self.account.schedule, asked.bytes(self.curve[0].peak, lambda: 0))
        return None if found is None else self._choice(found.peak, float(found.overhead))

    def _choice(self, peak: int, overhead: float) -> Choice:
        return Choice(peak, overhead / (self.account.schedule.forward_cost or 1.0))

    def draw(self, ax: Any = None) -> Any:
        """Draw what is held over the pass, with the largest arrays at the peak named; needs matplotlib.

        Args:
            ax: the axes of matplotlib to draw in; a new figure's by default.

        Returns:
            The figure.

        Raises:
            MissingError: matplotlib is not installed.
        """
        return draw_levels([astuple(m) for m in self.over_time], [str(held) for held in self.at_peak[:6]], ax)

    def draw_curve(self, ax: Any = None) -> Any:
        """Draw `curve`, with the plan as it is marked; needs matplotlib.

        Args:
            ax: the axes of matplotlib to draw in; a new figure's by default.

        Returns:
            The figure.

        Raises:
            MissingError: matplotlib is not installed.
        """
        return draw_curve([astuple(choice) for choice in self.curve], (self.peak, self.overhead), ax)

    @property
    def budget(self) -> str:
        """What was asked, what is foreseen and what it costs, in a line; nothing where no budget was asked for."""
        fitted = self._plan.fitted
        if fitted is None:
            return ""
        asked = f"{quantity(fitted.size, 'B')} asked, " if fitted.size else "the least asked, "
        return (
            f"{asked}a peak of {quantity(self.peak, 'B')} foreseen, at {self.summit.node}, of "
            f"{quantity(fitted.everything, 'B')} with everything kept; making again costs {self.overhead:.1%} of the "
            f"forward pass"
        )

    def __str__(self) -> str:
        summit = self.summit
        lines = [
            f"peak     {quantity(self.peak, 'B')} in the {summit.phase} pass, at {summit.node}",
            f"again    {self.overhead:.1%} of the forward pass",
        ]
        if (fitted := self._plan.fitted) is not None:
            lines.append(
                f"asked    {fitted.asked.said}: {quantity(fitted.size, 'B')}, "
                f"of {quantity(fitted.everything, 'B')} with everything kept"
            )
        if (more := self.within(self.peak + MORE)) is not None and more.overhead < self.overhead:
            lines.append(f"more     {quantity(more.peak - self.peak, 'B')} would bring it to {more.overhead:.1%}")
        held = [f"  {h}" for h in self.at_peak[:12]]
        rest = sum(h.bytes for h in self.at_peak[12:])
        more = [f"  {quantity(rest, 'B')} in {len(self.at_peak) - 12} more"] if rest else []
        return "\n".join([*lines, "held then", *held, *more])


def _cost_inside(step: "Step") -> float:
    """What a step runs again inside of its node."""
    own = sum(map(seconds, step.remade.nodes), 0.0) if step.remade else 0.0
    turns = prod(step.node.holder.lengths) if step.node.holder else 1
    groups = step.groups
    in_groups = len(groups.sizes) * sum(map(seconds, groups.again.nodes), 0.0) if groups else 0.0
    return own + turns * (in_groups + sum(body.memory.cost_again for body in step.bodies))
