"""Names for what a module computes: while a function is traced, calling a module enters the scope of its path.

A module is known by the object that holds it: when the module at `model/blocks/0` is called and calls the object
that is its attribute `attn`, that is `model/blocks/0/attn`. So it does not matter that `jit`, `vmap` and `scan`
take a module apart and hand their function a new one with new parts. Where that new module itself is called, it is
the only one of its class and shapes that its caller holds; if there are several, it goes by its class.

Classes get their methods wrapped for the time of the trace, and get them back when the last trace is over. Other
threads that call them meanwhile notice nothing: which modules have which path is kept per context.
"""

import contextlib
import posixpath
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, cached_property, wraps
from types import FunctionType
from typing import Any

import jax

from funcgrad.adapters.finding import captured, join, objects_in
from funcgrad.adapters.library import Library, in_use
from funcgrad.naming import scope

# JAX caches what it traced of an inner `jit`: with names like these, or without.
_traced_as = jax.make_user_context(default_value=0)
_numbers: dict[frozenset[Any], int] = {}


@dataclass(frozen=True, eq=False)
class _Frame:
    """A module that is running, and where it stands; at the bottom, the function that is traced."""

    module: Any
    path: str
    held: Callable[[], list[tuple[str, Any]]] = list
    """What it holds at any depth, with paths from the traced function; nothing where a frame below knows it."""

    @cached_property
    def objects(self) -> list[tuple[str, Any]]:
        """What it holds, found when it is first needed."""
        return self.held()

    @cached_property
    def paths(self) -> dict[int, str]:
        """Paths by identity."""
        return {id(x): path for path, x in self.objects}


_frames: ContextVar[tuple[_Frame, ...]] = ContextVar("funcgrad_modules", default=())


def named(fun: Callable[..., Any], names: Sequence[str]) -> Callable[..., Any]:
    """`fun`, so that the modules it is given, or closes over, give their paths to what they compute.

    Paths start with the name of the argument or of the variable that holds the module.
    """

    @wraps(fun)
    def call(*args: Any, **kwargs: Any) -> Any:
        libraries, seen = in_use(), set()
        given = [*zip(names, args, strict=True), *kwargs.items()]
        handed = [found for name, x in given for found in objects_in(x, name, libraries, seen)]
        closed_over = [found for name, x in captured(fun, set()) for found in objects_in(x, name, libraries, seen)]
        objects = [*handed, *closed_over]
        classes = {c: library for library in libraries for _, x in objects for c in library.classes(x)}
        if not classes:
            return fun(*args, **kwargs)
        root = _Frame(None, "", lambda: objects)
        number = _number(given, handed, closed_over)
        with _instrumented(classes), _traced_as(number), _running(root), _owner_of(fun):
            return fun(*args, **kwargs)

    return call


def _number(
    given: Sequence[tuple[str, Any]], handed: Sequence[tuple[str, Any]], closed_over: Sequence[tuple[str, Any]]
) -> int:
    """The same for traces that give the same names to modules, so that what JAX caches of one serves the others.

    Modules among the arguments are new ones in every trace: their classes and shapes tell what they will be called.
    The order of the arguments does not: two losses may take a generator and a critic either way round.
    """
    roots = {path.split("/")[0] for path, _ in handed}
    shapes = [(name, tuple(_shapes(x))) for name, x in given if name in roots]
    like = frozenset([*shapes, *((path, type(x)) for path, x in handed), *((path, id(x)) for path, x in closed_over)])
    return _numbers.setdefault(like, len(_numbers) + 1)


@contextlib.contextmanager
def _owner_of(fun: Callable[..., Any]) -> Iterator[None]:
    """Inside the module that `fun` is a method of, if it is: a method taken from a module is not wrapped any more."""
    owner = getattr(fun, "__self__", None)
    path = _frames.get()[-1].paths.get(id(owner))
    if path is None:
        yield
    else:
        with scope(path), _running(_Frame(owner, path)):
            yield


@contextlib.contextmanager
def _running(frame: _Frame) -> Iterator[None]:
    token = _frames.set((*_frames.get(), frame))
    try:
        yield
    finally:
        _frames.reset(token)


@cache
def _with_scope(method: Callable[..., Any], library: Library) -> Callable[..., Any]:
    """A method that enters the scope of its module, unless that module is running already.

    One for each method: JAX's caches tell functions apart by identity.
    """
    body = library.body(method)

    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        frames = _frames.get()
        if not frames:
            return method(self, *args, **kwargs)
        if frames[-1].module is self:
            return body(self, *args, **kwargs)
        path = next((frame.paths[id(self)] for frame in reversed(frames) if id(self) in frame.paths), None)
        frame = _Frame(self, path) if path else _anew(self, frames, library)
        with _scope_between(frames[-1].path, frame.path), _running(frame):
            return body(self, *args, **kwargs)

    return call


def _scope_between(start: str, path: str) -> contextlib.AbstractContextManager[None]:
    """The scope that leads from one path to another: `../embed` where the caller does not hold the module."""
    here, there = [p for p in start.split("/") if p], path.split("/")
    n = len(posixpath.commonprefix([here, there]))
    steps = [".."] * (len(here) - n) + there[n:]
    return scope("/".join(steps)) if steps else contextlib.nullcontext()


def _anew(module: Any, frames: Sequence[_Frame], library: Library) -> _Frame:
    """A frame for a module that was put together inside the traced function: it stands where one like it does."""
    path = _path_of_one_alike(module, frames, library)

    def held() -> list[tuple[str, Any]]:
        libraries, seen = in_use(), {id(module)}
        items = library.members(module) or ()
        return [found for name, x in items for found in objects_in(x, join(path, name), libraries, seen)]

    return _Frame(module, path, held)


def _path_of_one_alike(module: Any, frames: Sequence[_Frame], library: Library) -> str:
    objects = [found for frame in reversed(frames) for found in frame.objects]
    of_class = [(path, x) for path, x in objects if type(x) is type(module)]
    for frame in reversed(frames):
        inside = f"{frame.path}/" if frame.path else ""
        if alike := [(path, x) for path, x in of_class if path.startswith(inside)]:
            return _choose(module, alike)
    for path, x in objects:
        if library.is_state_of(x, module):
            return path
    return join(frames[-1].path, type(module).__name__)


def _choose(module: Any, alike: Sequence[tuple[str, Any]]) -> str:
    """The path of a module that was put together anew, from those of its class that could be meant.

    One of the same shapes, else the only one of its class (a scan takes an axis away). Arguments that are parts of a
    module (`eqx.partition`) have its class and other shapes: the first by name gives its own. If several could be
    meant, none is, and the class stands beside them.
    """
    same = [path for path, x in alike if _shapes(x) == _shapes(module)]
    paths = same or [path for path, _ in alike]
    parts = [] if same else [path for path in paths if "/" not in path]
    if len(paths) == 1 or parts:
        return min(parts or paths)
    shared = posixpath.commonpath([posixpath.dirname(path) for path in paths])
    return join(shared, type(module).__name__)


def _shapes(module: Any) -> list[Any]:
    return [getattr(leaf, "shape", type(leaf)) for leaf in jax.tree.leaves(module)]


@dataclass
class _Wrapped:
    """The methods that a class has itself, and how many traces want them wrapped."""

    methods: dict[str, Callable[..., Any]]
    n_traces: int = 0


_lock = threading.Lock()
_wrapped: dict[type, _Wrapped] = {}


@contextlib.contextmanager
def _instrumented(classes: Mapping[type, Library]) -> Iterator[None]:
    """While this runs, the public methods of these classes enter scopes."""
    with _lock:
        for cls, library in classes.items():
            if cls not in _wrapped:
                _wrapped[cls] = _Wrapped(_methods(cls))
                for name, method in _wrapped[cls].methods.items():
                    setattr(cls, name, _with_scope(method, library))
            _wrapped[cls].n_traces += 1
    try:
        yield
    finally:
        with _lock:
            for cls in classes:
                _wrapped[cls].n_traces -= 1
                if not _wrapped[cls].n_traces:
                    for name, method in _wrapped.pop(cls).methods.items():
                        setattr(cls, name, method)


def _methods(cls: type) -> dict[str, Callable[..., Any]]:
    return {
        name: x
        for name, x in vars(cls).items()
        if isinstance(x, FunctionType) and (name == "__call__" or not name.startswith("_"))
    }
