"""Spans of budgets, halved towards the one that is asked for: what is searched, and where."""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from funcgrad.budget.archive import Archive, Front
from funcgrad.budget.cutting import cut
from funcgrad.budget.posing import Choice, Problem
from funcgrad.budget.schedules import Schedule
from funcgrad.budget.searching import WIDTH, breed, crowd_of, evolve

DEPTH = 5
"""How often a span is halved: 64 searches would tell all budgets, five tell one."""
CLOSE = 5e-4
"""A span is not searched where that could save no more of the forward pass's cost, or of its bytes."""
CUTS = 3
"""How often pieces are looked for, each time for a limit that makes up for what the last one was off."""
CROWDED = 128
"""Up to so many runs a crowd of choices has the time to evolve."""
GENERATIONS = 40
"""Its length of time."""
WORK = 150_000
"""How many runs, over all choices that are scored, a search may take beyond that size."""


@dataclass(frozen=True, eq=False)
class Span:
    """Budgets between two numbers of bytes, and what was learnt on the way to them.

    A budget is served from a half of the span, split at what is found for its middle. What is found depends on the span
    alone, so the choices for two budgets are in the order of the budgets.

    Args:
        problem: whose choices they are.
        above: one that takes more than any budget in the span.
        below: the one to choose where nothing better is found in the span; None where none is known.
        low: bytes up to which there is nothing better than `below`.
        front: all choices that were found, also outside.
        crowd: where to begin to evolve.
        depth: how often it was halved.
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
        most = int(archive.score(ends).peaks[0])
        crowd = crowd_of(problem.candidates, len(problem.names))
        return cls(problem, Choice(most, 0.0, frozenset(problem.names)), None, archive.floor, archive.front, crowd)

    @property
    def closed(self) -> bool:
        """Whether it is not worth to be searched."""
        if self.depth == DEPTH or self.low >= self.above.peak * (1 - CLOSE):
            return True
        cost = self.problem.scorer.schedule.forward_cost
        return self.below is not None and self.below.overhead - self.above.overhead <= CLOSE * cost

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
        """Look for choices with about as many bytes as the middle; what has become of the crowd."""
        problem, runs = self.problem, len(self.problem.scorer.schedule.runs)
        cuts = self._cuts(archive)
        work = WORK // runs if runs > CROWDED else 8 * WIDTH
        breed(archive, problem.candidates, self.low, self.above.peak, work // 2)
        breed(archive, problem.candidates, self.middle, self.middle, work // 2)
        if runs > CROWDED:
            return self.crowd
        centre = np.searchsorted(-archive.front.peaks, -self.middle)
        near = np.clip(np.arange(centre - 8, centre + 8), 0, len(archive.front.peaks) - 1)
        new = np.concatenate([archive.front.keeps[:, near], *cuts], axis=1)
        crowd = np.concatenate([new, self.crowd[:, new.shape[1] :]], axis=1)
        return evolve(archive, crowd, problem.candidates, self.middle, GENERATIONS * WIDTH)

    def _cuts(self, archive: Archive) -> list[np.ndarray]:
        """Choices in pieces, each as a column."""
        cuts, limit = [], self.middle
        for _ in range(CUTS):
            keep = cut(self.problem.pieces, limit)
            if keep is None:
                limit *= 1.05
            else:
                cuts.append(keep[:, None])
                limit *= (self.middle / archive.score(cuts[-1]).peaks[0]) ** 0.8
        return cuts
