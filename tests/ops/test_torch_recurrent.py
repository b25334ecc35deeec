"""Recurrent cells and whole sequences against PyTorch, every gradient included."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from funcgrad import ops
from tests.ops.against_torch import RNG, Row, assert_agrees, over, torch

B, T, N, M = 3, 5, 4, 6


def draw(gates: int, *states: tuple[int, ...], x: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Input, states, `w_x`, `w_h` and `b`."""
    shapes = (x, *states, (N, gates * M), (M, gates * M), (gates * M,))
    return tuple(RNG.normal(size=s) / 2 for s in shapes)


def call(module: Any, x: Any, state: Any, w_x: Any, w_h: Any, b: Any, suffix: str = "") -> Any:
    """A PyTorch module with our parameters: its hidden bias is what `b` lacks, here nothing."""
    weights = {"weight_ih": w_x.T, "weight_hh": w_h.T, "bias_ih": b, "bias_hh": torch.zeros_like(b)}
    return torch.func.functional_call(module.double(), {n + suffix: v for n, v in weights.items()}, (x, state))


def cell(module: type, pair: bool = False) -> Callable[..., Any]:
    def theirs(x: Any, *rest: Any) -> Any:
        state, weights = (rest[:2], rest[2:]) if pair else (rest[0], rest[1:])
        found = call(module(N, M), x, state, *weights)
        return torch.cat(found, -1) if pair else found

    return theirs


def sequence(module: type, pair: bool = False) -> Callable[..., Any]:
    def theirs(x: Any, *rest: Any) -> Any:
        state, weights = (rest[:2], rest[2:]) if pair else (rest[0], rest[1:])
        state = tuple(s[None] for s in state) if pair else state[None]
        hs, last = call(module(N, M, batch_first=True), x, state, *weights, suffix="_l0")
        return torch.cat([hs.flatten(1), last[1][0]], -1) if pair else hs

    return theirs


def gru_cell(x: Any, h: Any, w_x: Any, w_h: Any, b: Any, b_h: Any) -> Any:
    hidden = torch.cat([torch.zeros(2 * M, dtype=b.dtype), b_h])
    weights = {"weight_ih": w_x.T, "weight_hh": w_h.T, "bias_ih": b, "bias_hh": hidden}
    return torch.func.functional_call(torch.nn.GRUCell(N, M).double(), weights, (x, h))


def joined(x: Any, *rest: Any) -> Any:
    hs, c = ops.lstm(x, *rest)
    return jnp.concatenate([hs.reshape(B, -1), c], axis=-1)


GRU_BIAS = np.zeros(M)
ROWS: list[Row] = [
    ("RNNCell", ops.rnn_cell, cell(torch.nn.RNNCell), draw(1, (B, M), x=(B, N))),
    ("GRUCell", ops.gru_cell, gru_cell, (*draw(3, (B, M), x=(B, N)), RNG.normal(size=M))),
    (
        "LSTMCell",
        lambda *a: jnp.concatenate(ops.lstm_cell(*a), axis=-1),
        cell(torch.nn.LSTMCell, pair=True),
        draw(4, (B, M), (B, M), x=(B, N)),
    ),
    ("RNN", ops.rnn, sequence(torch.nn.RNN), draw(1, (B, M), x=(B, T, N))),
    (
        "GRU",
        lambda *a: ops.gru(*a, jnp.asarray(GRU_BIAS)),
        sequence(torch.nn.GRU),
        draw(3, (B, M), x=(B, T, N)),
    ),
    ("LSTM", joined, sequence(torch.nn.LSTM, pair=True), draw(4, (B, M), (B, M), x=(B, T, N))),
]


@over(ROWS)
def test_agrees_with_torch(row: Row):
    assert_agrees(row)
