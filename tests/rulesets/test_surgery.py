"""Hooks of the catalogue against the same cotangent worked out by hand, through `jax.vjp` of the two halves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.errors import RuleError
from funcgrad.registry import key_at
from funcgrad.rulesets import surgery
from tests.raising import raises_sentence

X = jnp.array([[0.3, -0.5, 1.0], [0.2, 0.1, -2.0]])
KEY = jax.random.key(3)


def before(x):
    return jnp.sin(2 * x)


def after(h):
    return jnp.sum(h**3 + 2 * h)


def loss(x):
    return after(fg.name(before(x), "h"))


def by_hand(change):
    """The gradient with the cotangent of `h` changed."""
    h, pull = jax.vjp(before, X)
    return pull(change(jax.grad(after)(h)))[0]


def norms(g):
    return jnp.sqrt((g**2).sum(1, keepdims=True))


def normal(g):
    return jax.random.normal(key_at(KEY, "h"), g.shape, g.dtype)


CHANGES = {
    "reversal": (surgery.reversal(at="h"), lambda g: -g),
    "reversal, scaled": (surgery.reversal(0.3, at="h"), lambda g: -0.3 * g),
    "scale": (surgery.scale(0.25, at="h"), lambda g: g / 4),
    "clip_by_value": (surgery.clip_by_value(3.0, at="h"), lambda g: jnp.minimum(g, 3)),
    "clip_by_norm": (surgery.clip_by_norm(2.0, at="h"), lambda g: 2 * g / jnp.linalg.norm(g)),
    "clip_by_norm, short": (surgery.clip_by_norm(100.0, at="h"), lambda g: g),
    "clip_by_norm, each": (
        surgery.clip_by_norm(5.6, per_example=True, at="h"), lambda g: g * jnp.minimum(1, 5.6 / norms(g))
    ),
    "normalize": (surgery.normalize(at="h"), lambda g: g / jnp.linalg.norm(g)),
    "normalize, each": (surgery.normalize(per_example=True, at="h"), lambda g: g / norms(g)),
    "noise": (surgery.noise(0.5, at="h"), lambda g: g + 0.5 * normal(g)),
    "dropout": (
        surgery.dropout(0.25, at="h"),
        lambda g: jnp.where(jax.random.bernoulli(key_at(KEY, "h"), 0.75, g.shape), g / 0.75, 0),
    ),
    "stop": (surgery.stop(at="h"), lambda g: 0 * g),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_cotangent_is_changed_as_by_hand(name):
    rules, change = CHANGES[name]
    gradient = fg.grad(loss, rules=rules.with_key(KEY))
    np.testing.assert_allclose(gradient(X), by_hand(change), rtol=1e-12)
    np.testing.assert_allclose(jax.jit(gradient)(X), by_hand(change), rtol=1e-12)


def test_each_clipped_differs_from_all_clipped():
    g = jax.grad(after)(before(X))
    assert (norms(g) > 5.6).sum() == 1  # one example is clipped, the other is not


@pytest.mark.parametrize(
    ("make", "number"),
    [(surgery.reversal, 0.3), (surgery.scale, 0.3), (surgery.clip_by_value, 3.0), (surgery.clip_by_norm, 2.0),
     (surgery.noise, 0.5), (surgery.dropout, 0.25)],
)  # fmt: skip
def test_a_number_may_be_traced_whatever_its_dtype(make, number):
    def gradient(number):
        return fg.grad(loss, rules=make(number, at="h").with_key(KEY))(X)

    expected = gradient(number)
    for dtype in (jnp.float64, jnp.float32):
        np.testing.assert_allclose(jax.jit(gradient)(jnp.asarray(number, dtype)), expected, rtol=1e-6)
    in_a_loop = jax.lax.scan(lambda _, number: (None, gradient(number)), None, jnp.array([number, 2 * number]))[1]
    np.testing.assert_allclose(in_a_loop[0], expected, rtol=1e-12)


@pytest.mark.parametrize("name", CHANGES)
def test_half_precision_comes_back_as_such(name):
    rules, _ = CHANGES[name]
    found = fg.grad(loss, rules=rules.with_key(KEY))(X.astype(jnp.bfloat16))
    assert found.dtype == jnp.bfloat16
    assert bool(jnp.all(jnp.isfinite(found)))


def test_norms_of_what_is_zero_huge_or_a_scalar():
    def pulled(rules, g):
        return fg.grad(lambda x: jnp.sum(x * g), rules=rules)(jnp.zeros_like(g))

    for rules in (surgery.normalize(at="x"), surgery.clip_by_norm(0.0, at="x")):
        np.testing.assert_array_equal(pulled(rules, jnp.zeros(3)), 0)
    huge = jnp.full(4, 1e30, jnp.float32)  # whose square is infinite
    np.testing.assert_allclose(pulled(surgery.normalize(at="x"), huge), 0.5, rtol=1e-6)
    np.testing.assert_allclose(pulled(surgery.clip_by_norm(3.0, at="x"), huge), 1.5, rtol=1e-6)
    broken = jnp.array([1.0, jnp.nan])
    assert bool(jnp.isnan(pulled(surgery.clip_by_norm(3.0, at="x"), broken)).any())
    scalar = jnp.float64(-4.0)
    assert pulled(surgery.normalize(per_example=True, at="x"), scalar) == -1


def test_branches_of_a_value():
    def heads(w, x):
        h = fg.name(jnp.tanh(x @ w), "h")
        with fg.scope("label"):
            label = jnp.sum(jnp.sin(h))
        with fg.scope("domain"):
            domain = jnp.sum(h**3)
        return label + domain

    w = jnp.arange(6.0).reshape(3, 2) / 5 - 0.4

    def expected(label, domain):
        return jax.grad(lambda w: label * jnp.sum(jnp.sin(jnp.tanh(X @ w))) + domain * jnp.sum(jnp.tanh(X @ w) ** 3))(w)

    for rules, weights in (
        (surgery.branch_weights({"h@label": 0.5, "h@domain": 3.0}), (0.5, 3.0)),
        (surgery.branch_weights({"h@domain": 3.0}), (1.0, 3.0)),
        (surgery.stop(at="h@label"), (0.0, 1.0)),
        (surgery.reversal(0.2, at="h@domain"), (1.0, -0.2)),
    ):
        np.testing.assert_allclose(fg.grad(heads, rules=rules)(w, X), expected(*weights), rtol=1e-12)
    with raises_sentence(
        RuleError,
        r"The hook scale\(factor=2\.0\) at 'h@head': 'h@head' is no use of 'h', whose uses are 'h@label', 'h@domain'\.",
    ):
        fg.grad(heads, rules=surgery.branch_weights({"h@head": 2.0}))(w, X)


def test_inside_of_a_loop_each_turn_is_changed():
    def clipped_each_turn(c):
        return jax.lax.scan(lambda c, _: (fg.name(3 * c, "h"), None), c, length=3)[0].sum()

    found = fg.grad(clipped_each_turn, rules=surgery.clip_by_value(2.0, at="h"))(jnp.ones(2))
    np.testing.assert_array_equal(found, 6)  # 1, times 3 is clipped to 2 twice, and times 3


def test_noise_of_two_values_and_of_two_keys_differs_and_has_the_variance_of_the_schedule():
    rules = surgery.noise(surgery.noise_schedule(2, eta=0.3), at="params/**")

    def noises(seed):
        params = {"a": jnp.zeros(4000), "b": jnp.zeros(4000)}
        return fg.grad(lambda params: 0 * (params["a"].sum() + params["b"].sum()), rules=rules.with_key(seed))(params)

    one, other = noises(KEY), noises(jax.random.key(4))
    assert bool(jnp.all(one["a"] != one["b"]))
    assert bool(jnp.all(one["a"] != other["a"]))
    np.testing.assert_allclose([x.var() for x in one.values()], 0.3 / 3**0.55, rtol=0.1)


def test_schedules_are_those_of_the_papers():
    for p in (0.0, 0.1, jnp.float32(0.5), 1):
        found = surgery.reversal_schedule(p)
        np.testing.assert_allclose(found, 2 / (1 + np.exp(-10 * np.float64(p))) - 1, rtol=1e-6)
    np.testing.assert_allclose(surgery.reversal_schedule(0.3, gamma=2.0), 2 / (1 + np.exp(-0.6)) - 1, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(surgery.noise_schedule)(7), np.sqrt(0.01 / 8**0.55), rtol=1e-12)


def test_what_a_set_is_called():
    assert str(surgery.scale(0.5, at="h")) == "the cotangent of 'h': scale(factor=0.5)"
    traced = []
    jax.jit(lambda c: traced.append(str(surgery.scale(c, at="h"))))(1.0)
    assert traced == ["the cotangent of 'h': scale(factor=f64[])"]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: surgery.clip_by_value(-1.0, at="h"), r"clip_by_value: limit must be from 0 on, got -1\."),
        (lambda: surgery.clip_by_norm(-1.0, at="h"), r"clip_by_norm: limit must be from 0 on, got -1\."),
        (lambda: surgery.noise(-0.5, at="h"), r"noise: scale must be from 0 on, got -0\.5\."),
        (lambda: surgery.dropout(1.0, at="h"), r"dropout: rate must be from 0 to below 1, got 1\."),
        (
            lambda: surgery.branch_weights(["h"]),
            r"branch_weights: weights must be a mapping from uses, as \{\"h@head\": 0\.1\}, got \[str\]\.",
        ),
    ],
)
def test_numbers_that_mean_nothing(make, sentence):
    with raises_sentence(RuleError, sentence):
        make()
