"""Strict JAX for every test: no silent promotion of dtypes or ranks, float64 on, several CPU devices.

Warnings are errors by pyproject.toml. The declared types of ops, rules and planning are checked by
beartype.
"""

import gc
import os
import shutil
import tempfile
from collections.abc import Generator

import hypothesis
import jax
import numpy as np
import pytest
from jax._src.interpreters import mlir  # noqa: TID251 (see MLIR_CONTEXT)

from tests.declared import check_declared_types

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# JAX's own way of shortening tracebacks adds a note to every message.
jax.config.update("jax_traceback_filtering", "tracebackhide")
# Most programs here are compiled to run once: without optimizations it takes a quarter less time. XLA's older code
# generator, which JAX 0.11 has no more, compiles in a third of the time of the newer one, a small program in half
# (processor time, JAX 0.10.1); and one piece of code per program is enough. By environment, so that processes started
# from here do the same. `.ci/run` runs all tests on code as users compile it, too.
if os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") != "0":
    flags = [os.environ.get("XLA_FLAGS", ""), "--xla_cpu_parallel_codegen_split_count=1"]
    if jax.__version_info__ < (0, 11):
        flags.append("--xla_cpu_use_fusion_emitters=false")
    os.environ["XLA_FLAGS"] = " ".join(flags)
    jax.config.update("jax_disable_most_optimizations", True)

# What one test or worker compiled, the others load, in half the time or less: in a folder of this run alone, or of all
# runs that name one. A small program takes a quarter more to compile and keep; one in three to two was there before.
OWN_CACHE: tuple[int, str] | None = None
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    OWN_CACHE = os.getpid(), tempfile.mkdtemp(prefix="funcgrad-compiled-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = OWN_CACHE[1]
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

# JAX lowers each program in an MLIR context of its own. To make one takes 4 ms of processor time, to lower a small
# program in it 2 (JAX 0.10.1), so all share one. There is no public way.
MLIR_CONTEXT = mlir.make_ir_context()
mlir.make_ir_context = lambda: MLIR_CONTEXT

# `pytest -m slow tests/random_graphs --hypothesis-profile=long`: more random programs.
hypothesis.settings.register_profile("long")

# Tables are printed as wide as the page is by default: the workers of pytest-xdist have the terminal's width here.
os.environ.pop("COLUMNS", None)

# Elsewhere public functions check their arguments themselves, and answer in our own sentences.
check_declared_types(["funcgrad.ops", "funcgrad.planning", "funcgrad.plans"])


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """The garbage collector need not look for cycles among modules and tests: they live to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(20_000)  # not 700: a trace makes many small objects, most of which stay
        gc.enable()


def pytest_unconfigure() -> None:
    if OWN_CACHE is not None and OWN_CACHE[0] == os.getpid():
        shutil.rmtree(OWN_CACHE[1], ignore_errors=True)


@pytest.fixture
def rng() -> np.random.Generator:
    """The same random numbers in every test and every run."""
    return np.random.default_rng(0)
