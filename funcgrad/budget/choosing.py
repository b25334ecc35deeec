"""The cheapest choices of what to keep, for all budgets at once."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from funcgrad.budget.archive import Archive
from funcgrad.budget.cutting import cut, pieces_of
from funcgrad.budget.schedules import Schedule, Timeline, simulate
from funcgrad.budget.scoring import Scorer
from funcgrad.budget.searching import breed, climb

LIMITS = 32
"""At so many budgets, between all that is kept and what no choice can go below, pieces are looked for."""
WORK = 1_500_000
"""How many runs, over all choices that are scored, the search may take: a second or two."""


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


@lru_cache(maxsize=32)
def frontier(schedule: Schedule) -> tuple[Choice, ...]:
    """Choices for all budgets, none of which beats another: from all that is kept to the smallest peak.

    They are found once for a schedule, and the same each time. Every budget is served from them, so that one with
    fewer bytes never gets the larger peak, nor the smaller overhead.
    """
    small, names = compact(schedule)
    archive = Archive(Scorer(small))
    candidates = np.array([v for v in range(len(names)) if v not in small.fixed], int)
    search(archive, candidates)
    front = archive.front
    keeps = (frozenset(names[v] for v in np.flatnonzero(row)) for row in front.keeps.T)
    return tuple(
        Choice(int(peak), float(cost), kept)
        for peak, cost, kept in zip(front.peaks, front.overheads, keeps, strict=True)
    )


def choose(schedule: Schedule, budget: int | None) -> Timeline | None:
    """The cheapest choice within a budget; None where none is known to be.

    Args:
        schedule: the passes.
        budget: bytes that no event may exceed; None for as many as it takes.
    """
    for choice in frontier(schedule):
        if budget is None or choice.peak <= budget:
            return simulate(schedule, choice.kept)
    return None


def smallest(schedule: Schedule) -> Timeline:
    """The choice with the smallest peak."""
    return simulate(schedule, frontier(schedule)[-1].kept)


def search(archive: Archive, candidates: np.ndarray) -> None:
    """Look for choices: pieces, then a walk down for what has no pieces, then breeding with what effort is left."""
    scorer = archive.scorer
    ends = np.zeros((len(scorer.sizes), 2), bool)
    ends[candidates, 0] = True
    first = archive.score(ends)
    if not candidates.size or archive.front.peaks[-1] <= archive.floor:
        return
    least = max(archive.floor, first.peaks[0] / 64)
    limits = np.geomspace(first.peaks[0], least, LIMITS + 1)[1:]
    pieces = pieces_of(scorer, candidates)
    if cuts := [keep for limit in limits if (keep := cut(pieces, limit)) is not None]:
        archive.score(np.array(cuts).T)
    work = WORK // len(scorer.schedule.runs)
    climb(archive, candidates, work // 4)
    breed(archive, candidates, work)


def compact(schedule: Schedule) -> tuple[Schedule, list[int]]:
    """The schedule with values numbered in the order in which they are written, and inputs left out.

    Cotangents of inputs, which nothing takes, become bytes that stay.

    Returns:
        it, and what each of its values was called before.
    """
    names = [v for run in schedule.runs for v in run.writes]
    number = {v: k for k, v in enumerate(names)}

    def renamed(values: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(number[v] for v in values if v in number)

    pulls, given = [], set[int]()
    for pull in reversed(schedule.pulls):
        if pull is not None:
            new = {v for v in pull.gives if v not in number and v not in given}
            given |= new
            stays = pull.stays + sum(schedule.sizes[v] for v in new)
            reads, takes, gives = renamed(pull.reads), renamed(pull.takes), renamed(pull.gives)
            pull = replace(pull, reads=reads, takes=takes, gives=gives, stays=stays)
        pulls.append(pull)
    runs = tuple(replace(run, reads=renamed(run.reads), writes=renamed(run.writes)) for run in schedule.runs)
    sizes = tuple(schedule.sizes[v] for v in names)
    return Schedule(sizes, runs, tuple(pulls[::-1]), schedule.resident, renamed(schedule.outputs)), names
