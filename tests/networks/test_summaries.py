"""The table of a network: its numbers against the plan's, its layout once in full."""

import re

import jax
import jax.numpy as jnp
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.errors import ShapeError
from funcgrad.layers import chain, conv2d, dropout, flatten, linear, max_pool2d, repeat, residual
from tests.layers.networks import NETWORKS, start
from tests.raising import raises_sentence

CONVNET = chain(conv2d(4, 3), ops.relu, max_pool2d(2), flatten(), dropout(0.5), head=linear(3))
IMAGES = jax.ShapeDtypeStruct((2, 8, 8, 1), jnp.float32)


def test_the_table():
    lines = str(fg.summary(CONVNET, IMAGES)).splitlines()
    cells = [line.split() for line in lines]
    assert cells[0] == ["layer", "output", "parameters", "FLOPs", "keeps"]
    assert [c[0] for c in cells[2:8]] == [
        "conv2d0",
        "relu",
        "max_pool2d0",
        "flatten0",
        "head",
        lines[-3][0] * len(lines[-3]),
    ]
    assert cells[2][:3] == ["conv2d0", "f32[2,8,8,4]", "40"]
    assert cells[6][:3] == ["head", "f32[2,3]", "195"]
    assert cells[-2][:2] == ["total", "235"]
    assert lines[-1] == "parameters take 940 B"


@pytest.mark.parametrize("name", NETWORKS)
def test_sums_are_those_of_parameters_and_plan(name):
    net, params, state, x = start(name)
    found = fg.summary(net, x)
    assert found.parameters == sum(p.size for p in jax.tree.leaves(params))
    assert found.state_values == sum(s.size for s in jax.tree.leaves(state))
    plan = fg.plan(lambda p: net.apply(p, state, x)[0], params)
    assert found.forward_flops == plan.totals.forward_flops
    assert found.kept_bytes == plan.totals.kept_bytes


def test_training_counts_what_only_training_does():
    net = chain(linear(64), dropout(0.5), head=linear(2))
    x = jax.ShapeDtypeStruct((4, 8), jnp.float32)
    assert "dropout0" not in str(fg.summary(net, x))
    assert "dropout0" in str(fg.summary(net, x, train=True))


def test_copies_of_a_layer_count_all_their_parameters():
    net = chain(linear(4), repeat(residual(chain(linear(4), ops.relu)), 5))
    found = fg.summary(net, jax.ShapeDtypeStruct((3, 4), jnp.float32))
    assert {r.layer: r.parameters for r in found.rows} == {"linear0": 20, "repeat0": 100}


def test_a_function_that_returns_nothing_has_no_shape():
    def watched(x):
        jax.debug.print("{}", x.sum())
        return x

    found = fg.summary(chain(linear(4), watched), jax.ShapeDtypeStruct((3, 4), jnp.float32))
    assert found.parameters == 20
    assert "" in [r.output for r in found.rows]


def test_the_table_fits_its_page(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    x = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    lines = str(fg.summary(fg.networks.resnet(18, 10, width=8, scan=True), x)).splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[2].startswith("stem/conv2d0 ")
    assert lines[6].startswith("**/residual0/body/conv2d0 ")  # a pattern that the layer's path matches


def test_an_input_that_does_not_fit():
    text = "conv2d0/conv2d: the input must have at least 3 axes, got f32[8]."
    with raises_sentence(ShapeError, re.escape(text)):
        fg.summary(CONVNET, jax.ShapeDtypeStruct((8,), jnp.float32))
