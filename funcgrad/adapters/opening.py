"""Calls on modules as calls on pytrees of arrays."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from funcgrad.adapters.array_calls import ArrayCall, unchanged
from funcgrad.adapters.library import ByKind, Parts, in_use
from funcgrad.adapters.module_scopes import named
from funcgrad.aliases import PyTree


@contextlib.contextmanager
def open_call(
    fun: Callable[..., Any],
    names: Sequence[str],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    wanted: Mapping[int, Any] | None = None,
    has_aux: bool = False,
    is_pure: bool = False,
) -> Iterator[ArrayCall]:
    """Open a call of `fun`, whose arguments may hold modules of other libraries, for as long as it is worked on.

    Args:
        fun: the user's function.
        names: those of its positional arguments (`parameter_names`).
        args: its arguments.
        kwargs: those by name.
        wanted: positions in `args` to differentiate; for each the variables that a library's own filter chooses, or
            None for those that the library differentiates.
        has_aux: whether `fun` returns `(value, aux)`.
        is_pure: let modules forget what changes in them while they run.
    """
    libraries = in_use()
    call = ArrayCall(named(fun, names) if libraries else fun, tuple(args), kwargs, has_aux, is_pure, unchanged)
    with contextlib.ExitStack() as stack:
        for library in libraries:
            call = library.open(call, names, wanted or {}, stack)
        yield call


def choice(entry: Any) -> tuple[Any, Any]:
    """An entry of `argnums` as a position, and a filter where a library has its own way to say both (`DiffState`)."""
    found = (library.choice(entry) for library in in_use())
    return next((c for c in found if c is not None), (entry, None))


def without_modules(tree: PyTree) -> PyTree:
    """Arguments as `open_call` gives them to a function that is not differentiated."""
    for library in in_use():
        tree = library.without_modules(tree)
    return tree


def hand_over(given: PyTree, changed: PyTree) -> None:
    """Let modules have what changed in copies of them: `changed` is like `given`, with None for what did not."""
    for library in in_use():
        library.hand_over(given, changed)


def taken_apart(model: PyTree) -> Parts | None:
    """A model of a library whose models hold more than what is trained; None for a plain pytree."""
    return next((parts for library in in_use() if (parts := library.taken_apart(model)) is not None), None)


_owner = ByKind(lambda x: next((library for library in in_use() if library.leaf_paths(x) is not None), None))
"""The library whose variables are shorter than JAX spells them, for such a one."""


def named_leaves(tree: PyTree) -> list[tuple[tuple[Any, ...], Any]]:
    """The leaves of a pytree with their key paths, in which modules' variables are as short as their owners spell them.

    `model/blocks/0/attn/query/kernel`, where JAX's own path of an `nnx.State` goes on with `/value`.
    """
    nodes, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: _owner(x) is not None)
    named = []
    for path, node in nodes:
        if (library := _owner(node)) is None:
            named.append((path, node))
        else:  # none, for a variable whose array was taken out
            inside = zip(library.leaf_paths(node) or (), jax.tree.leaves(node), strict=True)
            named += [((*path, *inner), leaf) for inner, leaf in inside]
    return named
