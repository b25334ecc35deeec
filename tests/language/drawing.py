"""What an argument of a case is drawn from: its kind and shape; the dtype comes with the test."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Draw:
    """A random array, the same in every run."""

    kind: str
    shape: tuple[int, ...]
    low: float = 0.0
    high: float = 1.0
    stays_real: bool = False
    """Real also where the case is run on complex numbers."""

    def at(self, dtype: Any, seed: int) -> np.ndarray:
        """The array; complex dtypes get an imaginary part of the same kind, half as large."""
        rng = np.random.default_rng(seed)
        x = _KINDS[self.kind](self, rng)
        if not jnp.issubdtype(dtype, jnp.complexfloating):
            return x.astype(dtype)
        if self.stays_real:
            return x.astype(np.finfo(dtype).dtype)
        if self.kind == "definite":
            skew = np.tril(rng.normal(size=self.shape), -1) / 4
            return (x + 1j * (skew - np.swapaxes(skew, -1, -2))).astype(dtype)
        return (x + 0.5j * _KINDS[self.kind](self, rng)).astype(dtype)


def _distinct(draw: Draw, rng: np.random.Generator) -> np.ndarray:
    """Evenly spaced values in random order: no two are near each other, so sorting them is differentiable."""
    n = int(np.prod(draw.shape))
    return rng.permutation(np.linspace(-1.0, 1.3, n)).reshape(draw.shape)


def _definite(draw: Draw, rng: np.random.Generator) -> np.ndarray:
    """Symmetric matrices whose eigenvalues lie apart and above one."""
    n = draw.shape[-1]
    noise = rng.normal(size=draw.shape) / 4
    return noise + np.swapaxes(noise, -1, -2) + np.diag(np.arange(n) * 1.5 + 3.0)


def _regular(draw: Draw, rng: np.random.Generator) -> np.ndarray:
    """Matrices far from singular, with eigenvalues that lie apart."""
    return rng.normal(size=draw.shape) / 4 + np.eye(*draw.shape[-2:]) * (np.arange(draw.shape[-1]) + 1.5)


_KINDS = {
    "normal": lambda draw, rng: rng.normal(size=draw.shape),
    "between": lambda draw, rng: rng.uniform(draw.low, draw.high, size=draw.shape),
    "distinct": _distinct,
    "definite": _definite,
    "regular": _regular,
    "ties": lambda draw, rng: rng.integers(-1, 2, size=draw.shape).astype(float),
}


def normal(*shape: int, stays_real: bool = False) -> Draw:
    return Draw("normal", shape, stays_real=stays_real)


def between(low: float, high: float, *shape: int) -> Draw:
    return Draw("between", shape, low, high)


def positive(*shape: int) -> Draw:
    return Draw("between", shape, 0.5, 2.0)


def unit(*shape: int) -> Draw:
    return Draw("between", shape, -0.9, 0.9)


def distinct(*shape: int) -> Draw:
    return Draw("distinct", shape)


def definite(*shape: int) -> Draw:
    return Draw("definite", shape)


def regular(*shape: int) -> Draw:
    return Draw("regular", shape)


def ties(*shape: int) -> Draw:
    """Few different values: many equal ones."""
    return Draw("ties", shape)


def integers(high: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(high).integers(0, high, size=shape).astype(np.int32)


def booleans(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 2, size=shape).astype(bool)


KINKS = np.array([-2.0, -1.0, -0.0, 0.0, 1.0, 2.0, 1.0, 3.0, 6.0])


def draw(tree: Any, dtype: Any) -> Any:
    """Every `Draw` and floating array of a pytree as an array of `dtype`; integers, booleans and keys as they are."""
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, [_drawn(leaf, dtype, i) for i, leaf in enumerate(leaves)])


def _drawn(leaf: Any, dtype: Any, seed: int) -> Any:
    if isinstance(leaf, Draw):
        return jnp.asarray(leaf.at(dtype, seed))
    if isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f":
        return jnp.asarray(leaf.astype(dtype))
    return jnp.asarray(leaf)
