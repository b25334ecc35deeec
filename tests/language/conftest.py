"""The language as JAX has it by default: numpy's promotion of dtypes and ranks belongs to it."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(autouse=True)
def numpy_promotion() -> Iterator[None]:
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
