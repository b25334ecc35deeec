"""Where the modules are: in the arguments of a function, in what it closes over, in each other."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

from funcgrad.adapters.library import ByKind, in_use
from funcgrad.naming import Names

# How far captured functions are followed, and how long a captured container may be to be searched.
_DEPTH = 4
_LENGTH = 1000


@ByKind
def _holder(value: Any) -> Any:
    """The library that an object is of, the base of a container; None for what holds nothing."""
    bases = (base for base in (dict, list, tuple) if isinstance(value, base))
    return next((library for library in in_use() if library.members(value) is not None), next(bases, None))


def is_module(value: Any) -> bool:
    """Whether a thing is one of the libraries' objects."""
    return _holder(value) not in (None, dict, list, tuple)


class Search:
    """Finds the libraries' objects in nests of containers and modules; each once, however often it is held."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def objects(self, value: Any, path: str) -> list[tuple[str, Any]]:
        """The objects in a value that were not found before, with their paths; outermost first."""
        found: list[tuple[str, Any]] = []
        if (holder := _holder(value)) is not None:
            self._collect(value, holder, path, found)
        return found

    def _collect(self, value: Any, holder: Any, path: str, found: list[tuple[str, Any]]) -> None:
        if id(value) in self._seen:
            return
        if holder not in (dict, list, tuple):
            found.append((path, value))
        self._seen.add(id(value))  # containers too: one may hold itself
        for name, item in members_of(value) or ():
            if (inner := _holder(item)) is not None:
                self._collect(item, inner, join(path, name), found)


def members_of(value: Any) -> list[tuple[str, Any]] | None:
    """What a container or a library's object holds, by name; None for anything else, or what is too long to search."""
    holder = _holder(value)
    if holder is None:
        return None
    if holder not in (dict, list, tuple):
        return list(holder.members(value))
    if len(value) > _LENGTH:
        return []
    held = value.items() if holder is dict else zip(_names_of(value), value, strict=False)
    return [(str(name), item) for name, item in held]


def _names_of(items: Sequence[Any]) -> Sequence[Any]:
    return getattr(items, "_fields", range(len(items)))


def captured(fun: Any, seen: set[int], depth: int = _DEPTH) -> Iterator[tuple[str, Any]]:
    """What a function reads besides its arguments, by name: cells, globals, partial arguments, the object it is of.

    Functions among these are followed if they are of the same package, so the search stays in the user's own code.
    """
    if depth == 0 or id(fun) in seen:
        return
    seen.add(id(fun))
    if isinstance(fun, partial):
        yield from zip(parameter_names(fun.func, len(fun.args)), fun.args, strict=True)
        yield from fun.keywords.items()
        yield from captured(fun.func, seen, depth)
    elif isinstance(fun, MethodType):
        yield type(fun.__self__).__name__, fun.__self__
        yield from getattr(fun.__self__, "__dict__", {}).items()
        yield from captured(fun.__func__, seen, depth)
    elif isinstance(fun, FunctionType):
        for name, value in _read_by(fun):
            yield name, value
            if _package(value) == _package(fun):
                yield from captured(value, seen, depth - 1)
        yield from captured(getattr(fun, "__wrapped__", None), seen, depth)
    elif hasattr(fun, "__wrapped__"):
        yield from captured(fun.__wrapped__, seen, depth)
    elif callable(fun):
        yield type(fun).__name__, fun


def parameter_names(function: Callable[..., Any], n_args: int) -> list[str]:
    """A name for each of `n_args` positional arguments: the parameter's where there is one."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in parameters if p.kind == p.VAR_POSITIONAL), "arg")
    unique = Names(taken=names)
    return names[:n_args] + [unique.give(f"{rest}{i}") for i in range(len(names), n_args)]


def join(path: str, name: str) -> str:
    """One path after another."""
    return f"{path}/{name}" if path and name else path or name


def _read_by(fun: FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(fun.__code__.co_freevars, fun.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for name in dict.fromkeys(_names_in(fun.__code__)):
        if name in fun.__globals__:
            yield name, fun.__globals__[name]


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def _package(fun: Any) -> str | None:
    fun = inspect.unwrap(fun) if callable(fun) else fun
    return (getattr(fun, "__module__", None) or "").split(".")[0] if callable(fun) else None
