"""Every rule that funcgrad has, before its own checker: none is rejected, in any dtype.

Dtypes are promoted as by default: what strict promotion refuses, complex numbers beside real ones, others may pass.
"""

import jax
import pytest

import funcgrad as fg
from funcgrad.checking import Verdict
from funcgrad.checking.rules.examples import choose_examples
from funcgrad.registry import Op, registered
from tests.ops.cases import CASES, library_ops

QUICK = {"relu", "softmax", "linear"}
NUMERIC = {"f32", "bf16", "f16"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.thorough]) for n in sorted(library_ops())],
)
def test_the_rules_of(name: str):
    with jax.numpy_dtype_promotion("standard"):
        report = fg.check(registered()[name])
    assert report.ok, report
    assert {r.name for r in report.rows if r.group == "numerics" and r.verdict is Verdict.RIGHT} == NUMERIC, report


@pytest.mark.parametrize("op", [op for op in registered().values() if op.name in library_ops()], ids=str)
def test_an_op_can_be_checked_as_it_is(op: Op, monkeypatch):
    """Without the cases of the tests, which are registered beside."""
    monkeypatch.setattr(op, "examples", [e for e in op.examples if all(e.arguments is not c.args for c in CASES)])
    for example in choose_examples(op, None, {}):
        jax.eval_shape(lambda op=op, e=example: op(*e.arguments, **e.attributes))
