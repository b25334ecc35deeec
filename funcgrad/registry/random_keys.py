"""Random keys for rules and hooks: one for each node or value, and for each turn of the loops around it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from zlib import crc32

import jax

_turns: ContextVar[tuple[Any, ...]] = ContextVar("funcgrad_turns", default=())


def key_at(key: Any, name: str) -> Any:
    """The key of the node or the value of this name."""
    return jax.random.fold_in(key, crc32(name.encode()))


@contextmanager
def in_turn(number: Any) -> Iterator[None]:
    """Inside this turn of a loop, which may be a traced number."""
    token = _turns.set((*_turns.get(), number))
    try:
        yield
    finally:
        _turns.reset(token)


def turns_here() -> tuple[Any, ...]:
    """The numbers of the turns that are running, the outermost loop's first."""
    return _turns.get()


def key_of_turn(key: Any) -> Any:
    """The key for the turns that are running, the outermost loop's first."""
    for number in turns_here():
        key = jax.random.fold_in(key, number)
    return key
