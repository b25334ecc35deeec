"""Programs for platforms that are not here: lowered for CUDA and TPU by `jax.export`, which needs no device."""

from collections.abc import Callable
from typing import Any

import jax

OTHERS = ("cuda", "tpu")
_DEFERRED = "bitcast_convert"
"""What `defer` is made of on CPU, and nothing else here but random numbers."""


def lowered(function: Callable[..., Any], *args: Any, platforms: tuple[str, ...] = OTHERS) -> str:
    """The program of a function of arrays like these, for all the platforms."""
    specs = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), args)
    return jax.export.export(jax.jit(function), platforms=platforms)(*specs).mlir_module()


def defers(program: str) -> bool:
    """Whether a program without random numbers makes a value wait for another, as on CPU alone."""
    return _DEFERRED in program
