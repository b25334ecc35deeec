"""Ways to look for choices: greedy walks down from everything kept and up from nothing, and breeding what was found."""

import numpy as np

from funcgrad.budget.archive import Archive

WIDTH = 64
"""Choices scored at once."""


def walk_down(archive: Archive, candidates: np.ndarray, limits: np.ndarray) -> None:
    """From everything kept to ever less: drop what costs least for the bytes above a limit that it takes away.

    What a drop is worth is stale once others were dropped; only those that were best then are scored again.

    Args:
        archive: where all choices go.
        candidates: the values that can be dropped.
        limits: falling; each is walked to from the choice that stayed within the one before.
    """
    keep = np.zeros(len(archive.scorer.sizes), bool)
    keep[candidates] = True
    for limit in limits:
        keep = _down(archive, keep, limit)
        keep = add_back(archive, keep, candidates, limit)


def _down(archive: Archive, keep: np.ndarray, limit: float) -> np.ndarray:
    now = archive.score(keep[:, None], limit)
    price = dict.fromkeys(np.flatnonzero(keep & now.needed[:, 0]).tolist(), -1.0)
    while now.excess[0] > 0 and price:
        tried = sorted(price, key=price.__getitem__)[:WIDTH]
        trials = np.repeat(keep[:, None], len(tried), axis=1)
        trials[tried, range(len(tried))] = False
        scores = archive.score(trials, limit)
        saved = now.excess - scores.excess
        with np.errstate(divide="ignore", invalid="ignore"):
            paid = np.where(saved > 0, np.maximum(scores.overheads - now.overheads, 1e-9) / saved, np.inf)
        price.update(zip(tried, paid.tolist(), strict=True))
        bound = min((p for v, p in price.items() if v not in set(tried)), default=np.inf)
        best = sorted((p, v) for v, p in zip(tried, paid.tolist(), strict=True) if p <= bound and p < np.inf)
        if not best:
            if bound < np.inf:
                continue
            break
        chosen = [v for _, v in best[: max(1, len(best) // 8)]]
        keep = keep.copy()
        keep[chosen] = False
        now = archive.score(keep[:, None], limit)
        for v in chosen:
            del price[v]
    return keep


def add_back(archive: Archive, keep: np.ndarray, candidates: np.ndarray, limit: float) -> np.ndarray:
    """Keep again what fits, the most expensive to remake first."""
    while True:
        now = archive.score(keep[:, None])
        if now.peaks[0] > limit:
            return keep
        tried = candidates[~keep[candidates] & now.needed[candidates, 0]]
        if not tried.size:
            return keep
        trials = np.repeat(keep[:, None], tried.size, axis=1)
        trials[tried, np.arange(tried.size)] = True
        scores = archive.score(trials)
        gain = np.where(scores.peaks <= limit, now.overheads[0] - scores.overheads, 0.0)
        if gain.max() <= 0:
            return keep
        keep = trials[:, gain.argmax()]


def climb(archive: Archive, candidates: np.ndarray, work: int) -> None:
    """Change one value of choices on the front, each in turn, until none of them gets better or `work` are scored."""
    until = archive.scored + work
    done = set[bytes]()
    while archive.scored < until:
        front = archive.front
        left = [k for k in range(len(front.peaks)) if np.packbits(front.keeps[:, k]).tobytes() not in done]
        if not left:
            return
        keep = front.keeps[:, left[len(done) * 7 % len(left)]]
        done.add(np.packbits(keep).tobytes())
        trials = np.repeat(keep[:, None], candidates.size, axis=1)
        trials[candidates, np.arange(candidates.size)] ^= True
        archive.score(trials)


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
        archive.score(keeps)
