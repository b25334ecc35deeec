"""Choosing rules: globs, the latest override wins, sets are values."""

import functools

import jax
import jax.numpy as jnp
import pytest

import funcgrad as fg
from funcgrad.errors import RuleError
from tests.raising import raises_sentence


def guided(g, y):
    return g


def reversed_sign(g):
    return -g


RELU = fg.trace(fg.ops.relu, jnp.ones(3)).nodes[0].function
LINEAR = fg.trace(fg.ops.linear, jnp.ones((2, 3)), jnp.ones((3, 4)), jnp.ones(4)).nodes[0].function


def test_the_latest_matching_override_wins_and_the_op_keeps_its_own_rule():
    first = fg.RuleSet().override(fg.ops.relu, guided, at="block3/*")
    second = first.override(fg.ops.relu, reversed_sign, at="block3/relu#2")
    assert first.find(RELU, "x", "block3/relu#2").function is guided
    assert second.find(RELU, "x", "block3/relu#2").function is reversed_sign
    assert second.find(RELU, "x", "block3/relu").function is guided
    own = fg.ops.relu.rules["x"]
    assert second.find(RELU, "x", "block4/relu") is own
    assert fg.RuleSet().find(RELU, "x", "block3/relu") is own


def test_an_override_of_one_argument_leaves_the_others():
    rules = fg.RuleSet().override(fg.ops.linear, reversed_sign, "b")
    assert rules.find(LINEAR, "b", "linear").function is reversed_sign
    assert rules.find(LINEAR, "w", "linear") is fg.ops.linear.rules["w"]


def test_sets_are_values_that_print_and_diff():
    one = fg.RuleSet().override(fg.ops.relu, guided)
    assert one == fg.RuleSet().override(fg.ops.relu, guided)
    assert hash(one) == hash(fg.RuleSet().override(fg.ops.relu, guided))
    assert str(fg.RuleSet()) == "the ops' own rules"
    assert str(one) == "relu at '**': guided for x (modified)"
    assert fg.RuleSet().diff(one) == "+ relu at '**': guided for x (modified)"
    assert one.diff(fg.RuleSet()) == "- relu at '**': guided for x (modified)"
    assert one.diff(one) == ""
    with raises_sentence(RuleError, r"RuleSet\.diff: the other must be a set of rules, got 3\."):
        one.diff(3)


def test_sets_that_were_made_apart_differ_only_where_they_do():
    relevance = fg.rulesets.relevance
    assert relevance.epsilon_plus().diff(relevance.epsilon_plus()) == ""
    gained = relevance.epsilon_plus().diff(relevance.epsilon_gamma_box(0.0, 1.0)).splitlines()
    assert [line[0] for line in gained] == ["-", "+", "+"]
    assert [name in line for name, line in zip(("z+", "gamma", "z box"), gained, strict=True)] == [True] * 3
    assert len(relevance.epsilon(0.1).diff(relevance.epsilon(0.2)).splitlines()) == 2
    low, lower = jnp.zeros(3, jnp.float32), jnp.array([0, 0, -1], jnp.float32)
    assert relevance.z_box(low, 1.0).diff(relevance.z_box(low + 0, 1.0)) == ""
    assert len(relevance.z_box(low, 1.0).diff(relevance.z_box(lower, 1.0)).splitlines()) == 2


def counting_down(turns, *, scale=1.0):
    """A rule with a default that closes over itself."""

    def rule(g, n=turns):
        return rule(g * scale, n - 1) if n else g

    return fg.RuleSet().override(fg.ops.relu, rule, "x")


def test_a_difference_is_found_in_defaults_and_in_what_is_closed_over():
    assert counting_down(3).diff(counting_down(3)) == ""
    assert counting_down(3).diff(counting_down(2)) != ""
    assert counting_down(3).diff(counting_down(3, scale=2.0)) != ""


def test_two_sets_are_joined_and_the_right_one_wins():
    left = fg.RuleSet().override(fg.ops.relu, guided).override(fg.ops.tanh, reversed_sign).hook("a", jnp.negative)
    right = fg.RuleSet().override(fg.ops.relu, reversed_sign, at="block3/*").hook("b", reversed_sign)
    both = left | right
    assert both.find(RELU, "x", "block3/relu").function is reversed_sign
    assert both.find(RELU, "x", "block4/relu").function is guided
    assert (right | left).find(RELU, "x", "block3/relu").function is guided
    assert [hook.name for hook in both.hooks] == ["negative", "reversed_sign"]
    assert (len(left.overrides), len(right.overrides)) == (2, 1)
    assert left | fg.RuleSet() == left == fg.RuleSet() | left
    for join, found in (
        (lambda: left | None, "None"),
        (lambda: left | {}, r"\{\}"),
        (lambda: {} | left, r"\{\}"),
        (lambda: None | left, "None"),
    ):
        with raises_sentence(
            RuleError,
            rf"RuleSet \|: both must be sets of rules, got {found}; write rules \| fg\.RuleSet\(\)\.override\(op, "
            r"rule\), or fg\.RuleSet\(\) for a set that changes nothing\.",
        ):
            join()


@pytest.mark.parametrize("value", [jax.random.key(0), jax.random.PRNGKey(0), jnp.array([1.0, jnp.nan])])
def test_arrays_in_rules_are_alike_by_what_they_hold(value):
    made = lambda x: fg.RuleSet().hook("h", functools.partial(lambda g, x: g, x=x))
    assert made(value).diff(made(value.copy())) == ""
    assert made(value).diff(made(value[None])) != ""


def test_what_is_passed_beside_a_rule_replaces_its_own():
    own = fg.Rule(lambda g, x: g, ("x",), fg.exact)
    (override,) = fg.RuleSet().override(fg.ops.tanh, own, kind=fg.nonlinear).overrides
    assert override.rule == fg.Rule(own.function, ("x",), fg.nonlinear)
    assert fg.RuleSet().override(fg.ops.tanh, own).overrides[0].rule == own
    served = fg.RuleSet().override("add", own, "y").overrides[0].rule
    assert served.arguments == ("y",)
