"""Recurrent layers: a cell by hand, both directions, carries, initialisation, a user's own cell."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import layers, ops
from funcgrad.errors import GraphError, ShapeError
from funcgrad.layers import Cell, chain, concatenate, gru_cell, linear, lstm_cell, parallel, recurrent, rnn_cell
from tests.raising import raises_sentence

KEY = jax.random.key(3)
CELLS = {"rnn": rnn_cell(5), "gru": gru_cell(5), "lstm": lstm_cell(5, forget_bias=1.0)}


class counting(Cell):
    """A user's cell: outputs the running sum, carries it and the number of steps."""

    features: int

    def init(self, key, x, carry=None):
        return {"w": jnp.ones((x.shape[-1], self.features), x.dtype)}, {}

    def zero_carry(self, x):
        return jnp.zeros((*x.shape[:-1], self.features), x.dtype), jnp.zeros(x.shape[:-1], jnp.int32)

    def forward(self, params, x, carry):
        total, n = carry
        total = total + x @ params["w"]
        return total, (total, n + 1)


class without_a_start(Cell):
    """A cell that forgot to say what its carry starts as."""

    def forward(self, params, x, carry):
        return x, carry


@pytest.fixture(params=CELLS)
def cell(request):
    return CELLS[request.param]


def by_hand(cell, params, x, carry):
    outputs = []
    for t in range(x.shape[1]):
        y, carry = cell(params, x[:, t], carry)
        outputs.append(y)
    return jnp.stack(outputs, axis=1), carry


def assert_close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), found, expected)


@pytest.mark.parametrize("given", [False, True])
def test_a_recurrent_layer_is_its_cell_in_turn(cell, given, rng):
    x = rng.normal(size=(2, 6, 3))
    net = recurrent(cell, return_carry=True)
    params, state = net.init(KEY, x)
    assert state == {}
    carry = jax.tree.map(lambda z: z + rng.normal(size=z.shape), cell.zero_carry(x[:, 0]))
    start = carry if given else cell.zero_carry(x[:, 0])
    found = net(params, x, carry) if given else net(params, x)
    assert_close(found, by_hand(cell, params, x, start))


def test_reverse_is_the_sequence_turned_round(cell, rng):
    x = rng.normal(size=(2, 6, 3))
    net = recurrent(cell, reverse=True, return_carry=True)
    params, _ = net.init(KEY, x)
    y, carry = by_hand(cell, params, x[:, ::-1], cell.zero_carry(x[:, 0]))
    assert_close(net(params, x), (y[:, ::-1], carry))


def test_two_halves_joined_by_the_carry_are_the_whole(cell, rng):
    x = rng.normal(size=(2, 6, 3))
    net = recurrent(cell, return_carry=True)
    params, _ = net.init(KEY, x)
    first, carry = net(params, x[:, :2])
    second, carry = net(params, x[:, 2:], carry)
    assert_close((jnp.concatenate([first, second], axis=1), carry), net(params, x))


def test_no_steps_leave_the_carry_as_it_is(cell):
    net = recurrent(cell, return_carry=True)
    x = jnp.zeros((2, 0, 3))
    params, _ = net.init(KEY, x)
    y, carry = net(params, x)
    assert y.shape == (2, 0, 5)
    assert_close(carry, cell.zero_carry(jnp.zeros((2, 3))))


def test_both_directions(rng):
    x = rng.normal(size=(2, 6, 3))
    net = chain(parallel(recurrent(gru_cell(4)), recurrent(gru_cell(4), reverse=True)), concatenate())
    params, _ = net.init(KEY, x)
    y = net(params, x)
    assert y.shape == (2, 6, 8)
    own = params["parallel0"]
    forward, backward = own["recurrent0"], own["recurrent1"]
    assert not np.allclose(forward["w_h"], backward["w_h"])
    assert_close(y[..., :4], recurrent(gru_cell(4))(forward, x))
    assert_close(y[..., 4:], recurrent(gru_cell(4))(backward, x[:, ::-1])[:, ::-1])


def test_a_users_cell(rng):
    x = rng.normal(size=(2, 6, 3))
    net = recurrent(counting(4), return_carry=True)
    params, _ = net.init(KEY, x)
    y, (total, n) = net(params, x)
    expected = np.cumsum(x.sum(axis=-1), axis=1)
    assert_close(y, np.broadcast_to(expected[..., None], y.shape))
    assert_close(total, y[:, -1])
    np.testing.assert_array_equal(n, [6, 6])
    gradient = fg.grad(lambda p: ops.sum(net(p, x)[0]))(params)
    assert_close(gradient["w"], np.broadcast_to((x * np.arange(6, 0, -1)[:, None]).sum((0, 1))[:, None], (3, 4)))


def test_how_parameters_start():
    x = jax.ShapeDtypeStruct((2, 3), jnp.float32)
    params, _ = lstm_cell(64, forget_bias=1.0).init(KEY, x)
    assert {n: p.shape for n, p in params.items()} == {"w_x": (3, 256), "w_h": (64, 256), "b": (256,)}
    for name in ("w_x", "w_h"):
        assert 0.9 / 8 < np.abs(params[name]).max() <= 1 / 8
        assert params[name].min() < -0.9 / 8
    others = np.delete(np.asarray(params["b"]), np.s_[64:128])
    assert np.abs(others).max() <= 1 / 8
    assert np.abs(params["b"][64:128] - 1).max() <= 1 / 8
    params, _ = gru_cell(64, w_h_init="orthogonal", b_init="zeros").init(KEY, x)
    assert_close(params["b_h"], np.zeros(64))
    product = np.asarray(params["w_h"] @ params["w_h"].T)
    np.testing.assert_allclose(product, product[0, 0] * np.eye(64), atol=1e-5)


def test_the_carry_of_a_bfloat16_network_stays_in_it(cell, rng):
    x = jnp.asarray(rng.normal(size=(2, 6, 3)), jnp.bfloat16)
    net = recurrent(cell, return_carry=True)
    params, _ = net.init(KEY, x)
    y, carry = net(params, x)
    assert {leaf.dtype for leaf in jax.tree.leaves((params, y, carry))} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize(
    ("call", "kind", "sentence"),
    [
        (
            lambda: recurrent(linear(4)),
            GraphError,
            r"recurrent: the cell must be a fg\.layers\.Cell such as lstm_cell\(64\), got linear\(4\)\.",
        ),
        (
            lambda: chain(recurrent(layers.rnn_cell(4))).init(KEY, jnp.ones(3)),
            ShapeError,
            r"recurrent0/recurrent: the input must have at least 2 axes, got f64\[3\]\.",
        ),
        (
            lambda: recurrent(layers.rnn_cell(4))({}, jnp.ones((2, 3))),
            GraphError,
            r"rnn_cell: params must have 'w_x', got none; pass the params that init returned\.",
        ),
        (
            lambda: recurrent(without_a_start())({}, jnp.ones((2, 3))),
            GraphError,
            r"without_a_start: nothing says what the carry for f64\[3\] starts as; define zero_carry or pass a carry\.",
        ),
    ],
)
def test_what_cannot_be(call, kind, sentence):
    with raises_sentence(kind, sentence):
        call()
