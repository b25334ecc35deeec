"""The planner on the graphs of Kusumoto et al., "A Graph Theoretic Framework of Recomputation" (NeurIPS 2019).

Their files (`computational_graphs` of github.com/pfnet-research/recompute) are read from a folder; nothing of them is
here. Their accounts: a convolution costs 10, any other function 1; a variable and its gradient have the same bytes;
variables that no function makes (parameters, the batch) are not counted forward, their gradients stay. The share of
memory is of twice all variables, parameters too.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from funcgrad.budget import Pull, Run, Schedule, choose, smallest

SECONDS = 2.0
"""A plan may take so long."""
NETWORKS = ("vgg19", "unet", "googlenet", "resnet50", "pspnet", "resnet152", "densenet")

# Percent of naive memory, and of one forward pass run again: what their approximate dynamic programme finds, at budgets
# from loose to tight; measured with their code (DP2.cpp, time-centric), its counts of bytes widened to 64 bits.
THEIRS = {
    "vgg19": ((44.55, 12.63), (35.62, 13.68), (30.37, 20.00)),
    "unet": ((48.19, 11.69), (34.64, 19.05), (23.62, 48.92)),
    "googlenet": ((37.13, 68.27), (22.20, 68.57), (19.11, 69.92)),
    "resnet50": ((44.86, 14.85), (22.03, 20.37), (16.06, 31.24)),
    "pspnet": ((46.42, 15.66), (20.07, 30.55), (9.17, 80.72)),
    "resnet152": ((46.95, 10.36), (20.00, 20.57), (10.02, 52.75)),
    "densenet": ((49.53, 8.37), (20.02, 12.55), (8.03, 42.98)),
}
# The first of each from their code as it is: it counts in 32 bits, where a sum of bytes above 2^31 is negative, and the
# peak that it prints is that of the moments below. Googlenet's is right.
AS_PRINTED = {
    "vgg19": (21.23, 12.63),
    "unet": (8.91, 10.1),
    "resnet50": (22.54, 14.85),
    "pspnet": (14.0, 15.7),
    "resnet152": (10.5, 10.4),
    "densenet": (9.1, 8.4),
}


@dataclass(frozen=True)
class Function:
    """One of their functions, forward or backward: `reads` are variables, each as what (gradient, input, output)."""

    forward: bool
    reads: tuple[tuple[int, str], ...]
    writes: tuple[int, ...]
    kind: str


def read(path: Path) -> tuple[list[int], list[Function]]:
    """The bytes of the variables, and the functions: all forward ones, then their backward ones in the same order."""
    lines = iter(path.read_text().splitlines())
    n_variables, n_functions = map(int, next(lines).split())
    sizes = {int(v): int(size) for v, size, _ in (next(lines).split() for _ in range(n_variables))}
    return [sizes[v] for v in range(n_variables)], [_function(lines) for _ in range(n_functions)]


def _function(lines: Iterator[str]) -> Function:
    direction = next(lines)
    n_in, n_out = map(int, next(lines).split())
    reads = tuple((int(v), kind) for v, kind in (next(lines).split() for _ in range(n_in)))
    writes = tuple(int(next(lines)) for _ in range(n_out))
    kind, _attributes = next(lines), next(lines)
    return Function(direction == "forward", reads, writes, kind)


def schedule_of(sizes: list[int], functions: list[Function]) -> Schedule:
    """Their graph under their accounts."""
    half = len(functions) // 2
    made = {v for f in functions[:half] for v in f.writes}
    runs, pulls, paid = [], [], set[int]()
    for i in _topological(functions[:half]):
        forward, backward = functions[i], functions[half + i]
        own = [v for v in dict.fromkeys(backward.writes) if v not in made and v not in paid]
        paid.update(own)
        inputs = tuple(dict.fromkeys(v for v, _ in forward.reads if v in made))
        needs = tuple(dict.fromkeys(v for v, kind in backward.reads if kind != "gradient" and v in made))
        gives = tuple(dict.fromkeys(v for v in backward.writes if v in made))
        runs.append(Run(inputs, forward.writes, 10.0 if forward.kind.startswith("Conv") else 1.0))
        pulls.append(Pull(needs, forward.writes, gives, stays=sum(sizes[v] for v in own)))
    return Schedule(tuple(sizes), tuple(runs), tuple(pulls))


def _topological(functions: list[Function]) -> list[int]:
    """An order that runs a function when all it reads is there: of those that are, the one nearest to the last."""
    writer = {v: i for i, f in enumerate(functions) for v in f.writes}
    found: dict[int, None] = {}
    read = {v for f in functions for v, _ in f.reads}
    pending = [i for i, f in enumerate(functions) if not read.intersection(f.writes)]
    while pending:
        i = pending[-1]
        missing = [writer[v] for v, _ in functions[i].reads if v in writer and writer[v] not in found]
        if missing:
            pending.append(missing[0])
        else:
            found[pending.pop()] = None
    return list(found)


@dataclass(frozen=True)
class Comparison:
    """One of their choices, and ours with as many bytes.

    Args:
        network: whose.
        runs: how many there are.
        printed: whether its peak is the one that their code prints, and not the one that it has.
        share: percent of naive memory at the peak.
        theirs: percent of a forward pass run again.
        ours: the same; None where there is no choice with so few bytes.
        least: percent of naive memory of the smallest choice that we find.
        seconds: that ours took.
    """

    network: str
    runs: int
    printed: bool
    share: float
    theirs: float
    ours: float | None
    least: float
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether ours is at or below theirs, and planned in time."""
        return self.ours is not None and self.ours <= self.theirs and self.seconds <= SECONDS


def compare(folder: Path) -> list[Comparison]:
    """All of their networks. Budgets of one share what was learnt: the seconds are those beyond the ones before."""
    return [row for network in NETWORKS for row in _compared(network, *read(folder / f"cg_{network}.txt"))]


def _compared(network: str, sizes: list[int], functions: list[Function]) -> Iterator[Comparison]:
    schedule, naive = schedule_of(sizes, functions), 2 * sum(sizes)
    printed = [AS_PRINTED[network]] if network in AS_PRINTED else []
    for share, theirs in (*THEIRS[network], *printed):
        begin = time.perf_counter()
        chosen = choose(schedule, int(share / 100 * naive))
        seconds = time.perf_counter() - begin
        ours = chosen and 100 * chosen.overhead / schedule.forward_cost
        least = 100 * smallest(schedule).peak / naive
        yield Comparison(network, len(schedule.runs), (share, theirs) in printed, share, theirs, ours, least, seconds)


def table(rows: Iterable[Comparison]) -> str:
    """As Markdown."""
    lines = [
        "| network | runs | % of naive memory | run again, theirs % | ours % | planned, s |",
        "| --- " + "| ---: " * 5 + "|",
    ]
    for r in rows:
        share = f"{r.share:.2f}{' as printed' if r.printed else ''}"
        ours = f"none below {r.least:.2f}" if r.ours is None else f"{r.ours:.2f}"
        lines.append(f"| {r.network} | {r.runs} | {share} | {r.theirs:.2f} | {ours} | {r.seconds:.2f} |")
    return "\n".join(lines)


def misses(rows: Iterable[Comparison]) -> list[str]:
    """Where ours is not at or below theirs, or takes long, one line each."""
    lines = []
    for r in rows:
        if r.seconds > SECONDS:
            lines.append(f"{r.network} at {r.share:.2f} %: planned in {r.seconds:.1f} s")
        if r.ours is None or r.ours > r.theirs:
            ours = "no choice" if r.ours is None else f"{r.ours:.2f} %"
            (share, again), *_ = THEIRS[r.network]
            why = f"; counted in 64 bits, theirs takes {share:.2f} % for {again:.2f}" if r.printed else ""
            lines.append(f"{r.network} at {r.share:.2f} %: {ours} run again, theirs {r.theirs:.2f}{why}")
    return lines
