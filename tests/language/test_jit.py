"""Gradients inside and outside of compilation; tapes and buffers that cross its borders."""

import jax
import jax.numpy as jnp

import funcgrad as fg
from tests.language.agreement import assert_same
from tests.language.sample import W, X, loss


def test_a_tape_leaves_one_jitted_function_and_enters_another():
    forward = jax.jit(lambda x: fg.record(loss, x))
    backward = jax.jit(lambda tape, g: tape.pull(g))
    value, tape = forward(X)
    expected, gradient = jax.jit(jax.value_and_grad(loss))(X)
    assert_same((value, backward(tape, 1.0 * value)[0]), (expected, gradient * expected))


def test_a_pull_inside_vmap_gives_a_jacobian():
    y, pull = fg.vjp(lambda x: jnp.sin(W @ x), X)
    assert_same(jax.vmap(pull)(jnp.eye(len(y)))[0], jax.jacobian(lambda x: jnp.sin(W @ x))(X))


def test_a_donated_argument():
    step = lambda grad: jax.jit(lambda x: x - grad(loss)(x), donate_argnums=0)(X + 0.0)
    assert_same(step(fg.grad), step(jax.grad))


def test_without_compilation():
    with jax.disable_jit():
        assert_same(fg.grad(lambda x: jnp.sum(jnp.sin(x @ W)))(X), jax.grad(lambda x: jnp.sum(jnp.sin(x @ W)))(X))


def test_no_tracer_leaks():
    with jax.checking_leaks():
        fg.grad(loss)(X)


def test_shapes_alone():
    assert jax.eval_shape(fg.value_and_grad(loss), X) == jax.eval_shape(jax.value_and_grad(loss), X)


def test_an_exported_gradient():
    assert_same(jax.export.export(jax.jit(fg.grad(loss)))(X).call(X), jax.jit(jax.grad(loss))(X))
