"""Random keys, as they are written."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcgrad.aliases import Array
from funcgrad.errors import TrainingError, describe


def random_key(where: str, key: Any) -> Array:
    """A key as it is, of either kind that JAX has; an integer as `jax.random.key` of it."""
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        return jax.random.key(int(key))
    dtype = getattr(key, "dtype", None)
    is_raw = dtype == jnp.uint32 and jnp.shape(key) == (2,)
    if dtype is None or not (is_raw or (jnp.issubdtype(dtype, jax.dtypes.prng_key) and jnp.shape(key) == ())):
        raise TrainingError(f"{where}: key must be one random key or an integer, got {describe(key)}.")
    return key
