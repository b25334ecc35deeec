"""Activations, arithmetic, products, losses and normalization against PyTorch."""

import jax.numpy as jnp
import numpy as np

from funcgrad import ops
from tests.ops.against_torch import RNG, F, Row, assert_agrees, normal, over, torch

LABELS = RNG.integers(0, 5, size=4)
ROWS: list[Row] = [
    ("relu", ops.relu, F.relu, (normal(3, 4),)),
    ("relu at 0", ops.relu, F.relu, (np.zeros(3),)),
    ("leaky_relu", ops.leaky_relu, F.leaky_relu, (normal(3, 4),)),
    ("elu", ops.elu, F.elu, (normal(3, 4),)),
    ("sigmoid", ops.sigmoid, torch.sigmoid, (normal(3, 4) * 5,)),
    ("tanh", ops.tanh, torch.tanh, (normal(3, 4) * 5,)),
    ("softplus", ops.softplus, lambda x: F.softplus(x, threshold=1e3), (normal(3, 4) * 5,)),
    ("silu", ops.silu, F.silu, (normal(3, 4) * 5,)),
    ("gelu tanh", ops.gelu, lambda x: F.gelu(x, approximate="tanh"), (normal(3, 4) * 5,)),
    ("gelu", lambda x: ops.gelu(x, approximate=False), F.gelu, (normal(3, 4) * 5,)),
    ("maximum at ties", ops.maximum, torch.maximum, (np.ones(3), np.array([0.0, 1.0, 2.0]))),
    ("divide", ops.divide, torch.div, (normal(3, 4), normal(4) + 4)),
    ("power", lambda x: ops.power(x, exponent=2.5), lambda x: x**2.5, (np.abs(normal(4)),)),
    ("linear", ops.linear, lambda x, w, b: F.linear(x, w.T, b), (normal(2, 5, 4), normal(4, 3), normal(3))),
    ("matmul", ops.matmul, torch.matmul, (normal(2, 1, 3, 4), normal(5, 4, 6))),
    ("max", lambda x: ops.max(x, axis=(0, 1)), lambda x: torch.amax(x, (0, 1)), (np.round(normal(3, 4, 2)),)),
    ("softmax", ops.softmax, lambda x: F.softmax(x, -1), (normal(3, 5) * 9,)),
    ("log_softmax", ops.log_softmax, lambda x: F.log_softmax(x, -1), (normal(3, 5) * 9,)),
    ("cross_entropy", lambda z: ops.cross_entropy(z, jnp.asarray(LABELS)),
     lambda z: F.cross_entropy(z, torch.as_tensor(LABELS), reduction="none"), (normal(4, 5) * 9,)),
    ("layer_norm", ops.layer_norm, lambda x, s, b: F.layer_norm(x, (8,), s, b, 1e-6),
     (normal(5, 8), normal(8), normal(8))),
]  # fmt: skip


@over(ROWS)
def test_agrees_with_torch(row: Row):
    assert_agrees(row)
