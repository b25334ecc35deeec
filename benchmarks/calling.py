"""What it costs to ask for the gradient of a jitted function: at once, outside of `jit`, and when it is traced again.

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
    """Rows `{network, against, metric, ratio}`, ours over JAX's."""
    params = [{"w": jnp.eye(8) * (1 + k / 100), "b": jnp.zeros(8)} for k in range(DEPTH)]
    arguments, rows = (params, jnp.ones((4, 8))), []
    for name, function in FUNCTIONS.items():
        calls = {lib: make(function) for lib, make in MAKERS.items()}
        programs = {lib: _programs(lambda call=call: call(*arguments)) for lib, call in calls.items()}
        eager = {lib: (lambda call=call: jax.block_until_ready(call(*arguments))) for lib, call in calls.items()}
        traces = {lib: (lambda call=call: _trace(call, arguments)) for lib, call in calls.items()}
        measured = {
            "programs": programs,
            "eager": _processor(eager, rounds),
            "second trace": _processor(traces, rounds),
        }
        for metric, found in measured.items():
            ratio = round(found["ours"] / found["jax"], 3)
            rows.append({"network": name, "against": "jax", "metric": metric, "ratio": ratio})
    return rows


def misses(rows: Rows) -> list[str]:
    """Where a ratio is above 1, one line each; a function that is not jitted is traced anew by both, and has none."""
    jitted = [r for r in rows if r["network"] != "nothing jitted"]
    return [f"{r['network']}, {r['metric']}: {r['ratio']:.3f} > {TARGET:g}" for r in jitted if r["ratio"] > TARGET]


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
