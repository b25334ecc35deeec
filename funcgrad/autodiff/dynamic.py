"""Functions whose structure may change from call to call: what is no array is static, and every trace is told."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import update_wrapper
from types import MethodType
from typing import Any, NamedTuple

import jax

from funcgrad.adapters import named_leaves, parameter_names
from funcgrad.aliases import Array, PyTreeDef
from funcgrad.errors import GraphError, describe
from funcgrad.graph.arguments import is_array
from funcgrad.graph.concreteness import without_values
from funcgrad.naming import paths_of


class Trace(NamedTuple):
    """Why a function was traced."""

    differences: tuple[str, ...]
    """`depth: 2, was 3`: the arguments that differ from those of the trace most like this one; none at the first."""

    def __str__(self) -> str:
        return "; ".join(self.differences) or "first call"


@dataclass(frozen=True)
class _Static:
    """What a compiled function depends on beside the contents of arrays."""

    tree: PyTreeDef
    names: tuple[str, ...] = field(compare=False)
    leaves: tuple[Any, ...]
    """None for an array, `(type, content)` for anything else: 1, 1.0 and True are three contents."""


class Dynamic:
    """A function under `jax.jit` that is traced again when its structure changes: made by `fg.dynamic`.

    `traces` lists what each trace was made for; `print` shows it.
    """

    def __init__(self, fun: Callable[..., Any]):
        self.fun = fun
        self.traces: list[Trace] = []
        self._seen: list[dict[str, str]] = []
        self._jitted = jax.jit(self._run, static_argnums=0)
        update_wrapper(self, fun)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function; GraphError where an argument is neither an array nor hashable."""
        parameters, leaves, arrays = parameter_names(self.fun, len(args)), [], []
        named = named_leaves((args, kwargs))
        heads = (parameters[path[1].idx] if path[0].idx == 0 else path[1].key for path, _ in named)
        names = paths_of((head, *path[2:]) for head, (path, _) in zip(heads, named, strict=True))
        for name, (_, leaf) in zip(names, named, strict=True):
            leaves.append(None if is_array(leaf) else (type(leaf), _hashable(leaf, name)))
            if is_array(leaf):
                arrays.append(leaf)
        static = _Static(jax.tree.structure((args, kwargs)), tuple(names), tuple(leaves))
        return self._jitted(static, arrays)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """As a method, it takes the object it is of as its first argument."""
        return self if instance is None else MethodType(self, instance)

    def _run(self, static: _Static, arrays: list[Array]) -> Any:
        """The function under `jax.jit`: Python runs it only while it is traced."""
        source = iter(arrays)
        leaves = [next(source) if leaf is None else leaf[1] for leaf in static.leaves]
        args, kwargs = jax.tree.unflatten(static.tree, leaves)
        self._note(static, leaves)
        with without_values():
            return self.fun(*args, **kwargs)

    def _note(self, static: _Static, leaves: list[Any]) -> None:
        """Write down how this trace differs from the one before that is most like it."""
        shown = {n: describe(x) if is_array(x) else repr(x) for n, x in zip(static.names, leaves, strict=True)}
        found = [_differences(before, shown) for before in self._seen]
        self.traces.append(Trace(min(found, key=len) if found else ()))
        self._seen.append(shown)

    def __str__(self) -> str:
        name = getattr(self.fun, "__name__", type(self.fun).__name__)
        lines = [f"dynamic({name}): traced {len(self.traces)} time{'s' * (len(self.traces) != 1)}"]
        return "\n".join([*lines, *(f"  {i}. {trace}" for i, trace in enumerate(self.traces, start=1))])


def dynamic(fun: Callable[..., Any]) -> Dynamic:
    """Compile a function that decides in Python, call by call, what it computes.

    Arrays in the arguments (leaves of pytrees included) are traced; numbers, strings, functions and everything else
    are static, so Python may branch on them. Each structure is traced and compiled once: the shapes and dtypes of
    arrays, the static contents and the nesting of the arguments.

    Args:
        fun: the function.

    Returns:
        One with the same arguments and results; `print` it to see why it was traced how often.

    Raises:
        GraphError: from a call, an argument is neither an array nor hashable.

    Example:
        >>> @fg.dynamic
        ... def doubled(x, times):
        ...     for _ in range(times):
        ...         x = 2 * x
        ...     return x
        >>> print(doubled(jnp.ones(()), times=2), doubled(jnp.zeros(()), times=2), doubled(jnp.ones(()), times=3))
        4.0 0.0 8.0
        >>> print(doubled)
        dynamic(doubled): traced 2 times
          1. first call
          2. times: 3, was 2
    """
    return Dynamic(fun)


def _hashable(leaf: Any, name: str) -> Any:
    try:
        hash(leaf)
    except TypeError:
        raise GraphError(
            f"dynamic: '{name}' is a {type(leaf).__name__}, which is neither an array nor hashable; pass an array, or "
            f"something hashable."
        ) from None
    return leaf


def _differences(before: dict[str, str], now: dict[str, str]) -> tuple[str, ...]:
    """How arguments differ; where no leaf does, their containers do."""
    changed = [f"{n}: {x}, was {before[n]}" for n, x in now.items() if n in before and before[n] != x]
    added = [f"{n}: {x}, was not there" for n, x in now.items() if n not in before]
    removed = [f"{n}: gone, was {x}" for n, x in before.items() if n not in now]
    return tuple(changed + added + removed) or ("the containers or types of the arguments",)
