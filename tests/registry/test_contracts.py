"""What is no rule, no op and no set of rules says so in one sentence; defaults and partials are rules."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.errors import RuleError, ShapeError
from tests.raising import raises_sentence

X = jnp.array([-1.0, 2.0])
RULES = fg.RuleSet()


def loss(x):
    return jnp.sum(ops.relu(x) * 3)


def made(function, **options):
    return fg.op(name="contracted", replace=True, **options)(function)


ENTRANCES = {
    "grad": lambda rules: fg.grad(loss, rules=rules)(X),
    "value_and_grad": lambda rules: fg.value_and_grad(loss, rules=rules)(X),
    "vjp": lambda rules: fg.vjp(loss, X, rules=rules),
    "plan": lambda rules: fg.plan(loss, X, rules=rules),
    "record": lambda rules: fg.record(loss, X, rules=rules),
    "jacobian": lambda rules: fg.jacobian(ops.relu, rules=rules)(X),
    "forward jacobian": lambda rules: fg.jacobian(ops.relu, rules=rules, mode="forward")(X),
    "audit": lambda rules: fg.audit(loss, X, rules=rules),
    "blame": lambda rules: fg.blame(loss, X, rules=rules),
    "train.step": lambda rules: train_with(rules),
}


def train_with(rules):
    optimizer = optax.sgd(0.1)
    step = fg.train.step(lambda params, state, batch, key: (loss(params["x"]), (state, {})), optimizer, rules=rules)
    step(fg.train.init({"x": X}, optimizer), X, jax.random.key(0))


@pytest.mark.parametrize(("rules", "found"), [({}, "dict"), ({ops.relu: lambda g: g}, "dict"), (abs, "a function")])
@pytest.mark.parametrize("entrance", ENTRANCES)
def test_rules_are_a_set_of_rules(entrance, rules, found):
    with raises_sentence(
        RuleError,
        rf"rules= expects an fg\.RuleSet, got {found}; write fg\.RuleSet\(\)\.override\(op, rule\), which says for "
        rf"which op a rule stands\.",
    ):
        ENTRANCES[entrance](rules)


def test_a_set_shows_that_override_returns_another():
    assert repr(RULES) == "<RuleSet of no overrides; immutable: override(...) returns another set>"
    RULES.override(ops.relu, lambda g: 5 * g)
    np.testing.assert_array_equal(fg.grad(loss, rules=RULES)(X), [0, 3])
    assert "relu at '**'" in repr(RULES.override(ops.relu, lambda g: 5 * g))


def scaling(g, scale=2.0):
    return g * scale


def times_in_a_test(a, x):
    return a * x


def shadowing(g, x=None):
    return g * x


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (scaling, [6, 6]),
        (partial(scaling, scale=5.0), [15, 15]),
        (partial(partial(scaling), scale=4.0), [12, 12]),
        (partial(lambda scale, g: g * scale, 7.0), [21, 21]),
        (shadowing, [-3, 6]),
        (partial(shadowing, x=2.0), [6, 6]),
        (jax.jit(scaling), [6, 6]),
    ],
)
def test_defaults_are_kept_and_partials_ask_for_what_they_leave_open(rule, expected):
    rules = RULES.override(ops.relu, rule)
    np.testing.assert_array_equal(fg.grad(loss, rules=rules)(X), expected)
    op = made(lambda x: x * 1.0)
    op.pullback("x")(rule)
    for lib in (fg, jax):
        np.testing.assert_array_equal(lib.grad(lambda x: jnp.sum(op(x) * 3))(X), expected)


def test_a_partial_has_the_name_of_its_function():
    assert fg.registry.Rule(partial(scaling, scale=1.0), ("x",)).name == "scaling"
    tripled = fg.op(replace=True)(partial(times_in_a_test, 3.0))
    assert tripled.name == "times_in_a_test"
    np.testing.assert_array_equal(tripled(X), 3 * X)


BROKEN = [
    (lambda *args: args, "rule <lambda> takes *args, but what a rule reads is told from the names of its parameters; "
     "write them out."),
    (lambda g, **rest: g, "rule <lambda> takes **rest, but what a rule reads is told from the names of its parameters; "
     "write them out."),
    (lambda g, /: g, "rule <lambda> takes g, /, but what a rule reads is told from the names of its parameters; "
     "write them out."),
    (3, "A rule must be a function, got int."),
    (None, "A rule must be a function, got NoneType."),
    (lambda h: h,
     "relu: rule <lambda> asks for 'h'; it may ask for g, x, x_aval, y, pull, f, node, loss_g, key, x_origin."),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "sentence"), BROKEN)
def test_what_is_no_rule(rule, sentence):
    with raises_sentence(RuleError, re.escape(sentence)):
        RULES.override(ops.relu, rule)


def test_a_rule_without_a_signature():
    with raises_sentence(
        RuleError, r"rule max does not tell the names of its parameters; wrap it in a function that does\."
    ):
        RULES.override(ops.relu, max)


def test_pullback_and_saving_without_parentheses():
    op = made(lambda x: x * 1.0)
    with raises_sentence(
        RuleError, r"contracted\.pullback expects names, got function; write @contracted\.pullback\('x'\)\."
    ):
        op.pullback(scaling)
    with raises_sentence(
        RuleError, r"contracted\.saving expects names, got function; write @contracted\.saving\('rstd'\)\."
    ):
        op.saving(scaling)


@pytest.mark.parametrize(("function", "found"), [(3, "int"), ("relu", "str")])
def test_what_is_no_op(function, found):
    with raises_sentence(
        RuleError, rf"fg\.op expects a function, got {found}; write @fg\.op, or @fg\.op\(name=\.\.\.\)\."
    ):
        fg.op(function)


@pytest.mark.parametrize(
    ("output", "found"),
    [(None, "None"), ((), r"\(\)"), (2.0, "float"), (3, "int"), (True, "bool"), ("a", "str"), ((X, 1.0), "float")],
)
@pytest.mark.parametrize("run", [lambda f: f, jax.jit, lambda f: fg.grad(lambda x: f(x)), jax.vmap])
def test_an_op_returns_arrays(run, output, found):
    op = made(lambda x: output)
    with raises_sentence(RuleError, rf"contracted: the op must return an array, or a pytree of arrays, got {found}\."):
        run(op)(X)


def test_an_op_may_return_what_numpy_made_and_none_beside_an_array():
    assert made(lambda x: np.arange(3))(X).shape == (3,)
    assert made(lambda x: np.float32(2))(X) == 2
    found, nothing = made(lambda x: (x, None))(X)
    assert nothing is None
    np.testing.assert_array_equal(found, X)


def closing(a):
    return jnp.sum(made(lambda x: x * a)(X))


@pytest.mark.parametrize(
    "run", [lambda: fg.grad(closing)(2.0), lambda: jax.grad(closing)(2.0), lambda: jax.jit(closing)(2.0),
            lambda: jax.vmap(closing)(X), lambda: fg.trace(closing, jnp.array(2.0))]
)  # fmt: skip
def test_an_op_that_closes_over_what_is_traced(run):
    with raises_sentence(
        RuleError,
        r"contracted: the op's function closes over a value that is being traced, to which no cotangent could flow; "
        r"make that value an argument of the op\.",
    ):
        run()
    assert closing(2.0) == 2.0


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ([1.0, 2.0], r"\[1\.0, 2\.0\]"),
        ([[1, 2], [3, 4]], r"\[\[1, 2\], \[3, 4\]\]"),
        ([1.0] * 20, r"\[1\.0, .* \.\.\.\]"),
    ],
)
def test_a_list_is_no_array(value, shown):
    with raises_sentence(ShapeError, rf"linear: x must be an array, got the list {shown}; wrap it in jnp\.array\."):
        ops.linear(value, jnp.ones((2, 2)))
    doubled = made(lambda x: x * 2)  # which Python would answer with a longer list
    with raises_sentence(ShapeError, rf"contracted: x must be an array, got the list {shown}; wrap it in jnp\.array\."):
        doubled(value)


def test_a_list_of_arrays_is_an_argument():
    np.testing.assert_array_equal(ops.concatenate([X, X], axis=0), [-1, 2, -1, 2])


@pytest.mark.parametrize(
    ("wrap", "found"), [(lambda g: {"w": g}, r"\{'w': f64\[3\]\}"), (lambda g: (g,), r"\(f64\[3\],\)")]
)
def test_the_cotangent_of_one_array_is_an_array(wrap, found):
    def scaled_x(g):
        return wrap(2 * g)

    rules = fg.RuleSet().override(ops.square, scaled_x)
    sentence = (
        rf"square: rule scaled_x \(test_contracts\.py:\d+\) must return the cotangent of x as f64\[3\], got {found}\."
    )
    with raises_sentence(RuleError, sentence):
        fg.grad(lambda x: ops.sum(ops.square(x)), rules=rules)(jnp.ones(3))
