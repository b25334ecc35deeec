"""How we measure: candidates in turn, round after round, so that a slow moment hits all of them; then medians."""

import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any, NamedTuple

import jax

_PAUSE = 0.01
"""Seconds before each step: threads of the last candidate spin for a while, waiting for work (OpenMP's do)."""


class Compiled(NamedTuple):
    """A compiled candidate, what making it took (median seconds) and what it needs (bytes)."""

    run: Callable[[], Any]
    trace_lower: float
    compile: float
    temp_bytes: float


def compile_in_turns(
    candidates: Mapping[str, tuple[Callable[..., Any], tuple[Any, ...]]], times: int
) -> dict[str, Compiled]:
    """Trace, lower and compile each function for its arguments, several times; each time from empty caches."""
    traces: dict[str, list[float]] = {name: [] for name in candidates}
    compilings: dict[str, list[float]] = {name: [] for name in candidates}
    compiled: dict[str, Any] = {}
    for name in in_turns(list(candidates), times):
        function, arguments = candidates[name]
        forget()
        start = time.perf_counter()
        lowered = jax.jit(lambda *args, f=function: f(*args)).lower(*arguments)
        traced = time.perf_counter()
        compiled[name] = lowered.compile()
        compilings[name].append(time.perf_counter() - traced)
        traces[name].append(traced - start)
    return {
        name: Compiled(
            lambda run=compiled[name], arguments=arguments: jax.block_until_ready(run(*arguments)),
            statistics.median(traces[name]),
            statistics.median(compilings[name]),
            float(compiled[name].memory_analysis().temp_size_in_bytes),
        )
        for name, (_, arguments) in candidates.items()
    }


def time_in_turns(runs: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each; a first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for name in in_turns(list(runs), rounds + 1):
        time.sleep(_PAUSE)
        start = time.perf_counter()
        runs[name]()
        seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def in_turns(names: list[str], rounds: int) -> Iterator[str]:
    """All names in each round, shuffled: a fixed or rotating order would let the same one always follow another."""
    shuffled, random = list(names), Random(0)
    for _ in range(rounds):
        random.shuffle(shuffled)
        yield from shuffled


def forget() -> None:
    """Empty JAX's caches and funcgrad's, so that a trace starts from nothing."""
    jax.clear_caches()
    for module in [m for n, m in sys.modules.items() if n.split(".")[0] == "funcgrad"]:
        for item in vars(module).values():
            if hasattr(item, "cache_clear"):
                item.cache_clear()
    gc.collect()
