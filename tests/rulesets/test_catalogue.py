"""Every entry is what it claims to be: a derivative of the function that it names, value, printable, picklable."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.errors import RuleError
from funcgrad.rulesets import attribution, feedback, relevance, straight_through, surgery, surrogates
from tests.raising import raises_sentence
from tests.rulesets.entries import (
    HOOKS,
    MODIFIED,
    NONLINEAR,
    NONLINEAR_HOOKS,
    RELEVANCE,
    ROWS,
    SETS,
    public,
    small_network,
)

X = np.random.default_rng(5).normal(size=(3, 4))
SCALE = np.array([[0.25], [0.5], [0.125]])
CASES = {
    "ternarize": ([(X, np.array(0.5))], {}),
    "fake_quantize": ([(X, SCALE), (9 * X, np.array(0.5), np.array([3]))], {"low": -4, "high": 3}),
    "stochastic_round": ([(X, jax.random.key(0))], {}),
}


def test_every_function_of_the_catalogue_is_tried():
    modules = (attribution, surrogates, straight_through, surgery, feedback, relevance)
    named = {f"{m.__name__.rpartition('.')[2]}.{n}" for m in modules for n in public(m)}
    tried = (*SETS, *MODIFIED, *NONLINEAR, *HOOKS, *NONLINEAR_HOOKS, *RELEVANCE)
    assert named == {name.partition(" ")[0].rstrip(",") for name in tried}
    assert set(public(surrogates)) == set(ROWS)
    assert len(ROWS) > 25


# A slope of g times a function of x is linear, and its precision is that of one formula: those rows take three programs
# more for each set.
@pytest.mark.parametrize("groups", [("values",), pytest.param(("linearity", "numerics"), marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SETS)
def test_a_set_is_what_it_claims_to_be(name, groups):
    op, rules = SETS[name]
    cases, attributes = CASES.get(op.name, ([(X,)], {}))
    kinds = {override.rule.kind.name for override in rules.overrides}
    assert kinds == {"surrogate"}
    report = fg.check(op, cases, attributes, rules=rules, groups=groups)
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


def is_linear(f, rules, x):
    """Whether J^T (a + b) = J^T a + J^T b, and J^T (-a) = -J^T a; the same draws for all."""
    y, pull = fg.vjp(f, x, rules=rules.with_key(jax.random.key(3)))
    a, b = np.random.default_rng(6).normal(size=(2, *y.shape))
    of_a, of_b, of_both, turned = (np.asarray(pull(jnp.asarray(g))[0]) for g in (a, b, a + b, -a))
    close = {"rtol": 1e-12, "atol": 1e-12}
    return np.allclose(of_a + of_b, of_both, **close) and np.allclose(turned, -of_a, **close)


@pytest.mark.parametrize("name", [*MODIFIED, *NONLINEAR])
def test_a_set_that_is_no_derivative_says_so_and_whether_it_is_linear(name):
    kind = fg.modified if name in MODIFIED else fg.nonlinear
    op, rules = (MODIFIED | NONLINEAR)[name]
    assert {override.rule.kind for override in rules.overrides} == {kind}
    assert f"({kind})" in str(rules)
    others = [X.T] if op is fg.ops.linear else []
    f = lambda x: fg.name(op(x, *others), "logits")
    assert f"[{kind}]" in str(fg.plan(f, jnp.asarray(X), rules=rules))
    assert is_linear(f, rules, jnp.asarray(X)) == (kind is fg.modified)


@pytest.mark.parametrize("name", [*HOOKS, *NONLINEAR_HOOKS])
def test_a_hook_says_whether_it_is_linear(name):
    rules = (HOOKS | NONLINEAR_HOOKS)[name]
    f = lambda x: jnp.sin(x) + jnp.tanh(x)
    assert is_linear(f, rules, jnp.asarray(X)) == (name in HOOKS)
    assert {hook.kind for hook in rules.hooks} == {fg.modified if name in HOOKS else fg.nonlinear}
    said = str(rules), str(fg.plan(f, jnp.asarray(X), rules=rules.with_key(jax.random.key(3))))
    assert ["nonlinear" in text for text in said] == [name not in HOOKS] * 2


@pytest.mark.parametrize("name", RELEVANCE)
def test_relevance_is_linear_in_what_arrives(name):
    rng = np.random.default_rng(7)
    params = {"c": rng.normal(size=(3, 3, 2, 2)), "w": rng.normal(size=(2, 3)), "b": rng.normal(size=3)}
    of_x = lambda x: small_network(x, params)
    report = fg.check(of_x, [(rng.normal(size=(2, 4, 4, 2)),)], rules=RELEVANCE[name], groups=("linearity",))
    assert report.ok, report
    assert report.rules[0] == "x: of the set, modified"


@pytest.mark.parametrize("name", [*HOOKS, *NONLINEAR_HOOKS])
def test_a_hook_is_a_value(name):
    rules = (HOOKS | NONLINEAR_HOOKS)[name]
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


@pytest.mark.parametrize(
    "relu",
    [jax.nn.relu, fg.ops.relu, lambda x: jnp.maximum(x, 0), lambda x: jnp.maximum(0, x), lambda x: jnp.clip(x, 0)],
)
def test_beta_smooth_is_of_each_relu(relu):
    rules = relevance.beta_smooth(2.0)
    found = fg.grad(lambda x: relu(x).sum(), rules=rules)(jnp.asarray(X))
    np.testing.assert_allclose(found, jax.nn.sigmoid(2.0 * X), rtol=1e-12)


def test_a_set_for_coefficients_keeps_what_a_set_has():
    hooked = relevance.epsilon(0.1).hook("x", lambda g: 2 * g, fg.nonlinear).with_key(jax.random.key(0))
    rules = relevance.attn_lrp(linear=hooked)
    assert rules.hooks == hooked.hooks
    assert rules.key is hooked.key
    bent = fg.RuleSet().override(fg.Region(affine="dot_general"), lambda g, x: g * g, "x", kind=fg.nonlinear)
    assert relevance.attn_lrp(linear=bent).overrides[-1].rule.kind == fg.nonlinear


ACTIVATIONS = [
    *(jax.nn.relu, jax.nn.relu6, jax.nn.gelu, jax.nn.silu, jax.nn.softplus, jax.nn.elu, jax.nn.selu, jax.nn.celu),
    *(jax.nn.leaky_relu, jax.nn.hard_silu, jax.nn.hard_sigmoid, jax.nn.hard_tanh, jax.nn.squareplus, jax.nn.mish),
    *(jax.nn.sigmoid, jnp.tanh, jax.nn.soft_sign, jax.nn.log_sigmoid, jax.nn.sparse_plus, lambda x: jnp.maximum(x, 0)),
    *(fg.ops.relu, fg.ops.relu6, fg.ops.gelu, fg.ops.silu, fg.ops.softplus, fg.ops.elu, fg.ops.selu, fg.ops.tanh),
    *(fg.ops.sigmoid, fg.ops.mish, fg.ops.leaky_relu),
]


@pytest.mark.parametrize("f", ACTIVATIONS, ids=lambda f: getattr(f, "name", getattr(f, "__name__", "")))
def test_all_relevance_passes_through_an_activation(f):
    x = jnp.asarray(X)
    assert np.array_equal(fg.grad(lambda x: f(x).sum(), rules=relevance.passing())(x), np.ones_like(X))
    per_unit = fg.grad(lambda x: f(x).sum(), rules=relevance.attn_lrp(stabilizer=0.0))(x)
    np.testing.assert_allclose(per_unit * X, f(x), rtol=1e-9, atol=1e-9)


def test_a_maximum_with_another_number_is_no_activation():
    found = fg.grad(lambda x: jnp.maximum(x, 0.5).sum(), rules=relevance.passing())(jnp.asarray(X))
    np.testing.assert_array_equal(found, (X > 0.5).astype(float))
