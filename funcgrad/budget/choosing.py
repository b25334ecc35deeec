"""The cheapest choice of what to keep within a budget."""

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from funcgrad.budget.archive import Archive, Front
from funcgrad.budget.cutting import Pieces, cut, pieces_of
from funcgrad.budget.schedules import Schedule, Timeline, simulate
from funcgrad.budget.scoring import Scorer
from funcgrad.budget.searching import WIDTH, breed, crowd_of, evolve

WORK = 150_000
"""How many runs, over all choices that are scored, each narrowing of a span may take."""
DEPTH = 5
"""How often a span is split."""
CUTS=3
GENERATIONS=40
CROWDED=128
PRICE=6.0
CLOSE = 5e-4
"""A span ends where another choice in it could save no more of the forward pass's cost, or of the bytes."""


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


@dataclass(frozen=True)
class Problem:
    """A schedule with its values numbered as they are written, ready to be searched.

    Args:
        scorer: of the schedule.
        names: what each value was called before.
        candidates: those that can be dropped.
        pieces: to cut it into.
    """

    scorer: Scorer
    names: tuple[int, ...]
    candidates: np.ndarray
    pieces: Pieces

    @classmethod
    def of(cls, schedule: Schedule) -> "Problem":
        """Pose it."""
        small, names = compact(schedule)
        scorer = Scorer(small)
        candidates = np.array([v for v in range(len(names)) if v not in small.fixed], int)
        return cls(scorer, tuple(names), candidates, pieces_of(scorer, candidates))

    def choice(self, front: Front, k: int) -> Choice:
        """The k-th of some choices, under the names of before."""
        kept = frozenset(self.names[v] for v in np.flatnonzero(front.keeps[:, k]))
        return Choice(int(front.peaks[k]), float(front.overheads[k]), kept)


@dataclass(frozen=True, eq=False)
class Span:
    """Choices between two, and what was learnt on the way to them.

    A budget between the peaks of the two is served from a half of the span, split at what is found for its middle.
    What is found depends on the span alone, so the choices for two budgets are in the order of the budgets.

    Args:
        problem: whose choices they are.
        above: one that takes more than any budget that the span is for; not among those to choose from.
        below: the one to choose where nothing better is found in the span; None where none is known.
        low: bytes up to which there is nothing better than `below`.
        front: all choices that were found, also outside.
        depth: how often it was split.
    """

    problem: Problem
    above: Choice
    below: Choice | None
    low: float
    front: Front
    crowd: np.ndarray
    depth: int = 0

    @classmethod
    def of(cls, schedule: Schedule) -> "Span":
        """From all that is kept down to where nothing can be."""
        problem = Problem.of(schedule)
        archive = Archive(problem.scorer)
        ends = np.zeros((len(problem.names), 2), bool)
        ends[problem.candidates, 0] = True
        archive.score(ends)
        return cls(problem, problem.choice(archive.front, 0), None, archive.floor, archive.front, crowd_of(problem.candidates, len(problem.names)))

    @property
    def closed(self) -> bool:
        """Whether it is not worth to be split."""
        cost = self.problem.scorer.schedule.forward_cost
        gain = np.inf if self.below is None else self.below.overhead - self.above.overhead
        return self.depth == DEPTH or gain <= CLOSE * cost or self.low >= self.above.peak * (1 - CLOSE)

    @cached_property
    def middle(self) -> float:
        """The bytes to look for a choice with."""
        return math.sqrt(max(self.low, 1.0) * self.above.peak)

    def best(self, budget: float) -> Choice | None:
        """The best choice that is known in it for a budget; None where none is."""
        front = self.front
        known = (front.peaks > self.low) & (front.peaks < self.above.peak) & (front.peaks <= budget)
        if self.below is not None:
            known &= front.overheads < self.below.overhead
        found = np.flatnonzero(known)
        return self.problem.choice(front, found[0]) if found.size else self.below

    @cached_property
    def parts(self) -> "tuple[Span, Span]":
        """Its halves, the one with more bytes first."""
        archive = Archive(self.problem.scorer, self.front)
        crowd = self._search(archive)
        known = replace(self, front=archive.front, crowd=crowd, depth=self.depth + 1)
        split = known.best(self.middle)
        if split is None or split is self.below:
            return replace(known, low=self.middle), replace(known, above=split or self.above, depth=DEPTH)
        return replace(known, below=split, low=split.peak), replace(known, above=split)


    def _search(self, archive: Archive) -> np.ndarray:
        """Look for choices with about so many bytes."""
        problem, limit = self.problem, self.middle
        cuts = []
        for _ in range(CUTS):
            if (keep := cut(problem.pieces, limit)) is not None:
                peak = archive.score(keep[:, None]).peaks[0]
                limit *= (self.middle / peak) ** 0.8
                cuts.append(keep)
            else:
                limit *= 1.05
        scorer = problem.scorer
        runs = len(scorer.schedule.runs)
        work = WORK // runs if runs > CROWDED else 8 * WIDTH
        breed(archive, problem.candidates, self.low, self.above.peak, work // 2)
        breed(archive, problem.candidates, self.middle, self.middle, work // 2)
        if runs > CROWDED:
            return self.crowd
        cost = scorer.schedule.forward_cost
        price = PRICE * cost / sum(scorer.sizes)
        crowd = self.crowd.copy()
        crowd[:, :len(cuts)] = np.array(cuts).T if cuts else 0
        at = np.searchsorted(-archive.front.peaks, -self.middle)
        near = np.clip(np.arange(at - 8, at + 8), 0, len(archive.front.peaks) - 1)
        crowd[:, 8:24] = archive.front.keeps[:, near]
        return evolve(archive, crowd, problem.candidates, self.middle, price, GENERATIONS * WIDTH)


@lru_cache(maxsize=32)
def _whole(schedule: Schedule) -> Span:
    return Span.of(schedule)


def choose(schedule: Schedule, budget: int | None) -> Timeline | None:
    """The cheapest choice within a budget; None where none is known to be.

    Args:
        schedule: the passes.
        budget: bytes that no event may exceed; None for as many as it takes.
    """
    everything = simulate(schedule, range(len(schedule.sizes)))
    if budget is None or everything.peak <= budget:
        return everything
    span = _whole(schedule)
    while not span.closed:
        upper, lower = span.parts
        span = upper if upper.low <= budget else lower
    best = span.best(budget)
    if best is None and span.low < budget and (least := frontier(schedule)[-1]).peak <= budget:
        best = least
    return best and simulate(schedule, best.kept)


def smallest(schedule: Schedule) -> Timeline:
    """The choice with the smallest peak."""
    return simulate(schedule, frontier(schedule)[-1].kept)


def frontier(schedule: Schedule) -> tuple[Choice, ...]:
    """Choices for all budgets, none of which beats another: from all that is kept to the smallest peak.

    They are what is found on the way to the smallest; `choose` looks closer around the budget that it is asked for.
    """
    span = _lowest(schedule)
    return tuple(span.problem.choice(span.front, k) for k in range(len(span.front.peaks)))


def _lowest(schedule: Schedule) -> Span:
    span = _whole(schedule)
    while not span.closed:
        upper, lower = span.parts
        span = upper if upper.below is None else lower
    return span


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
