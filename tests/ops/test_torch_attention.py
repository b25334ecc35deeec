"""Attention against PyTorch."""

import jax.numpy as jnp

from funcgrad import ops
from tests.ops.against_torch import RNG, F, Row, assert_agrees, normal, over, torch

MASK = RNG.random((2, 1, 4, 5)) < 0.7
MASK[..., 0] = True


def theirs(q, k, v, bias=None, **options):
    """PyTorch's attention, which has heads before time; of its kernels, the one with a double backward."""
    q, k, v = (x.transpose(-2, -3) for x in (q, k, v))
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, **options).transpose(-2, -3)


SAME, CROSS = [normal(2, 5, 4, 3) for _ in range(3)], [normal(2, 4, 4, 3), normal(2, 5, 4, 3), normal(2, 5, 4, 3)]
GROUPED = [normal(2, 4, 4, 3), normal(2, 5, 2, 3), normal(2, 5, 2, 3)]
ROWS: list[Row] = [
    ("self", ops.attention, theirs, (*SAME,)),
    ("causal", lambda *a: ops.attention(*a, causal=True), lambda *a: theirs(*a, is_causal=True), (*SAME,)),
    ("causal cross", lambda *a: ops.attention(*a, causal=True), lambda *a: theirs(*a, is_causal=True), (*CROSS,)),
    ("bias", ops.attention, theirs, (*CROSS, normal(4, 4, 5))),
    ("mask", lambda *a: ops.attention(*a, mask=jnp.asarray(MASK)), lambda *a: theirs(*a, bias=torch.tensor(MASK)),
     (*CROSS,)),
    ("grouped", ops.attention, lambda *a: theirs(*a, enable_gqa=True), (*GROUPED,)),
    ("scale and blocks", lambda *a: ops.attention(*a, scale=0.3, block=3), lambda *a: theirs(*a, scale=0.3), (*CROSS,)),
]  # fmt: skip


@over(ROWS)
def test_agrees_with_torch(row: Row):
    assert_agrees(row)
