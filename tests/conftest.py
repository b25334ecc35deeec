"""Strict JAX for every test: no silent promotion of dtypes or ranks, float64 on, several CPU devices.

Warnings are errors by pyproject.toml. The declared types of ops, rules and planning are checked by
beartype.
"""

import os

import hypothesis
import jax
import numpy as np
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# JAX's own way of shortening tracebacks adds a note to every message.
jax.config.update("jax_traceback_filtering", "tracebackhide")
# A quarter less time: most programs here are compiled to run once. `.ci/run` runs all tests on optimized code too.
jax.config.update("jax_disable_most_optimizations", os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") != "0")

# `pytest -m slow tests/random_graphs --hypothesis-profile=long`: more random programs.
hypothesis.settings.register_profile("long")

# Elsewhere public functions check their arguments themselves, and answer in our own sentences.
install_import_hook(["funcgrad.ops", "funcgrad.planning", "funcgrad.plans"], "beartype.beartype")


@pytest.fixture
def rng() -> np.random.Generator:
    """The same random numbers in every test and every run."""
    return np.random.default_rng(0)
