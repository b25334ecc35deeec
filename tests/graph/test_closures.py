"""What a function closes over is called after the variable that holds it, and the path inside."""

import functools

import jax
import jax.numpy as jnp
import pytest

import funcgrad as fg

X = jnp.ones((3, 4))
PARAMS = {"a": {"w*": jnp.ones((4, 2))}, "b": [jnp.ones((1, 2)), jnp.zeros((1, 2))]}
UNORDERED = {1: 0, "a": jnp.ones((1, 4))}
ITSELF = [jnp.ones((1, 4))]
ITSELF.append(ITSELF)


class Holder:
    """No pytree: nobody knows what it holds."""

    w = jnp.ones((1, 4))


HOLDER = Holder()


def of_globals(x):
    return x @ PARAMS["a"]["w*"] + PARAMS["b"][0]


def in_a_cell():
    w = jnp.ones((4, 4))
    same = w  # of two variables the first in the alphabet, as Python lists them

    def read(x):
        return jnp.tanh(x @ same) @ w

    return read


def names(function, *args):
    return [v.name for v in fg.trace(function, *args).structure.constants]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (of_globals, [r"PARAMS/a/w\*", "PARAMS/b/0"]),
        (in_a_cell(), ["same"]),
        (functools.partial(lambda w, x: x @ w, jnp.ones((4, 4))), ["w"]),
        (lambda x: x * UNORDERED["a"], ["UNORDERED/a"]),
        (lambda x: x * ITSELF[1][0], ["ITSELF/0"]),
        (lambda x: x * HOLDER.w, ["const0"]),
        (lambda x: x * jnp.arange(4.0)[None], []),  # made by itself
    ],
    ids=["globals", "cell", "partial", "unordered", "in itself", "no pytree", "nothing"],
)
def test_constants_are_called_after_what_holds_them(function, expected):
    assert names(function, X) == expected


def test_an_argument_has_its_name_first():
    w = jnp.ones((4, 4))
    assert names(lambda x: (lambda w_: x @ w_)(w), X) == ["w"]
    graph = fg.trace(lambda w, x: x @ w + in_a_cell()(x), w, X)  # the inner function's `w` is out of sight
    assert [v.name for v in graph.structure.inputs] == ["w", "x"]
    assert not {"w", "x"} & {v.name for v in graph.structure.constants}


def test_models_that_are_closed_over_keep_their_paths():
    eqx, nnx = pytest.importorskip("equinox"), pytest.importorskip("flax.nnx")
    m = eqx.nn.Linear(4, 2, key=jax.random.key(0))
    net = nnx.Sequential(nnx.Linear(4, 2, rngs=nnx.Rngs(0)))
    assert names(lambda x: jax.vmap(m)(x), X) == ["m/weight", "m/bias"]
    assert sorted(names(lambda x: net(x), X.astype(jnp.float32))) == ["net/layers/0/bias", "net/layers/0/kernel"]
