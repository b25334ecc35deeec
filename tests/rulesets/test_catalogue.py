"""Every entry is what it claims to be: a derivative of the function that it names, value, printable, picklable."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.errors import RuleError
from funcgrad.rulesets import feedback, relevance, straight_through, surgery, surrogates
from tests.raising import raises_sentence
from tests.rulesets.entries import HOOKS, MODIFIED, RELEVANCE, ROWS, SETS, public, small_network

X = np.random.default_rng(5).normal(size=(3, 4))
SCALE = np.array([[0.25], [0.5], [0.125]])
CASES = {
    "ternarize": ([(X, np.array(0.5))], {}),
    "fake_quantize": ([(X, SCALE), (9 * X, np.array(0.5), np.array([3]))], {"low": -4, "high": 3}),
    "stochastic_round": ([(X, jax.random.key(0))], {}),
}


def test_every_function_of_the_catalogue_is_tried():
    modules = (surrogates, straight_through, surgery, feedback, relevance)
    named = {f"{m.__name__.rpartition('.')[2]}.{n}" for m in modules for n in public(m)}
    assert named == {name.partition(" ")[0].rstrip(",") for name in (*SETS, *MODIFIED, *HOOKS, *RELEVANCE)}
    assert set(public(surrogates)) == set(ROWS)
    assert len(ROWS) > 25


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_what_it_claims_to_be(name):
    op, rules = SETS[name]
    cases, attributes = CASES.get(op.name, ([(X,)], {}))
    kinds = {override.rule.kind.name for override in rules.overrides}
    assert kinds == {"surrogate"}
    report = fg.check(op, cases, attributes, rules=rules, groups=("values", "linearity", "numerics"))
    assert report.ok, report


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_a_value(name):
    _, rules = SETS[name]
    assert rules | fg.RuleSet() == rules
    assert "surrogate of" in str(rules)
    if name.startswith("surrogates."):
        again = ROWS[name.partition(".")[2]]()
        assert again == rules
        assert hash(again) == hash(rules)
        loaded = pickle.loads(pickle.dumps(again))
        assert loaded == rules


@pytest.mark.parametrize("name", MODIFIED)
def test_a_set_that_is_no_derivative_says_so_and_is_linear(name):
    op, rules = MODIFIED[name]
    assert {override.rule.kind for override in rules.overrides} == {fg.modified}
    assert "(modified)" in str(rules)
    _, pull = fg.vjp(lambda x: fg.name(op(x, X.T), "logits"), jnp.asarray(X), rules=rules)
    g = jnp.asarray(np.random.default_rng(6).normal(size=(3, 3)))
    parts = [pull(c)[0] for c in (g, 1 - g, jnp.ones_like(g))]
    if name == "feedback.target_projection":  # which is told the targets, whatever the cotangent is
        np.testing.assert_array_equal(parts[0], parts[2])
    else:
        np.testing.assert_allclose(parts[0] + parts[1], parts[2], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", RELEVANCE)
def test_relevance_is_linear_in_what_arrives(name):
    rng = np.random.default_rng(7)
    params = {"c": rng.normal(size=(3, 3, 2, 2)), "w": rng.normal(size=(2, 3)), "b": rng.normal(size=3)}
    case = (rng.normal(size=(2, 4, 4, 2)), params)
    report = fg.check(small_network, [case], rules=RELEVANCE[name], groups=("linearity",))
    assert report.ok, report
    assert report.rules[0] == "x: of the set, modified"


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_is_a_value(name):
    rules = HOOKS[name]
    loaded = pickle.loads(pickle.dumps(rules))
    assert loaded == rules
    assert hash(loaded) == hash(rules)
    assert rules.diff(loaded) == ""


def test_a_wrong_slope_is_found():
    wrong = fg.RuleSet().override(
        fg.ops.heaviside, lambda g, x: 1.01 * g / (1 + 25 * jnp.abs(x)) ** 2,
        kind=SETS["surrogates.fast_sigmoid"][1].overrides[0].rule.kind,
    )  # fmt: skip
    report = fg.check(fg.ops.heaviside, [(X,)], rules=wrong, groups=("values",), fail_fast=True)
    assert [row.name for row in report.wrong] == ["cotangent of x"]


def test_relevance_that_is_not_conserved_is_refused():
    with raises_sentence(
        RuleError,
        r"alpha_beta: alpha - beta must be 1 and both at least 0, so that relevance is conserved, got alpha=2 and "
        r"beta=2\.",
    ):
        fg.rulesets.relevance.alpha_beta(2, 2)
