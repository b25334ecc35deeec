"""The choices that no other one found so far beats, in bytes and in cost."""

from dataclasses import dataclass

import numpy as np

from funcgrad.budget.scoring import Bounds, Scorer, Scores


@dataclass(frozen=True)
class Front:
    """Choices none of which has both a smaller peak and a smaller overhead than another: the largest peak first.

    Args:
        peaks: falling, [F].
        overheads: rising, [F].
        keeps: the values kept, [V, F].
    """

    peaks: np.ndarray
    overheads: np.ndarray
    keeps: np.ndarray


class Archive:
    """All that is scored goes through here, so what is looked for at one budget serves every other."""

    def __init__(self, scorer: Scorer, front: Front | None = None):
        self.scorer = scorer
        none = np.zeros((len(scorer.sizes), 0), bool)
        self.front = Front(np.zeros(0), np.zeros(0), none) if front is None else front
        self.scored = 0
        """How many choices were scored."""

    @property
    def floor(self) -> float:
        """Bytes that no choice goes below: all are alive at some event whatever is kept."""
        return float(max(self.scorer.at_run.max(initial=0.0), self.scorer.at_pull.max(initial=0.0)))

    def sift(self, keeps: np.ndarray, limit: float) -> Bounds:
        """Score those of some choices that can be as good as none before; most cannot, and less work tells.

        Returns:
            what told: `Scorer.bounds`.
        """
        self.scored += keeps.shape[1]
        bounds = self.scorer.bounds(keeps, limit)
        if (hopeful := self._unbeaten(bounds)).size:
            self.score(keeps[:, hopeful])
        return bounds

    def score(self, keeps: np.ndarray) -> Scores:
        """Score choices, and remember what none before was as good as."""
        scores = self.scorer(keeps)
        new = self._unbeaten(scores)
        if new.size:
            held = self.front
            peaks = np.concatenate([held.peaks, scores.peaks[new]])
            overheads = np.concatenate([held.overheads, scores.overheads[new]])
            every = np.concatenate([held.keeps, (keeps & scores.needed & ~self.scorer.fixed[:, None])[:, new]], axis=1)
            order = np.lexsort((peaks, overheads))
            best = np.minimum.accumulate(peaks[order])
            order = order[np.concatenate([[True], best[1:] < best[:-1]])]
            self.front = Front(peaks[order], overheads[order], every[:, order])
        return scores

    def _unbeaten(self, scores: Scores) -> np.ndarray:
        """Those for which the front has nothing of at most their peak and at most their overhead."""
        first = np.searchsorted(-self.front.peaks, -scores.peaks, side="left")  # the first that is no larger
        cheapest = np.append(self.front.overheads, np.inf)[first]
        return np.flatnonzero(scores.overheads < cheapest)
