"""Example arguments for every op: one line or a few each, with the awkward points.

A case's arguments are float64 (or integers, or a key); the tests cast them.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from funcgrad.registry import Op

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
    """Second derivatives exist there."""
    half: bool = True
    """It makes sense in bfloat16: nothing overflows."""
    slow: bool = False
    """Worth its time only in the long run of the tests."""
    primary: bool = False
    """The op's first case, which the costlier tests use."""

    def __str__(self) -> str:
        return f"{self.op.name}-{self.label}" if self.label else self.op.name


CASES: list[Case] = []


def case(
    op: Op, *args: Any, label: str = "", smooth: bool = True, half: bool = True, slow: bool = False, **attributes: Any
) -> None:
    """Add a case; the first of an op is its primary one, which the costlier tests use."""
    primary = not any(c.op is op for c in CASES)
    CASES.append(Case(op, args, attributes, label, smooth, half, slow and not primary, primary))
    op.example(*args, **attributes)


KINKS = np.array([-2.0, -1.0, -0.0, 0.0, 1.0, 2.0, 1.0, 1e-30, -1e-30])
WIDE = np.array([-700.0, -60.0, -30.0, -1e-4, 1e-4, 30.0, 60.0, 700.0])
