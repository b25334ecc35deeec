"""Names for what a module computes: while a function is traced, calling a module enters the scope of its path.

A module is known by the object that holds it: when the module at `model/blocks/0` is called and calls the object
that is its attribute `attn`, that is `model/blocks/0/attn`. So it does not matter that `jit`, `vmap` and `scan`
take a module apart and hand their function a new one with new parts. Where that new module itself is called, it is
the only one of its class and shapes that its caller holds; if there are several, it goes by its class.

Classes get their methods wrapped for the time of the trace (`classes`). Other threads that call them meanwhile notice
nothing: which modules have which path is kept per context.
"""

import contextlib
import posixpath
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any

import jax

from funcgrad.adapters.classes import Method, instrumented
from funcgrad.adapters.library import Library, in_use
from funcgrad.adapters.modules import Search, captured, is_module, join
from funcgrad.naming import scope


class _Naming:
    """Which names the modules have in a trace: the same object for the same names. Part of the keys of JAX's caches."""

    __slots__ = ("__weakref__",)


# JAX caches what it traced of an inner `jit`: with names like these, or without.
_traced_as = jax.make_user_context(default_value=None)
# A naming lives as long as the trace, or JAX's cache of what was traced with it (`jax.clear_caches`).
_namings: weakref.WeakValueDictionary[frozenset[Any], _Naming] = weakref.WeakValueDictionary()


class _Identity:
    """An object as part of a key that does not keep it alive: equal to the same object's, and to no later one's."""

    __slots__ = ("_hash", "_reference")

    def __init__(self, x: Any) -> None:
        self._hash, self._reference = id(x), weakref.ref(x)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        mine = self._reference()
        return mine is not None and isinstance(other, _Identity) and mine is other._reference()


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


_classes: ContextVar[dict[str, type] | None] = ContextVar("funcgrad_classes", default=None)


@contextlib.contextmanager
def noting_classes() -> Iterator[dict[str, type]]:
    """The classes of the modules that functions are given or hold while they are traced, by their paths."""
    token = _classes.set(found := {})
    try:
        yield found
    finally:
        _classes.reset(token)


def _note(objects: Sequence[tuple[str, Any]]) -> None:
    if (classes := _classes.get()) is not None:
        classes.update((path, type(x)) for path, x in objects)


_frames: ContextVar[tuple[_Frame, ...]] = ContextVar("funcgrad_modules", default=())


def named(fun: Callable[..., Any], names: Sequence[str]) -> Callable[..., Any]:
    """`fun`, so that the modules it is given, or closes over, give their paths to what they compute.

    Paths start with the name of the argument or of the variable that holds the module.
    """

    @wraps(fun)
    def call(*args: Any, **kwargs: Any) -> Any:
        libraries, search = in_use(), Search()
        given = [*zip(names, args, strict=True), *kwargs.items()]
        handed = [found for name, x in given for found in search.objects(x, name)]
        closed_over = [found for name, x in captured(fun, set()) for found in search.objects(x, name)]
        objects = [*handed, *closed_over]
        classes = {c: library for library in libraries for c in library.classes([x for _, x in objects])}
        if not classes:
            return fun(*args, **kwargs)
        _note(objects)
        root = _Frame(None, "", lambda: objects)
        naming = _naming(given, handed, closed_over)
        with instrumented(classes, _in_scope), _traced_as(naming), _running(root), _owner_of(fun):
            return fun(*args, **kwargs)

    return call


def _naming(
    given: Sequence[tuple[str, Any]], handed: Sequence[tuple[str, Any]], closed_over: Sequence[tuple[str, Any]]
) -> _Naming:
    """The same for traces that give the same names to modules, so that what JAX caches of one serves the others.

    Modules among the arguments are new ones in every trace: their classes and shapes tell what they will be called.
    The order of the arguments does not: two losses may take a generator and a critic either way round.
    """
    roots = {path.split("/")[0] for path, _ in handed}
    shapes = [(name, tuple(_shapes(x))) for name, x in given if name in roots]
    kinds = [(path, _Identity(type(x))) for path, x in handed]
    like = frozenset([*shapes, *kinds, *((path, _identity(x)) for path, x in closed_over)])
    naming = _Naming()
    return _namings.setdefault(like, naming)


def _identity(x: Any) -> _Identity:
    """That of `x`; of its class where it has none, as a `GraphDef`, which runs nothing itself."""
    try:
        return _Identity(x)
    except TypeError:
        return _Identity(type(x))


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


def _in_scope(method: Method, library: Library, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a method in the scope of its module, unless that module is running already."""
    frames = _frames.get()
    if not frames:
        return method(module, *args, **kwargs)
    body = library.body(method)
    if frames[-1].module is module:
        return body(module, *args, **kwargs)
    path = next((frame.paths[id(module)] for frame in reversed(frames) if id(module) in frame.paths), None)
    frame = _Frame(module, path) if path else _anew(module, frames, library)
    with _scope_between(frames[-1].path, frame.path), _running(frame):
        return body(module, *args, **kwargs)


def _scope_between(start: str, path: str) -> contextlib.AbstractContextManager[None]:
    """The scope that leads from one path to another: `../embed` where the caller does not hold the module."""
    here, there = [p for p in start.split("/") if p], path.split("/")
    n = len(posixpath.commonprefix([here, there]))
    steps = [".."] * (len(here) - n) + there[n:]
    return scope("/".join(steps)) if steps else contextlib.nullcontext()


def _anew(module: Any, frames: Sequence[_Frame], library: Library) -> _Frame:
    """A frame for a module that was put together inside the traced function: it stands where one like it does."""
    path = _path_of_one_alike(module, frames, library)
    _note([(path, module)])

    def held() -> list[tuple[str, Any]]:
        return Search().objects(module, path)[1:]

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
    """Of all arrays, once each module: one may hold itself."""
    seen = set()

    def is_known(x: Any) -> bool:
        if not is_module(x):
            return False
        is_repeated = id(x) in seen
        seen.add(id(x))
        return is_repeated

    return [getattr(leaf, "shape", type(leaf)) for leaf in jax.tree.leaves(module, is_leaf=is_known)]
