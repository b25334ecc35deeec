"""The numbers that the programs are run at."""

import jax
import jax.numpy as jnp
import numpy as np


def draw(*shape: int, seed: int = 0) -> jax.Array:
    """Normal numbers, the same in every run."""
    return jnp.asarray(np.random.default_rng((seed, *shape)).normal(size=shape))


def draw_positive(*shape: int, seed: int = 0) -> jax.Array:
    """Numbers in [0.5, 1.5)."""
    return jnp.asarray(np.random.default_rng((seed, *shape)).uniform(0.5, 1.5, size=shape))
