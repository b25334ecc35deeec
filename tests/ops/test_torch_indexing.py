"""Indexing against PyTorch, with repeated indices."""

import jax.numpy as jnp
import numpy as np

from funcgrad import ops
from tests.ops.against_torch import F, Row, assert_agrees, normal, over, torch

IDS = np.array([[1, 4, 1], [0, 1, 4]])
ALONG = np.array([[0, 3, 3], [1, 1, 1], [2, 0, 2], [4, 4, 0]])


def tensors(function, indices):
    """A PyTorch function of a tensor of indices, with them filled in."""
    return lambda *rest: function(torch.as_tensor(indices), *rest)


ROWS: list[Row] = [
    ("embedding", lambda t: ops.embedding(t, jnp.asarray(IDS)), tensors(F.embedding, IDS), (normal(5, 3),)),
    ("index_select", lambda x: ops.take(x, jnp.asarray(IDS[0]), axis=1),
     tensors(lambda i, x: torch.index_select(x, 1, i), IDS[0]), (normal(2, 5, 3),)),
    ("gather", lambda x: ops.take_along_axis(x, jnp.asarray(ALONG), axis=1),
     tensors(lambda i, x: torch.gather(x, 1, i), ALONG), (normal(4, 5),)),
    ("index_add", lambda x, u: ops.scatter_add(x, jnp.asarray(IDS[0]), u),
     tensors(lambda i, x, u: torch.index_add(x, 0, i, u), IDS[0]), (normal(5, 2), normal(3, 2))),
]  # fmt: skip


@over(ROWS)
def test_agrees_with_torch(row: Row):
    assert_agrees(row)
