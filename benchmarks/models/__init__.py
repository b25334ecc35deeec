"""Models of other libraries, as they are written there: what `tests/adapters` checks and `benchmarks models` measures.

Each module has a function per model, with small sizes in `SMALL`.
"""

import importlib
import importlib.util
from collections.abc import Callable
from functools import partial

from benchmarks.models.model import Model as Model

LIBRARIES = {"flax_nnx": "flax", "flax_linen": "flax", "equinox_nn": "equinox", "haiku": "haiku", "plain": "jax"}
"""The modules here, and what must be installed for them."""
SMALL = {
    ("flax_nnx", "mlp"): {"batch": 8, "width": 16, "depth": 3},
    ("flax_nnx", "cnn"): {"batch": 4, "size": 8, "width": 4, "blocks": (1, 1)},
    ("flax_nnx", "transformer"): {"batch": 2, "length": 8, "width": 64, "depth": 2, "vocabulary": 20},
    ("flax_nnx", "lstm"): {"batch": 3, "length": 7, "width": 8, "vocabulary": 11},
    ("flax_linen", "mlp"): {"batch": 8, "width": 16, "depth": 3},
    ("equinox_nn", "mlp"): {"batch": 8, "width": 16, "depth": 3},
    ("equinox_nn", "cnn"): {"batch": 4, "size": 8, "width": 4},
    ("equinox_nn", "vit"): {"batch": 2, "size": 8, "width": 64, "depth": 2},
    ("equinox_nn", "neural_ode"): {"batch": 4, "size": 3, "width": 8, "steps": 5},
    ("equinox_nn", "gan"): {"batch": 8, "size": 6, "width": 12},
    ("haiku", "mlp"): {"batch": 8, "width": 16, "depth": 3},
    ("plain", "gpt2"): {"batch": 2, "length": 8, "width": 16, "depth": 2, "heads": 2, "vocabulary": 20},
}
NAMES = tuple(f"{module}.{name}" for module, name in SMALL)


def maker(name: str, small: bool = False) -> Callable[[], Model]:
    """What makes the model `name`; ModuleNotFoundError if its library is not installed."""
    module, function = name.split(".")
    make = getattr(importlib.import_module(f"benchmarks.models.{module}"), function)
    return partial(make, **SMALL[module, function]) if small else make


def missing_library(name: str) -> str | None:
    """The library that the model `name` needs and that is not installed."""
    library = LIBRARIES[name.split(".")[0]]
    return None if importlib.util.find_spec(library) else library
