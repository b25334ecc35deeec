"""Numbers to check at: drawn at random, and brought into a dtype on the host, whatever JAX's setting is."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from funcgrad.aliases import Array


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Standard normal numbers, complex ones for a complex dtype."""
    x = np.asarray(rng.normal(size=shape))
    return x + 1j * rng.normal(size=shape) if jnp.issubdtype(dtype, jnp.complexfloating) else x


def as_dtype(x: Any, dtype: Any) -> Array:
    """Cast on the host, where float64 exists whatever JAX's setting is."""
    return jnp.asarray(np.asarray(x).astype(dtype))
