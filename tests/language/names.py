"""The public functions of JAX, by name."""

import importlib
import inspect
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

MODULES = (
    "lax",
    "lax.linalg",
    "numpy",
    "numpy.linalg",
    "numpy.fft",
    "scipy.special",
    "scipy.linalg",
    "scipy.signal",
    "scipy.ndimage",
    "scipy.integrate",
    "scipy.fft",
    "scipy.stats",
    "scipy.optimize",
    "scipy.sparse.linalg",
    "nn",
    "nn.initializers",
    "image",
    "ops",
    "random",
    "debug",
    "ad_checkpoint",
    "custom_derivatives",
    "flatten_util",
)
"""Where the language lives, each without `jax.`; the transformations stand in `jax` itself."""


@cache
def find(name: str) -> Any | None:
    """What stands at `jax.<name>`; None where this JAX has none or is about to drop it."""
    owner, _, attribute = name.rpartition(".")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return getattr(importlib.import_module(f"jax.{owner}" if owner else "jax"), attribute)
        except (AttributeError, ImportError, DeprecationWarning):
            return None


def public_functions() -> Iterator[str]:
    """Every public callable of the modules, and of `jax` itself; classes have no gradient."""
    for module in (*MODULES, *_distributions(), ""):
        for attribute in dir(importlib.import_module(f"jax.{module}" if module else "jax")):
            name = f"{module}.{attribute}" if module else attribute
            if not attribute.startswith("_") and _is_function(find(name)):
                yield name


def _distributions() -> Iterator[str]:
    """The modules inside `jax.scipy.stats`: `scipy.stats.norm` and so on."""
    stats = importlib.import_module("jax.scipy.stats")
    return (f"scipy.stats.{name}" for name in dir(stats) if inspect.ismodule(getattr(stats, name)))


def _is_function(x: Any) -> bool:
    return callable(x) and not inspect.isclass(x) and not inspect.ismodule(x)
