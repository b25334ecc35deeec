"""Random keys, as they are written."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcgrad.aliases import Array
from funcgrad.errors import TrainingError, describe


def random_key(where: str, key: Any) -> Array:
    """A key as it is, of either kind that JAX has; an integer, traced or not, as `jax.random.key` of it."""
    if isinstance(key, int):
        return jax.random.key(key)
    shape, dtype = getattr(key, "shape", None), getattr(key, "dtype", None)
    if dtype is not None and shape == () and jnp.issubdtype(dtype, np.integer):
        return jax.random.key(key)
    is_raw = shape == (2,) and dtype == jnp.uint32
    if dtype is None or not (is_raw or (shape == () and jnp.issubdtype(dtype, jax.dtypes.prng_key))):
        raise TrainingError(f"{where}: key must be one random key or an integer, got {describe(key)}.")
    return key
