"""Arithmetic, reductions and shapes against PyTorch."""

import numpy as np

from funcgrad import ops
from tests.ops.against_torch import F, Row, assert_agrees, normal, over, torch

A, B = normal(3, 4), normal(4)
ROWS: list[Row] = [
    ("add", ops.add, torch.add, (A, B)),
    ("subtract", ops.subtract, torch.sub, (A, B)),
    ("multiply", ops.multiply, torch.mul, (A, B)),
    ("negative", ops.negative, torch.neg, (A,)),
    ("square", ops.square, torch.square, (A,)),
    ("exp", ops.exp, torch.exp, (A,)),
    ("log", ops.log, torch.log, (np.abs(A) + 0.1,)),
    ("sqrt", ops.sqrt, torch.sqrt, (np.abs(A) + 0.1,)),
    ("absolute", ops.absolute, torch.abs, (A,)),
    ("minimum at ties", ops.minimum, torch.minimum, (np.ones(3), np.array([0.0, 1.0, 2.0]))),
    ("clip", lambda x: ops.clip(x, low=-0.5, high=0.7), lambda x: torch.clamp(x, -0.5, 0.7), (A,)),
    # PyTorch's own hardsigmoid goes back with a sixth in float32.
    ("hard_sigmoid", ops.hard_sigmoid, lambda x: F.relu6(x + 3) / 6, (A * 3,)),
    ("squared_error", ops.squared_error, lambda p, t: F.mse_loss(p, t, reduction="none"), (A, normal(3, 4))),
    ("sum", lambda x: ops.sum(x, axis=1), lambda x: x.sum(1), (A,)),
    ("mean", lambda x: ops.mean(x, axis=(0,), keepdims=True), lambda x: x.mean(0, keepdim=True), (A,)),
    ("reshape", lambda x: ops.reshape(x, shape=(2, 6)), lambda x: x.reshape(2, 6), (A,)),
    ("transpose", lambda x: ops.transpose(x, axes=(2, 0, 1)), lambda x: x.permute(2, 0, 1), (normal(2, 3, 4),)),
    ("broadcast_to", lambda x: ops.broadcast_to(x, shape=(3, 4)), lambda x: x.expand(3, 4), (B,)),
    ("concatenate", lambda *xs: ops.concatenate(xs, axis=1), lambda *xs: torch.cat(xs, 1), (A, normal(3, 2))),
    ("einsum", lambda a, b: ops.einsum("bij,bjk->bki", a, b), lambda a, b: torch.einsum("bij,bjk->bki", a, b),
     (normal(2, 3, 4), normal(2, 4, 5))),
]  # fmt: skip


@over(ROWS)
def test_agrees_with_torch(row: Row):
    assert_agrees(row)
