"""What a function does beside computing: prints, checks, writes to references; it happens once."""

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import checkify

import funcgrad as fg
from tests.language.agreement import assert_same
from tests.language.sample import X


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
def test_prints_come_once_and_in_order(jit: bool, capfd: pytest.CaptureFixture[str]):
    def f(x: jax.Array) -> jax.Array:
        jax.debug.print("before {}", x, ordered=True)
        y = jax.jit(lambda v: (jax.debug.print("inside {}", v, ordered=True), v**2)[1])(x)
        jax.debug.print("after {}", y, ordered=True)
        return y

    gradient = fg.grad(f)
    assert float((jax.jit(gradient) if jit else gradient)(2.0)) == 4.0
    jax.effects_barrier()
    assert capfd.readouterr().out.splitlines() == ["before 2.0", "inside 2.0", "after 4.0"]


def test_a_print_of_an_unused_value_is_kept(capfd: pytest.CaptureFixture[str]):
    def f(x: jax.Array) -> jax.Array:
        jax.debug.print("unused {}", jnp.sin(x) * 0.0)
        return x**2

    fg.grad(f)(2.0)
    jax.effects_barrier()
    assert capfd.readouterr().out == "unused 0.0\n"


def test_a_reference_outside_is_written_once():
    count = jax.new_ref(jnp.zeros(()))

    def f(x: jax.Array) -> jax.Array:
        count[...] += 1.0
        return x**2

    assert float(fg.grad(f)(3.0)) == 6.0
    assert float(count[...]) == 1.0


def test_a_differentiated_value_in_a_reference_outside_raises_as_in_jax():
    outside = jax.new_ref(jnp.zeros(()))

    def f(x: jax.Array) -> jax.Array:
        outside[...] = jnp.sin(x)
        return outside[...] ** 2

    with pytest.raises(Exception, match="Move the array reference to be an argument"):
        fg.grad(f)(1.0)


def test_through_checks():
    """`checkify` inside and outside."""

    def checked(x: jax.Array) -> jax.Array:
        checkify.check(x[0] < 0, "not negative")
        return jnp.sum(jnp.sin(x))

    error, gradient = jax.jit(checkify.checkify(fg.grad(checked)))(X)
    assert error.get() is None
    assert_same(gradient, jnp.cos(X))
    inside = lambda x: checkify.checkify(lambda v: jnp.sum(jnp.log(v + 5.0)), errors=checkify.all_checks)(x)[1]
    assert_same(jax.jit(fg.grad(inside))(X), jax.jit(jax.grad(inside))(X))
