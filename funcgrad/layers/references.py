"""Functions by the name that finds them, so that layers made of them can be pickled."""

import importlib
import operator
import sys
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from funcgrad.errors import GraphError
from funcgrad.layers.printing import PLACES
from funcgrad.registry import Op


@dataclass(frozen=True)
class Reference:
    """A function of a module, by name: what JAX has jitted cannot be pickled, nor can what it decorates."""

    module: str
    name: str

    @property
    def target(self) -> Any:
        """The function; ImportError or AttributeError where there is none any more."""
        return operator.attrgetter(self.name)(importlib.import_module(self.module))


def referred(value: Any, owner: str, field: str) -> Any:
    """A field of a layer as it is pickled: functions by reference, also inside of tuples.

    Raises:
        GraphError: no name finds a function, such as a lambda or one that is defined inside another.
    """
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(referred(item, owner, field) for item in value)
    if not _is_function(value):
        return value
    found = reference_to(value)
    if found is None:
        name = getattr(value, "__qualname__", getattr(value, "__name__", repr(value)))
        raise GraphError(
            f"{owner} cannot be pickled: its {field} '{name}' is not found by that name in {value.__module__}; define "
            f"it at the top of a module, or save the parameters alone."
        )
    return found


def dereferred(value: Any) -> Any:
    """What `referred` was given."""
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(map(dereferred, value))
    return value.target if isinstance(value, Reference) else value


def reference_to(function: Any) -> Reference | None:
    """Where a function is found: in the public modules of JAX and funcgrad, or else where it says it was defined."""
    name = getattr(function, "__name__", "")
    for module in (module for _, module in PLACES):
        if getattr(module, name, None) is function:
            return Reference(module.__name__, name)
    home, path = getattr(function, "__module__", None) or "", getattr(function, "__qualname__", name)
    try:
        is_there = operator.attrgetter(path)(sys.modules[home]) is function
    except (AttributeError, KeyError):
        return None
    return Reference(home, path) if is_there else None


def _is_function(value: Any) -> bool:
    """Functions, ops, and what JAX has wrapped (`jit`, `custom_jvp`); not objects that can be called, nor classes."""
    return isinstance(value, FunctionType | Op) or (
        callable(value) and hasattr(value, "__name__") and hasattr(value, "__wrapped__") and not isinstance(value, type)
    )
