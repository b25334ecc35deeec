"""A schedule, made ready to be searched."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from funcgrad.budget.archive import Front
from funcgrad.budget.cutting import Pieces, pieces_of
from funcgrad.budget.schedules import Schedule
from funcgrad.budget.scoring import Scorer


@dataclass(frozen=True)
class Choice:
    """What to keep, and what that comes to.

    Args:
        peak: the most bytes alive at an event.
        overhead: the cost of all that is run again.
        kept: the values that are handed from the forward to the reverse pass.
    """

    peak: int
    overhead: float
    kept: frozenset[int]


@dataclass(frozen=True, eq=False)
class Problem:
    """A schedule with its values numbered as they are written.

    Args:
        scorer: of the schedule.
        names: what each value was called before.
        candidates: those that can be dropped.
    """

    scorer: Scorer
    names: tuple[int, ...]
    candidates: np.ndarray

    @classmethod
    def of(cls, schedule: Schedule) -> "Problem":
        """Pose it."""
        small, names = compact(schedule)
        scorer = Scorer(small)
        candidates = np.array([v for v in range(len(names)) if v not in small.fixed], int)
        return cls(scorer, tuple(names), candidates)

    @cached_property
    def pieces(self) -> Pieces:
        """To cut it into."""
        return pieces_of(self.scorer, self.candidates)

    def choice(self, front: Front, k: int) -> Choice:
        """The k-th of a front, under the names of before."""
        kept = frozenset(self.names[v] for v in np.flatnonzero(front.keeps[:, k]))
        return Choice(int(front.peaks[k]), float(front.overheads[k]), kept)


def compact(schedule: Schedule) -> tuple[Schedule, list[int]]:
    """The schedule with values numbered in the order in which they are written, and inputs left out.

    Behind them come what is no value of a run, but a slot that some pull takes. Other cotangents of inputs become bytes
    that stay.

    Returns:
        it, and what each of its values was called before.
    """
    written = {v: k for k, v in enumerate(v for run in schedule.runs for v in run.writes)}
    taken = (v for pull in schedule.pulls if pull for v in pull.takes if v not in written)
    slots = written | {v: k for k, v in enumerate(dict.fromkeys(taken), start=len(written))}

    def renamed(values: tuple[int, ...], number: dict[int, int] = written) -> tuple[int, ...]:
        return tuple(number[v] for v in values if v in number)

    pulls, given = [], set[int]()
    for pull in reversed(schedule.pulls):
        if pull is not None:
            new = {v for v in pull.gives if v not in slots and v not in given}
            given |= new
            stays = pull.stays + sum(schedule.sizes[v] for v in new)
            reads, takes, gives = renamed(pull.reads), renamed(pull.takes, slots), renamed(pull.gives, slots)
            pull = replace(pull, reads=reads, takes=takes, gives=gives, stays=stays)
        pulls.append(pull)
    runs = tuple(replace(run, reads=renamed(run.reads), writes=renamed(run.writes)) for run in schedule.runs)
    sizes = tuple(schedule.sizes[v] for v in slots)
    return Schedule(sizes, runs, tuple(pulls[::-1]), schedule.resident, renamed(schedule.outputs)), list(slots)
