"""Ways to look for choices: greedy walks down from everything kept and up from nothing, and breeding what was found."""

import numpy as np

from funcgrad.budget.archive import Archive

WIDTH = 128
"""Choices scored at once."""


def breed(archive: Archive, candidates: np.ndarray, low: float, high: float, work: int) -> None:
    """Join the beginning of one choice to the end of another near it, change values near one another; keep the best.

    The seed is fixed: the same schedule gives the same choices.

    Args:
        archive: where all choices go.
        candidates: the values that can be dropped, in the order in which they are written.
        low, high: bytes; parents are those that take about as many.
        work: how many choices to score.
    """
    rng = np.random.default_rng(0)
    until = archive.scored + work
    while archive.scored < until:
        front = archive.front
        count = len(front.peaks)
        ends = np.searchsorted(-front.peaks, [-high, -low])
        first = np.clip(rng.integers(ends[0] - 4, ends[1] + 4, WIDTH), 0, count - 1)
        other = np.clip(first + rng.integers(-6, 7, WIDTH), 0, count - 1)
        where = rng.integers(candidates.size, size=WIDTH)
        before = np.arange(len(archive.scorer.sizes))[:, None] <= candidates[where]
        keeps = np.where(before, front.keeps[:, first], front.keeps[:, other])
        # From none to three flips, each a few values from the last.
        place, flips = rng.integers(candidates.size, size=WIDTH), rng.integers(0, 4, WIDTH)
        flips[first == other] += 1
        for turn in range(4):
            columns = np.flatnonzero(flips > turn)
            keeps[candidates[place[columns]], columns] ^= True
            place = np.clip(place + rng.integers(-4, 5, WIDTH), 0, candidates.size - 1)
        archive.sift(keeps, high)


def crowd_of(candidates: np.ndarray, values: int) -> np.ndarray:
    """Choices at random, of all densities: where to begin to `evolve`, [V, WIDTH]."""
    rng = np.random.default_rng(0)
    crowd = np.zeros((values, WIDTH), bool)
    crowd[candidates] = rng.random((candidates.size, WIDTH)) < rng.random(WIDTH)
    return crowd


def evolve(archive: Archive, crowd: np.ndarray, candidates: np.ndarray, limit: float, price: float, work: int) -> np.ndarray:
    """Put a stretch of one choice into another; where it is no worse for it, it takes its place.

    As each is displaced by its own children alone, the crowd stays various (deterministic crowding: Mahfoud, 1992).
    """
    rng = np.random.default_rng(0)
    until = archive.scored + work
    count, width = candidates.size, crowd.shape[1]

    def blame(keeps):
        bounds = archive.sift(keeps, limit)
        return bounds.overheads + price * (np.maximum(bounds.peaks - limit, 0.0) + 0.1 * bounds.excess)

    crowd, worth = crowd.copy(), blame(crowd)
    position = np.arange(count)[:, None]
    while archive.scored < until:
        own = crowd[candidates]
        begin = rng.integers(count, size=width)
        length = 1 + (count * rng.random(width) ** 2).astype(int)
        child = np.where((position - begin) % count < length, own[:, rng.permutation(width)], own)
        place, flips = rng.integers(count, size=width), rng.integers(0, 3, width)
        for turn in range(2):
            columns = np.flatnonzero(flips > turn)
            child[place[columns], columns] ^= True
            place = np.clip(place + rng.integers(-4, 5, width), 0, count - 1)
        children = crowd.copy()
        children[candidates] = child
        scores = blame(children)
        better = scores <= worth
        crowd[:, better], worth = children[:, better], np.where(better, scores, worth)
    return crowd
