"""Normalization against PyTorch, which keeps channels second."""

import numpy as np

from funcgrad import ops
from tests.ops.against_torch import F, Row, assert_agrees, normal, over, torch

MEAN, VARIANCE = normal(6), np.abs(normal(6)) + 0.1


def channels_second(function):
    """A PyTorch function of `[b, c, ...]` as one of `[b, ..., c]`."""
    return lambda x, *rest: function(x.movedim(-1, 1), *rest).movedim(1, -1)


ROWS: list[Row] = [
    ("layer_norm plain", ops.layer_norm, lambda x: F.layer_norm(x, (8,), eps=1e-6), (normal(2, 3, 8),)),
    ("rms_norm", ops.rms_norm, lambda x, s: F.rms_norm(x, (8,), s, 1e-6), (normal(2, 3, 8), normal(8))),
    ("group_norm", lambda x, s, b: ops.group_norm(x, s, b, groups=3),
     channels_second(lambda x, s, b: F.group_norm(x, 3, s, b)), (normal(2, 4, 5, 6), normal(6), normal(6))),
    ("instance_norm", lambda x, s, b: ops.group_norm(x, s, b, groups=6),
     channels_second(lambda x, s, b: F.instance_norm(x, None, None, s, b)), (normal(2, 4, 6), normal(6), normal(6))),
    ("batch_norm", lambda x, s, b: ops.batch_norm(x, s, b)[0],
     channels_second(lambda x, s, b: F.batch_norm(x, None, None, s, b, training=True)),
     (normal(2, 4, 5, 6), normal(6), normal(6))),
    ("batch_norm mean", lambda x: ops.batch_norm(x)[1], lambda x: x.mean((0, 1)), (normal(2, 4, 6),)),
    ("batch_norm variance", lambda x: ops.batch_norm(x)[2], lambda x: x.var((0, 1), unbiased=False),
     (normal(2, 4, 6),)),
    ("batch_norm inference", lambda x, s, b: ops.batch_norm_inference(x, MEAN, VARIANCE, s, b),
     lambda x, s, b: F.batch_norm(x, torch.tensor(MEAN), torch.tensor(VARIANCE), s, b),
     (normal(5, 6), normal(6), normal(6))),
]  # fmt: skip


@over(ROWS)
def test_agrees_with_torch(row: Row):
    assert_agrees(row)
