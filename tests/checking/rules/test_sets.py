"""A set of rules is held to what it claims, on an op or on any function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.errors import CheckError
from funcgrad.registry import Op
from tests.raising import raises_sentence

X = np.random.default_rng(1).normal(size=(3, 4))
W = {"w": np.random.default_rng(2).normal(size=(4, 5))}
SQUARES = fg.RuleSet().override(jax.nn.relu, lambda g: g * jnp.abs(g))
DOUBLE = fg.RuleSet().override(jnp.tanh, lambda g, pull: 2 * pull(g))


def net(x, weights):
    return jax.nn.relu(fg.name(x @ weights["w"], "h"))


def wrong(report):
    return [row.name for row in report.wrong]


def test_a_composite_is_linear_on_a_network():
    report = fg.check(net, [(X, W)], rules=fg.rulesets.relevance.epsilon_plus())
    assert report.ok, report
    assert report.rules == ("x: of the set, modified", "weights: of the set, modified")
    assert report.row("linearity", "wanted arguments").detail == "2 subsets give the same cotangents"
    assert not [row for row in report.rows if row.group == "costs"]


def test_a_rule_that_is_not_linear_is_found_in_a_network():
    assert wrong(fg.check(net, [(X, W)], rules=SQUARES, groups=("linearity",))) == ["sums", "tiny and huge"]


@pytest.mark.parametrize("claim", [fg.modified, fg.nonlinear], ids=str)
@pytest.mark.parametrize("what", ["a rule", "a hook"])
def test_what_claims_to_be_linear_and_is_not_is_found_and_what_does_not_claim_it_is_right(what, claim):
    rules = fg.RuleSet()
    if what == "a rule":
        rules = rules.override(jax.nn.relu, lambda g: jnp.clip(g, -1, 1), kind=claim)
    else:
        rules = rules.hook("h", lambda g: jnp.clip(g, -1, 1), claim)
    report = fg.check(net, [(X, W)], rules=rules, groups=("values", "linearity", "transformations"))
    assert wrong(report) == (["sums", "tiny and huge"] if claim is fg.modified else [])
    assert report.rules[0] == f"x: of the set, {claim}"
    assert report.row("linearity", "wanted arguments").verdict.name == "RIGHT"
    if claim is fg.nonlinear:
        assert report.row("linearity", "zero").detail == "nonlinear: claims not to be linear in g"
        assert report.row("values", "cotangent of x").detail == "nonlinear: claims no values"


def test_one_argument_may_claim_to_be_linear_where_another_does_not():
    product = fg.op(name="product_of_two", replace=True)(lambda a, b: a * b)
    rules = fg.RuleSet().override(product, lambda g, b: jnp.sign(g) * b, "a", kind=fg.nonlinear)
    report = fg.check(product, [(X, 2 * X)], rules=rules, groups=("linearity",))
    assert report.ok, report
    rules = rules.override(product, lambda g, a: jnp.sign(g) * a, "b")
    report = fg.check(product, [(X, 2 * X)], rules=rules, groups=("linearity",))
    assert wrong(report) == ["sums", "tiny and huge"]
    assert report.wrong[0].detail.startswith("the cotangent of b")


@pytest.mark.parametrize(("kind", "is_right"), [(fg.modified, True), (fg.exact, False)])
def test_what_pull_makes_is_held_to_its_claim(kind, is_right):
    (override,) = DOUBLE.overrides
    rules = fg.RuleSet().override(jnp.tanh, override.rule.function, kind=kind)
    report = fg.check(jnp.tanh, [(X,)], rules=rules, groups=("values",), fail_fast=True)
    assert wrong(report) == ([] if is_right else ["cotangent of x0"])


def test_an_op_under_rules_that_are_not_for_it_by_name():
    pulled = fg.RuleSet().override(fg.ops.relu, lambda g, pull: pull(g), kind=fg.subgradient({0: 0}))
    report = fg.check(fg.ops.relu, rules=pulled, groups=("values", "transformations"))
    assert report.ok, report
    assert report.row("values", "at kinks").verdict.name == "RIGHT"


def test_a_surrogate_claims_the_slope_of_its_function_and_of_a_part_no_more_than_linearity():
    rules = fg.rulesets.straight_through.identity(jnp.round)
    alone = fg.check(jnp.round, [(X,)], rules=rules, groups=("values",))
    inside = fg.check(lambda x: jnp.round(2 * x), [(X,)], rules=rules, groups=("values",))
    assert alone.row("values", "cotangent of a").detail == "rule of the set: as the surrogate of itself, at 6 points"
    assert inside.row("values", "cotangent of x").detail == "modified: claims only to be linear"


def test_a_set_that_matches_nothing_is_wrong():
    rules = fg.RuleSet().override(fg.ops.tanh, lambda g: g)
    assert fg.check(fg.ops.relu, rules=rules).row("contract", "rules").detail == (
        "raises RuleError: The override of tanh at '**' matches nothing; the graph has no tanh node, its ops are relu."
    )


def test_what_cannot_be_checked_says_so():
    with raises_sentence(
        CheckError, r"fg\.check: nothing to check net on; pass cases=\[\(x, \.\.\.\), \.\.\.\] beside rules=\."
    ):
        fg.check(net, rules=DOUBLE)
    with raises_sentence(
        CheckError, r"fg\.check: rules= are checked on a function, got the name 'tanh'; pass the function\."
    ):
        fg.check("tanh", [(X,)], rules=DOUBLE)


def test_what_does_not_stand_in_a_function_claims_nothing():
    report = fg.check(fg.ops.leaky_relu, [(X,)], rules=fg.rulesets.residuals.sign_bits(), groups=("values",))
    assert report.ok, report
    assert report.rules == ("x: of the set, subgradient (1 at 0)",)


def test_hooks_and_overrides_of_parts_count_for_an_op_too():
    exact = fg.RuleSet().override(fg.ops.tanh, lambda g, y: g * (1 - y**2), kind=fg.exact)
    assert wrong(fg.check(fg.ops.tanh, [(X,)], rules=exact, groups=("linearity",))) == []
    hooked = exact.hook("**", lambda g: g * g)
    assert "sums" in wrong(fg.check(fg.ops.tanh, [(X,)], rules=hooked, groups=("linearity",)))


@pytest.mark.parametrize("order", [1, -1])
def test_a_claim_that_only_some_examples_show(order):
    times = Op(lambda a, b: a * b.astype(a.dtype), name="times")
    rules = fg.RuleSet().override(times, lambda g, b: g * b.astype(g.dtype), "a", kind=fg.nonlinear)
    rules = rules.override(times, lambda g, a: g * g * a, "b")
    cases = [(X, np.arange(4)[None]), (X, X)]
    found = fg.check(times, cases[::order], rules=rules, groups=("linearity",))
    assert all(row.detail.startswith("the cotangent of b[") for row in found.wrong)
    assert "sums" in wrong(found)
