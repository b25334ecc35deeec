"""Every rule of every op, over the registry and its cases."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcgrad import ops
from funcgrad.registry import Marker, Op, registered
from tests.ops.asserting import Flat, assert_nan_propagates, assert_rule, assert_second_order, assert_vmap
from tests.ops.cases import CASES, Case, library_ops


def over(cases: Iterable[Case]) -> pytest.MarkDecorator:
    marks = {True: [pytest.mark.slow], False: []}
    return pytest.mark.parametrize("case", [pytest.param(c, id=str(c), marks=marks[c.slow]) for c in cases])


each_case = over(CASES)
each_op = over(c for c in CASES if c.primary)


FLAT = {"heaviside", "binarize", "ternarize", "fake_quantize", "stochastic_round"}
"""What may say that its derivative is zero; that it is, the cases show."""


def test_every_op_has_cases():
    assert library_ops() == {c.op.name for c in CASES}


def test_every_argument_has_a_hand_rule_or_a_reason():
    for name in library_ops():
        op = registered()[name]
        assert set(op.rules) == set(op.arguments), name
        assert Marker.NOT_IMPLEMENTED not in op.rules.values(), name
        assert name in FLAT or Marker.ZERO not in op.rules.values(), name


def test_every_saved_value_is_asked_for():
    for name in library_ops():
        op = registered()[name]
        asked = {n for rule in op.rules.values() if not isinstance(rule, Marker) for n in rule.needs}
        assert set(op.saved) <= asked, name


def test_case_labels_are_unique():
    assert len({str(c) for c in CASES}) == len(CASES)


@each_case
def test_cotangents_in_float64(case: Case):
    assert_rule(case.op, case.args, case.attributes)


@pytest.mark.slow
@each_op
def test_cotangents_without_jit(case: Case):
    assert_rule(case.op, case.args, case.attributes, jit=False)


PRECISION_CASES = [c for c in CASES if c.primary or c.label in ("wide", "huge", "ties")]


@over(PRECISION_CASES)
def test_cotangents_in_float32(case: Case):
    assert_rule(case.op, case.args, case.attributes, np.float32)


@over(c for c in PRECISION_CASES if c.half)
def test_cotangents_in_bfloat16(case: Case):
    assert_rule(case.op, case.args, case.attributes, jnp.bfloat16)


@pytest.mark.slow
@each_op
def test_cotangents_in_float16(case: Case):
    assert_rule(case.op, case.args, case.attributes, np.float16)


def _subsets(case: Case) -> list[list[int]]:
    """Which leaves to batch: all, the first alone, the second alone."""
    n = len(Flat(case.op, case.args, case.attributes).moving)
    return [list(range(n))] + [[i] for i in range(min(n, 2)) if n > 1]


@each_op
def test_vmap(case: Case):
    for batched in _subsets(case)[:2]:
        assert_vmap(case.op, case.args, case.attributes, batched)


@pytest.mark.slow
@each_case
def test_vmap_of_awkward_cases(case: Case):
    for batched in _subsets(case):
        assert_vmap(case.op, case.args, case.attributes, batched)


@each_op
def test_second_order(case: Case):
    assert_second_order(case.op, case.args, case.attributes)


@pytest.mark.slow
@over(c for c in CASES if c.smooth and not c.primary)
def test_second_order_of_awkward_cases(case: Case):
    assert_second_order(case.op, case.args, case.attributes)


@each_op
def test_nan_propagates(case: Case):
    assert_nan_propagates(case.op, case.args, case.attributes)


@pytest.mark.parametrize("op", [ops.max, ops.sparse_plus], ids=lambda op: op.name)
def test_nan_in_an_argument_is_not_hidden(op: Op):
    """Of `max` JAX's own derivative hides it where it is compiled."""
    x = jnp.array([-2.0, jnp.nan, 0.5])
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(op(x))))(x)
    assert jnp.isnan(gradient[1]), gradient
