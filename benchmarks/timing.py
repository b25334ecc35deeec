"""How we measure: candidates in turn, round after round, so that a slow moment hits all of them; then medians."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax


@dataclass(frozen=True)
class Measured:
    """Medians over the rounds, in seconds, and bytes."""

    trace_lower: float
    compile: float
    step: float
    temp_bytes: float


def measure(
    candidates: Mapping[str, Callable[..., Any]], arguments: tuple[Any, ...], rounds: int, compiles: int
) -> dict[str, Measured]:
    """Trace, compile and run each candidate, interleaved; caches are emptied before each trace."""
    traces: dict[str, list[float]] = {name: [] for name in candidates}
    compilings: dict[str, list[float]] = {name: [] for name in candidates}
    steps: dict[str, list[float]] = {name: [] for name in candidates}
    compiled: dict[str, Any] = {}
    for _ in range(compiles):
        for name, function in candidates.items():
            forget()
            start = time.perf_counter()
            lowered = jax.jit(lambda *args, f=function: f(*args)).lower(*arguments)
            traced = time.perf_counter()
            compiled[name] = lowered.compile()
            traces[name].append(traced - start)
            compilings[name].append(time.perf_counter() - traced)
    names = list(candidates)
    for i in range(rounds + 1):
        for name in names[i % len(names) :] + names[: i % len(names)]:  # nobody always comes first
            run = compiled[name]
            start = time.perf_counter()
            jax.block_until_ready(run(*arguments))
            if i:  # the first round warms up
                steps[name].append(time.perf_counter() - start)
    return {
        name: Measured(
            statistics.median(traces[name]),
            statistics.median(compilings[name]),
            statistics.median(steps[name]),
            float(compiled[name].memory_analysis().temp_size_in_bytes),
        )
        for name in candidates
    }


def forget() -> None:
    """Empty JAX's caches and funcgrad's, so that a trace starts from nothing."""
    jax.clear_caches()
    for module in [m for n, m in sys.modules.items() if n.split(".")[0] == "funcgrad"]:
        for item in vars(module).values():
            if hasattr(item, "cache_clear"):
                item.cache_clear()
