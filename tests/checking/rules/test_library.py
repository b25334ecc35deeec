"""Every rule that funcgrad has, before its own checker: none is rejected, in any dtype."""

import pytest

import funcgrad as fg
from funcgrad.checking import Verdict
from funcgrad.registry import registered
from tests.ops.cases import library_ops

QUICK = {"relu", "softmax", "linear"}
NUMERIC = {"f32", "bf16", "f16"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.thorough]) for n in sorted(library_ops())],
)
def test_the_rules_of(name: str):
    report = fg.check(registered()[name])
    assert report.ok, report
    assert {r.name for r in report.rows if r.group == "numerics" and r.verdict is Verdict.RIGHT} == NUMERIC, report
