"""Activations, arithmetic, products, losses and normalization against PyTorch."""

import jax.numpy as jnp
import numpy as np

from funcgrad import ops
from tests.ops.against_torch import RNG, F, Row, assert_agrees, normal, over, torch

LABELS = RNG.integers(0, 5, size=4)
CHOICE = RNG.integers(0, 2, size=(3, 1)).astype(bool)
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
    ("relu6", ops.relu6, F.relu6, (normal(3, 4) * 5,)),
    ("relu6 at its kinks", ops.relu6, F.relu6, (np.array([0.0, 6.0]),)),
    ("hardtanh", ops.hard_tanh, F.hardtanh, (normal(3, 4),)),
    ("hardswish", ops.hard_silu, F.hardswish, (normal(3, 4) * 5,)),
    ("celu", lambda x: ops.celu(x, alpha=0.5), lambda x: F.celu(x, 0.5), (normal(9),)),
    ("selu", ops.selu, F.selu, (normal(3, 4),)),
    ("logsigmoid", ops.log_sigmoid, F.logsigmoid, (normal(3, 4) * 5,)),
    ("softsign", ops.soft_sign, F.softsign, (normal(3, 4) * 5,)),
    ("mish", ops.mish, F.mish, (normal(3, 4) * 5,)),
    ("glu", lambda x: ops.glu(x, axis=0), lambda x: F.glu(x, 0), (normal(4, 3),)),
    ("swiglu", ops.swiglu, lambda a, b: F.silu(a) * b, (normal(3, 4), normal(4))),
    ("where", lambda a, b: ops.where(jnp.asarray(CHOICE), a, b),
     lambda a, b: torch.where(torch.as_tensor(CHOICE), a, b), (normal(3, 4), normal(4))),
    ("logaddexp", ops.logaddexp, torch.logaddexp, (normal(3, 4) * 9, normal(4))),
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
    ("cross_entropy smoothed", lambda z: ops.cross_entropy(z, jnp.asarray(LABELS), smoothing=0.1),
     lambda z: F.cross_entropy(z, torch.as_tensor(LABELS), reduction="none", label_smoothing=0.1), (normal(4, 5) * 9,)),
    ("cross_entropy soft", ops.soft_cross_entropy, lambda z, t: F.cross_entropy(z, t, reduction="none"),
     (normal(4, 5) * 9, normal(4, 5))),
    ("binary cross-entropy", ops.binary_cross_entropy,
     lambda z, t: F.binary_cross_entropy_with_logits(z, t, reduction="none"),
     (normal(4, 5) * 9, RNG.uniform(size=(4, 5)))),
    ("huber", lambda p, t: ops.huber(p, t, delta=0.7), lambda p, t: F.huber_loss(p, t, "none", 0.7),
     (normal(4, 5), normal(4, 5))),
    ("l1 at ties", ops.absolute_error, lambda p, t: F.l1_loss(p, t, reduction="none"),
     (np.array([0.0, 1.0, 3.0]), np.array([0.0, 2.0, 1.0]))),
    ("logsumexp", lambda x: ops.logsumexp(x, axis=(0, 2)), lambda x: torch.logsumexp(x, (0, 2)),
     (normal(2, 3, 4) * 9,)),
    ("layer_norm", ops.layer_norm, lambda x, s, b: F.layer_norm(x, (8,), s, b, 1e-6),
     (normal(5, 8), normal(8), normal(8))),
]  # fmt: skip
CELU_AT_0: Row = ("celu at 0", lambda x: ops.celu(x, alpha=0.5), lambda x: F.celu(x, 0.5), (np.zeros(1),))


@over(ROWS)
def test_agrees_with_torch(row: Row):
    assert_agrees(row)


def test_agrees_with_torch_where_the_second_derivative_jumps():
    assert_agrees(CELU_AT_0, twice=False)
