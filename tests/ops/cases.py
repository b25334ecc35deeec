"""Example arguments for every op: one line or a few each, with the awkward points.

A case's arguments are float64 (or integers, or a key); the tests cast them. `smooth` says that second
derivatives exist there; `low` that the case makes sense in bfloat16 (nothing overflows).
"""

from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from funcgrad import ops
from funcgrad.registry import Op, registered

_rng = np.random.default_rng(7)


def normal(*shape: int) -> np.ndarray:
    return _rng.normal(size=shape)


def positive(*shape: int) -> np.ndarray:
    return _rng.uniform(0.5, 2.0, size=shape)


def ties(*shape: int) -> np.ndarray:
    """Few different values: many equal ones."""
    return _rng.integers(-1, 2, size=shape).astype(float)


def classes(k: int, *shape: int) -> np.ndarray:
    return _rng.integers(0, k, size=shape)


@dataclass(frozen=True)
class Case:
    """An op with arguments and attributes."""

    op: Op
    args: tuple[Any, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    smooth: bool = True
    half: bool = True
    primary: bool = False

    def __str__(self) -> str:
        return f"{self.op.name}-{self.label}" if self.label else self.op.name


CASES: list[Case] = []


def case(op: Op, *args: Any, label: str = "", smooth: bool = True, half: bool = True, **attributes: Any) -> None:
    """Add a case; the first of an op is its primary one, which the costlier tests use."""
    primary = not any(c.op is op for c in CASES)
    CASES.append(Case(op, args, attributes, label, smooth, half, primary))


KINKS = np.array([-2.0, -1.0, -0.0, 0.0, 1.0, 2.0, 1.0, 1e-30, -1e-30])
WIDE = np.array([-700.0, -60.0, -30.0, -1e-4, 1e-4, 30.0, 60.0, 700.0])

# arithmetic
for binary in (ops.add, ops.subtract, ops.multiply):
    case(binary, normal(3, 4), normal(3, 4))
    case(binary, normal(4), normal(2, 3, 4), label="rank")
    case(binary, normal(3, 1), normal(2, 1, 4), label="size1")
    case(binary, normal(0, 4), normal(1, 4), label="empty")
    case(binary, np.float64(1.5), normal(3), label="scalar")
case(ops.divide, normal(3, 4), positive(4))
case(ops.divide, normal(), positive(2, 1), label="scalar")
case(ops.divide, normal(3), np.array([1e-3, 1e3, -1.0]), label="wide")
case(ops.negative, normal(3, 4))
case(ops.power, positive(3, 4), exponent=2.5)
case(ops.power, normal(5), exponent=3, label="cube")
case(ops.power, np.array([0.0, 1.0, -2.0]), exponent=2, label="zero")
case(ops.power, np.array([0.0, 1.0, -2.0]), exponent=1, label="first")
case(ops.power, np.array([0.0, 1.0, -2.0]), exponent=0, label="zeroth")
case(ops.power, positive(3), exponent=-1, label="inverse")
case(ops.square, normal(3, 4))
case(ops.square, np.array([0.0, 1e-10, 1e10]), label="wide")
case(ops.exp, normal(3, 4))
case(ops.exp, np.array([-50.0, 0.0, 10.0]), label="wide", half=False)
case(ops.log, positive(3, 4))
case(ops.log, np.array([1e-30, 1e30]), label="wide")
case(ops.sqrt, positive(3, 4))
case(ops.sqrt, np.array([1e-30, 1e30]), label="wide")
case(ops.absolute, normal(3, 4))
case(ops.absolute, KINKS, label="kinks", smooth=False)
for choice in (ops.maximum, ops.minimum):
    case(choice, normal(3, 4), normal(3, 4))
    case(choice, ties(5, 1, 3), ties(4, 3), label="ties", smooth=False)
case(ops.clip, normal(3, 4), low=-0.5, high=0.7)
case(ops.clip, KINKS, low=-1.0, high=1.0, label="kinks", smooth=False)

# activations
for activation in (ops.relu, ops.leaky_relu, ops.elu, ops.sigmoid, ops.tanh, ops.softplus, ops.silu, ops.gelu):
    case(activation, normal(3, 4))
    case(activation, normal(), label="scalar")
    # elu's rule is right to a rounding of alpha, not of the tiny slope far left.
    if activation is ops.elu:
        case(activation, np.clip(WIDE, -8, None), label="left")
    else:
        case(activation, WIDE, label="wide")
    case(activation, KINKS, label="kinks", smooth=activation not in (ops.relu, ops.leaky_relu, ops.elu))
case(ops.leaky_relu, normal(5), negative_slope=0.3, label="steep")
case(ops.elu, normal(5), alpha=0.4, label="alpha")
case(ops.gelu, normal(3, 4), approximate=False, label="exact")
case(ops.gelu, WIDE, approximate=False, label="exact-wide")

# products
case(ops.linear, normal(5, 4), normal(4, 3), normal(3))
case(ops.linear, normal(2, 5, 4), normal(4, 3), label="no-bias")
case(ops.linear, normal(4), normal(4, 3), normal(3), label="vector")
case(ops.linear, normal(0, 4), normal(4, 3), normal(3), label="empty")
case(ops.linear, normal(1, 1), normal(1, 1), normal(1), label="size1")
case(ops.matmul, normal(5, 4), normal(4, 3))
case(ops.matmul, normal(4), normal(4), label="vectors")
case(ops.matmul, normal(4), normal(2, 4, 3), label="row")
case(ops.matmul, normal(2, 3, 4), normal(4), label="column")
case(ops.matmul, normal(2, 1, 3, 4), normal(5, 4, 6), label="broadcast")
case(ops.matmul, normal(7, 3, 4), normal(4, 6), label="shared")
case(ops.matmul, normal(3, 4), normal(2, 4, 5), label="shared-left")
case(ops.matmul, normal(1, 3, 4), normal(2, 4, 1), label="size1")
case(ops.matmul, normal(2, 0, 4), normal(2, 4, 3), label="empty")

# reductions
for reduction in (ops.sum, ops.mean, ops.max):
    case(reduction, normal(3, 4), axis=-1)
    case(reduction, normal(2, 3, 4), label="all")
    case(reduction, normal(2, 3, 4), axis=(0, -1), keepdims=True, label="axes")
    case(reduction, normal(), label="scalar")
case(ops.sum, normal(0, 3), axis=0, label="empty")
case(ops.max, ties(4, 5), axis=0, label="ties", smooth=False)
case(ops.max, ties(3, 4, 5), axis=(0, 2), label="ties-axes", smooth=False)

# shaping
case(ops.reshape, normal(2, 6), shape=(3, -1))
case(ops.reshape, normal(0, 4), shape=(2, 0), label="empty")
case(ops.transpose, normal(2, 3, 4), axes=(2, 0, 1))
case(ops.transpose, normal(2, 3), label="reverse")
case(ops.transpose, normal(2, 3, 4), axes=(-1, 0, -2), label="negative")
case(ops.broadcast_to, normal(3, 1), shape=(2, 3, 4))
case(ops.broadcast_to, normal(), shape=(0, 2), label="empty")
case(ops.concatenate, (normal(2, 3), normal(2, 1), normal(2, 0)), axis=1)
case(ops.concatenate, [normal(2, 3), normal(1, 3)], label="list", axis=-2)

# softmax and losses
for normalizer in (ops.softmax, ops.log_softmax):
    case(normalizer, normal(3, 5))
    case(normalizer, normal(3, 5), axis=0, label="axis0")
    case(normalizer, np.array([[0.0, 800.0, -800.0], [1e4, 1e4, 1e4]]), label="huge")
    case(normalizer, normal(2, 1), label="size1")
case(ops.cross_entropy, normal(4, 5), classes(5, 4))
case(ops.cross_entropy, normal(5), np.int32(2), label="vector")
case(ops.cross_entropy, normal(2, 3, 4), classes(4, 2, 3).astype(np.int8), label="tokens")
case(ops.cross_entropy, normal(0, 4), classes(4, 0), label="empty")
case(ops.cross_entropy, np.array([[0.0, 900.0], [-900.0, 900.0]]), np.array([0, 1]), label="huge")
case(ops.cross_entropy, normal(3, 300), np.array([299, 0, 256]), label="many")
case(ops.squared_error, normal(3, 4), normal(3, 4))
case(ops.squared_error, normal(4), normal(3, 4), label="rank")

# normalization
case(ops.layer_norm, normal(5, 8), normal(8), normal(8))
case(ops.layer_norm, normal(8), normal(8), normal(8), label="vector")
case(ops.layer_norm, normal(2, 3, 8) + 100, positive(8), normal(8), eps=1e-3, label="offset", half=False)
case(ops.layer_norm, np.ones((2, 4)), np.zeros(4), normal(4), label="constant")
case(ops.layer_norm, normal(3, 1), normal(1), normal(1), label="size1")
case(ops.layer_norm, normal(0, 4), normal(4), normal(4), label="empty")

# images
case(ops.conv2d, normal(2, 7, 6, 3), normal(3, 3, 3, 4), normal(4))
case(ops.conv2d, normal(2, 7, 8, 2), normal(3, 2, 2, 3), stride=(2, 3), label="stride")
case(ops.conv2d, normal(2, 8, 7, 2), normal(3, 3, 2, 3), stride=2, padding="VALID", label="left-over")
case(ops.conv2d, normal(6, 5, 2), normal(2, 3, 2, 1), padding=((2, 0), (1, 3)), label="no-batch")
case(ops.conv2d, normal(2, 2, 5, 5, 1), normal(1, 1, 1, 2), normal(2), stride=3, label="leading")
case(ops.conv2d, normal(1, 4, 4, 1), normal(4, 4, 1, 1), padding="VALID", label="whole")
case(ops.conv2d, normal(0, 4, 4, 1), normal(3, 3, 1, 2), normal(2), label="empty")
for pool in (ops.max_pool2d, ops.avg_pool2d):
    case(pool, normal(2, 6, 4, 3), window=2)
    case(pool, normal(2, 7, 5, 2), window=2, label="left-over")
    case(pool, normal(7, 8, 1), window=3, stride=2, padding="SAME", label="overlap")
    case(pool, normal(1, 6, 7, 2), window=(3, 2), stride=(1, 3), padding=((1, 0), (1, 1)), label="uneven")
    case(pool, normal(2, 2, 5, 5, 1), window=2, stride=4, label="gaps")
    case(pool, normal(0, 4, 4, 1), window=2, label="empty")
    case(pool, normal(1, 17, 16, 1), window=(17, 16), label="global")
case(ops.max_pool2d, ties(2, 6, 6, 2), window=3, stride=2, padding="SAME", label="ties", smooth=False)
case(ops.max_pool2d, np.zeros((1, 4, 4, 1)), window=2, label="all-equal", smooth=False)

# noise
case(ops.dropout, normal(6, 5), jax.random.key(3), rate=0.4)
case(ops.dropout, normal(6, 5), jax.random.PRNGKey(3), rate=0.4, label="raw-key")
case(ops.dropout, normal(4), jax.random.key(3), rate=0.0, label="none")
case(ops.dropout, normal(4), jax.random.key(3), rate=1.0, label="all")


def library_ops() -> set[str]:
    """Every op that funcgrad itself registers."""
    return {name for name, op in registered().items() if op.__module__.startswith("funcgrad.ops")}
