"""What a function closes over, by name: the variable that holds it and the path inside, `m/layers/0/weight`."""

from collections.abc import Callable, Iterator, Sequence
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from funcgrad.adapters import members_of, named_leaves, read_beside
from funcgrad.naming import paths_of

# What a name of a function's globals mostly stands for, and has no arrays in it.
_WITHOUT_ARRAYS = (ModuleType, FunctionType, BuiltinFunctionType, type, str, bytes)


def name_closed_over(function: Callable[..., Any], arrays: Sequence[Any]) -> list[str | None]:
    """The names of arrays that a function reads beside its arguments; None for those it made or that nobody names."""
    if not arrays:
        return []
    paths: dict[int, tuple[Any, ...]] = {}
    seen, unnamed = set[int](), set(map(id, arrays))
    for name, value in read_beside(function, set()):
        if not unnamed:  # the walk would be a tenth of a second trace
            break
        for path, leaf in _leaves(value, (name,), seen):
            if id(leaf) in unnamed:
                unnamed.discard(id(leaf))
                paths[id(leaf)] = path
    found = [paths.get(id(x)) for x in arrays]
    names = iter(paths_of([path for path in found if path is not None]))
    return [None if path is None else next(names) for path in found]


def _leaves(value: Any, path: tuple[Any, ...], seen: set[int]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The leaves of a nest of containers and modules, each of which is entered once: one may hold itself."""
    members = members_of(value)
    if members is None:
        if not isinstance(value, _WITHOUT_ARRAYS):
            yield from (((*path, *inner), leaf) for inner, leaf in named_leaves(value))
    elif id(value) not in seen:
        seen.add(id(value))
        for name, item in members:
            yield from _leaves(item, (*path, name), seen)
