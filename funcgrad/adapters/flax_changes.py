"""What a call changes in NNX modules: found in the copies that ran, and written on the user's own.

NNX's own way back (`merge_context(inner=False)`) empties every module and fills it again, changed or not; if that fails
half-way, as it does for a variable of another trace level, the user is left with empty modules. So only what changed
is written here, once it is known that all of it can be, and an interruption takes back what was written.

Nodes are known by their index in NNX's graph definitions, which the user's modules and their copies share.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
from flax import nnx  # pyright: ignore[reportMissingImports]

from funcgrad.adapters.library import ByKind
from funcgrad.errors import GradientError

Nodes = Mapping[int, Any]
"""Modules and variables by their index."""
Changes = Mapping[int, tuple[str, ...]]
"""For each node that changed, the names of the attributes that did."""


@ByKind
def is_node(x: Any) -> bool:
    """Whether `x` is a module or a variable."""
    return isinstance(x, nnx.Pytree | nnx.Variable)


@ByKind
def is_variable(x: Any) -> bool:
    """Whether `x` is a variable."""
    return isinstance(x, nnx.Variable)


def contents(copies: Nodes) -> dict[int, dict[str, Any]]:
    """All that belongs to nodes, to be compared by identity: containers are taken apart, which may change in place."""
    return {i: _contents(x) for i, x in copies.items() if is_node(x)}


def found(before: Mapping[int, dict[str, Any]], copies: Nodes) -> Changes:
    """What differs from `contents` as they were."""
    differing = {}
    for i, old in before.items():
        new = _contents(copies[i])
        names = tuple(name for name in dict.fromkeys((*old, *new)) if not _is_same(old.get(name), new.get(name)))
        if names:
            differing[i] = ("value",) if isinstance(copies[i], nnx.Variable) else names
    return differing


def check(changes: Changes, originals: Nodes, named: Iterable[tuple[str, Any]]) -> None:
    """See that all that changed was made at this trace level, not outside of a transformation around it.

    Args:
        changes: what changed.
        originals: the user's nodes.
        named: the arguments of the call, with their names.

    Raises:
        GradientError: something was made elsewhere.
    """
    stuck = [(originals[i], name) for i, names in changes.items() if not _may_change(originals[i]) for name in names]
    if not stuck:
        return
    node, attribute = stuck[0]
    paths = (found for name, argument in named for found in walk(argument, name, set()))
    path = next((path for path, x in paths if x is node), type(node).__name__)
    path = path if isinstance(node, nnx.Variable) else f"{path}/{attribute}"
    others, its = (f" and {len(stuck) - 1} more, which were", "their") if stuck[1:] else (", which was", "its")
    raise GradientError(
        f"The function changes '{path}'{others} made outside of the jit, vmap, scan or other transformation around "
        f"this call; make {its} module an argument of that transformation (nnx.jit, nnx.vmap, nnx.scan), or call a "
        f"copy (nnx.clone) in the function."
    )


def write(changes: Changes, originals: Nodes, made: Mapping[int, Any], auxiliary: Any) -> Any:
    """Write changes on the user's nodes, all or none; returns `auxiliary` with the user's nodes in the place of copies.

    Args:
        changes: what changed.
        originals: the user's nodes.
        made: new copies, with what the call left in them, of those of the nodes that came out.
        auxiliary: a pytree that may hold copies and new nodes, which may hold copies.
    """
    original_of = {id(copy): originals[i] for i, copy in made.items()}
    replace = lambda tree: jax.tree.map(lambda x: original_of.get(id(x), x), tree, is_leaf=is_node)  # noqa: E731
    _replace_inside([auxiliary, *made.values()], replace)
    undo: list[Callable[[], None]] = []
    try:
        for i, names in changes.items():
            _write_node(originals[i], made[i], names, undo)
    except BaseException:  # KeyboardInterrupt too
        for step in reversed(undo):
            step()
        raise
    return replace(auxiliary)


def _may_change(node: Any) -> bool:
    if isinstance(node, nnx.Variable):
        return node._can_update
    return node._pytree__state.trace_state.is_valid()


def _contents(node: Any) -> dict[str, Any]:
    if isinstance(node, nnx.Variable):
        metadata = node.get_metadata()
        return {"value": _taken_apart(node.get_raw_value()), "metadata": ([*metadata.values()], tuple(metadata))}
    return {
        name: ([value], None) if _is_static(node, name) else _taken_apart(value) for name, value in vars(node).items()
    }


def _taken_apart(value: Any) -> tuple[list[Any], Any]:
    return jax.tree.flatten(value, is_leaf=is_node)


def _is_static(module: Any, name: str) -> bool:
    """Whether an attribute is handed through as it is: what changes inside of it is seen by all copies."""
    if module._pytree__is_pytree:
        return not module._pytree__nodes.get(name)
    value = vars(module)[name]
    return not (is_node(value) or isinstance(value, list | tuple | dict))


def _is_same(old: Any, new: Any) -> bool:
    if old is None or new is None:
        return False
    (leaves, structure), (new_leaves, new_structure) = old, new
    same = len(leaves) == len(new_leaves) and all(a is b for a, b in zip(leaves, new_leaves, strict=True))
    return same and structure == new_structure


def walk(tree: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """The nodes in a pytree and in each other, each once, with a path."""
    for keys, node in jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_node)[0]:
        if is_node(node) and id(node) not in seen:
            seen.add(id(node))
            here = "/".join(part for part in (path, jax.tree_util.keystr(keys, simple=True, separator="/")) if part)
            yield here, node
            if isinstance(node, nnx.Pytree):
                for name, value in vars(node).items():
                    if not _is_static(node, name):
                        yield from walk(value, f"{here}/{name}", seen)


def _replace_inside(trees: Sequence[Any], replace: Callable[[Any], Any]) -> None:
    """Let copies and new nodes hold the user's nodes."""
    for _, node in [*walk(trees, "", set())]:
        if isinstance(node, nnx.Pytree):
            for name, value in vars(node).items():
                if not _is_static(node, name):
                    object.__setattr__(node, name, replace(value))


def _write_node(original: Any, made: Any, names: Collection[str], undo: list[Callable[[], None]]) -> None:
    if isinstance(original, nnx.Variable):
        undo.append(partial(_reset_variable, original, original.get_raw_value(), original.get_metadata()))
        original.update_from_state(made)
        return
    undo.append(partial(_reset_attributes, original, dict(vars(original))))
    for name in names:
        if name in vars(made):
            object.__setattr__(original, name, vars(made)[name])
        else:
            object.__delattr__(original, name)


def _reset_variable(variable: Any, value: Any, metadata: dict[str, Any]) -> None:
    variable.set_raw_value(value)
    variable.set_metadata(metadata)


def _reset_attributes(module: Any, attributes: dict[str, Any]) -> None:
    vars(module).update(attributes)
    for name in vars(module).keys() - attributes.keys():
        object.__delattr__(module, name)
