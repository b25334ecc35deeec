"""Equinox: modules are pytrees, some of whose leaves are no arrays; the floating ones are differentiated.

As with `eqx.filter_value_and_grad`, the gradient is a module of the same structure, with None at the other leaves.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

import equinox as eqx  # pyright: ignore[reportMissingImports]
import jax
import jax.numpy as jnp
import numpy as np

from funcgrad.adapters.array_calls import ArrayCall, replace_item, rest_key
from funcgrad.adapters.library import Parts
from funcgrad.aliases import PyTree, PyTreeDef


def members(x: Any) -> Iterable[tuple[str, Any]] | None:
    """Fields of a module; what wraps functions in Equinox (`filter_jit`) is a module to Equinox only."""
    if not isinstance(x, eqx.Module) or _is_wrapper(type(x)):
        return None
    return vars(x).items()


def classes(objects: Iterable[Any]) -> Sequence[type]:
    """The classes whose methods run when modules among the objects are called."""
    kinds = dict.fromkeys(kind for kind in map(type, objects) if issubclass(kind, eqx.Module))
    of_modules = dict.fromkeys(c for kind in kinds for c in kind.__mro__ if issubclass(c, eqx.Module))
    return [c for c in of_modules if c is not eqx.Module and not _is_wrapper(c)]


def body(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method without `jax.named_scope("eqx.nn.Linear")`, which decorates those of `eqx.nn`."""
    if not method.__module__.startswith("equinox.nn"):
        return method
    cells = [cell.cell_contents for cell in method.__closure__ or ()]  # pyright: ignore[reportFunctionMemberAccess]
    is_scoped = any(hasattr(content, "__enter__") for content in cells)
    return method.__wrapped__ if is_scoped else method  # pyright: ignore[reportFunctionMemberAccess]


def is_state_of(x: Any, module: Any) -> bool:
    """Never: parts of a module have its class."""
    del x, module
    return False


def choice(entry: Any) -> tuple[int, Any] | None:
    """Positions are just numbers."""
    del entry


def open(call: ArrayCall, names: Sequence[str], wanted: Mapping[int, Any], stack: ExitStack) -> ArrayCall:
    """Leave in the arguments to differentiate only what Equinox differentiates in them."""
    del stack
    args, kwargs, rest = call.args, dict(call.kwargs), {}
    for n in wanted:
        if any(map(_is_module, jax.tree.leaves(args[n], is_leaf=_is_module))):
            rest[n] = rest_key(names[n], kwargs)
            floating, kwargs[rest[n]] = _partitioned(args[n])
            args = replace_item(args, n, floating)
    if not rest:
        return call

    @wraps(call.fun)
    def fun(*args: Any, **kwargs: Any) -> Any:
        for n, key in rest.items():
            args = replace_item(args, n, eqx.combine(args[n], kwargs.pop(key)))
        return call.fun(*args, **kwargs)

    return replace(call, fun=fun, args=args, kwargs=kwargs)


def _partitioned(model: PyTree) -> tuple[PyTree, PyTree]:
    """What is differentiated and the rest, as `eqx.partition` parts them: that takes twice the time."""
    leaves, tree = jax.tree.flatten(model)
    flags = list(map(_is_differentiated, leaves))
    floating = [x if flag else None for x, flag in zip(leaves, flags, strict=True)]
    others = [None if flag else x for x, flag in zip(leaves, flags, strict=True)]
    return tree.unflatten(floating), tree.unflatten(others)


def without_modules(tree: PyTree) -> PyTree:
    """Modules are pytrees already."""
    return tree


def hand_over(given: PyTree, changed: PyTree) -> None:
    """Modules do not change."""
    del given, changed


@dataclass(frozen=True)
class _Rest:
    """What a module holds that is no array: functions, numbers, strings."""

    tree: PyTreeDef
    leaves: tuple[Any, ...]

    def put_together(self, params: PyTree, others: PyTree) -> PyTree:
        """The module."""
        return eqx.combine(params, others, self.tree.unflatten(self.leaves))

    def others_of(self, model: PyTree, others: PyTree) -> PyTree:
        """As they were: modules do not change."""
        del model
        return others


def taken_apart(model: PyTree) -> Parts | None:
    """The floating arrays, the other arrays, and the rest; as `eqx.partition` does it, None at what a part lacks."""
    if not any(map(_is_module, jax.tree.leaves(model, is_leaf=_is_module))):
        return None
    params, rest = eqx.partition(model, _is_differentiated)
    others, rest = eqx.partition(rest, lambda x: isinstance(x, jax.Array | np.ndarray | np.generic))
    leaves, tree = jax.tree.flatten(rest, is_leaf=lambda x: x is None)
    return Parts(params, others, _Rest(tree, tuple(leaves)))


def leaf_paths(x: Any) -> list[tuple[Any, ...]] | None:
    """JAX's own paths are those of the modules."""
    del x


def _is_module(x: Any) -> bool:
    return isinstance(x, eqx.Module)


def _is_wrapper(cls: type) -> bool:
    return cls.__module__.startswith("equinox.") and not cls.__module__.startswith("equinox.nn")


def _is_differentiated(leaf: Any) -> bool:
    is_described = isinstance(leaf, jax.ShapeDtypeStruct) and jnp.issubdtype(leaf.dtype, jnp.inexact)
    return is_described or eqx.is_inexact_array(leaf)
