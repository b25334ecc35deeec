"""Choices that cut the runs into pieces, each made again as a whole: a dynamic programme over where to cut.

At a cut, all values that cross it are kept. While a piece is pulled back, what its pulls read is there, and what was
kept of the pieces before it. So with K bytes kept before piece [i, j), its peak is

    K + max over its runs a of (bytes written in [i, a] that pulls read + cotangents at pull a),

and the piece adds to K what crosses its end and what else of it is kept: values that cost much to remake for their
bytes, above one of several thresholds. For each place and K, in steps of a 64th of the limit, the cheapest way there
is found from those to the places before: exact but for the steps and for what only lives on the way.
"""

from dataclasses import dataclass

import numpy as np

from funcgrad.budget.scoring import Scorer

PLACES, THRESHOLDS, STEPS = 72, 8, 64
"""At most so many places to cut, so many thresholds, and steps of bytes."""


@dataclass(frozen=True)
class Pieces:
    """Between any two places, with S thresholds: what a piece takes.

    Args:
        places: runs before which may be cut; the first is 0, the last behind all, [P].
        kept: bytes that piece (i, j) adds, [P, P, S].
        costs: what running it again takes, [P, P, S].
        peaks: bytes while it is pulled back, beside those kept before it, [P, P].
        keeps: the values kept by each threshold, [S, V].
        crossing: values that cross each place, [P, V].
        writer: the run that makes each value, [V].
    """

    places: np.ndarray
    kept: np.ndarray
    costs: np.ndarray
    peaks: np.ndarray
    keeps: np.ndarray
    crossing: np.ndarray
    writer: np.ndarray


def pieces_of(scorer: Scorer, candidates: np.ndarray) -> Pieces:
    """All pieces between the places that few bytes cross.

    Args:
        scorer: of the schedule.
        candidates: the values that can be dropped.
    """
    n, writer, last = len(scorer.schedule.runs), scorer.writer, scorer.last_run
    chosen = np.zeros(len(scorer.sizes), bool)
    chosen[candidates] = True
    edges = np.arange(n + 1)
    crosses = chosen & (writer < edges[:, None]) & (last >= edges[:, None])
    places = _narrow(crosses @ scorer.sizes)
    crossing = crosses[places]
    worth = _worth(scorer, candidates)
    levels = np.unique(np.quantile(worth[candidates], np.linspace(0, 1, THRESHOLDS))) if candidates.size else []
    keeps = np.array([chosen & (worth >= level) for level in levels] + [chosen & False])
    asked = np.bincount(writer, scorer.sizes * (scorer.last_pull >= 0) * chosen, minlength=n)
    written = np.concatenate([[0.0], np.cumsum(asked)])
    count, pieces = len(places), range(len(places))
    kept, costs = np.zeros((count, count, len(keeps))), np.full((count, count, len(keeps)), np.inf)
    peaks = np.full((count, count), np.inf)
    for j in pieces:
        stays = keeps | crossing[j]
        bytes_at = np.stack([np.bincount(writer, row * scorer.sizes, minlength=n) for row in stays])
        again = chosen & ~stays
        runs_again = np.stack([np.bincount(writer, row, minlength=n) > 0 for row in again]) * scorer.costs
        for i in range(j):
            piece = slice(places[i], places[j])
            kept[i, j] = bytes_at[:, piece].sum(axis=1)
            costs[i, j] = runs_again[:, piece].sum(axis=1)
            peaks[i, j] = (written[1:][piece] - written[places[i]] + scorer.at_pull[piece]).max()
    return Pieces(places, kept, costs, peaks, keeps, crossing, writer)


def _worth(scorer: Scorer, candidates: np.ndarray) -> np.ndarray:
    """What remaking a value costs for each of its bytes, [V]."""
    worth = np.zeros(len(scorer.sizes))
    worth[candidates] = scorer.costs[scorer.writer[candidates]] / np.maximum(scorer.sizes[candidates], 1.0)
    return worth


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
    count, levels = len(pieces.places), len(pieces.keeps)
    unit = limit / STEPS
    grid = np.arange(STEPS)
    cheapest = np.full((count, STEPS), np.inf)
    cheapest[0, 0] = 0.0
    came = np.zeros((count, STEPS), int)
    steps = np.rint(pieces.kept / unit)
    for j in range(1, count):
        before = grid - np.minimum(steps[:j, j], STEPS)[:, :, None].astype(int)  # [i, S, K]
        allowed = (before >= 0) & (before * unit + pieces.peaks[:j, j, None, None] <= limit)
        costs = np.where(allowed, cheapest[np.arange(j)[:, None, None], before], np.inf) + pieces.costs[:j, j, :, None]
        flat = costs.reshape(j * levels, STEPS)
        came[j] = flat.argmin(axis=0)
        cheapest[j] = flat[came[j], grid]
    k = int(cheapest[-1].argmin())
    if not np.isfinite(cheapest[-1, k]):
        return None
    keep, j = np.zeros(pieces.keeps.shape[1], bool), count - 1
    ends = []
    while j:
        i, level = divmod(int(came[j, k]), levels)
        ends.append((i, j, level))
        k, j = k - int(steps[i, j, level]), i
    return _kept(pieces, keep, ends)


def _kept(pieces: Pieces, keep: np.ndarray, ends: list[tuple[int, int, int]]) -> np.ndarray:
    for i, j, level in ends:
        inside = (pieces.writer >= pieces.places[i]) & (pieces.writer < pieces.places[j])
        keep = keep | (inside & pieces.keeps[level]) | pieces.crossing[j]
    return keep
