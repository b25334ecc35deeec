"""What is kept under several shapes is kept once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from tests.planning.asserting import assert_like_jax

X, W = jnp.linspace(-1.0, 1.0, 24).reshape(2, 12), jnp.cos(jnp.arange(144.0)).reshape(12, 12) / 4


def as_heads(x, w):
    """The output of a tanh is read by its own rule, and by a product in another shape."""
    y = ops.tanh(x.reshape(2, 3, 4))
    return ops.linear(y.reshape(2, 12), w)


def transposed_parameter(x, w):
    return ops.linear(jnp.sin(x), w.T)


def renamed(x, w):
    y = fg.name(jnp.tanh(x), "a")
    return ops.linear(fg.name(y, "b"), w) + y


def twice_of_what_nobody_reads(x, w):
    """Two shapes of a sum that no rule reads: the sum is kept in their place."""
    s = x + 1
    return jnp.sum(jnp.sin(s.reshape(12, 2)) ** 2) + ops.linear(jnp.cos(s.T).T, w)


def spread(x, w):
    """A row that is repeated: the row is kept."""
    row = jnp.sum(x, axis=0)
    return ops.linear(x, w)[None] * jnp.broadcast_to(row, (5, 2, 12))


KEPT = {as_heads: 24, transposed_parameter: 24, renamed: 24, twice_of_what_nobody_reads: 24 + 24 + 24, spread: 12 + 24}
"""How many numbers are kept beside inputs."""


@pytest.mark.parametrize("f", KEPT, ids=lambda f: f.__name__)
def test_it_is_kept_once(f):
    loss = lambda x, w: jnp.sum(f(x, w))
    plan = fg.plan(loss, X, W, argnums=(0, 1))
    assert sum(v.aval.size for v in plan.kept if v not in plan.structure.inputs) == KEPT[f]
    assert plan.totals.remade == 0
    assert_like_jax(loss, X, W)


def test_the_shape_that_is_asked_for_is_what_a_row_reads():
    rows = {r.node: r for r in fg.plan(lambda x, w: as_heads(x, w).sum(), X, W, argnums=(0, 1)).rows}
    assert tuple(map(str, rows["linear"].reads)) == ("x", "w*")
    assert rows["linear"].keeps == ("tanh", "w")
    assert (rows["tanh"].new_bytes, rows["linear"].new_bytes) == (24 * 8, 0)


def test_a_loop_stacks_it_once():
    def loss(x, ws):
        return jax.lax.scan(lambda x, w: (as_heads(x, w), None), x, ws)[0].sum()

    ws = jnp.stack([W] * 5)
    (step,) = (s for s in fg.plan(loss, X, ws, argnums=(0, 1)).steps if s.bodies)
    assert [v.aval.shape for v in step.saved] == [(2, 3, 4)]
    assert_like_jax(loss, X, ws)


def test_a_tape_holds_it_once():
    _, tape = fg.record(as_heads, X, W)
    assert sum(x.size for x in tape.kept if x.shape != W.shape) == 24
    np.testing.assert_allclose(tape.pull(jnp.ones((2, 12)))[0], jax.vjp(as_heads, X, W)[1](jnp.ones((2, 12)))[0])
