"""How a layer is written down: as the call that makes it, in text that Python reads back."""

import difflib
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import jax

from funcgrad import ops
from funcgrad.registry import Op

_WIDTH = 96
PLACES = (
    ("ops", ops),
    ("jax.nn", jax.nn),
    ("jax.numpy", jax.numpy),
    ("jax.lax", jax.lax),
    ("jax.nn.initializers", jax.nn.initializers),
)
"""Modules whose functions are written down, and found again, by name."""


def call(name: str, arguments: Sequence[str]) -> str:
    """`name(a, b)` on one line where it fits, else one argument a line."""
    line = f"{name}({', '.join(arguments)})"
    if len(line) <= _WIDTH and "\n" not in line:
        return line
    return f"{name}(\n{''.join(textwrap.indent(a, '    ') + ',' + chr(10) for a in arguments)})"


def spelled(value: Any) -> str:
    """A field of a layer: functions by the name that finds them, everything else by its repr."""
    return function_path(value) if isinstance(value, Op) or _is_function(value) else repr(value)


def _is_function(value: Any) -> bool:
    return callable(value) and hasattr(value, "__name__") and not isinstance(value, type)


def function_path(function: Callable[..., Any]) -> str:
    """`ops.relu`, `jax.numpy.tanh`; the bare name of a user's function."""
    name = getattr(function, "__name__", repr(function))
    for prefix, module in PLACES:
        if getattr(module, name, None) is function:
            return f"{prefix}.{name}"
    return name


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The end of a sentence about an unknown name: the closest known one, or all of them."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"there are {', '.join(known)}."
