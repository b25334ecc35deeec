"""What rules make by products from kept values alone, which a program of both passes keeps beside what they read."""

import jax
import jax.numpy as jnp
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.planning import make_plan
from funcgrad.registry import op

Q = jnp.linspace(-1.0, 1.0, 2 * 6 * 3 * 4).reshape(2, 6, 3, 4)
WEIGHTS = 2 * 3 * 6 * 6 * Q.dtype.itemsize
"""Those of attention, `[b, h, t, s]`."""


def attend(q):
    return ops.attention(q, jnp.sin(q), jnp.cos(q))


@op
def feed_forward(x, w):
    """Nobody wrote its rule: JAX's runs its forward again."""
    return jnp.tanh(jnp.sin(x) @ w) @ w.T


def in_a_loop(q):
    return jax.lax.scan(lambda q, _: (attend(q), None), q, length=2)[0]


EXPECTED = {
    "attention": (attend, WEIGHTS),
    "twice": (lambda q: attend(attend(q)), 2 * WEIGHTS),
    "in blocks": (lambda q: ops.attention(q, q, q, block=3), 0),
    "in a loop": (in_a_loop, 0),
    "in a checkpoint": (jax.checkpoint(attend), 0),
    "linear": (lambda q: ops.linear(ops.tanh(q), jnp.ones((4, 8))), 0),
    "derived": (lambda q: feed_forward(q, jnp.ones((4, 8)) / 4), 2 * 6 * 3 * 8 * Q.dtype.itemsize),
}


@pytest.mark.parametrize("case", EXPECTED)
def test_what_comes_of_products_is_counted(case):
    f, expected = EXPECTED[case]
    assert fg.plan(lambda q: jnp.sum(f(q)), Q).repeated_bytes == expected


def test_what_waits_for_a_segment_is_not():
    structure = fg.trace(lambda q: jnp.sum(attend(jnp.tanh(q))), Q).structure
    inner = [v for v in structure.values if v not in (*structure.inputs, *structure.outputs)]
    kept, remade = (
        make_plan(structure, structure.inputs, structure.outputs, segments=segments) for segments in ([], [inner])
    )
    assert (kept.repeated_bytes, remade.repeated_bytes) == (WEIGHTS, 0)
