"""What plans say that is kept for the backward pass, beside what the compiled programs keep.

`rules make again` is `plan.repeated_bytes`; `program` is what the compiled program keeps (`benchmarks/live.py`), over
what the plan keeps and its rules make again; `temporaries` is XLA's figure of the whole program.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import funcgrad as fg
from benchmarks.live import Schedule
from benchmarks.networks import ALL, QUICK
from benchmarks.networks.network import Draw, Network
from benchmarks.report import Rows
from funcgrad import ops
from funcgrad.rulesets.residuals import reversible

NEAR = (0.9, 1.1)
WHY = {
    "resnet": "XLA keeps the convolutions' results, and makes batch norm and ReLU again from them inside of what "
    "reads them: their outputs, which the plan keeps, it does not",
}
"""What makes the difference, where the two are not near each other."""


class Memory(NamedTuple):
    """Bytes of one network."""

    network: str
    planned: int
    repeated: int
    live: int
    temporaries: int

    @property
    def ratio(self) -> float:
        """What the program keeps over what the plan says."""
        return self.live / (self.planned + self.repeated)

    @property
    def is_near(self) -> bool:
        """Whether the plan says what the program does, within a tenth."""
        return NEAR[0] <= self.ratio <= NEAR[1]


def blocks(block: Callable[..., Any], n: int = 12, width: int = 64, batch: int = 512) -> Network:
    """Residual blocks of layer norm and two linear layers with a gelu between them."""

    def run(params: Any, x: jax.Array) -> jax.Array:
        for p in params:
            x = block(p, x)
        return x

    draw = Draw()
    return _network("blocks", run, [_params(draw, width) for _ in range(n)], draw.normal(batch, width))


def halves(run: Callable[..., Any], n: int = 12, width: int = 64, batch: int = 512) -> Network:
    """Such blocks on two halves in turns: `x1 + F(x2)`, then `x2 + G(x1)`."""
    draw = Draw()
    params = [(_params(draw, width), _params(draw, width)) for _ in range(n)]
    return _network("halves", run, params, draw.normal(2, batch, width))


def _params(draw: Draw, width: int) -> dict[str, jax.Array]:
    up, down = draw.weight(width, 4 * width), draw.weight(4 * width, width)
    ends = {"scale": jnp.ones(width), "bias": jnp.zeros(width), "out": jnp.zeros(width)}
    return {"up": up, "down": down, "middle": jnp.zeros(4 * width), **ends}


def _network(name: str, run: Callable[..., Any], params: Any, x: jax.Array) -> Network:
    def loss(params: Any, x: jax.Array) -> jax.Array:
        y = run(params, x)
        return jnp.sum(y * y)

    return Network(name, loss, loss, params, (x,))


def block(p: Any, x: jax.Array) -> jax.Array:
    """One of them."""
    return x + branch(p, x)


def branch(p: Any, x: jax.Array) -> jax.Array:
    """What it adds."""
    h = ops.linear(ops.layer_norm(x, p["scale"], p["bias"]), p["up"], p["middle"])
    return ops.linear(ops.gelu(h), p["down"], p["out"])


def in_turns(params: Any, x: jax.Array, couple: Callable[..., Any]) -> jax.Array:
    """Blocks on two halves."""
    x1, x2 = x
    for p, q in params:
        x1, x2 = couple(p, q, x1, x2)
    return jnp.stack((x1, x2))


def coupled(p: Any, q: Any, x1: jax.Array, x2: jax.Array) -> tuple[jax.Array, jax.Array]:
    """One of them."""
    x1 = x1 + branch(p, x2)
    return x1, x2 + branch(q, x1)


def rebuilt(params: Any, x: jax.Array) -> jax.Array:
    """The same, each block's input rebuilt from its output."""
    chain = reversible(*((partial(branch, p), partial(branch, q)) for p, q in params))
    return jnp.stack(chain(x[0], x[1]))


OF_OPS = {
    "blocks": lambda **sizes: blocks(block, **sizes),
    "checkpoints": lambda **sizes: blocks(jax.checkpoint(block), **sizes),
    "halves": lambda **sizes: halves(partial(in_turns, couple=coupled), **sizes),
    "halves, checkpoints": lambda **sizes: halves(partial(in_turns, couple=jax.checkpoint(coupled)), **sizes),
    "halves, reversible": lambda **sizes: halves(rebuilt, **sizes),
}
"""Networks of this suite alone: 12 blocks, and the same each under `jax.checkpoint`; 12 pairs of them on two halves."""
EVERY = {**ALL, **OF_OPS}
SMALL = {**QUICK, **{name: {"n": 6, "width": 32} for name in OF_OPS}}


def measure(name: str, network: Network) -> Memory:
    """Compile both passes, with the loss's cotangent as an argument, so that it shows what depends on it."""

    def both(params: Any, cotangent: jax.Array, *batch: Any) -> Any:
        found = fg.vjp(lambda params: network.loss(params, *batch), params, has_aux=network.has_state)
        return found[0], found[1](cotangent), found[2:]

    plan = fg.plan(network.loss, network.params, *network.batch, has_aux=network.has_state)
    arguments = (network.params, jnp.ones(()), *network.batch)
    compiled = jax.jit(both, keep_unused=True).lower(*arguments).compile()
    live = Schedule.of(compiled.as_text() or "").kept(loss=0, cotangent=len(jax.tree.leaves(network.params)))
    analysis = compiled.memory_analysis()
    temporaries = 0 if analysis is None else int(analysis.temp_size_in_bytes)
    return Memory(name, plan.totals.kept_bytes, plan.repeated_bytes, live, temporaries)


def compare(names: Iterable[str], small: bool) -> list[Memory]:
    """One row for each network."""
    return [measure(name, EVERY[name](**SMALL[name]) if small else EVERY[name]()) for name in names]


def rows(found: Iterable[Memory]) -> Rows:
    """As rows `{network, against, metric, ratio}`."""
    return [{"network": r.network, "against": "plan", "metric": "kept", "ratio": round(r.ratio, 3)} for r in found]


def table(rows: Iterable[Memory]) -> str:
    """As Markdown, in MB."""
    lines = [
        "| network | plan keeps | rules make again | program | over both | temporaries |",
        "| --- " + "| ---: " * 5 + "|",
    ]
    for r in rows:
        sizes = [f"{size / 1e6:.2f}" for size in (r.planned, r.repeated, r.live)]
        lines.append(f"| {r.network} | {' | '.join(sizes)} | {r.ratio:.2f} | {r.temporaries / 1e6:.2f} |")
    return "\n".join(lines)


def misses(rows: Iterable[Memory]) -> list[str]:
    """Where the two are not within a tenth, and why, one line each."""
    return [
        f"{r.network}: the program keeps {r.ratio:.3f} of what the plan says: {WHY.get(r.network, 'nobody knows why')}"
        for r in rows
        if not r.is_near
    ]
