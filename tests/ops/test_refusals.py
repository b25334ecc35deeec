"""What ops refuse, and the sizes at which nothing is left to do."""

import inspect
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.errors import ShapeError
from tests.raising import raises_sentence

X = jnp.linspace(-1.0, 1.0, 6).reshape(2, 3)

REFUSED = [
    (lambda: ops.elu(X, alpha=-1.0), r"elu: cannot take x: f64\[2,3\]; alpha must not be negative, got -1\.0\."),
    (
        lambda: ops.clip(X, low=1.0, high=0.5),
        r"clip: cannot take x: f64\[2,3\]; low must be below high, got low=1\.0 and high=0\.5\.",
    ),
    (
        lambda: ops.clip(jnp.arange(3), low=0, high=1.5),
        r"clip: cannot take x: i64\[3\]; bounds of int64 must be whole numbers, got low=0 and high=1\.5\.",
    ),
    (
        lambda: ops.fake_quantize(X, 0.5, low=3, high=3),
        r"fake_quantize: cannot take x: f64\[2,3\], scale: f64\[\]; low must be below high, got low=3 and high=3\.",
    ),
    (
        lambda: ops.scatter_add(jnp.ones(()), jnp.array([0]), jnp.ones(1)),
        r"scatter_add: cannot take x: f64\[\], indices: i64\[1\], updates: f64\[1\]; x must have an axis to index\.",
    ),
    (
        lambda: ops.scatter_add(X, jnp.array([0]), jnp.ones(3)),
        r"scatter_add: cannot take x: f64\[2,3\], indices: i64\[1\], updates: f64\[3\]; updates must be \[1, 3\], a "
        r"slice of x for every index\.",
    ),
]


@pytest.mark.parametrize(
    ("call", "sentence"), REFUSED, ids=["elu", "clip", "whole bounds", "levels", "no axis", "updates"]
)
def test_an_op_says_what_it_cannot_take(call, sentence):
    with raises_sentence(ShapeError, sentence):
        call()


ONES = jnp.ones((4, 2, 3), int)
WHOLE = {
    "fake_quantize": lambda: ops.fake_quantize(ONES, 0.5),
    "stochastic_round": lambda: ops.stochastic_round(ONES, jax.random.key(0)),
    "gelu": lambda: ops.gelu(ONES),
    "squareplus": lambda: ops.squareplus(ONES),
    "layer_norm": lambda: ops.layer_norm(ONES),
    "rms_norm": lambda: ops.rms_norm(ONES),
    "group_norm": lambda: ops.group_norm(ONES, groups=1),
    "batch_norm": lambda: ops.batch_norm(ONES),
    "batch_norm_inference": lambda: ops.batch_norm_inference(ONES, jnp.ones(3), jnp.ones(3)),
    "avg_pool1d": lambda: ops.avg_pool1d(ONES, window=2),
    "rotary": lambda: ops.rotary(ONES, jnp.arange(4), fraction=0.6),
    "attention": lambda: ops.attention(ONES, ONES, ONES),
    "rnn_cell": lambda: ops.rnn_cell(ONES, jnp.ones((4, 2, 1)), jnp.ones((3, 1)), jnp.ones((1, 1)), jnp.ones(1)),
    "rnn": lambda: ops.rnn(ONES, jnp.ones((4, 1)), jnp.ones((3, 1)), jnp.ones((1, 1)), jnp.ones(1)),
    "lstm_cell": lambda: ops.lstm_cell(
        ONES[0] / 1, jnp.ones((2, 1)), jnp.ones((2, 1), int), jnp.ones((3, 4)), jnp.ones((1, 4)), jnp.ones(4)
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_result_with_fractions_is_not_cut_to_integers(name):
    sentence = rf"{name}: cannot take .*i64\[.*\]; the result would be of int64, without its fractions; pass floating "
    with jax.numpy_dtype_promotion("standard"), raises_sentence(ShapeError, sentence + r"numbers\."):
        WHOLE[name]()


ATTRIBUTES = {
    r"softmax: attribute axis must be an integer, got 1\.0\.": lambda: ops.softmax(X, axis=1.0),
    r"softmax: attribute axis must be an integer, got 'last'\.": lambda: ops.softmax(X, axis="last"),
    r"mean: attribute axis must be an integer or several integers or None, got 1\.0\.": lambda: ops.mean(X, axis=1.0),
    r"reshape: attribute shape must be several integers, got 3\.5\.": lambda: ops.reshape(X, shape=3.5),
    r"softmax: cannot take x: f64\[\]; x must have an axis to go along, and a scalar has none, got axis=-1\.": lambda: (
        ops.softmax(X[0, 0])
    ),
    r"glu: cannot take x: f64\[\]; x must have an axis to go along, and a scalar has none, got axis=-1\.": lambda: (
        ops.glu(X[0, 0])
    ),
    r"concatenate: cannot take nothing; xs must hold an array at least, got none\.": lambda: ops.concatenate([]),
    r"concatenate: attribute axis must be an integer, got 0\.0\.": lambda: ops.concatenate([X, X], axis=0.0),
    r"concatenate: cannot take xs: f64\[2,3\], xs: f64\[2,3\]; axis must be one of the 2 axes of x, got 5\.": lambda: (
        ops.concatenate([X, X], axis=5)
    ),
    r"einsum: the subscripts must be a string, as 'ij,jk->ik', got 3\.": lambda: inspect.unwrap(ops.einsum)(3, X),
    r"conv1d: attribute groups must be an integer, got 1\.0\.": lambda: ops.conv1d(X, jnp.ones((1, 3, 3)), groups=1.0),
    r"max_pool1d: attribute window must be an integer or several integers, got '2'\.": lambda: ops.max_pool1d(
        X, window="2"
    ),
}


@pytest.mark.parametrize("sentence", ATTRIBUTES)
def test_an_attribute_of_the_wrong_kind_is_named(sentence):
    with raises_sentence(ShapeError, sentence):
        ATTRIBUTES[sentence]()


def test_an_attribute_says_what_it_may_be():
    @fg.op(name="strictly_attributed", replace=True)
    def attributed(
        x,
        *,
        mode: Literal["up", "down"] = "up",
        pair: tuple[int, float] = (1, 1.0),
        flag: bool = False,
        sizes: tuple[float, ...] = (),
        other: "Unknown" = None,  # noqa: F821
    ):
        raise KeyError(mode)

    for options in ({"mode": "left"}, {"other": 3}):  # a name only a type checker knows: nothing is known of any
        with raises_sentence(
            ShapeError, r"strictly_attributed: cannot take x: f64\[2,3\]; the op's function raised KeyError: '\w+'\."
        ):
            attributed(X, **options)
    del attributed.function.__annotations__["other"]
    for options, sentence in (
        ({"mode": "left"}, r"mode must be 'up' or 'down', got 'left'"),
        ({"pair": (1,)}, r"pair must be a tuple of 2, got .*"),
        ({"flag": 1}, r"flag must be True or False, got 1"),
        ({"sizes": 2.0}, r"sizes must be several, each a number, got 2\.0"),
    ):
        with raises_sentence(ShapeError, rf"strictly_attributed: attribute {sentence}\."):
            attributed(X, **options)


def test_a_window_that_fits_nowhere_pools_nothing_and_pulls_back_zeros():
    x = jnp.ones((1, 2, 2, 3))
    value, pull = jax.vjp(lambda x: ops.max_pool2d(x, window=3), x)
    assert value.shape == (1, 0, 0, 3)
    np.testing.assert_array_equal(pull(value)[0], jnp.zeros_like(x))
    np.testing.assert_array_equal(fg.vjp(lambda x: ops.max_pool2d(x, window=3), x)[1](value)[0], jnp.zeros_like(x))
