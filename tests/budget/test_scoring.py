"""The scores of many choices are those of the simulation of each, which is held to bytes counted by hand."""

import chex
import numpy as np
import pytest

from funcgrad.budget import simulate
from funcgrad.budget.posing import compact
from funcgrad.budget.scoring import Scorer
from tests.budget.problems import irregular


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_scores_are_those_of_the_simulation(seed, several):
    schedule = irregular(seed, 25, several)
    keeps = np.random.default_rng(seed).random((len(schedule.sizes), 30)) < np.linspace(0, 1, 30)
    scores, bounds = Scorer(schedule)(keeps), Scorer(schedule).bounds(keeps, limit=60)
    small, names = compact(schedule)
    chex.assert_trees_all_equal(Scorer(small)(keeps[names]).peaks, scores.peaks)
    for b in range(30):
        line = simulate(schedule, np.flatnonzero(keeps[:, b]).tolist())
        assert scores.peaks[b] == line.peak
        assert scores.overheads[b] == line.overhead
        assert bounds.excess[b] == sum(max(0, event.bytes - 60) for event in line.events if event.kind != "remake")
        assert bounds.peaks[b] == max(event.bytes for event in line.events if event.kind != "remake")
        assert bounds.overheads[b] == line.overhead
        assert line.kept <= set(np.flatnonzero(scores.needed[:, b]))
