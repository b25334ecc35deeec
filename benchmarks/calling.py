"""What it costs to ask for the gradient of a function: at once, outside of `jit`, and when it is traced again.

`eager` is a call of `value_and_grad` outside of `jit`: the programs that the first one compiles, and the processor time
of later ones. `second trace` is the processor time of `jit(value_and_grad(f))` where the body of `f` was traced before.
"""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

import funcgrad as fg
from benchmarks import captured
from benchmarks.report import Rows
from benchmarks.timing import forget, in_turns

DEPTH = 16
TARGET = 1.0
COMPILED = "/jax/core/compile/backend_compile_duration"
Makers = Mapping[str, Callable[..., Any]]
MAKERS: Makers = {"ours": fg.value_and_grad, "jax": jax.value_and_grad}


def net(params: Any, x: jax.Array) -> jax.Array:
    for block in params:
        x = layer(block, x)
    return jnp.mean(x**2)


def layer(block: Any, x: jax.Array) -> jax.Array:
    centered = x - jnp.mean(x, -1, keepdims=True)
    normal = centered * jax.lax.rsqrt(jnp.var(x, -1, keepdims=True) + 1e-5)
    return x + jax.nn.gelu(normal @ block["w"] + block["b"])


def in_jitted_layers(params: Any, x: jax.Array) -> jax.Array:
    for block in params:
        x = _jitted_layer(block, x)
    return jnp.mean(x**2)


_jitted_layer = jax.jit(layer)
FUNCTIONS = {"a jitted network": jax.jit(net), "jitted layers": in_jitted_layers, "nothing jitted": net}


def compare(rounds: int) -> Rows:
    """Rows `{network, against, metric, ratio}`, ours over JAX's; models whose packages are missing are left out."""
    params = [{"w": jnp.eye(8) * (1 + k / 100), "b": jnp.zeros(8)} for k in range(DEPTH)]
    cases = {name: captured.Case(function, (params, jnp.ones((4, 8)))) for name, function in FUNCTIONS.items()}
    cases |= {name: make() for name, (make, _) in captured.MODELS.items() if not captured.missing(name)}
    return [row for name, case in cases.items() for row in _compare(name, case, rounds)]


def _compare(name: str, case: captured.Case, rounds: int) -> Rows:
    calls = {lib: make(case.loss) for lib, make in MAKERS.items()}
    programs = {lib: _programs(lambda call=call: call(*case.arguments)) for lib, call in calls.items()}
    eager = {lib: (lambda call=call: jax.block_until_ready(call(*case.arguments))) for lib, call in calls.items()}
    traces = {lib: (lambda call=call: _trace(call, case.arguments)) for lib, call in calls.items()}
    measured = {
        "programs": programs,
        "eager": _processor(eager, rounds),
        "second trace": _processor(traces, rounds),
    }
    ratios = {metric: round(found["ours"] / found["jax"], 3) for metric, found in measured.items()}
    return [{"network": name, "against": "jax", "metric": m, "ratio": ratio} for m, ratio in ratios.items()]


def misses(rows: Rows) -> list[str]:
    """Where a ratio is above 1, one line each."""
    return [f"{r['network']}, {r['metric']}: {r['ratio']:.3f} > {TARGET:g}" for r in rows if r["ratio"] > TARGET]


def left_out() -> list[str]:
    """The packages that models need and that are not installed."""
    return sorted({package for name in captured.MODELS for package in captured.missing(name)})


def table(rows: Rows) -> str:
    """The ratios as Markdown."""
    metrics = list(dict.fromkeys(r["metric"] for r in rows))
    lines = [["function", *metrics], ["---", *["---:"] * len(metrics)]]
    for name in dict.fromkeys(r["network"] for r in rows):
        ratios = {r["metric"]: r["ratio"] for r in rows if r["network"] == name}
        lines.append([name, *(f"{ratios[m]:.2f}" for m in metrics)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _trace(call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    jax.jit(lambda *args: call(*args)).trace(*arguments)


def _programs(call: Callable[[], Any]) -> int:
    """How many programs a call compiles, from empty caches."""
    found = []

    def listen(event: str, _seconds: float, **_: Any) -> None:
        if event == COMPILED:
            found.append(event)

    forget()
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        jax.block_until_ready(call())
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return len(found)


def _processor(runs: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median processor time of each, in turns, the collector of garbage at rest; three rounds warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    gc.collect()
    gc.disable()
    try:
        for name in in_turns(list(runs), rounds + 3):
            start = time.process_time()
            runs[name]()
            seconds[name].append(time.process_time() - start)
    finally:
        gc.enable()
    return {name: statistics.median(times[3:]) for name, times in seconds.items()}
