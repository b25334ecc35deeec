"""`fg.check` of the rules written down for JAX's primitives: all are right, and planted wrong ones are caught."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import funcgrad as fg
from funcgrad.checking import Verdict
from funcgrad.checking.rules.primitives import as_op, name_of_primitive
from funcgrad.errors import CheckError
from funcgrad.ops.equations.operands import TIED, X, Y
from funcgrad.registry import Row, Rule, registered, row_of, written
from tests.raising import raises_sentence

QUICK = {"tanh", "max", "concatenate"}
NUMERIC = {"f32", "bf16", "f16"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.thorough]) for n in sorted(written())]
)
def test_the_rules_of(name: str):
    report = fg.check(name, thorough=True)
    assert report.ok, report
    assert {r.name for r in report.rows if r.group == "numerics" and r.verdict is Verdict.RIGHT} == NUMERIC, report


def test_every_row_has_an_example():
    assert [name for name, row in written().items() if not row.uses] == []


def plant(monkeypatch, primitive: str, **rules) -> None:
    """Put wrong rules, of the same kinds, into a row."""
    row = row_of(primitive)
    assert row is not None
    wrong = {a: Rule(f, (a,), row.rules[a].kind) for a, f in rules.items()}
    monkeypatch.setitem(fg.registry.rows._ROWS, primitive, Row({**row.rules, **wrong}, row.holds, row.uses))


def whole_at_a_tie(g, x, y):
    """One argument's subgradient for itself, but the other gets its half as well."""
    return lax.select(x >= y, g, lax.full_like(g, 0))


def one_copy(g, operand_aval, broadcast_dimensions):
    """The first of what was repeated, for the sum."""
    kept = [a for n, a in zip(operand_aval.shape, broadcast_dimensions, strict=True) if n == g.shape[a]]
    return g[tuple(slice(None) if axis in kept else 0 for axis in range(g.ndim))].reshape(operand_aval.shape)


WRONG = {
    "a factor": ("tanh", {"x": lambda g, y: 1.01 * g * (1 - y * y)}, "values", "cotangent of x"),
    "swapped arguments": ("mul", {"x": lambda g, x: g * x}, "values", "cotangent of x"),
    "a missing sum": ("broadcast_in_dim", {"operand": one_copy}, "values", "cotangent of operand"),
    "another dtype": ("exp", {"x": lambda g, y: (g * y).astype(jnp.float32)}, "contract", "rules"),
    "another slope at a tie": ("max", {"x": whole_at_a_tie}, "values", "cotangent of x"),
    "an argument called as the output": ("div", {"y": lambda g, x, y: g * x / y**2}, "values", "cotangent of y_"),
    "another parameter": ("cumsum", {"operand": lambda g, axis: lax.cumsum(g, axis)}, "values", "cotangent of operand"),
    "one of a tuple": (
        "concatenate",
        {"operands": lambda g, operands_aval: tuple(lax.slice_in_dim(g, 0, a.shape[0]) for a in operands_aval)},
        "values",
        "cotangent of operands[1]",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_rule_is_caught(monkeypatch, what):
    name, rules, group, row = WRONG[what]
    plant(monkeypatch, name, **rules)
    report = fg.check(name, fail_fast=True)
    assert [(r.group, r.name) for r in report.wrong] == [(group, row)], report


def test_the_op_of_a_row_is_in_no_registry():
    before = registered()
    op = as_op("div", row_of("div"))
    assert registered() == before
    assert op.arguments == ("x", "y_")
    assert op.attributes == ("case",)
    np.testing.assert_allclose(op(X, Y), X / Y, rtol=1e-15)


def test_cases_may_be_given():
    report = fg.check("integer_pow", cases=[(np.array([2.0, -1.0]),)], groups=[])
    assert report.ok, report
    assert report.examples == ("f64[2]",)


def test_where_a_row_does_not_hold_there_is_nothing_to_check():
    with raises_sentence(
        CheckError,
        r"tanh_p: the forward refuses an example, \(c128\[2\]\): the rules of tanh do not hold for these arrays, it is "
        r"derived\.",
    ):
        fg.check("tanh", cases=[(np.array([1j, 2.0]),)])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("tanhh", r"fg\.check: JAX has no primitive 'tanhh'; did you mean 'tanh' or 'tan'\?"),
        (
            "linear",
            r"fg\.check: JAX has no primitive 'linear'; an op is passed itself, as in fg\.check\(fg\.ops\.linear\)\.",
        ),
        (
            "erf_inv",
            r"fg\.check: no rules are written down for JAX's primitive 'erf_inv'; it is derived by jax\.vjp, which is "
            r"what rules are compared with\.",
        ),
    ],
)
def test_a_name_without_rules(name, sentence):
    with raises_sentence(CheckError, sentence):
        fg.check(name)


PRIMITIVES = {
    lax.tanh: "tanh",
    jnp.tanh: "tanh",
    jnp.maximum: "max",
    jnp.max: "reduce_max",
    jnp.square: "square",
    jax.nn.sigmoid: "logistic",
    lax.dot_general: "dot_general",
    lax.reduce_sum: "reduce_sum",
}


@pytest.mark.parametrize(("function", "name"), PRIMITIVES.items(), ids=map(str, PRIMITIVES.values()))
def test_a_function_of_jaxs_stands_for_its_primitive(function, name):
    assert name_of_primitive(function) == name


def test_a_function_of_jaxs_is_checked_as_its_primitive():
    report = fg.check(lax.tanh, groups=[])
    assert (report.op, report.rules) == ("tanh_p", fg.check("tanh", groups=[]).rules)
    sentence = r"fg\.check: no rules are written down for JAX's primitive 'erf_inv'; .*\."
    with raises_sentence(CheckError, sentence):
        fg.check(lax.erf_inv)


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (jax.nn.relu, "'relu' has a derivative of its own, which fg.audit compares with that of its function"),
        (jnp.where, "'where' is none"),
        (jax.nn.standardize, "'standardize' is reduce_sum, .*"),
    ],
    ids=["relu", "where", "standardize"],
)
def test_a_function_of_jaxs_that_is_no_primitive(function, found):
    sentence = (
        rf"fg\.check takes functions of JAX's that are one primitive with written rules, and {found}; name the "
        r"primitive that is meant, as in fg\.check\('tanh'\)\."
    )
    with raises_sentence(CheckError, sentence):
        fg.check(function)


def test_a_row_without_a_use():
    row = row_of("tanh")
    sentence = r"fg\.check: the row of 'tanh' has no example; add row\(\.\.\.\)\.example\(function, x\)\."
    with raises_sentence(CheckError, sentence):
        as_op("tanh", Row(row.rules, row.holds))


def test_an_example_that_is_more_than_the_equation():
    row = row_of("tanh")
    sentence = (
        r"fg\.check: an example of the row of 'tanh' must leave that one equation, got neg, tanh; make of it a "
        r"function of all operands\."
    )
    with raises_sentence(CheckError, sentence):
        as_op("tanh", Row(row.rules, row.holds).example(lambda x: lax.tanh(-x), TIED))


def test_without_float64_it_is_still_known_how_jax_derives():
    """JAX's own error was that of finite differences, hundreds of roundings, so that a rule could have as many."""
    with jax.enable_x64(False):
        report = fg.check("convert_element_type", groups=["numerics"])
    found = {r.name: r.detail for r in report.rows if r.group == "numerics"}
    detail = "at most 0 roundings off (JAX 0), of 3 or 4 times JAX's allowed"
    assert found == dict.fromkeys(NUMERIC, detail), report
