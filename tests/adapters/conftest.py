"""Code of other libraries is not written for our strict JAX, and is used in float32."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(autouse=True)
def usual_jax() -> Iterator[None]:
    """JAX as it is when nothing is configured."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
