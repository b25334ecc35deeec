"""Cases of attention, and of what gives it a sense of place."""

import numpy as np

from funcgrad import ops
from tests.ops.cases.case import case, normal

_rng = np.random.default_rng(11)


def heads(t: int, s: int, h: int = 2, n: int = 2, d: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Queries, keys and values for a batch of 2."""
    return normal(2, t, h, d), normal(2, s, n, d), normal(2, s, n, d)


def some(*shape: int) -> np.ndarray:
    """A mask in which the first query sees nothing."""
    seen = _rng.random(size=shape) < 0.6
    seen[..., 0, :] = False
    return seen


case(ops.attention, *heads(4, 3, h=4), normal(4, 4, 3), some(2, 1, 4, 3))
case(ops.attention, *heads(5, 5), causal=True, label="causal")
case(ops.attention, *heads(7, 5), normal(2, 1, 1, 5), some(7, 5), block=3, causal=True, label="blocks")
case(ops.attention, *heads(130, 70, h=1, n=1), normal(1, 130, 70), causal=True, label="strips", slow=True)
case(ops.attention, *heads(70, 130, h=1, n=1), normal(130), causal=True, block=32, label="strip-blocks", slow=True)
case(ops.attention, normal(3, 4, 2), normal(5, 2, 2), normal(5, 2, 6), scale=0.3, label="features", slow=True)
case(ops.attention, normal(3, 2, 2), normal(2, 4, 1, 2), normal(1, 4, 1, 2), normal(2, 1, 1, 3, 4), label="leading")
case(ops.attention, *heads(3, 4), normal(2, 3, 4) + 1e4, label="shifted")
case(ops.attention, *heads(2, 3), np.array([[0.0, -np.inf, 1.0], [-np.inf] * 3]), label="minus-infinity", slow=True)
case(ops.attention, *heads(0, 3), normal(1, 0, 3), block=2, label="no-queries", slow=True)
case(ops.attention, *heads(3, 0), normal(1, 3, 0), causal=True, label="no-keys", slow=True)
case(ops.attention, *heads(1, 1, 1, 1, 1), label="size1", slow=True)

case(ops.rotary, normal(2, 5, 2, 6), np.arange(5) * 7)
case(ops.rotary, normal(2, 3, 2, 8), _rng.integers(0, 50, size=(2, 3)), fraction=0.5, base=100, label="part")
case(ops.rotary, normal(0, 1, 2), np.arange(0), label="empty", slow=True)
