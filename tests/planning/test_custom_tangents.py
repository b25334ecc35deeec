"""Functions with a custom tangent: transposed once for equal tangents, and never for ones that only look equal."""

from dataclasses import dataclass
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.planning.custom_tangents import _transpose, _transpose_by_rules
from funcgrad.primitive import TangentRule
from tests.raising import raises_sentence

X = jnp.linspace(-1.0, 2.0, 6).reshape(2, 3)


def with_tangent(function, tangent):
    """A function of some arrays, and its tangent `(primals, tangents)`."""
    made = jax.custom_jvp(function)
    made.defjvp(lambda primals, tangents: (made(*primals), tangent(primals, tangents)))
    return made


def scaled(factor):
    """sin with a tangent of its own, of which the factor is a number in the jaxpr."""
    return with_tangent(jnp.sin, lambda primals, tangents: factor * jnp.cos(primals[0]) * tangents[0])


def assert_as_jax(f, *args):
    argnums = tuple(range(len(args)))
    value, gradient = fg.value_and_grad(f, argnums)(*args)
    chex.assert_trees_all_close((value, gradient), jax.value_and_grad(f, argnums)(*args), rtol=1e-12, atol=1e-14)


def test_equal_tangents_are_transposed_once(monkeypatch):
    transposed, transpose = [], _transpose.function
    monkeypatch.setattr(_transpose, "function", lambda *args: transposed.append(args) or transpose(*args))
    jax.clear_caches()
    fg.grad(lambda x: jnp.sum(jax.nn.relu(jnp.sin(jax.nn.relu(x)))))(X)
    assert len(transposed) == 1


def test_a_rule_is_traced_once_for_all_its_nodes_and_anew_for_each_gradient():
    """In a checkpoint, of which JAX makes a jaxpr before it asks for a rule: outside, each runs at its call."""
    traced, scale = [], [2.0]

    def tangent(primals, tangents):
        traced.append(primals[0].shape)
        return scale[0] * jnp.cos(primals[0]) * tangents[0]

    f = with_tangent(jnp.sin, tangent)
    loss = lambda x: jnp.sum(f(f(f(x)))) + jnp.sum(f(x[0]))
    for scale[0] in (2.0, 3.0):
        traced.clear()
        gradient = fg.grad(jax.checkpoint(lambda x: loss(x)))(X)
        assert sorted(traced) == [(2, 3), (3,)]
        np.testing.assert_allclose(gradient, jax.grad(loss)(X), rtol=1e-12)
        traced.clear()
        np.testing.assert_allclose(gradient, fg.grad(loss)(X), rtol=1e-12)
        assert sorted(traced) == [*[(2, 3)] * 3, (3,)]


def test_rules_that_differ_in_what_their_key_has_are_not_shared():
    """One rule for other arguments: other dtypes, structures and static values, which the rule looks at."""
    tangent = lambda p, t: t[0] * (2 if p[0].dtype == jnp.float32 else 3)
    f = with_tangent(lambda x: x, tangent)
    assert_as_jax(lambda x: jnp.sum(f(x)) + jnp.sum(f(x.astype(jnp.float32)).astype(jnp.float64)), X)

    pair = jax.custom_jvp(lambda tree: sum(jax.tree.leaves(tree)))
    pair.defjvp(lambda p, t: (pair(*p), jax.tree.leaves(t)[0] * (5 if isinstance(p[0], dict) else 7)))
    assert_as_jax(lambda x: jnp.sum(pair({"a": x, "b": x}) * pair([x, x])), X)

    power = jax.custom_jvp(lambda n, x: x**n, nondiff_argnums=(0,))
    power.defjvp(lambda n, p, t: (power(n, *p), 10 * n * t[0]))
    assert_as_jax(lambda x: jnp.sum(power(2, x) * power(3, x)), X)


def test_arguments_whose_structure_does_not_hash():
    @partial(jax.tree_util.register_dataclass, data_fields=["x"], meta_fields=["names"])
    @dataclass
    class Named:
        x: jax.Array
        names: list[str]

    f = jax.custom_jvp(lambda tree: jnp.sin(tree.x))
    f.defjvp(lambda p, t: (f(*p), len(p[0].names) * t[0].x))
    assert_as_jax(lambda x: jnp.sum(f(Named(x, ["a"])) * f(Named(x, ["a", "b"]))), X)


def test_one_function_with_two_rules_in_turn():
    """A rule that is given anew holds for the calls after that."""
    f = jax.custom_jvp(jnp.sin)
    first, second = (lambda p, t, n=n: (jnp.sin(p[0]), n * t[0]) for n in (2.0, 3.0))

    def loss(x):
        f.defjvp(first)
        y = f(x)
        f.defjvp(second)
        return jnp.sum(y * f(x))

    assert_as_jax(loss, X)


def test_a_rule_is_shared_between_vmaps_along_the_same_axes():
    traced, rows = [], jnp.sin(X.T)

    def tangent(p, t):
        traced.append(p[0].shape)
        return 2 * jnp.cos(p[0]) * t[0]

    f = with_tangent(jnp.sin, tangent)
    twice = lambda x: f(jax.vmap(f)(jax.vmap(f)(x)) + jax.vmap(f, 1, 1)(x))
    loss = jax.checkpoint(lambda x: jnp.sum(twice(x)) + jnp.sum(jax.vmap(f)(rows * x.T)))
    fg.grad(loss)(X)
    # As a whole; along the first axis of two shapes; along the second.
    assert sorted(traced) == sorted([(2, 3), (3,), (2,), (2,)])
    assert_as_jax(loss, X)


def test_a_rule_that_closes_over_the_array_of_a_vmap_is_that_ones():
    def inside(x, a):
        f = with_tangent(jnp.sin, lambda p, t: a * t[0])
        return f(x) * f(2 * x) + jnp.sum(jax.vmap(f)(jnp.stack([x, 3 * x])))

    a = jnp.arange(3.0) + 1
    loss = lambda x: jnp.sum(jax.vmap(inside)(x, a) + jax.vmap(inside)(x, 2 * a))
    assert_as_jax(loss, X[0])


@pytest.mark.parametrize("other", [3.0, -2.0, 2.0 + 1e-12])
def test_tangents_of_other_numbers_are_not_equal(other):
    one, two = scaled(2.0), scaled(other)
    assert_as_jax(lambda x: jnp.sum(one(x) * two(x)), X)


def test_minus_zero_is_another_number_than_zero():
    over = lambda zero: with_tangent(jnp.sin, lambda p, t: t[0] * (1 / (jnp.abs(p[0]) * 0 + zero)))
    assert_as_jax(lambda x: jnp.sum(over(0.0)(x)) + 2 * jnp.sum(over(-0.0)(x[0])), X)


def test_tangents_with_other_arrays_are_not_equal():
    times = lambda a: with_tangent(jnp.sin, lambda primals, tangents: a * tangents[0])
    one, two = times(jnp.arange(6.0).reshape(2, 3)), times(jnp.ones((2, 3)))
    assert_as_jax(lambda x: jnp.sum(one(x) * two(x)), X)


def test_several_inputs_of_which_some_move():
    f = with_tangent(lambda x, y: x * jnp.sin(y), lambda p, t: t[0] * jnp.sin(p[1]) + 3 * p[0] * t[1])
    assert_as_jax(lambda x, y: jnp.sum(f(x, y)), X, X + 1)
    assert_as_jax(lambda x: jnp.sum(f(x, jnp.cos(X))), X)
    assert_as_jax(lambda y: jnp.sum(f(jnp.cos(X), y)), X)


def test_several_outputs_of_which_one_is_not_used_or_does_not_move():
    f = with_tangent(lambda x: (jnp.sin(x), jnp.cos(x)), lambda p, t: (t[0] * 2, jnp.zeros_like(t[0])))
    assert_as_jax(lambda x: jnp.sum(f(x)[0]), X)
    assert_as_jax(lambda x: jnp.sum(f(x)[1] * x), X)
    assert_as_jax(lambda x: jnp.sum(f(x)[0] * f(x)[1]), X)


def test_an_output_whose_tangent_is_a_number_and_a_rule_put_in_for_one_argument():
    """Where a rule was put in, every output may move; the tangent says that the second does not."""
    f = jax.custom_jvp(lambda x, y: (x * y, y))
    f.defjvp(lambda p, t: ((p[0] * p[1], p[1]), (p[0] * t[1] + t[0] * p[1], 0.0)))

    def loss(x, y):
        product, still = f(x, y)
        return product * still

    rules = fg.RuleSet().override("<lambda>", lambda g: 7.0 * g[0], "x")
    found = fg.grad(loss, (0, 1), rules=rules)(2.0, 3.0)
    np.testing.assert_array_equal(found, (7.0 * 3.0, 2.0 * 3.0))


def test_an_output_of_integers():
    f = with_tangent(
        lambda x: (jnp.sin(x), jnp.argsort(x)),
        lambda p, t: (2 * t[0] * jnp.cos(p[0]), np.zeros(p[0].shape, jax.dtypes.float0)),
    )
    assert_as_jax(lambda x: jnp.sum(f(x)[0] * x), X)


def smoothed(x):
    """Linear, and of an equation whose J^T is not written down."""
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 3), (1, 1), "SAME")


def transpose_of(function, *args):
    """What is found for the one equation with a custom derivative."""
    (equation,) = (e for e in jax.make_jaxpr(function)(*args).eqns if e.primitive.name == "custom_jvp_call")
    positions = tuple(range(len(args)))
    rule = TangentRule.of(equation, positions)
    assert rule is not None
    return _transpose_by_rules(rule.tangent, positions, (0,))


def test_which_tangents_are_transposed_here():
    taken, pull = transpose_of(jax.nn.relu, X)
    np.testing.assert_array_equal(pull(X, jnp.ones_like(X))[0], (X > 0).astype(X.dtype))
    assert taken == (0,)
    assert transpose_of(scaled(2.0), X) is not None
    assert transpose_of(with_tangent(jnp.sin, lambda p, t: smoothed(t[0])), X) is None
    assert transpose_of(with_tangent(jnp.sin, lambda p, t: fg.ops.sigmoid(p[0]) * t[0]), X) is not None


def test_an_input_of_integers():
    f = with_tangent(lambda x, n: x * n.astype(x.dtype), lambda p, t: 2 * t[0] * p[1].astype(t[0].dtype))
    assert_as_jax(lambda x: jnp.sum(f(x, jnp.arange(6).reshape(2, 3))), X)


def test_a_tangent_that_tells_zeros_apart():
    @jax.custom_jvp
    def f(x, y):
        return x * y

    def tangent(primals, tangents):
        (x, y), (x_dot, y_dot) = primals, tangents
        is_still = isinstance(y_dot, jax.custom_derivatives.SymbolicZero)
        return f(x, y), (2 if is_still else 5) * y * x_dot + (0 if is_still else x * y_dot)

    f.defjvp(tangent, symbolic_zeros=True)
    assert_as_jax(lambda x: jnp.sum(f(x, X)), X)
    assert_as_jax(lambda x, y: jnp.sum(f(x, y)), X, X + 1)


def test_a_tangent_of_equations_whose_transpose_is_not_written_down():
    f = with_tangent(jnp.sin, lambda p, t: smoothed(t[0] * p[0]))
    assert_as_jax(lambda x: jnp.sum(f(x) ** 2), X)


def test_a_tangent_that_is_not_linear_is_an_error_as_in_jax():
    f = with_tangent(jnp.sin, lambda p, t: t[0] ** 2)
    with pytest.raises(NotImplementedError):
        jax.grad(lambda x: jnp.sum(f(x)))(X)
    with raises_sentence(
        fg.errors.GradientError,
        r"sin at test_custom_tangents\.py:\d+ \(`.*`\): what its derivative is made by raised NotImplementedError: "
        r"Transpose rule \(for reverse-mode differentiation\) for 'integer_pow' not implemented\.",
    ):
        fg.grad(lambda x: jnp.sum(f(x)))(X)


def test_ops_and_loops_in_a_tangent():
    f = with_tangent(jnp.sin, lambda p, t: t[0] * fg.ops.sigmoid(p[0]))
    g = with_tangent(jnp.sin, lambda p, t: jax.lax.fori_loop(0, 3, lambda _, c: c * 2, t[0] * p[0]))
    h = with_tangent(jnp.sin, lambda p, t: t[0] * jax.lax.fori_loop(0, 3, lambda _, c: c * 2, p[0]))
    for function in (f, g, h):
        assert_as_jax(lambda x, function=function: jnp.sum(function(x) ** 2), X)


def test_second_order():
    f = with_tangent(jnp.sin, lambda p, t: 2 * t[0] * jnp.cos(p[0]) * p[0])
    second = lambda grad: grad(lambda x: jnp.sum(grad(lambda x: jnp.sum(f(x) ** 2))(x) ** 2))(X)
    np.testing.assert_allclose(second(fg.grad), second(jax.grad), rtol=1e-12)
