"""Schedules made up at random, networks of blocks, and every choice there is."""

from dataclasses import replace

import numpy as np

from funcgrad.budget import Pull, Run, Schedule
from funcgrad.budget.posing import compact
from funcgrad.budget.scoring import Scorer

CHUNK = 4096


def irregular(seed, n_runs, several=False):
    """Runs that read one to three earlier values, mostly near ones; pulls that need some of what they read and write.

    Where `several`, some runs write two values, some cannot be made again and some have no pull, and some pulls hand
    others what is the cotangent of no value.
    """
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
        pull = Pull(needs, writes, gives, int(rng.integers(0, 3)), 0.0, int(rng.integers(0, 3))) if active else None
        pulls.append(pull)
        made += writes
    slots = range(made[-1] + 1, made[-1] + 1 + n_runs // 4 * several)
    for slot in slots:
        first, last = sorted(rng.choice(n_runs, 2, replace=False))
        for i, what in ((last, "gives"), (first, "takes")):
            if pull := pulls[i]:
                pulls[i] = replace(pull, **{what: (*getattr(pull, what), slot)})
    sizes = tuple(int(s) for s in rng.integers(1, 10, made[-1] + 1 + len(slots)))
    return Schedule(sizes, tuple(runs), tuple(pulls), resident=sizes[0], outputs=(made[-1],))


class Network:
    """A schedule as it grows, a value for each run."""

    def __init__(self):
        self.runs, self.pulls, self.sizes = [], [], []

    def add(self, reads, size, cost, needs=""):
        """A run; its pull needs what it reads, where `needs` has an r, and what it writes, where it has a w."""
        v = len(self.sizes)
        self.sizes.append(size)
        self.runs.append(Run(reads, (v,), float(cost)))
        self.pulls.append(Pull((*(reads if "r" in needs else ()), *((v,) if "w" in needs else ())), (v,), reads))
        return v

    def schedule(self, last):
        self.add((last,), 1, 1, "r")
        return Schedule(tuple(self.sizes), tuple(self.runs), tuple(self.pulls), 0, (len(self.sizes) - 1,))


def chain(n):
    """Steps of one byte, each of which needs what it made."""
    net = Network()
    x = net.add((), 1, 1, "w")
    for _ in range(n - 1):
        x = net.add((x,), 1, 1, "w")
    return net.schedule(x)


def residual(blocks):
    """A norm, a product and a nonlinearity beside the stream."""
    net = Network()
    x = net.add((), 4, 1)
    for _ in range(blocks):
        h = net.add((net.add((x,), 4, 2, "r"),), 4, 10, "r")
        x = net.add((x, net.add((h,), 4, 3, "r")), 4, 1)
    return net.schedule(x)


def transformer(blocks):
    """Attention and two wide layers beside the stream, 14 runs a block."""
    net = Network()
    x = net.add((), 4, 1)
    for _ in range(blocks):
        n = net.add((x,), 4, 2, "r")
        q, k, v = (net.add((n,), 4, 16, "r") for _ in range(3))
        weights = net.add((net.add((q, k), 6, 8, "r"),), 6, 3, "w")
        x = net.add((x, net.add((net.add((weights, v), 4, 8, "r"),), 4, 16, "r")), 4, 1)
        h = net.add((net.add((x,), 4, 2, "r"),), 16, 64, "r")
        x = net.add((x, net.add((net.add((h,), 16, 6, "r"),), 4, 64, "r")), 4, 1)
    return net.schedule(x)


def unet(depth):
    """Pairs of convolutions, ever smaller, then ever larger beside what skips."""
    net, size, skips = Network(), 64, []

    def layer(x):
        return net.add((net.add((x,), size, 10, "r"),), size, 1, "w")

    x = net.add((), size, 10)
    for _ in range(depth):
        x = layer(layer(x))
        skips.append((x, size))
        size //= 2
        x = net.add((x,), size, 1, "r")
    for skip, size in reversed(skips):
        up = net.add((x,), size, 10, "r")
        x = layer(layer(net.add((skip, up), 2 * size, 1)))
    return net.schedule(x)


def subsets(schedule, values):
    """All choices of values, [V, 2^k]."""
    codes = np.arange(2 ** len(values))
    keeps = np.zeros((len(schedule.sizes), len(codes)), bool)
    for k, v in enumerate(values):
        keeps[v] = codes >> k & 1
    return keeps


def every_front(schedule):
    """The peaks and overheads of all choices that no other one beats, the smallest peak first."""
    small, names = compact(schedule)
    scorer = Scorer(small)
    keeps = subsets(small, [v for v in range(len(names)) if v not in small.fixed])
    scores = [scorer(keeps[:, at : at + CHUNK]) for at in range(0, keeps.shape[1], CHUNK)]
    peaks, overheads = (np.concatenate([getattr(s, name) for s in scores]) for name in ("peaks", "overheads"))
    order = np.lexsort((overheads, peaks))
    peaks, overheads = peaks[order], overheads[order]
    best = np.minimum.accumulate(overheads)
    new = np.append(True, best[1:] < best[:-1])
    return peaks[new], overheads[new]
