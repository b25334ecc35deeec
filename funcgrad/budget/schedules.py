"""A forward and a reverse pass as numbers, and what is alive at each of their events where some values are kept.

A *run* is a step forward, a *pull* the same step backward. What a pull reads and is no longer alive is made again right
before it: the runs that lead there from what is alive. What was made again stays until the last pull, or run, that
reads it. So every value is made again at most once; where every tenth value of a chain is kept, its pieces of ten are
made one after the other, as in Chen et al., "Training deep nets with sublinear memory cost" (2016).
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["run", "remake", "pull"]
Name: TypeAlias = tuple[Literal["value", "cotangent", "stays"], int]
Life: TypeAlias = tuple[Name, int, int, int]
"""An array: its name, the first and the last event at which it is alive, its bytes."""


@dataclass(frozen=True)
class Run:
    """A step of the forward pass.

    Args:
        reads: the values that it reads. One that no run writes is an input; its bytes belong to `Schedule.resident`.
        writes: the values that it makes.
        cost: what running it once takes, in any unit.
        workspace: bytes that are taken only while it runs.
        remakable: whether it may run twice. What another one makes is kept where it is read late.
    """

    reads: tuple[int, ...]
    writes: tuple[int, ...]
    cost: float
    workspace: int = 0
    remakable: bool = True


@dataclass(frozen=True)
class Pull:
    """The reverse step of a run. Each value has a slot for its cotangent, of as many bytes.

    Args:
        reads: the values that it needs from the forward pass.
        takes: slots that it consumes. One that no pull gives to is there from the beginning of the reverse pass.
        gives: slots that it adds to, or makes where they are not there yet. One that none takes stays to the end.
        stays: bytes that come out and stay to the end: gradients of parameters.
        cost: what it takes; nothing is decided by it.
        workspace: bytes that are taken only while it runs.
    """

    reads: tuple[int, ...]
    takes: tuple[int, ...]
    gives: tuple[int, ...]
    stays: int = 0
    cost: float = 0.0
    workspace: int = 0


@dataclass(frozen=True)
class Schedule:
    """A forward pass and its reverse.

    Args:
        sizes: bytes of each value.
        runs: the steps, each after those that write what it reads.
        pulls: the reverse of each run; None where nothing is to be differentiated.
        resident: bytes that are alive throughout: parameters, inputs.
        outputs: values that are alive to the end of the call.
    """

    sizes: tuple[int, ...]
    runs: tuple[Run, ...]
    pulls: tuple[Pull | None, ...]
    resident: int = 0
    outputs: tuple[int, ...] = ()

    @cached_property
    def writer(self) -> dict[int, int]:
        """Which run writes a value."""
        return {v: i for i, run in enumerate(self.runs) for v in run.writes}

    @cached_property
    def fixed(self) -> frozenset[int]:
        """Values that are there in the reverse pass whatever is kept: inputs, outputs, and what cannot be remade."""
        inputs = (v for v in range(len(self.sizes)) if v not in self.writer)
        unique = (v for run in self.runs if not run.remakable for v in run.writes)
        return frozenset([*inputs, *self.outputs, *unique])

    @cached_property
    def forward_cost(self) -> float:
        """What one forward pass takes."""
        return sum(run.cost for run in self.runs)


@dataclass(frozen=True)
class Event:
    """A step as it is executed: a run, a run again (`remake`), or a pull; and the bytes alive while it is."""

    kind: Kind
    step: int
    bytes: int


@dataclass(frozen=True)
class Timeline:
    """What happens, and what is alive, where some values are kept.

    Args:
        kept: the values, among those asked for, that are handed from the forward to the reverse pass.
        events: forward runs, then each pull behind the remaking that it needs.
        remade: run and the pull before which it is run again, in the order of execution.
        overhead: the cost of all that is run again.
        peak: the most bytes alive at an event.
        summit: which event that is; the first of several.
        lives: the arrays: ("value", v), once for each time that it is made; ("cotangent", v); ("stays", i).
    """

    kept: frozenset[int]
    events: tuple[Event, ...]
    remade: tuple[tuple[int, int], ...]
    overhead: float
    peak: int
    summit: int
    lives: tuple[Life, ...]

    def alive_at(self, event: int) -> tuple[Name, ...]:
        """The arrays that are alive at an event; what is resident is not among them."""
        return tuple(name for name, born, last, _ in self.lives if born <= event <= last)


def simulate(schedule: Schedule, keep: Collection[int]) -> Timeline:
    """Both passes, step by step, where `keep` is kept for the reverse pass and the rest is made again.

    Args:
        schedule: the passes.
        keep: values that the forward pass leaves behind. What no pull needs, directly or for remaking, is dropped
            after its last reader all the same; what cannot be made again is kept without being named.
    """
    there = schedule.fixed.union(keep)
    again, needed = _remaking(schedule, there)
    steps = order(schedule, again)
    lives = [*_values(schedule, steps, there), *cotangents(schedule, steps)]
    taken = _bytes(schedule, steps, lives)
    peak = max(taken, default=schedule.resident)
    return Timeline(
        kept=frozenset(v for v in there & needed if v in schedule.writer),
        events=tuple(Event(kind, i, b) for (kind, i), b in zip(steps, taken, strict=True)),
        remade=tuple(sorted(again.items(), key=lambda pair: (-pair[1], pair[0]))),
        overhead=sum(schedule.runs[i].cost for i in again),
        peak=peak,
        summit=taken.index(peak) if taken else 0,
        lives=tuple(lives),
    )


def _remaking(schedule: Schedule, there: Collection[int]) -> tuple[dict[int, int], set[int]]:
    """Which runs are run again, and before which pull; and all values that the reverse pass needs.

    Pulls go backward, so a value is first asked for by the last pull that reads it, or by the first remaking that does.
    All remaking readers of a value run after its writer: in one sweep from the last run to the first they are known.
    """
    asked: dict[int, int] = {}

    def ask(values: Iterable[int], pull: int) -> None:
        for v in values:
            asked[v] = max(asked.get(v, pull), pull)

    for i, pull in enumerate(schedule.pulls):
        ask(pull.reads if pull else (), i)
    again = {}
    for i in reversed(range(len(schedule.runs))):
        run = schedule.runs[i]
        if missing := [asked[v] for v in run.writes if v in asked and v not in there]:
            again[i] = max(missing)
            ask(run.reads, again[i])
    return again, set(asked)


def order(schedule: Schedule, again: dict[int, int]) -> list[tuple[Kind, int]]:
    """The events: all runs, then from the last pull to the first what is made again for it, and the pull."""
    due: dict[int, list[int]] = {}
    for run in sorted(again):
        due.setdefault(again[run], []).append(run)
    steps: list[tuple[Kind, int]] = [("run", i) for i in range(len(schedule.runs))]
    for i in reversed(range(len(schedule.pulls))):
        if schedule.pulls[i] is not None:
            steps.extend(("remake", run) for run in due.get(i, ()))
            steps.append(("pull", i))
    return steps


def _values(schedule: Schedule, steps: Sequence[tuple[Kind, int]], there: Collection[int]) -> Iterator[Life]:
    """The lives of forward values.

    A value that is kept has one, from its run to its last reader in either pass. Any other has one that ends with its
    last reader forward, and, made again, a second. What a run makes again beside what is asked for lives while it runs.
    """
    lives: dict[int, tuple[int, int]] = {}
    for event, (kind, i) in enumerate(steps):
        run, pull = schedule.runs[i], schedule.pulls[i]
        for v in pull.reads if kind == "pull" and pull else run.reads:
            if v in lives:
                lives[v] = lives[v][0], event
        for v in run.writes if kind != "pull" else ():
            if v in lives and v in there:
                yield ("value", v), event, event, schedule.sizes[v]
                continue
            if v in lives:
                yield ("value", v), *lives[v], schedule.sizes[v]
            lives[v] = event, event
    for v, (born, last) in lives.items():
        yield ("value", v), born, len(steps) - 1 if v in schedule.outputs else last, schedule.sizes[v]


def cotangents(schedule: Schedule, steps: Sequence[tuple[Kind, int]]) -> Iterator[Life]:
    """The lives of cotangents' slots, from the first pull that gives to the last that takes, and of what stays."""
    lives: dict[int, tuple[int, int]] = {}
    begin, end = len(schedule.runs), len(steps) - 1
    for event, (kind, i) in enumerate(steps):
        pull = schedule.pulls[i]
        if kind != "pull" or pull is None:
            continue
        for v in pull.takes:
            lives[v] = lives.get(v, (begin, end))[0], event
        for v in pull.gives:
            lives[v] = lives.get(v, (event, end))[0], end
        if pull.stays:
            yield ("stays", i), event, end, pull.stays
    for v, (born, last) in lives.items():
        yield ("cotangent", v), born, last, schedule.sizes[v]


def _bytes(schedule: Schedule, steps: Sequence[tuple[Kind, int]], lives: Sequence[Life]) -> list[int]:
    """The bytes alive at each event."""
    change = [0] * (len(steps) + 1)
    for _, born, last, size in lives:
        change[born] += size
        change[last + 1] -= size
    taken = list(accumulate(change[:-1], initial=schedule.resident))[1:]
    for event, (kind, i) in enumerate(steps):
        pull = schedule.pulls[i]
        taken[event] += pull.workspace if kind == "pull" and pull else schedule.runs[i].workspace
    return taken
