"""Methods of classes, wrapped for the time of a trace.

A class is shared: by threads, by traces inside traces, and with the user, who may set a method meanwhile. Python looks
a method up on the class, so that is where a call can be noticed; but what stands on a class is ours only as long as it
is the very function that we put there. When the last trace is over, our functions are replaced by those that they
wrap, and whatever else is found is left.
"""

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import wraps
from types import FunctionType
from typing import Any

from funcgrad.adapters.library import Library

Method = Callable[..., Any]
Around = Callable[[Method, Library, Any, tuple[Any, ...], dict[str, Any]], Any]
"""Runs a method in the place of itself: `around(method, library, self, args, kwargs)`."""


@dataclass
class _Wrapped:
    """What we put on a class."""

    n_traces: int = 0
    originals: dict[Method, Method] = field(default_factory=dict)
    """The method that each of our functions wraps."""


_lock = threading.Lock()
_wrapped: dict[type, _Wrapped] = {}
# One function for each method, as long as somebody holds it: JAX's caches tell functions apart by identity.
_wrappers: weakref.WeakKeyDictionary[Method, weakref.ref[Method]] = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def instrumented(classes: Mapping[type, Library], around: Around) -> Iterator[None]:
    """While this runs, the public methods of these classes go through `around`."""
    entered = []
    try:
        for cls, library in classes.items():
            if _takes_attributes(cls):
                with _lock:
                    entered.append(cls)
                    _enter(cls, library, around)
        yield
    finally:
        with _lock:
            for cls in entered:
                _leave(cls)


def _takes_attributes(cls: type) -> bool:
    """Whether nobody minds if methods are set; a metaclass may have its own idea of that, and is not bypassed."""
    return type(cls).__setattr__ is type.__setattr__


def _enter(cls: type, library: Library, around: Around) -> None:
    state = _wrapped.setdefault(cls, _Wrapped())
    state.n_traces += 1
    for name, method in [*vars(cls).items()]:
        is_public = name == "__call__" or not name.startswith("_")
        if is_public and isinstance(method, FunctionType) and method not in state.originals:
            wrapper = _wrapper(method, library, around)
            state.originals[wrapper] = method
            setattr(cls, name, wrapper)


def _leave(cls: type) -> None:
    state = _wrapped[cls]
    state.n_traces -= 1
    if state.n_traces:
        return
    for name, method in [*vars(cls).items()]:
        if isinstance(method, FunctionType) and method in state.originals:
            setattr(cls, name, state.originals[method])
    del _wrapped[cls]


def _wrapper(method: Method, library: Library, around: Around) -> Method:
    reference = _wrappers.get(method)
    known = reference() if reference else None
    if known is not None:
        return known

    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return around(method, library, self, args, kwargs)

    _wrappers[method] = weakref.ref(call)
    return call
