"""Where two arrays differ, in one sentence.

The unit of error is one rounding of the largest entry, since the error of a sum is relative to its terms.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

EXACT = 1e-10
"""What float64 allows, as a share of the largest entry: far above rounding, far below any mistake."""


@dataclass(frozen=True)
class Difference:
    """The worst entry that differs, and how many do."""

    index: tuple[int, ...]
    expected: Any
    found: Any
    count: int
    size: int

    def __str__(self) -> str:
        many = f"; {self.count} of {self.size} entries differ" if self.size > 1 else ""
        return f"expected {self.expected:.6g}, found {self.found:.6g}{many}"


def wide(x: Any) -> np.ndarray:
    """As float64 or complex128, on the host."""
    x = np.asarray(x)
    return x.astype(np.complex128 if jnp.iscomplexobj(x) else np.float64)


def largest(x: Any) -> float:
    """The size of the largest finite entry."""
    x = np.abs(wide(x))
    return float(np.max(x, initial=0.0, where=np.isfinite(x)))


def difference(
    found: Any, expected: Any, share: float = EXACT, floor: float = 0.0, open: np.ndarray | None = None
) -> Difference | None:
    """The worst difference, or None where none is larger than `share` of the largest expected entry plus `floor`.

    NaN and infinity must stand where they are expected. Entries flagged in `open` are left out.
    """
    found, expected = wide(found), wide(expected)
    allowed = share * largest(expected) + floor + 4 * np.finfo(np.float64).tiny
    finite = np.isfinite(found) & np.isfinite(expected)
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.where(finite, np.abs(np.where(finite, found, 0) - np.where(finite, expected, 0)), np.inf)
    error = np.where(same, 0.0, error)
    if open is not None:
        error = np.where(open, 0.0, error)
    if not error.size or error.max() <= allowed:
        return None
    worst = np.unravel_index(int(np.argmax(error)), error.shape)
    return Difference(
        tuple(map(int, worst)), expected[worst], found[worst], int((error > allowed).sum()), int(error.size)
    )


def index_text(index: tuple[int, ...]) -> str:
    """`[1,2]`; nothing for a scalar."""
    return f"[{','.join(map(str, index))}]" if index else ""
