"""What a rule keeps beside, in the place of what it is made of: the same numbers, wherever its node stands."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.errors import RuleError
from funcgrad.registry import Op
from tests.raising import raises_sentence

X = jnp.linspace(-1.0, 1.0, 2 * 16).reshape(2, 16)


def packed(x):
    return jnp.packbits(x > 0, axis=-1)


def relu_by_bits(g, bits):
    return jnp.where(jnp.unpackbits(bits, axis=-1).astype(bool), g, 0)


BITS = fg.RuleSet().override(jax.nn.relu, relu_by_bits, kind=fg.exact, keep={"bits": packed})

length = Op(lambda x: x / jnp.sqrt(jnp.sum(x**2)), name="length_one")


def length_x(g, y, size):
    return (g - y * jnp.sum(g * y)) / size


SIZE = fg.RuleSet().override(length, length_x, "x", kind=fg.exact, keep={"size": lambda x: jnp.sqrt(jnp.sum(x**2))})


def net(x):
    return jnp.sum(jnp.sin(jax.nn.relu(jnp.sin(x)) + 1))


PLACES = {
    "here": net,
    "in a scan": lambda x: jax.lax.scan(lambda c, _: (jax.nn.relu(jnp.sin(c) + 0.1), None), x, None, length=3)[0].sum(),
    "in a checkpoint": jax.checkpoint(net),
    "in a branch": lambda x: jax.lax.cond(x[0, 0] < 0, net, jnp.sum, x),
    "jitted": lambda x: jax.jit(net)(2 * x),
    "mapped": lambda x: jax.vmap(net)(x).sum(),
    "one of the op's": lambda x: jnp.sum(jnp.sin(length(jnp.sin(x) + 2))),
    "examples of the op's": lambda x: jnp.sum(jnp.sin(jax.vmap(length)(jnp.sin(x) + 2))),
}


@pytest.mark.parametrize("place", PLACES)
def test_numbers_are_those_of_jax_wherever_the_node_stands(place):
    f, rules = PLACES[place], SIZE if "op" in place else BITS
    gradient = fg.grad(f, rules=rules)
    expected = jax.grad(f)(X)
    np.testing.assert_allclose(gradient(X), expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(jax.jit(gradient)(X), expected, rtol=1e-12, atol=1e-14)
    second = jax.grad(lambda x: jnp.sum(gradient(x) ** 2))(X)
    np.testing.assert_allclose(second, jax.grad(lambda x: jnp.sum(jax.grad(f)(x) ** 2))(X), rtol=1e-12, atol=1e-14)


def test_batches_of_gradients():
    found = jax.vmap(fg.grad(lambda x: jnp.sum(jnp.sin(length(x))), rules=SIZE))(X + 2)
    np.testing.assert_allclose(found, jax.vmap(jax.grad(lambda x: jnp.sum(jnp.sin(length(x)))))(X + 2), rtol=1e-12)


def test_what_is_kept_is_counted_and_named():
    f = lambda x: jnp.sum(jax.nn.relu(jnp.sin(x)))
    plan = fg.plan(f, X, rules=BITS)
    (row,) = (row for row in plan.rows if row.op == "relu")
    assert [(read.name, read.value) for read in row.reads] == [("bits", "relu.bits")]
    assert row.new_bytes == X.size // 8
    assert plan.totals.kept_bytes == X.size // 8
    assert str(BITS) == "relu at '**': relu_by_bits for its argument (exact), keeping bits"


def test_in_a_loop_it_is_stacked():
    plan = fg.plan(PLACES["in a scan"], X, rules=BITS)
    assert plan.totals.kept_bytes == 3 * X.nbytes + 3 * X.size // 8


def test_it_may_be_made_of_what_an_op_saves():
    def by_bits(g, bits, negative_slope):
        return jnp.where(jnp.unpackbits(bits, axis=-1).astype(bool), g, negative_slope * g)

    keep = {"bits": lambda passes: jnp.packbits(passes, axis=-1)}
    rules = fg.RuleSet().override(fg.ops.leaky_relu, by_bits, kind=fg.exact, keep=keep)
    f = lambda x: jnp.sum(fg.ops.leaky_relu(jnp.sin(x), negative_slope=0.25))
    np.testing.assert_array_equal(fg.grad(f, rules=rules)(X), fg.grad(f)(X))
    assert fg.plan(f, X, rules=rules).totals.kept_bytes == X.size // 8


def test_a_rule_for_one_argument_leaves_the_other_as_it_is():
    def of_rounded(g, half):
        return g @ half.astype(g.dtype).T

    keep = {"half": lambda rhs: rhs.astype(jnp.bfloat16)}
    rules = fg.RuleSet().override("dot_general", of_rounded, "lhs", keep=keep)
    w = jnp.cos(jnp.arange(48.0).reshape(16, 3))
    x_bar, w_bar = fg.grad(lambda x, w: jnp.sum(jnp.sin(x @ w)), (0, 1), rules=rules)(X, w)
    g = jnp.cos(X @ w)
    np.testing.assert_allclose(x_bar, g @ w.astype(jnp.bfloat16).astype(w.dtype).T, rtol=1e-12)
    np.testing.assert_allclose(w_bar, X.T @ g, rtol=1e-12)


def test_what_a_rule_above_pulls_by_is_made_then():
    above = BITS.override(jax.nn.relu, lambda g, pull: -pull(g))
    np.testing.assert_allclose(fg.grad(net, rules=above)(X), -jax.grad(net)(X), rtol=1e-12)
    assert fg.plan(net, X, rules=above).totals.kept_bytes > X.nbytes


def test_the_checker_holds_it_to_the_derivative():
    assert fg.check(length, [(X[0],)], rules=SIZE, groups=("values",)).ok
    keep = {"size": lambda x: 1.01 * jnp.sqrt(jnp.sum(x**2))}
    wrong = fg.RuleSet().override(length, length_x, "x", kind=fg.exact, keep=keep)
    assert not fg.check(length, [(X[0],)], rules=wrong, groups=("values",)).ok


def test_a_set_that_keeps_is_a_value():
    rules = fg.RuleSet().override(jax.nn.relu, relu_by_bits, keep={"bits": packed})
    again = pickle.loads(pickle.dumps(rules))
    assert again == rules
    assert hash(again) == hash(rules)
    assert again != fg.RuleSet().override(jax.nn.relu, relu_by_bits, keep={"bits": length_x})
    with raises_sentence(
        RuleError,
        r"A RuleSet with what is kept as 'bits' cannot be pickled, because no other process can find a function that "
        r"is defined inside another or has no name; define it at the top level of a module\.",
    ):
        pickle.dumps(fg.RuleSet().override(jax.nn.relu, relu_by_bits, keep={"bits": lambda x: packed(x)}))


@pytest.mark.parametrize(
    ("keep", "sentence"),
    [
        (
            lambda x: x,
            r"rule relu_by_bits: keep= must be a mapping from names to functions, \{'positive': lambda x: x > 0\}, "
            r"got .*\.",
        ),
        ({"signs": packed}, r"rule relu_by_bits: keep= has 'signs', and does not ask for it\."),
        ({"bits": "three"}, r"rule relu_by_bits: keep= has 'bits', and it is no function, but str\."),
        (
            {"bits": lambda *x: x},
            r"rule relu_by_bits: what is kept as 'bits' takes \*x, but what a rule reads is told from the names of its "
            r"parameters; write them out\.",
        ),
        (
            {"bits": lambda z: z},
            r"relu: what rule relu_by_bits keeps as 'bits' asks for 'z'; it may ask for x, x_aval, y\.",
        ),
        ({"bits": lambda x: 1 // 0}, r"relu: what rule relu_by_bits keeps as 'bits' raised .*\."),
        ({"bits": lambda x: (x, x)}, r"relu: what rule relu_by_bits keeps as 'bits' must be an array, got .*\."),
    ],
)
def test_what_cannot_be_kept_is_said(keep, sentence):
    with raises_sentence(RuleError, sentence):
        fg.plan(net, X, rules=fg.RuleSet().override(jax.nn.relu, relu_by_bits, keep=keep))


def test_what_is_kept_may_be_said_of_a_rule_that_is_there():
    with raises_sentence(RuleError, r"relu: rule relu_by_bits asks for 'bits'; it may ask for .*\."):
        fg.plan(net, X, rules=fg.RuleSet().override(jax.nn.relu, fg.Rule(relu_by_bits, ("x",), fg.exact)))
    rule = fg.Rule(relu_by_bits, ("x",), fg.exact, keep={"bits": packed})
    without = fg.Rule(relu_by_bits, ("x",), fg.exact)
    assert fg.RuleSet().override("relu", rule) == fg.RuleSet().override("relu", without, keep={"bits": packed})


def test_a_name_that_is_taken_cannot_be_kept():
    with raises_sentence(RuleError, r"length_one: rule length_x cannot keep 'y': the name is taken\."):
        fg.RuleSet().override(length, length_x, "x", keep={"y": lambda x: x, "size": lambda x: x})
