"""Ways to look for choices: breeding the best that were found, and a crowd of others that evolves beside them."""

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
        low: bytes; parents take about as many,
        high: or up to so many.
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
        before = np.arange(candidates.size)[:, None] <= rng.integers(candidates.size, size=WIDTH)
        child = np.where(before, front.keeps[np.ix_(candidates, first)], front.keeps[np.ix_(candidates, other)])
        _flip(rng, child, rng.integers(0, 4, WIDTH) + (first == other))
        keeps = np.zeros((len(archive.scorer.sizes), WIDTH), bool)
        keeps[candidates] = child
        archive.sift(keeps, high)


def crowd_of(candidates: np.ndarray, values: int) -> np.ndarray:
    """Choices at random, from few values to many: where to begin to evolve, [V, WIDTH]."""
    rng = np.random.default_rng(0)
    crowd = np.zeros((values, WIDTH), bool)
    crowd[candidates] = rng.random((candidates.size, WIDTH)) < rng.random(WIDTH)
    return crowd


def evolve(archive: Archive, crowd: np.ndarray, candidates: np.ndarray, limit: float, work: int) -> np.ndarray:
    """Put a stretch of one choice into another; where the outcome is no worse, it takes the other's place.

    As each is displaced by its own children alone, the crowd stays various (deterministic crowding: Mahfoud, "Crowding
    and preselection revisited", 1992), and finds what is many changes away from the front: 50.3 % of overhead for the
    62.6 that breeding stays with, on a U-net of 35 runs. A byte above the limit costs several times what it does to
    make all again for its bytes, so that choices above it are steps on the way.

    Args:
        archive: where all choices go.
        crowd: the choices to begin with, [V, WIDTH].
        candidates: the values that can be dropped, in the order in which they are written.
        limit: bytes to stay within.
        work: how many choices to score.
    """
    rng, count = np.random.default_rng(0), candidates.size
    price = 6.0 * archive.scorer.costs.sum() / max(archive.scorer.sizes.sum(), 1.0)
    position = np.arange(count)[:, None]

    def faults(keeps: np.ndarray) -> np.ndarray:
        bounds = archive.sift(keeps, limit)
        return bounds.overheads + price * (np.maximum(bounds.peaks - limit, 0.0) + 0.1 * bounds.excess)

    until = archive.scored + work
    worst = faults(crowd)
    while archive.scored < until:
        own = crowd[candidates]
        begin = rng.integers(count, size=WIDTH)
        length = 1 + (count * rng.random(WIDTH) ** 2).astype(int)
        child = np.where((position - begin) % count < length, own[:, rng.permutation(WIDTH)], own)
        _flip(rng, child, rng.integers(0, 3, WIDTH))
        children = crowd.copy()
        children[candidates] = child
        found = faults(children)
        crowd = np.where(found <= worst, children, crowd)
        worst = np.minimum(found, worst)
    return crowd


def _flip(rng: np.random.Generator, own: np.ndarray, flips: np.ndarray) -> None:
    """Change so many values of each choice, each a few from the last."""
    count = len(own)
    place = rng.integers(count, size=WIDTH)
    for turn in range(flips.max()):
        columns = np.flatnonzero(flips > turn)
        own[place[columns], columns] ^= True
        place = np.clip(place + rng.integers(-4, 5, WIDTH), 0, count - 1)
