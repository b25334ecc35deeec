"""A tape is a value: it leaves `jit`, is pulled many times, and is a pytree of what the plan keeps."""

import gc
import weakref

import chex
import jax
import jax.numpy as jnp
import numpy as np

import funcgrad as fg
from funcgrad import ops
from tests.raising import raises_sentence

X = jnp.linspace(-1.0, 1.3, 6).reshape(2, 3)
W = jnp.linspace(0.5, -0.7, 12).reshape(3, 4)


def network(params, x):
    return ops.relu(ops.linear(x, params["w"], params["b"]))


PARAMS = {"w": W, "b": jnp.linspace(-0.2, 0.2, 4)}


def assert_close(found, expected):
    chex.assert_trees_all_equal_structs(found, expected)
    chex.assert_trees_all_equal_shapes_and_dtypes(found, expected)
    chex.assert_trees_all_close(found, expected, rtol=1e-11, atol=1e-13)


def test_a_tape_is_pulled_as_often_as_one_likes():
    y, tape = fg.record(network, PARAMS, X)
    expected_y, pull = jax.vjp(network, PARAMS, X)
    np.testing.assert_allclose(y, expected_y)
    for g in (jnp.ones_like(y), jnp.sin(y + 1), jnp.zeros_like(y)):
        assert_close(tape.pull(g), pull(g))


def test_a_tape_leaves_a_jitted_function_and_enters_another():
    y, tape = jax.jit(lambda p, x: fg.record(network, p, x))(PARAMS, X)
    pulled = jax.jit(lambda tape, g: tape.pull(g))(tape, jnp.ones_like(y))
    assert_close(pulled, jax.vjp(network, PARAMS, X)[1](jnp.ones_like(y)))
    assert_close(tape.pull(jnp.ones_like(y)), pulled)


def test_its_leaves_are_what_the_plan_keeps():
    _, tape = fg.record(network, PARAMS, X)
    assert [v.name for v in tape.plan.kept] == ["params/w", "x", "relu"]
    assert [a.shape for a in jax.tree.leaves(tape)] == [(3, 4), (2, 3), (2, 4)]


def test_the_jacobian_from_one_tape():
    y, tape = fg.record(lambda x: network(PARAMS, x), X)
    basis = jnp.eye(y.size).reshape(y.size, *y.shape)
    (jacobian,) = jax.vmap(tape.pull)(basis)
    np.testing.assert_allclose(jacobian.reshape(*y.shape, *X.shape), jax.jacrev(lambda x: network(PARAMS, x))(X))


def test_a_tape_through_a_loop():
    f = lambda c: jax.lax.scan(lambda c, r: (jnp.sin(c) * r.sum(), None), c, X)[0]
    c = jnp.array([0.3, 0.4])
    y, tape = jax.jit(lambda c: fg.record(f, c))(c)
    assert_close(tape.pull(jnp.ones_like(y)), jax.vjp(f, c)[1](jnp.ones_like(y)))


def test_vjp_takes_the_place_of_jax():
    f = lambda p, n, x: ((network(p, x), n + 1), {"aux": x})
    n = jnp.array(3)
    (y, m), pull, aux = fg.vjp(f, PARAMS, n, X, has_aux=True)
    (expected_y, _), expected_pull, _ = jax.vjp(f, PARAMS, n, X, has_aux=True)
    np.testing.assert_allclose(y, expected_y)
    assert int(m) == 4
    assert aux["aux"] is not None
    g = (jnp.ones_like(y), np.zeros((), jax.dtypes.float0))
    found, expected = pull(g), expected_pull(g)
    assert found[1].dtype == expected[1].dtype == jax.dtypes.float0
    assert_close((found[0], found[2]), (expected[0], expected[2]))
    assert_close(jax.jit(lambda pull, y: pull((y, np.zeros((), jax.dtypes.float0))))(pull, g[0])[0], expected[0])


def test_second_order_through_a_tape():
    def through_tape(x):
        y, tape = fg.record(lambda x: ops.tanh(x) ** 2, x)
        return jnp.sum(tape.pull(y)[0])

    def through_jax(x):
        y, pull = jax.vjp(lambda x: jnp.tanh(x) ** 2, x)
        return jnp.sum(pull(y)[0])

    np.testing.assert_allclose(jax.grad(through_tape)(X), jax.grad(through_jax)(X), rtol=1e-11)
    np.testing.assert_allclose(fg.grad(through_tape)(X), jax.grad(through_jax)(X), rtol=1e-11)


RELEASED = r"The tape was released, so nothing can be pulled through it; record it again\."


def test_a_released_tape_lets_go_of_what_it_kept():
    y, tape = fg.record(network, PARAMS, X)
    kept = weakref.ref(tape.kept[tape.plan.kept.index(next(v for v in tape.plan.kept if v.name == "relu"))])
    g = jnp.ones_like(y)
    del y
    gc.collect()
    assert kept() is not None
    tape.release()
    gc.collect()
    assert kept() is None
    assert jax.tree.leaves(tape) == []
    with raises_sentence(fg.errors.GradientError, RELEASED):
        tape.pull(g)
    np.testing.assert_array_equal(PARAMS["w"], W)


def test_the_last_pull_releases():
    y, tape = fg.record(network, PARAMS, X)
    first = tape.pull(jnp.ones_like(y))
    assert_close(tape.pull(jnp.ones_like(y), last=True), first)
    with raises_sentence(fg.errors.GradientError, RELEASED):
        tape.pull(jnp.ones_like(y))


def test_a_cotangent_that_is_refused_releases_nothing():
    y, tape = fg.record(network, PARAMS, X)
    with raises_sentence(fg.errors.GradientError, r"The cotangent of output 'relu' must be .*"):
        tape.pull(y[0], last=True)
    assert_close(tape.pull(jnp.ones_like(y)), jax.vjp(network, PARAMS, X)[1](jnp.ones_like(y)))


def test_a_tape_that_keeps_nothing_can_be_released_too():
    _, tape = fg.record(lambda x: 2.0 * x, X)
    tape.release()
    with raises_sentence(fg.errors.GradientError, RELEASED):
        tape.pull(X)


def test_a_cotangent_must_be_like_the_output():
    y, tape = fg.record(network, PARAMS, X)
    with raises_sentence(fg.errors.GradientError, r"The cotangent of output 'relu' must be f64\[2,4\], got f64\[4\]\."):
        tape.pull(y[0])
    with raises_sentence(
        fg.errors.GradientError, r"The cotangent of output 'relu' must be f64\[2,4\], got f32\[2,4\]\."
    ):
        tape.pull(y.astype(jnp.float32))
    with raises_sentence(
        fg.errors.GradientError,
        r"The cotangent must have the structure of the output, f64\[2,4\], got \(f64\[2,4\], f64\[2,4\]\)\.$",
    ):
        tape.pull((y, y))


def test_a_tape_and_its_pull_print_as_one_line():
    _, tape = fg.record(lambda x: jnp.sum(jnp.sin(x)), jnp.ones(3))
    assert str(tape) == "Tape(of f64[] by x, 1 arrays kept)"
    assert "\n" not in str(fg.vjp(lambda x: jnp.sum(jnp.sin(x)), jnp.ones(3))[1])
    tape.release()
    assert str(tape) == "Tape(of f64[] by x, released)"
