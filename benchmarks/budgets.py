"""Gradients within memory budgets: what is asked, what XLA says that the program takes, and what it costs in time.

Shares are of what `jax.value_and_grad`'s program takes; `least` is the smallest peak that is foreseen. `foreseen` is
the program's bytes over the plan's, `used` over what was asked. Beside them the same network in plain JAX under
`jax.checkpoint`, around its whole loss, with each policy that ships: what a policy's program takes is then asked of
ours (`as <policy>`), to compare times at equal bytes.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import funcgrad as fg
from benchmarks.networks import ALL, QUICK
from benchmarks.networks.network import Draw, Network
from benchmarks.report import Rows
from benchmarks.timing import time_in_turns
from funcgrad.autodiff.limits import compile_within, program_bytes
from funcgrad.budget import Budget
from funcgrad.errors import BudgetError
from funcgrad.planning import Limit

SHARES = (0.75, 0.5, 0.3)
POLICIES: dict[str, Any] = {
    "nothing": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_saveable,
    "dots without a batch": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


class Held(NamedTuple):
    """One program."""

    network: str
    asked: str
    bytes: int
    """Beside arguments, as XLA says."""
    over_plain: float
    """That over what `jax.value_and_grad`'s takes."""
    used: float | None = None
    """That over what was asked."""
    foreseen: float | None = None
    """That over what the plan says."""
    again: float | None = None
    """What is run again, as a share of one forward pass, as planned."""
    tries: int = 1
    planned: float = 0.0
    """Seconds to trace, plan, lower and compile, all tries together, over those of `jax.value_and_grad`."""
    time: float = 0.0
    """A step's, over that of `jax.value_and_grad`."""


def chain(depth: int = 16, width: int = 256, batch: int = 1024) -> Network:
    """Linear layers and ReLUs."""

    def loss(params: Any, x: jax.Array) -> jax.Array:
        for w in params:
            x = jax.nn.relu(x @ w)
        return jnp.mean(x * x)

    draw = Draw()
    return Network("chain", loss, loss, [draw.weight(width, width) for _ in range(depth)], (draw.normal(batch, width),))


def dense(depth: int = 12, width: int = 32, batch: int = 2048) -> Network:
    """Each layer reads all those before it."""

    def loss(params: Any, x: jax.Array) -> jax.Array:
        found = [x]
        for w in params:
            found.append(jax.nn.relu(jnp.concatenate(found, axis=-1) @ w))
        return jnp.mean(found[-1] ** 2)

    draw = Draw()
    params = [draw.weight(width * (i + 1), width) for i in range(depth)]
    return Network("dense", loss, loss, params, (draw.normal(batch, width),))


EVERY: Mapping[str, Callable[..., Network]] = {**ALL, "chain": chain, "dense": dense}
SMALL = {**QUICK, "chain": {"depth": 6, "width": 64, "batch": 256}, "dense": {"depth": 5, "batch": 256}}


def measure(network: Network, rounds: int) -> Iterator[Held]:
    """All programs of one network, timed in turns."""
    found: list[Held] = []
    runs: dict[str, Callable[[], Any]] = {}

    def add(asked: str, compiled: Any, held: Held) -> None:
        found.append(held)
        runs[asked] = lambda: jax.block_until_ready(compiled(network.params, *network.batch))

    start = time.perf_counter()
    plain = _compile(jax.value_and_grad(network.plain, has_aux=network.has_state), network)
    seconds = time.perf_counter() - start
    base, _ = program_bytes(plain) or (0, 0)
    add("jax.value_and_grad", plain, Held(network.name, "jax.value_and_grad", base, 1.0))
    sizes: dict[str, int | str] = {f"{share}": int(share * base) for share in SHARES} | {"least": "min"}
    for name, policy in POLICIES.items():
        remade = _compile(
            jax.value_and_grad(jax.checkpoint(network.plain, policy=policy), has_aux=network.has_state), network
        )
        taken, _ = program_bytes(remade) or (0, 0)
        add(name, remade, Held(network.name, f"checkpoint: {name}", taken, taken / base))
        sizes[f"as {name}"] = taken
    for asked, size in sizes.items():
        start = time.perf_counter()
        limit = Limit(Budget.of(size))
        try:
            made = compile_within(
                lambda limit=limit: fg.value_and_grad(network.loss, memory=limit, has_aux=network.has_state),
                limit,
                network.name,
                (network.params, *network.batch),
            )
        except BudgetError as error:
            print(f"{network.name}, {asked}: {error}", flush=True)
            continue
        took, sized, plan = time.perf_counter() - start, made.certified, limit.plans[-1]
        assert sized is not None
        used = None if sized.asked is None else sized.bytes / sized.asked
        share, foreseen = sized.bytes / base, sized.bytes / plan.memory.peak
        row = (used, foreseen, plan.memory.overhead, sized.compilations, took / seconds)
        add(asked, made.compiled, Held(network.name, asked, sized.bytes, share, *row))
    times = time_in_turns(runs, rounds)
    first = times["jax.value_and_grad"]
    yield from (held._replace(time=t / first) for held, t in zip(found, times.values(), strict=True))


def _compile(fun: Callable[..., Any], network: Network) -> Any:
    return jax.jit(fun).lower(network.params, *network.batch).compile()


def compare(names: Iterable[str], rounds: int, small: bool) -> list[Held]:
    """The rows of some networks."""
    found = []
    for name in names:
        found += measure(EVERY[name](**SMALL[name]) if small else EVERY[name](), rounds)
        print(f"{name} done", flush=True)
    return found


def rows(found: Iterable[Held]) -> Rows:
    """As rows `{network, against, metric, ratio}`."""
    numbers = ((h, metric, getattr(h, metric)) for h in found for metric in ("over_plain", "used", "foreseen", "time"))
    return [
        {"network": h.network, "against": h.asked, "metric": metric, "ratio": round(x, 3)}
        for h, metric, x in numbers
        if x is not None
    ]


def table(found: Iterable[Held]) -> str:
    """As Markdown."""
    lines = [
        "| network | asked | MB | over plain | used | foreseen | again | programs | to compile | time |",
        "| --- | --- " + "| ---: " * 8 + "|",
    ]
    for h in found:
        numbers = [*(f"{x:.2f}" if x is not None else "" for x in (h.over_plain, h.used, h.foreseen, h.again))]
        cells = [
            h.network,
            h.asked,
            f"{h.bytes / 1e6:.2f}",
            *numbers,
            str(h.tries),
            f"{h.planned:.1f}",
            f"{h.time:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def misses(found: Iterable[Held]) -> list[str]:
    """Where a program uses less than 0.95 of a budget that binds, a line each."""
    return [
        f"{h.network}, {h.asked}: uses {h.used:.2f} of what it was asked"
        for h in found
        if h.used is not None and h.used < 0.95 and h.again
    ]
