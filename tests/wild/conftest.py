"""Other people's packages run under JAX's defaults, and their own warnings are not ours."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(autouse=True)
def plain_jax() -> Iterator[None]:
    """Promotion of dtypes and ranks as a user of these packages has it."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
