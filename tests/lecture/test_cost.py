"""The cost claim: a layer's backward makes two matrix products where its forward makes one.

So the backward pass costs about twice the forward, less one product: nobody asks for the gradient of the data.
"""

from itertools import pairwise

import jax
import jax.numpy as jnp
import pytest

import funcgrad as fg
from funcgrad import ops

BATCH = 64


def network(params, x):
    for w, b in params:
        x = ops.sigmoid(ops.linear(x, w, b))
    return x


def loss(params, x, t):
    return ops.mean(ops.squared_error(network(params, x), t))


def specs(widths):
    def array(*shape):
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    params = [(array(n, m), array(m)) for n, m in pairwise(widths)]
    return params, array(BATCH, widths[0]), array(BATCH, widths[-1])


def products(widths):
    """FLOPs of each layer's matrix product: a multiplication and an addition per weight and example."""
    return [2 * BATCH * n * m for n, m in pairwise(widths)]


def linear_rows(plan):
    return [row for row in plan.rows if row.op == "linear"]


@pytest.mark.parametrize("widths", [[100, 30, 20, 10], [8, 8], [5, 70, 3]])
def test_two_products_per_layer_but_one_for_the_first(widths):
    """Each bias adds BATCH · m to the forward, and its gradient the same sum to the backward."""
    rows = linear_rows(fg.plan(loss, *specs(widths)))
    biases = [BATCH * m for m in widths[1:]]
    assert [row.forward_flops for row in rows] == [p + b for p, b in zip(products(widths), biases, strict=True)]
    first, *others = zip(rows, products(widths), biases, strict=True)
    assert first[0].backward_flops == first[1] + first[2]
    for row, product, bias in others:
        assert row.backward_flops == 2 * product + bias


def test_the_first_layer_costs_two_as_well_when_the_input_is_wanted():
    widths = [100, 30, 20, 10]
    rows = linear_rows(fg.plan(loss, *specs(widths), argnums=(0, 1)))
    assert [row.backward_flops for row in rows] == [
        2 * p + BATCH * m for p, m in zip(products(widths), widths[1:], strict=True)
    ]


@pytest.mark.parametrize("depth", [2, 4, 16])
def test_the_ratio_of_a_wide_network_is_two_less_one_product(depth):
    widths = [512] * (depth + 1)
    plan = fg.plan(loss, *specs(widths))
    assert plan.totals.ratio == pytest.approx((2 * depth - 1) / depth, rel=0.01)
    with_input = fg.plan(loss, *specs(widths), argnums=(0, 1))
    assert with_input.totals.ratio == pytest.approx(2, rel=0.01)


def test_the_ratio_of_unequal_layers():
    """The product that is saved is that of the first layer, whatever its share."""
    widths = [2048, 256, 256, 256]
    p = products(widths)
    plan = fg.plan(loss, *specs(widths))
    assert plan.totals.ratio == pytest.approx((2 * sum(p) - p[0]) / sum(p), rel=0.01)
    assert plan.totals.ratio < 1.4


@pytest.mark.parametrize("depth", [2, 4, 16])
def test_xla_counts_about_three_forwards_in_total(depth):
    """Forward and backward together, as XLA counts the compiled programs."""
    args = specs([512] * (depth + 1))
    forward, both = (flops(f, args) for f in (loss, fg.value_and_grad(loss)))
    assert both / forward == pytest.approx(3 - 1 / depth, rel=0.01)
    assert both == pytest.approx(sum_of(fg.plan(loss, *args)), rel=0.01), "the plan's count, forward plus backward"


def flops(function, args):
    return jax.jit(function).lower(*args).compile().cost_analysis()["flops"]


def sum_of(plan):
    return plan.totals.forward_flops + plan.totals.backward_flops
