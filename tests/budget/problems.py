"""Schedules made up at random, and every choice there is."""

import numpy as np

from funcgrad.budget import Pull, Run, Schedule


def irregular(seed, n_runs, several=False):
    """Runs that read one to three earlier values, mostly near ones; pulls that need some of what they read and write."""
    rng = np.random.default_rng(seed)
    runs, pulls, made = [], [], [0]
    for _ in range(n_runs):
        near = sorted({made[max(0, len(made) - 1 - int(d))] for d in rng.geometric(0.5, rng.integers(1, 4)) - 1})
        writes = tuple(made[-1] + 1 + k for k in range(int(rng.integers(1, 3)) if several else 1))
        runs.append(
            Run(tuple(near), writes, float(rng.integers(1, 11)), int(rng.integers(0, 3)), rng.random() > 0.1 * several)
        )
        needs = tuple(v for v in (*near, *writes) if rng.random() < 0.6)
        gives = tuple(v for v in near if v)
        active = not several or rng.random() > 0.1
        pulls.append(
            Pull(needs, writes, gives, int(rng.integers(0, 3)), 0.0, int(rng.integers(0, 3))) if active else None
        )
        made += writes
    sizes = tuple(int(s) for s in rng.integers(1, 10, made[-1] + 1))
    return Schedule(sizes, tuple(runs), tuple(pulls), resident=sizes[0], outputs=(made[-1],))


def subsets(schedule, values):
    """All choices of values, [V, 2^k]."""
    codes = np.arange(2 ** len(values))
    keeps = np.zeros((len(schedule.sizes), len(codes)), bool)
    for k, v in enumerate(values):
        keeps[v] = codes >> k & 1
    return keeps
