"""What the static attributes of an op must be, read from its signature; looked at where the op could not be applied."""

import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.errors import printed

_KINDS: dict[Any, tuple[tuple[type, ...], str]] = {
    int: ((int, np.integer), "an integer"),
    float: ((int, float, np.number), "a number"),
    bool: ((bool, np.bool_), "True or False"),
    str: ((str,), "a string"),
    type(None): ((type(None),), "None"),
}


def find_wrong(function: Callable[..., Any], attributes: Sequence[tuple[str, Any]]) -> str:
    """The first attribute that is not what its annotation says, as `axis must be an integer, got 1.0`; else empty.

    Annotations that are no plain types say nothing.
    """
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # names that only a type checker knows
        return ""
    for name, value in attributes:
        if name in hints and not _fits(value, hints[name]):
            return f"{name} must be {_expected(hints[name])}, got {printed(value)}"
    return ""


def _fits(value: Any, hint: Any) -> bool:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is typing.Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if parts[1:] == (...,):
            return all(_fits(x, parts[0]) for x in value)
        return len(value) == len(parts) and all(map(_fits, value, parts))
    return hint not in _KINDS or isinstance(value, _KINDS[hint][0])


def _expected(hint: Any) -> str:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_expected, parts))
    if origin is typing.Literal:
        return " or ".join(map(repr, parts))
    if origin is tuple:
        inside = "several integers" if parts[0] is int else f"several, each {_expected(parts[0])}"
        return inside if parts[1:] == (...,) else f"a tuple of {len(parts)}"
    return _KINDS[hint][1] if hint in _KINDS else str(hint)
