"""Python decides what is computed, call by call: traced again only when structure changes, and told why."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.errors import GraphError
from tests.raising import raises_sentence

X = jnp.linspace(-1.0, 1.3, 6).reshape(2, 3)


def deep(params, x, depth, activation="tanh", *, scale=1.0):
    for _ in range(depth):
        x = x @ params["w"]
        x = jnp.tanh(x) if activation == "tanh" else jax.nn.relu(x)
    return scale * jnp.sum(x**2)


PARAMS = {"w": jnp.linspace(0.5, -0.7, 9).reshape(3, 3)}


def test_equals_the_function_itself_whatever_python_decides():
    step = fg.dynamic(fg.value_and_grad(deep))
    for options in ({"depth": 3}, {"depth": 1}, {"depth": 1, "activation": "relu"}, {"depth": 3, "scale": 2.0}):
        value, gradient = step(PARAMS, X, **options)
        expected = jax.value_and_grad(deep)(PARAMS, X, **options)
        np.testing.assert_allclose(value, expected[0], rtol=1e-12)
        np.testing.assert_allclose(gradient["w"], expected[1]["w"], rtol=1e-10)


def test_traced_again_only_when_structure_changes_and_told_why():
    step = fg.dynamic(fg.grad(deep))
    for _ in range(3):
        step(PARAMS, X, 2)
        step({"w": 2 * PARAMS["w"]}, X + 1, 2)
    step(PARAMS, X, 3)
    step(PARAMS, X, 2, "relu")
    step(PARAMS, X[:1].astype(jnp.float64), 2, "relu")
    step(PARAMS, X, 2, scale=3.0)
    step({**PARAMS, "b": X}, X, 2)
    step(PARAMS, X, 2)
    step(PARAMS, X, 3)
    lines = [
        "dynamic(grad(deep)): traced 6 times",
        "  1. first call",
        "  2. depth: 3, was 2",
        "  3. activation: 'relu', was not there",
        "  4. x: f64[1,3], was f64[2,3]",
        "  5. scale: 3.0, was not there",
        "  6. params/b: f64[2,3], was not there",
    ]
    assert str(step).splitlines() == lines
    assert [str(trace) for trace in step.traces] == [line[5:] for line in lines[1:]]


def test_numbers_that_are_equal_but_of_other_types():
    f = fg.dynamic(lambda x, n: x * {int: 2, bool: 3, float: 4}[type(n)])
    assert [float(f(jnp.array(1.0), n)) for n in (1, True, 1.0, 1)] == [2, 3, 4, 2]
    assert [str(t) for t in f.traces] == ["first call", "n: True, was 1", "n: 1.0, was 1"]


def test_containers_of_other_types():
    f = fg.dynamic(lambda xs: xs[0] + xs[1])
    f([X, X])
    f((X, X))
    assert [str(t) for t in f.traces] == ["first call", "the containers or types of the arguments"]


def test_it_is_differentiated_and_batched_as_any_function():
    f = fg.dynamic(deep)
    np.testing.assert_allclose(fg.grad(f, 1)(PARAMS, X, 2), jax.grad(deep, 1)(PARAMS, X, 2), rtol=1e-10)
    np.testing.assert_allclose(
        jax.vmap(lambda x: f(PARAMS, x, 2))(X[:, None]), [deep(PARAMS, x[None], 2) for x in X], rtol=1e-12
    )


def test_methods():
    class Tower:
        depth = 2

        @fg.dynamic
        def loss(self, x, depth):
            return deep(PARAMS, x, min(depth, self.depth))

    tower = Tower()
    for depth in (1, 2, 2):
        np.testing.assert_allclose(tower.loss(X, depth), deep(PARAMS, X, depth), rtol=1e-12)
    assert [str(trace) for trace in Tower.loss.traces] == ["first call", "depth: 2, was 1"]


def test_what_is_neither_array_nor_hashable():
    class Unhashable:
        __hash__ = None  # pyright: ignore[reportAssignmentType]

    with raises_sentence(
        GraphError,
        r"dynamic: 'p/a' is a Unhashable, which is neither an array nor hashable; pass an array, or something "
        r"hashable\.",
    ):
        fg.dynamic(lambda p: p)({"a": Unhashable()})


def branches(x):
    if jnp.sum(x) > 0:
        return jnp.sum(x**2)
    return jnp.sum(x)


def indexes(x):
    return jnp.array([1.0, 2.0]) @ jnp.array([x[0], range(3)[jnp.argmax(x)]])


def to_numpy(x):
    return jnp.sum(np.sin(x))


def to_float(x):
    return jnp.sum(x) * float(x[0])


def masks(x):
    return jnp.sum(x[x > 0])


NEEDS_VALUES = {
    branches: r"`if jnp\.sum\(x\) > 0:`\) branches on .* use jnp\.where, jax\.lax\.cond or jax\.lax\.while_loop,",
    indexes: r"`return .*`\) takes as an index or a count .* use jnp\.take or jax\.lax\.dynamic_slice,",
    to_numpy: r"`return jnp\.sum\(np\.sin\(x\)\)`\) gives to NumPy .* use jax\.numpy,",
    to_float: r"`return jnp\.sum\(x\) \* float\(x\[0\]\)`\) takes as a number .* use jax\.numpy,",
    masks: r"`return jnp\.sum\(x\[x > 0\]\)`\) selects by a mask, so takes the shape of, .* use jnp\.where,",
}


@pytest.mark.parametrize("function", NEEDS_VALUES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("how", ["trace", "grad", "jit of grad", "dynamic", "dynamic grad"])
def test_code_that_needs_the_value_of_an_array_is_told_where(function, how):
    call = {
        "trace": lambda f: fg.trace(f, X[0]),
        "grad": lambda f: fg.grad(f)(X[0]),
        "jit of grad": lambda f: jax.jit(fg.grad(f))(X[0]),
        "dynamic": lambda f: fg.dynamic(f)(X[0]),
        "dynamic grad": lambda f: fg.dynamic(fg.grad(f))(X[0]),
    }[how]
    end = r" or pass what decides as a number\."
    with raises_sentence(GraphError, rf"test_dynamic\.py:\d+ \({NEEDS_VALUES[function]}{end}"):
        call(function)


def test_branching_on_numbers_and_shapes_is_no_error():
    f = lambda x, n: jnp.sum(ops.relu(x)) if x.shape[0] > 1 and n > 2 else jnp.sum(x)
    np.testing.assert_allclose(fg.grad(f)(X, 3), (X > 0).astype(X.dtype))
    np.testing.assert_allclose(fg.grad(f)(X, 1), jnp.ones_like(X))
