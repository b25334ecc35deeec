"""What it costs to watch a transformer for what is not finite, explodes or vanishes: a step with statistics for
`fg.checking.Blame` over the same step without.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

import funcgrad as fg
from benchmarks.report import Rows
from benchmarks.timing import compile_in_turns, time_in_turns
from funcgrad import networks

UNWATCHED, BLOCKS, EVERYTHING = "nothing watched", "blocks", "every value"
TARGETS = {BLOCKS: 1.03}


def compare(rounds: int, small: bool) -> Rows:
    """Rows `{network, against, metric, ratio}`, `network` being what is watched."""
    depth, width, length = (2, 32, 16) if small else (12, 256, 128)
    net = networks.transformer_lm(256, width=width, depth=depth)
    text = jax.random.randint(jax.random.key(0), (8, length + 1), 0, 256)
    tokens, following = text[:, :-1], text[:, 1:]
    params, _ = net.init(jax.random.key(1), jax.ShapeDtypeStruct(tokens.shape, tokens.dtype))

    def loss(params: Any, tokens: jax.Array, following: jax.Array) -> jax.Array:
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(net(params, tokens), following))

    arguments = (params, tokens, following)
    steps = {
        UNWATCHED: fg.value_and_grad(loss),
        BLOCKS: fg.value_and_grad(loss, taps="blocks/blocks/block*", stats=fg.checking.CHEAP),
        EVERYTHING: fg.value_and_grad(loss, taps="**", stats=fg.checking.CHEAP),
    }
    compiled = compile_in_turns({name: (step, arguments) for name, step in steps.items()}, 1)
    seconds = time_in_turns({name: c.run for name, c in compiled.items()}, rounds)
    return [
        {"network": name, "against": UNWATCHED, "metric": "step", "ratio": round(seconds[name] / seconds[UNWATCHED], 3)}
        for name in (BLOCKS, EVERYTHING)
    ]


def misses(rows: Rows) -> list[str]:
    """Where a ratio is above its target, one line each."""
    return [
        f"{r['network']}, step against {r['against']}: {r['ratio']:.3f} > {TARGETS[r['network']]:g}"
        for r in rows
        if r["ratio"] > TARGETS.get(r["network"], float("inf"))
    ]
