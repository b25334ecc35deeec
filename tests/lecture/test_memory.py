"""The memory claim: the backward pass needs every layer's activation, so what is kept grows linearly with depth.

The forward alone may forget each activation once the next one is there.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops

BATCH, WIDTH = 128, 32
ACTIVATION_BYTES = BATCH * WIDTH * 4


def loss(params, x, t):
    for w, b in params:
        x = ops.sigmoid(ops.linear(x, w, b))
    return ops.mean(ops.squared_error(x, t))


def specs(depth):
    def array(*shape):
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    x = array(BATCH, WIDTH)
    return [(array(WIDTH, WIDTH), array(WIDTH)) for _ in range(depth)], x, x


def temporary_bytes(function, depth):
    """What XLA sets aside beside inputs and outputs."""
    return jax.jit(function).lower(*specs(depth)).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("depth", [1, 2, 8, 32])
def test_the_plan_keeps_one_activation_per_layer(depth):
    """σ' = x (1 - x) is read off the output, which is also what the next weight's gradient needs."""
    plan = fg.plan(loss, *specs(depth))
    assert plan.totals.kept_bytes == depth * ACTIVATION_BYTES
    assert [row.new_bytes for row in plan.rows if row.op == "sigmoid"] == [ACTIVATION_BYTES] * depth


def test_the_tape_holds_what_the_plan_says():
    """The arrays that a recorded forward leaves behind are the plan's, and no others."""
    rng = np.random.default_rng(9)
    args = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape), s.dtype), specs(6))
    _, tape = fg.record(loss, *args)
    totals = tape.plan.totals
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(tape))
    assert totals.kept_bytes == 6 * ACTIVATION_BYTES
    assert held == totals.kept_bytes + totals.input_bytes


def test_a_gradient_of_the_last_layer_alone_keeps_nothing_below():
    """What is not asked for is not kept: the last layer's gradient needs its own input and output."""

    def loss_of_last(last, params, x, t):
        return loss([*params, last], x, t)

    params, x, t = specs(8)
    plan = fg.plan(loss_of_last, params[-1], params[:-1], x, t)
    assert plan.totals.kept_bytes == 2 * ACTIVATION_BYTES


def test_xlas_memory_grows_with_depth_for_the_gradient_but_not_for_the_forward():
    shallow, deep = 4, 32
    grown = {
        name: (temporary_bytes(f, deep) - temporary_bytes(f, shallow)) / (deep - shallow) / ACTIVATION_BYTES
        for name, f in {"forward": loss, "backward": fg.value_and_grad(loss)}.items()
    }
    assert grown["backward"] == pytest.approx(1, rel=0.2), "activations per layer"
    assert grown["forward"] < 0.2, "activations per layer"
