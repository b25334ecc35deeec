"""An op says what it is, takes what it declares, and its rules get and give what they are asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.errors import RuleError
from funcgrad.registry import Rule, registered, unbroadcast
from funcgrad.registry.shape_declarations import Shapes
from tests.raising import raises_sentence

X = jnp.linspace(-1.0, 1.0, 6).reshape(2, 3)


def doubled(g):
    return 2 * g


@pytest.mark.parametrize(
    ("kind", "text", "is_derivative"),
    [
        (fg.exact, "exact", True),
        (fg.modified, "modified", False),
        (fg.subgradient("to the first"), "subgradient (to the first)", True),
        (fg.subgradient({0: 0, 6: 0.0}), "subgradient (0 at 0 and 6)", True),
        (fg.subgradient({-3: 0, 3: "alpha"}), "subgradient (0 at -3, alpha at 3)", True),
        (fg.surrogate(of=jnp.tanh), "surrogate of tanh", False),
        (fg.surrogate(of=3), "surrogate of 3", False),
    ],
)
def test_a_kind_says_what_it_claims(kind, text, is_derivative):
    assert str(kind) == text
    assert kind.is_derivative is is_derivative


def test_a_convention_is_a_sentence_or_slopes():
    with raises_sentence(
        RuleError,
        r"subgradient: convention must be a mapping from points to slopes, \{0: 0\.5\}, or a sentence, got 0\.",
    ):
        fg.subgradient(0)


def test_ops_are_registered_by_name_in_a_mapping_of_ones_own():
    ops = registered()
    assert ops["relu"] is fg.ops.relu
    ops.clear()
    assert registered()["relu"] is fg.ops.relu


def test_an_op_and_an_example_print_as_they_are_called():
    @fg.op(name="printed_op", replace=True)
    def printed_op(x, pair, *, axis=-1):
        return jnp.sum(x, axis) + pair[0]

    assert repr(printed_op) == "<op printed_op(x, pair, axis)>"
    example = printed_op.example(X, (X, jnp.arange(2)), axis=0)
    assert printed_op.examples == [example]
    assert str(example) == "f64[2,3], f64[2,3], i64[2], axis=0"


def test_a_second_saving_forward_is_refused():
    @fg.op(name="saved_twice", replace=True)
    def saved_twice(x):
        return x

    saved_twice.saving("kept")(lambda x: (x, {"kept": x}))
    with raises_sentence(RuleError, "saved_twice has a saving forward already."):
        saved_twice.saving("other")


def pair_op(rule):
    @fg.op(name="pair_op", replace=True)
    def pair_op(pair):
        x, n = pair
        return x * n.astype(x.dtype)

    pair_op.pullback("pair")(rule)
    return pair_op


def gradient_of_pair(rule):
    n = jnp.arange(3)
    return jax.grad(lambda x: pair_op(rule)((x, n)).sum())(X[0])


def test_an_integer_leaf_has_no_cotangent_whatever_the_rule_returns_for_it():
    def by_none(g, pair):
        return g * pair[1].astype(g.dtype), None

    def by_zero(g, pair):
        return g * pair[1].astype(g.dtype), jnp.zeros(3)

    for rule in (by_none, by_zero):
        np.testing.assert_array_equal(gradient_of_pair(rule), jnp.arange(3.0))


def test_a_cotangent_has_the_structure_of_its_argument():
    def as_list(g, pair):
        return [g * pair[1].astype(g.dtype), None]

    def alone(g, pair):
        return g * pair[1].astype(g.dtype)

    promise = r"pair_op: rule {} \(test_op\.py:\d+\) must return the cotangent of pair as \(f64\[3\], i64\[3\]\), "
    promise += r"got {}\."
    with raises_sentence(RuleError, promise.format("as_list", r"\[f64\[3\], None\]")):
        gradient_of_pair(as_list)
    with raises_sentence(RuleError, promise.format("alone", r"f64\[3\]")):
        gradient_of_pair(alone)


def test_an_override_takes_a_rule_with_its_own_kind():
    rule = Rule(doubled, ("x",), fg.surrogate(of=jnp.tanh))
    rules = fg.RuleSet().override(fg.ops.relu, rule)
    assert rules.find(fg.trace(fg.ops.relu, X).nodes[0].function, "x", "relu") is rule
    np.testing.assert_array_equal(fg.grad(lambda x: fg.ops.relu(x).sum(), rules=rules)(X), jnp.full_like(X, 2.0))


def test_a_registered_function_stays_what_it_was():
    @fg.op(name="registered_once", replace=True)
    def registered_once(x):
        return x

    def keep(x):
        return x, {"kept": x}

    assert registered_once.saving("kept")(keep) is keep
    assert registered_once.pullback("x")(doubled) is doubled


def test_unbroadcasting_sums_over_new_axes_and_stretched_ones():
    x = jnp.arange(24.0).reshape(2, 3, 4)
    found = unbroadcast(x, jax.typeof(jnp.zeros((3, 1), jnp.float32)))
    np.testing.assert_array_equal(found, x.sum((0, 2))[:, None].astype(jnp.float32))
    assert found.dtype == jnp.float32


def test_unbroadcasting_under_a_new_axis_of_size_one():
    x = jnp.arange(12.0).reshape(1, 3, 4)
    found = unbroadcast(x, jax.typeof(jnp.zeros((3, 1))))
    np.testing.assert_array_equal(found, x.sum((0, 2))[:, None])


def test_a_notebook_cell_may_be_run_again_but_takes_no_name_from_a_module():
    def cell(x):
        return x

    cell.__module__ = "__main__"
    assert fg.op(name="of_a_cell")(cell) is not fg.op(name="of_a_cell")(cell)
    with raises_sentence(RuleError, r"An op named 'relu' exists already \(in funcgrad\.ops\.rectifiers\); .*"):
        fg.op(name="relu")(cell)


def test_a_declaration_without_axes_is_that_of_a_number():
    assert Shapes.parse("x[] w[n, ]").axes == {"x": (), "w": ("n",)}
