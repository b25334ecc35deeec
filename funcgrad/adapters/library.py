"""What funcgrad must know of a library of modules, and which of them are in use."""

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Generic, NamedTuple, Protocol, TypeVar
from weakref import WeakKeyDictionary

import jax
from jax.core import Tracer

from funcgrad.adapters.array_calls import ArrayCall
from funcgrad.aliases import PyTree

T = TypeVar("T")

# Where a library is imported, the module here that knows it.
_ADAPTERS = {"flax.nnx": "flax_nnx", "equinox": "equinox"}


class Definition(Protocol):
    """What a model is besides its arrays; hashable, so that it can pass through `jit` as structure."""

    def put_together(self, params: PyTree, others: PyTree) -> PyTree:
        """The model with these arrays."""
        ...

    def others_of(self, model: PyTree, others: PyTree) -> PyTree:
        """The arrays of a model that are not trained, after it ran; `others` are those before."""
        ...


class Parts(NamedTuple):
    """A model in three parts."""

    params: PyTree
    """What its library differentiates, in the library's own form."""
    others: PyTree
    """Its other arrays: running statistics, counts of random numbers, tables of integers."""
    definition: Definition


class Library(Protocol):
    """The functions that each adapter has."""

    def members(self, x: Any) -> Iterable[tuple[str, Any]] | None:
        """Attributes of an object of this library that may hold modules; None for anything else, by its class."""
        ...

    def classes(self, objects: Iterable[Any]) -> Sequence[type]:
        """The classes whose methods run when modules are called that are among the objects, or described by them."""
        ...

    def body(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """A method without the class name that the library itself puts on what it computes."""
        ...

    def is_state_of(self, x: Any, module: Any) -> bool:
        """Whether `x` holds arrays that `module` was put together from."""
        ...

    def choice(self, entry: Any) -> tuple[int, Any] | None:
        """The position and the filter in an entry of `argnums` that is this library's own way to say both."""
        ...

    def open(self, call: ArrayCall, names: Sequence[str], wanted: Mapping[int, Any], stack: ExitStack) -> ArrayCall:
        """The call with pytrees of arrays for this library's modules; the same call where there are none.

        `names` are those of the positional arguments, `wanted` has the ones to differentiate, each with a filter or
        None. What must be undone when the call is over is put on `stack`.
        """
        ...

    def without_modules(self, tree: PyTree) -> PyTree:
        """A pytree with modules replaced as in a call that differentiates by no argument."""
        ...

    def hand_over(self, given: PyTree, changed: PyTree) -> None:
        """Write on the modules of a pytree what is not None in another that is like it."""
        ...

    def taken_apart(self, model: PyTree) -> "Parts | None":
        """A model as what is trained, its other arrays, and the rest; None for a pytree without such modules."""
        ...

    def leaf_paths(self, x: Any) -> list[tuple[Any, ...]] | None:
        """Key paths of the leaves of a pytree node that has shorter ones than JAX says; None for any other class."""
        ...


def in_use() -> tuple[Library, ...]:
    """The adapters of the libraries that are imported."""
    names = [adapter for library, adapter in _ADAPTERS.items() if library in sys.modules]
    return tuple(importlib.import_module(f"funcgrad.adapters.{name}") for name in names)  # pyright: ignore[reportReturnType]


class ByKind(Generic[T]):
    """A question about things that is asked once for each kind of them.

    What a library says of a thing, it says of its class; of a tracer, by what it stands for. A model has many leaves of
    few kinds, and NNX takes a microsecond to tell that one is no variable: a tenth of a second trace of a jitted model.
    An answer stands, for no class of a library is met before the library is imported. Classes are not kept alive;
    answers must not hold them.
    """

    def __init__(self, ask: Callable[[Any], T]):
        self._ask = ask
        self._answers: WeakKeyDictionary[type, T] = WeakKeyDictionary()

    def __call__(self, x: Any) -> T:
        """The answer."""
        kind = type(jax.typeof(x)) if isinstance(x, Tracer) else type(x)
        try:
            return self._answers[kind]
        except KeyError:
            answer = self._answers[kind] = self._ask(x)
            return answer
        except TypeError:  # a class without a hash: its metaclass has `__eq__` alone
            return self._ask(x)
