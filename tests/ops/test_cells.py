"""Recurrent ops beyond their rules: a sequence is its cells in turn; memory, precision, long sequences, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.errors import ShapeError
from tests.raising import raises_sentence

B, T, N, M = 2, 4, 3, 5


def make(rng, gates, t=T, m=M, dtype=np.float64):
    shapes = {"x": (B, t, N), "h": (B, m), "w_x": (N, gates * m), "w_h": (m, gates * m), "b": (gates * m,)}
    return {n: jnp.asarray(rng.normal(size=s) / 2, dtype) for n, s in shapes.items()}


def run_lstm(x, h, w_x, w_h, b, **options):
    hs, c = ops.lstm(x, h, h / 2, w_x, w_h, b, **options)
    return hs, c


def lstm_loop(x, h, w_x, w_h, b):
    states, c = [], h / 2
    for t in range(x.shape[1]):
        h, c = ops.lstm_cell(x[:, t], h, c, w_x, w_h, b)
        states.append(h)
    return jnp.stack(states, axis=1), c


def run_gru(x, h, w_x, w_h, b, **options):
    return ops.gru(x, h, w_x, w_h, b, b[:M] / 3, **options), jnp.zeros_like(h)


def gru_loop(x, h, w_x, w_h, b):
    states, last = [], jnp.zeros_like(h)
    for t in range(x.shape[1]):
        h = ops.gru_cell(x[:, t], h, w_x, w_h, b, b[:M] / 3)
        states.append(h)
    return jnp.stack(states, axis=1), last


def run_rnn(x, h, w_x, w_h, b, **options):
    return ops.rnn(x, h, w_x, w_h, b, **options), jnp.zeros_like(h)


def rnn_loop(x, h, w_x, w_h, b):
    states, last = [], jnp.zeros_like(h)
    for t in range(x.shape[1]):
        h = ops.rnn_cell(x[:, t], h, w_x, w_h, b)
        states.append(h)
    return jnp.stack(states, axis=1), last


KINDS = {"rnn": (1, run_rnn, rnn_loop), "gru": (3, run_gru, gru_loop), "lstm": (4, run_lstm, lstm_loop)}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def weigh(result):
    return sum(jnp.sum(jnp.sin(r * (1 + jnp.arange(r.size, dtype=r.dtype).reshape(r.shape)))) for r in result)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_sequence_is_its_cells_in_turn(kind, reverse, rng):
    gates, sequence, loop = kind
    args = make(rng, gates)

    def backwards(x, **rest):
        hs, last = loop(jnp.flip(x, 1), **rest)
        return jnp.flip(hs, 1), last

    ours = jax.jit(fg.value_and_grad(lambda a: weigh(sequence(**a, reverse=reverse))))(args)
    expected = jax.jit(jax.value_and_grad(lambda a: weigh((backwards if reverse else loop)(**a))))(args)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), ours, expected)


def test_each_weight_gradient_is_one_product(kind, rng):
    gates, sequence, _ = kind
    args = make(rng, gates, t=64)
    text = str(jax.make_jaxpr(fg.grad(lambda a: weigh(sequence(**a))))(args))
    # A weight's gradient made step by step would be carried by a loop, as an array of the weight's shape.
    assert text.count("scan[") == 1, "the reverse pass alone is a loop; the forward is the op"
    for name in ("w_x", "w_h"):
        shape = f"f64[{','.join(map(str, args[name].shape))}] = dot_general"
        assert text.count(shape) == 1


def test_the_reverse_pass_takes_no_more_memory_than_jax(rng):
    args = make(rng, 4, t=64, m=64, dtype=np.float32)

    def plain(x, h, w_x, w_h, b):
        def one(carry, x):
            h, c = carry
            i, f, u, o = jnp.split(x @ w_x + h @ w_h + b[None], 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(u)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        return jax.lax.scan(one, (h, h / 2), jnp.moveaxis(x, 1, 0))[1]

    def temporary(gradient):
        return jax.jit(gradient).lower(args).compile().memory_analysis().temp_size_in_bytes

    ours = temporary(fg.grad(lambda a: jnp.sum(jnp.sin(run_lstm(**a)[0]))))
    assert ours <= temporary(jax.grad(lambda a: jnp.sum(jnp.sin(plain(**a)))))


def test_states_are_summed_in_float32():
    # All gates are 1, so c grows by 1 a step; from 256 on bfloat16 cannot tell c + 1 from c.
    t = 1024
    x, zero, w = (jnp.zeros(s, jnp.bfloat16) for s in ((1, t, 1), (1, 1), (1, 4)))
    _, c = ops.lstm(x, zero, zero, w, w, jnp.full(4, 30.0, jnp.bfloat16))
    assert float(c[0, 0]) == t


def test_long_sequences(kind, rng):
    gates, sequence, _ = kind
    args = make(rng, gates, t=2000)
    found = jax.jit(fg.grad(lambda a: jnp.sum(sequence(**a)[0])))(args)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: ops.lstm(np.ones((2, 4, 3)), np.ones((2, 5)), np.ones((2, 5)), np.ones((3, 15)), np.ones((5, 15)),
                             np.ones(15)),
            r"lstm: cannot take .*; w_h must be \[5, 20\] \(4 gates of 5\), got \[5, 15\]\.",
        ),
        (
            lambda: ops.gru_cell(np.ones((2, 3)), np.ones((2, 5)), np.ones((3, 15)), np.ones((4, 15)), np.ones(15),
                                 np.ones(5)),
            r"gru_cell: w_h must be \[5, 15\] \(because of h: f64\[2,5\], w_x: f64\[3,15\]\), got f64\[4,15\]\.",
        ),
        (
            lambda: ops.rnn(np.ones((2, 4, 3)), np.ones(5), np.ones((3, 5)), np.ones((5, 5)), np.ones(5)),
            r"rnn: h must be \[2, m\] \(because of x: f64\[2,4,3\]\), got f64\[5\]\.",
        ),
    ],
)  # fmt: skip
def test_bad_shapes(call, sentence):
    with raises_sentence(ShapeError, sentence):
        call()
