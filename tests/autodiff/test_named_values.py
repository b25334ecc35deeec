"""Positions of arguments, as JAX reads them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from tests.language.agreement import assert_same
from tests.raising import raises_sentence

X, Y = jnp.linspace(-1.0, 1.3, 3), jnp.linspace(0.5, 2.0, 3)


def f(x, y):
    return jnp.sum(jnp.sin(x) * y)


POSITIONS = [0, -1, np.int64(1), np.int32(-2), True, np.array(1), (0,), (-1, 0), [1, 0], [np.int8(1)], range(2)]


@pytest.mark.parametrize("argnums", POSITIONS, ids=repr)
def test_positions_that_jax_takes(argnums):
    for name in ("grad", "value_and_grad"):
        assert_same(*(getattr(lib, name)(f, argnums)(X, Y) for lib in (fg, jax)))
    assert_same(fg.jacobian(f, argnums)(X, Y), jax.grad(f, argnums)(X, Y))
    assert fg.plan(f, X, Y, argnums=argnums).steps


@pytest.mark.parametrize("argnums", [(0, 0), (0, -2), [0, 1, 0]], ids=repr)
def test_an_argument_twice_has_its_gradient_twice(argnums):
    by_x, by_y = jax.grad(f, (0, 1))(X, Y)
    assert_same(fg.grad(f, argnums)(X, Y), tuple((by_x, by_y)[n] for n in argnums))
    assert_same(fg.jacobian(f, argnums)(X, Y), tuple((by_x, by_y)[n] for n in argnums))
    assert_same(fg.grad(f, wrt=[0, 0])(X, Y), (by_x, by_x))


REFUSED = {
    "a string": ("0", "'0'"),
    "a name": ("x", "'x'"),
    "names": (("x", "y"), r"\(str, str\)"),
    "a float": (1.0, r"1\.0"),
    "floats": ((0, 1.0), r"\(i64\[\], f64\[\]\)"),
    "None": (None, "None"),
    "an array": (X, r"f64\[3\]"),
    "parameters": ({"w": X}, r"\{'w': f64\[3\]\}"),
    "none": ((), r"\(\)"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("make", [fg.grad, fg.value_and_grad])
def test_anything_else_is_refused_before_the_call(name, make):
    argnums, shown = REFUSED[name]
    sentence = (
        rf"argnums takes the position of an argument, as 0, or several, as \(0, 1\), got {shown}; the arguments "
        r"themselves go to the function that is returned: fg.grad\(loss\)\(w, x\)\."
    )
    with raises_sentence(fg.errors.GradientError, sentence):
        make(f, argnums)


@pytest.mark.parametrize("name", ["x", None, 0.5])
def test_a_jacobian_refuses_the_same(name):
    with raises_sentence(fg.errors.GradientError, r"argnums takes the position of an argument, .*"):
        fg.jacobian(f, name)


def test_a_function_of_no_arguments():
    with raises_sentence(fg.errors.GradientError, r"argnums asks for argument 0, got 0 positional arguments\."):
        fg.grad(lambda: 1.0)()
    value, pull = fg.vjp(lambda: 1.0)
    assert (value, pull(1.0)) == (1.0, ())


NOT_FUNCTIONS = {
    "grad": (lambda: fg.grad(3), r"grad takes a function first, got 3\."),
    "value_and_grad": (lambda: fg.value_and_grad(X), r"grad takes a function first, got f64\[3\]\."),
    "jacobian": (lambda: fg.jacobian({"w": X}), r"jacobian takes a function first, got \{'w': f64\[3\]\}\."),
    "vjp": (lambda: fg.vjp(X, X), r"vjp takes a function first, got f64\[3\]\."),
    "plan": (lambda: fg.plan(X, f), r"plan takes a function first, got f64\[3\]\."),
    "trace": (lambda: fg.trace(X), r"trace takes a function first, got f64\[3\]\."),
}


@pytest.mark.parametrize("name", NOT_FUNCTIONS)
def test_what_is_no_function(name):
    call, sentence = NOT_FUNCTIONS[name]
    with raises_sentence(fg.errors.GradientError, sentence):
        call()
