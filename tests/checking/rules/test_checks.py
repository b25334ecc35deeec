"""`fg.check`: what a report says of right rules, of each kind, and of what cannot be checked."""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.checking import Verdict
from funcgrad.checking.rules.reports import GROUPS
from funcgrad.errors import CheckError
from tests.mutants import bases
from tests.mutants.mutant import Base
from tests.raising import raises_sentence

ROWS = {
    "contract": ["rules", "saving forward", "saved values", "markers"],
    "values": ["cotangent of x", "at kinks", "at NaN", "recomputed", "second order", "forward mode", "complex numbers"],
    "linearity": ["zero", "sums", "tiny and huge", "each output alone", "wanted arguments", "NaN"],
    "transformations": ["without jit", "determinism", "vmap", "extra batch axes", "scan, checkpoint", "fg.vjp"],
    "numerics": ["f32", "bf16", "f16"],
    "costs": ["reads", "kept bytes", "FLOPs"],
}


def made(base: Base, name: str = "checked", **rules):
    return base.make(name, **rules)


def test_a_report_has_all_rows_and_prints_them():
    report = fg.check(made(bases.RELU), bases.RELU.cases)
    assert report.ok
    assert not report.wrong
    assert tuple(ROWS) == GROUPS
    assert {g: [r.name for r in report.rows if r.group == g] for g in GROUPS} == ROWS
    lines = str(report).splitlines()
    assert lines[:3] == [
        "checked: right",
        "    x: relu_x, subgradient (0 at 0)",
        "    at 1 examples, first (f64[3,4])",
    ]
    assert report.row("values", "at kinks").detail == "x: 0 at 0"
    assert report.row("values", "cotangent of x").detail == "rule relu_x: as jax.vjp of the plain forward, at 8 points"
    assert report.row("contract", "saving forward").verdict is Verdict.OPEN
    assert re.search(r"\n +saving forward +not tested +none: rules read arguments and outputs only\n", str(report))
    missing = (
        "checked: the report has no row 'no such row' in the group 'linearity', which has zero, sums, tiny and huge, "
        r"each output alone, wanted arguments, NaN\."
    )
    with raises_sentence(CheckError, missing):
        report.row("linearity", "no such row")


def test_a_wrong_rule_is_named_with_the_place():
    def rule(g, x):
        return (x.T @ g).at[1, 1].set(0)

    report = fg.check(made(bases.PRODUCT, w=rule), [(np.ones((2, 3)), np.ones((3, 2)))], fail_fast=True)
    assert not report.ok
    assert [(r.group, r.name) for r in report.wrong] == [("values", "cotangent of w")]
    assert report.wrong[0].detail == (
        "the cotangent of w[1,1] by rule rule is not that of jax.vjp of the plain forward at example 0 (f64[2,3], "
        "f64[3,2]), random seed: expected -0.481539, found 0; 1 of 6 entries differ"
    )
    assert str(report).startswith("checked: WRONG in 1 of ")


def test_strict_raises_one_sentence_and_notes_the_table():
    def twice(g, y):
        return 2 * bases.relu_x(g, y)

    op = made(bases.RELU, x=twice)
    with raises_sentence(
        CheckError,
        r"checked: values, cotangent of x: the cotangent of x\[\d,\d\] by rule twice is not that of jax.vjp of the "
        r"plain forward at example 0 \(f64\[3,4\]\), random seed: expected \S+, found \S+; \d of 12 entries differ "
        r"\(6 more wrong: second order, forward mode, complex numbers, f32, bf16, f16\)\.",
    ):
        fg.check(op, bases.RELU.cases, strict=True)
    with pytest.raises(AssertionError) as info:
        fg.checking.assert_rules(op, bases.RELU.cases)
    assert "numerics" in info.value.__notes__[0]


def test_assert_rules_passes_right_rules():
    fg.checking.assert_rules(made(bases.SINE), bases.SINE.cases)


def test_a_surrogate_is_compared_with_the_function_it_declares():
    def step(x):
        return jnp.where(x > 0, 1.0, 0.0).astype(x.dtype)

    base = Base(step, {"x": lambda g, x: g * (1 - jnp.tanh(x) ** 2)}, (), kind=fg.surrogate(of=jnp.tanh))
    report = fg.check(made(base), [np.array([-1.0, 0.5, 2.0])], groups=["values"])
    assert report.ok, report
    assert report.row("values", "cotangent of x").detail.endswith("as the surrogate of tanh, at 6 points")
    assert report.row("values", "second order").detail == "claimed by derivatives only"


def test_a_modified_rule_claims_to_be_linear():
    base = Base(bases.sine, {"x": lambda g: -0.5 * g}, (), kind=fg.modified)
    report = fg.check(made(base), [np.ones((2, 3))], groups=["values", "linearity"])
    assert report.ok, report
    assert report.row("values", "cotangent of x").detail == "modified: claims only to be linear"
    assert report.row("linearity", "sums").verdict is Verdict.RIGHT


@pytest.mark.parametrize("x", [np.array([-1.0, 0.5, 2.0]), np.array([-1.0, 0.0, 2.0])], ids=["beside", "on the kink"])
def test_another_convention_at_the_kink_is_a_subgradient_only_where_it_says_so(x):
    def one_at_zero(g, x):
        return jnp.where(x >= 0, g, jnp.zeros_like(g))

    base = Base(bases.relu, {"x": one_at_zero}, (), {"elementwise": True}, kind=fg.subgradient({0: 1}))
    report = fg.check(made(base), [x])
    assert report.ok, report
    assert report.row("values", "cotangent of x").detail.endswith("of them its own subgradient")


def test_no_subgradient_at_the_kink_is_wrong_where_the_example_stands_on_it():
    def two_at_zero(g, x):
        return jnp.where(x > 0, g, jnp.where(x == 0, 2 * g, jnp.zeros_like(g)))

    base = Base(bases.relu, {"x": two_at_zero}, (), {"elementwise": True}, kind=fg.subgradient({0: 2}))
    report = fg.check(made(base), [np.array([-1.0, 0.0, 2.0])], groups=["values"])
    assert [r.name for r in report.wrong] == ["cotangent of x"]
    assert "at example 0 (f64[3]), random seed: expected 0, found" in report.wrong[0].detail


def test_examples_may_be_registered():
    op = made(bases.PICK)
    op.example(np.ones((4, 2)), np.array([0, 3]))
    op.example(np.ones((1, 1)), np.array([0]))
    report = fg.check(op, groups=[])
    assert report.ok
    assert report.examples == ("f64[4,2], i64[2]", "f64[1,1], i64[1]")


def test_examples_follow_from_declared_shapes():
    report = fg.check(made(bases.AFFINE), groups=[])
    assert report.ok
    assert report.examples == ("f64[2,2], f64[2,3], f64[3]",)


def test_pytrees_integers_keys_and_attributes():
    @fg.op(name="checked", replace=True)
    def noisy(pair, key, *, rate=0.5):
        left, right = pair["left"], pair["right"]
        return left * right * jax.random.bernoulli(key, rate, left.shape).astype(left.dtype)

    @noisy.pullback("pair")
    def noisy_pair(g, pair, key, rate):
        kept = g * jax.random.bernoulli(key, rate, g.shape).astype(g.dtype)
        return {"left": kept * pair["right"], "right": kept * pair["left"]}

    noisy.mark(key=fg.Marker.NON_DIFFERENTIABLE)
    pair = {"left": np.arange(6.0), "right": np.ones(6)}
    report = fg.check(noisy, [(pair, jax.random.key(0))], {"rate": 0.3}, groups=["values", "numerics"])
    assert report.ok, report
    assert [r.name for r in report.rows if r.name.startswith("cotangent")] == [
        "cotangent of pair['left']",
        "cotangent of pair['right']",
    ]
    assert report.row("contract", "markers").detail == "key: non-differentiable"


def test_the_rules_of_a_set_are_checked_in_the_place_of_the_ops_own():
    own = fg.ops.relu.rules["x"]
    rules = fg.RuleSet().override(fg.ops.relu, lambda g, y: 2.0 * g * (y > 0).astype(g.dtype), kind=own.kind, at="a/**")
    assert [r.name for r in fg.check(fg.ops.relu, rules=rules, groups=["linearity"]).wrong] == []
    assert "cotangent of x" in [r.name for r in fg.check(fg.ops.relu, rules=rules, groups=["values"]).wrong]
    assert fg.ops.relu.rules["x"] is own


def test_what_cannot_be_checked_says_so():
    with raises_sentence(
        CheckError,
        r"checked: nothing to check it on; pass cases=\[\(x, ...\), ...\], register checked.example\(x, ...\), or "
        r"declare shapes= for all its arguments\.",
    ):
        fg.check(made(bases.PRODUCT))
    with raises_sentence(
        CheckError,
        r"fg.check has no group 'value'; the groups are contract, values, linearity, transformations, numerics, "
        r"costs\.",
    ):
        fg.check(made(bases.SINE), groups=["value"])
    with raises_sentence(CheckError, r"rules must be a set of rules, got 3\."):
        fg.check(fg.ops.relu, rules=3)  # pyright: ignore[reportArgumentType]
    with raises_sentence(
        CheckError, r"checked: the forward refuses an example, \(f64\[2,3\], f64\[2,3\]\): dot_general requires .*\."
    ):
        fg.check(made(bases.PRODUCT), [(np.ones((2, 3)), np.ones((2, 3)))])
    with raises_sentence(
        CheckError,
        r"checked: an example is no call of it, \(f64\[2,3\]\), missing a required argument: 'w'; cases= takes a list "
        r"of tuples of arguments, \[\(x, w\), \.\.\.\]\.",
    ):
        fg.check(made(bases.PRODUCT), [np.ones((2, 3))])
    with raises_sentence(CheckError, r"checked: no arguments can be made up, because .*\."):
        fg.check(made(bases.PRODUCT), bases.PRODUCT.cases, made_up=3, groups=[])
    with raises_sentence(
        CheckError,
        r"fg\.check expects an op made by fg\.op, the name of a primitive of JAX's, or its function, got int\.",
    ):
        fg.check(3)  # pyright: ignore[reportArgumentType]
    with raises_sentence(
        CheckError,
        r"fg\.check expects an op made by fg\.op, a primitive of JAX's by its name, or a function of JAX's that is "
        r"one, got the function product; a whole function is checked at its own numbers by "
        r"fg\.audit\(product, \.\.\.\)\.",
    ):
        fg.check(bases.product)


def test_derived_arguments_are_checked_too():
    op = fg.op(name="checked", replace=True)(lambda x: jnp.sin(x))
    report = fg.check(op, [np.ones(3)], groups=["values"])
    assert report.ok
    assert report.rules == ("x: derived by jax.vjp",)


def test_the_report_does_not_depend_on_x64():
    code = """
import jax, jax.numpy as jnp
import funcgrad as fg
@fg.op(elementwise=True)
def sine(x): return jnp.sin(x)
@sine.pullback("x")
def sine_x(g, x): return g * jnp.cos(x).astype(jnp.float32).astype(x.dtype)
report = fg.check(sine, [jnp.linspace(-1, 1, 5)], fail_fast=True)
assert not jax.config.jax_enable_x64 and jnp.ones(1).dtype == jnp.float32
assert report.wrong[0].name == "cotangent of x", report
"""
    subprocess.run([sys.executable, "-c", code], check=True)
