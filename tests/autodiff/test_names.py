"""Names of values, as `of=` and `wrt=` take them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.errors import GradientError
from tests.raising import raises_sentence

X = jnp.linspace(0.2, 1.4, 3)


def counted(x):
    place = fg.name(jnp.argmax(x), "place")
    return (jnp.sin(x) * place.astype(x.dtype)).sum()


def test_a_whole_number_has_no_gradient():
    with raises_sentence(GradientError, r"'place' is i64\[\]; only floating or complex values have gradients\."):
        fg.grad(counted, wrt="place")(X)


def test_an_argument_of_several_arrays_is_all_of_them():
    def loss(params, x):
        return (params["w"] * x).sum() + params["b"]

    seeds = {"params/b": jnp.array(2.0), "params/w": X}
    found = fg.grad(loss, of="params", wrt="params", cotangent=seeds)({"w": X, "b": jnp.array(1.0)}, X)
    np.testing.assert_array_equal(found["w"], X)
    np.testing.assert_array_equal(found["b"], 2.0)


def test_a_value_inside_of_a_branch_is_no_source():
    def f(x):
        return jax.lax.cond(x[0] > 0, lambda x: fg.name(jnp.sin(x), "inside"), jnp.cos, x).sum()

    with raises_sentence(
        GradientError,
        r"of='inside' is inside 'cond' \(a cond\), which runs as one node; return it from there, and name what comes "
        r"out with fg\.name\.",
    ):
        fg.grad(f, of="inside")(X)


def test_a_complex_argument_of_a_real_function_has_its_jacobian_in_reverse():
    z = jax.lax.complex(X, 2 * X)
    magnitude = lambda z: jnp.real(z * jnp.conj(z))
    found = fg.jacobian(magnitude)(z)
    expected = jax.vmap(jax.vjp(magnitude, z)[1])(jnp.eye(3))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_a_tap_takes_a_function_as_a_statistic():
    def spread(x):
        return x.max() - x.min()

    _, readings = fg.grad(lambda x: fg.name(jnp.sin(x), "h").sum(), taps="h", stats=spread)(X)
    assert "spread" in str(readings)


def labelled(w):
    a = fg.name(w * 2, "h#2")
    b = fg.name(a * 3, "h")
    return fg.name(b * 5, "h").sum()


def test_a_name_that_looks_like_a_number_is_a_name_of_its_own():
    found = fg.grad(labelled, wrt=["h#2", "h", "h#3"])(X)
    for name, expected in {"h#2": 15.0, "h": 5.0, "h#3": 1.0}.items():
        np.testing.assert_array_equal(found[name], np.full(3, expected))
    assert fg.grad(labelled, wrt="h*")(X).keys() == {"h", "h#2", "h#3"}
    np.testing.assert_array_equal(fg.grad(labelled, wrt=[r"h\#2"])(X)[r"h\#2"], np.full(3, 15.0))


AWKWARD = {"a/b": X, "a": {"b": X + 1}, "w*": X + 2, "h#2": X + 3, "c\\d": X + 4}


def squares(p):
    parts = [p["a/b"], p["a"]["b"], p["w*"], p["h#2"], p["c\\d"]]
    return sum(10**i * (x**2).sum() for i, x in enumerate(parts))


@pytest.mark.parametrize(
    ("wrt", "expected"),
    [
        (r"p/a\/b", 2 * X),
        ("p/a/b", 20 * (X + 1)),
        (r"p/w\*", 200 * (X + 2)),
        ("p/h#2", 2000 * (X + 3)),
        (r"p/h\#2", 2000 * (X + 3)),
        (r"p/c\\d", 20000 * (X + 4)),
    ],
)
def test_every_key_can_be_written(wrt, expected):
    np.testing.assert_allclose(fg.grad(squares, wrt=wrt)(AWKWARD), expected, rtol=1e-14)
    np.testing.assert_allclose(fg.grad(squares, wrt=[wrt, "p/w*"])(AWKWARD)[wrt], expected, rtol=1e-14)
    _, readings = fg.grad(squares, taps=wrt, stats="value")(AWKWARD)
    ((_, reading),) = readings.items()
    np.testing.assert_allclose(reading.cotangent["value"], expected, rtol=1e-14)
    chosen = fg.grad(squares, wrt=fg.select(wrt.removeprefix("p/")))(AWKWARD)
    ((leaf,), flags) = jax.tree.leaves(chosen), fg.select(wrt.removeprefix("p/"))(AWKWARD)
    np.testing.assert_allclose(leaf, expected, rtol=1e-14)
    assert sum(jax.tree.leaves(flags)) == 1


def test_a_mask_of_some_parameters_calls_them_as_in_the_whole():
    part = {"a/b": X, "a": {"b": None}}
    assert fg.select("a/b")(part) == {"a/b": False, "a": {"b": None}}
    assert fg.select(r"a\/b")(part) == {"a/b": True, "a": {"b": None}}


def test_an_argument_and_a_value_of_one_name_are_told_apart():
    def f(x):
        return (fg.name(x * 2, "x") * x).sum()

    by_argument = 4 * X
    np.testing.assert_allclose(fg.grad(f)(X), by_argument, rtol=1e-14)
    np.testing.assert_allclose(fg.grad(f, wrt=0)(X), by_argument, rtol=1e-14)
    np.testing.assert_allclose(fg.grad(f, wrt="x#2")(X), X, rtol=1e-14)
    assert {"x", "x#2"} < fg.grad(f, taps="**")(X)[1].keys()
    for request in ({"wrt": "x"}, {"wrt": ["x", "mul"]}, {"of": "x"}, {"taps": "x"}):
        with raises_sentence(
            GradientError,
            r"'x' is an argument and the name of a value that is made from it or beside it, listed as 'x#2'; ask for "
            r"that, or for the argument by its position, or rename one\.",
        ):
            fg.grad(f, **request)(X)


def test_rest_arguments_and_keywords_of_one_name():
    f = lambda rest1, *rest: (rest1 * rest[0] ** 2).sum()
    found = fg.grad(f, wrt=["rest1", "rest1#2"])(X, 3 * X)
    np.testing.assert_allclose(found["rest1"], 9 * X**2, rtol=1e-14)
    np.testing.assert_allclose(found["rest1#2"], 6 * X**2, rtol=1e-14)
    with raises_sentence(
        GradientError,
        r"'r0' is a positional argument and a keyword; ask for the positional one by its position, or rename the "
        r"other\.",
    ):
        fg.grad(lambda *r, **named: (r[0] * named["r0"]).sum(), wrt="r0")(X, r0=X)


def test_what_a_function_closes_over_is_no_value_of_it():
    closed_over = jnp.full(3, 2.0)
    f = lambda x: (x * closed_over).sum()
    assert "closed_over" in str(fg.trace(f, X))
    for request in ({"wrt": "closed_over"}, {"of": "closed_over"}, {"taps": "closed_over"}):
        with raises_sentence(
            GradientError,
            r"'closed_over' is f64\[3\] that the function closes over, and not one of its values; pass it as an "
            r"argument\.",
        ):
            fg.grad(f, **request)(X)


@jax.custom_vjp
def by_vjp(x):
    return fg.name(jnp.sin(x), "inner") * 2


by_vjp.defvjp(lambda x: (by_vjp(x), x), lambda x, g: (3 * g,))


@jax.custom_jvp
def by_jvp(x):
    return fg.name(jnp.sin(x), "inner") * 2


by_jvp.defjvps(lambda t, y, x: 3 * t)


@pytest.mark.parametrize("custom", [by_vjp, by_jvp])
def test_a_name_inside_of_a_custom_derivative(custom):
    def f(x):
        with fg.scope("tail"):
            return custom(x).sum()

    np.testing.assert_array_equal(fg.grad(f)(X), np.full(3, 3.0))
    for request in ({"wrt": "tail/inner"}, {"of": "tail/inner"}, {"taps": "tail/inner"}):
        with raises_sentence(
            GradientError,
            rf"'tail/inner' is inside 'tail/{custom.__name__}', which is differentiated as a whole; name what goes in "
            rf"or comes out of it\.",
        ):
            fg.grad(f, **request)(X)


def test_a_near_name_in_another_scope_is_suggested():
    def f(x):
        with fg.scope("blk"):
            return fg.name(jax.nn.relu(x) * 2, "h1").sum()

    with raises_sentence(GradientError, r"No value or scope is named 'h1'; did you mean 'blk/h1'\?"):
        fg.grad(f, wrt="h1")(X)
    with raises_sentence(GradientError, r"No value or scope is named 'blk/rellu'; did you mean 'blk/relu' or .*\?"):
        fg.grad(f, taps="blk/rellu")(X)
