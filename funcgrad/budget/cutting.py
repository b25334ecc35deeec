"""Choices that cut the runs into pieces, each made again as a whole: a dynamic programme over where to cut.

At a cut, all values that cross it are kept. While a piece is pulled back, what its pulls read is there, and what was
kept of the pieces before it. So with K bytes kept before piece [i, j), its peak is

    K + max over its runs a of (bytes written in [i, a] that pulls read + cotangents at pull a),

and the piece adds to K what crosses its end and what else of it is kept: the values that cost most to remake for their
bytes, up to one of several sums of bytes. For each place and K, in steps of a share of the limit, the cheapest way
there is found from those to the places before: exact but for the steps and for what only lives on the way.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import as_strided

from funcgrad.budget.scoring import Scorer

PLACES, LEVELS, STEPS = 72, 12, 128
"""At most so many places to cut, so many sums of bytes for a piece, and steps of bytes."""


@dataclass(frozen=True)
class Pieces:
    """Between any two places, with S levels: what a piece takes.

    Args:
        places: runs before which may be cut; the first is 0, the last behind all, [P].
        kept: bytes that piece (i, j) adds, [P, P, S].
        costs: what running it again takes, [P, P, S].
        peaks: bytes while it is pulled back, beside those kept before it, [P, P].
        crossing: values that cross each place, [P, V].
        order: the values that can be dropped and are read by pulls, the dearest to remake for its bytes first.
        writer: the run that makes each value, [V].
        sizes: bytes of each value, [V].
    """

    places: np.ndarray
    kept: np.ndarray
    costs: np.ndarray
    peaks: np.ndarray
    crossing: np.ndarray
    order: np.ndarray
    writer: np.ndarray
    sizes: np.ndarray

    def keep(self, i: int, j: int, level: int) -> np.ndarray:
        """The values that piece (i, j) keeps, [V]."""
        keep = self.crossing[j].copy()
        inside = (self.writer[self.order] >= self.places[i]) & (self.writer[self.order] < self.places[j])
        rest = self.order[inside & ~keep[self.order]]
        sums = np.cumsum(self.sizes[rest])
        keep[rest[sums <= sums[-1:] * level / (LEVELS - 1) + 1e-6]] = True
        return keep


def pieces_of(scorer: Scorer, candidates: np.ndarray) -> Pieces:
    """All pieces between the places that few bytes cross.

    Args:
        scorer: of the schedule.
        candidates: the values that can be dropped.
    """
    n, writer, sizes = len(scorer.schedule.runs), scorer.writer, scorer.sizes
    chosen = np.zeros(len(sizes), bool)
    chosen[candidates] = True
    edges = np.arange(n + 1)
    crosses = chosen & (writer < edges[:, None]) & (scorer.last_run >= edges[:, None])
    places = _narrow(crosses @ sizes)
    crossing = crosses[places]
    price = _prices(scorer, chosen)
    asked = candidates[scorer.last_pull[candidates] >= 0]
    order = asked[np.argsort(-price[asked] / np.maximum(sizes[asked], 1.0), kind="stable")]
    written = np.concatenate([[0.0], np.cumsum(np.bincount(writer, sizes * (scorer.last_pull >= 0) * chosen, n))])
    count = len(places)
    kept, costs = np.zeros((count, count, LEVELS)), np.full((count, count, LEVELS), np.inf)
    peaks = np.full((count, count), np.inf)
    for i in range(count - 1):
        begin = places[i]
        ends = places[i + 1 :]
        first = order[writer[order] >= begin]
        free = (writer[first] < ends[:, None]) & ~crossing[i + 1 :, first]
        sums = np.cumsum(free * sizes[first], axis=1)
        saved = np.cumsum(free * price[first], axis=1)
        new = crossing[i + 1 :] & (writer >= begin)
        whole = (sums[:, -1:] if first.size else np.zeros((len(ends), 1))) * np.linspace(0, 1, LEVELS)
        at = (sums[:, None, :] <= whole[:, :, None] + 1e-6).sum(axis=2) - 1
        row = np.arange(len(ends))[:, None]
        total = (free * price[first]).sum(axis=1)
        kept[i, i + 1 :] = (new @ sizes)[:, None] + np.where(at >= 0, sums[row, at] if first.size else 0.0, 0.0)
        costs[i, i + 1 :] = total[:, None] - np.where(at >= 0, saved[row, at] if first.size else 0.0, 0.0)
        tops = np.maximum.accumulate(written[1:][begin:] + scorer.at_pull[begin:]) - written[begin]
        peaks[i, i + 1 :] = tops[ends - begin - 1]
    return Pieces(places, kept, costs, peaks, crossing, order, writer, sizes)


def _prices(scorer: Scorer, chosen: np.ndarray) -> np.ndarray:
    """What remaking a value costs, with its share in that of what it is made from that no pull reads, [V]."""
    prices = np.zeros(len(scorer.sizes))
    readers = np.zeros(len(scorer.sizes))
    for run in scorer.schedule.runs:
        readers[list(run.reads)] += 1
    for i, run in enumerate(scorer.schedule.runs):
        way = [v for v in run.reads if chosen[v] and scorer.last_pull[v] < 0]
        writes = [v for v in run.writes if chosen[v]]
        prices[writes] = (scorer.costs[i] + sum(prices[v] / readers[v] for v in way)) / max(len(writes), 1)
    return prices


def _narrow(bytes_over: np.ndarray) -> np.ndarray:
    """Places to cut: the ends, and of stretches of equal length the narrowest ones."""
    inner = np.arange(1, len(bytes_over) - 1)
    order = inner[np.argsort(bytes_over[inner], kind="stable")]
    if len(order) > PLACES:
        stretch = np.array_split(inner, PLACES // 2)
        local = [part[np.argmin(bytes_over[part])] for part in stretch]
        order = np.array(list(dict.fromkeys([*local, *order]))[:PLACES])
    return np.concatenate([[0], np.sort(order), [len(bytes_over) - 1]]).astype(int)


def cut(pieces: Pieces, limit: float) -> np.ndarray | None:
    """The cheapest pieces whose peaks stay within a limit, as the values that are kept; None where there are none."""
    count, unit = len(pieces.places), _unit(pieces, limit)
    steps = np.minimum(np.rint(pieces.kept / unit), STEPS).astype(int)
    # Of levels that add as many steps, the cheapest is the last.
    useful = np.isfinite(pieces.costs) & (pieces.peaks <= limit)[:, :, None] & (steps < STEPS)
    useful[:, :, :-1] &= steps[:, :, 1:] > steps[:, :, :-1]
    ends, begins, levels = np.nonzero(useful.swapaxes(0, 1))
    ways = [slice(*pair) for pair in pairwise(np.searchsorted(ends, np.arange(count + 1)))]  # that end at each place
    starts, costs = STEPS - steps[begins, ends, levels], pieces.costs[begins, ends, levels, None]
    allowed = np.arange(-STEPS, STEPS) <= np.floor((limit - pieces.peaks) / unit)[:, :, None]
    # Behind a row of steps that cannot be, so that one that starts before the first is one of those.
    cheapest = np.full((count, 2 * STEPS), np.inf)
    cheapest[0, STEPS] = 0.0

    def at(j: int) -> np.ndarray:
        """The costs at a place, by the last piece and by steps."""
        before = np.where(allowed[:j, j], cheapest[:j], np.inf)
        rows, columns = before.strides
        shifted = as_strided(before, (j, STEPS + 1, STEPS), (rows, columns, columns))
        return shifted[begins[ways[j]], starts[ways[j]]] + costs[ways[j]]

    for j in range(1, count):
        at(j).min(axis=0, initial=np.inf, out=cheapest[j, STEPS:])
    k, j = int(cheapest[-1, STEPS:].argmin()), count - 1
    if not np.isfinite(cheapest[-1, STEPS + k]):
        return None
    keep = np.zeros(pieces.crossing.shape[1], bool)
    while j:
        best = ways[j].start + at(j)[:, k].argmin()
        i = int(begins[best])
        keep |= pieces.keep(i, j, int(levels[best]))
        k, j = k - STEPS + int(starts[best]), i
    return keep


def _unit(pieces: Pieces, limit: float) -> float:
    """A step of bytes that what cuts keep is near to multiples of: equal blocks err by as much, all to one side."""
    units = limit / STEPS * np.linspace(1.0, 1.4, 32)
    kept = pieces.kept[:-1, 1:, 0].ravel()
    kept = kept[kept > 0][:: max(1, kept.size // 512)]
    off = (np.rint(kept / units[:, None]) * units[:, None] - kept) / np.maximum(kept, units[:, None])
    return float(units[np.abs(off).sum(axis=1).argmin()])
