"""Flax NNX: modules are graphs of mutable variables; those of type `nnx.Param`, or what a `DiffState` says, are
differentiated.

As with `nnx.value_and_grad`, the gradient is an `nnx.State` of parameters, a variable that is held twice has one
gradient, and what the modules change while they run (running statistics, counts of random numbers) reaches the
user's modules. In NNX's tree mode (`nnx.set_graph_mode(False)`) modules are pytrees, as for `jax.grad`: all leaves are
differentiated, and the gradient is a module.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, NamedTuple

import jax
from flax import nnx  # pyright: ignore[reportMissingImports]

from funcgrad.adapters import flax_changes as changes
from funcgrad.adapters import flax_trees
from funcgrad.adapters.array_calls import ArrayCall, replace_item, rest_key
from funcgrad.adapters.flax_changes import is_node, is_variable
from funcgrad.adapters.flax_trees import check_plain
from funcgrad.adapters.library import Parts
from funcgrad.aliases import PyTree, PyTreeDef
from funcgrad.errors import GradientError

_TAG = "funcgrad"
_BASES = (nnx.Module, nnx.List, nnx.Dict)
"""Their methods compute nothing."""


def members(x: Any) -> Iterable[tuple[str, Any]] | None:
    """Attributes of a module; nothing of a `GraphDef` or `State`, of which `nnx.merge` makes one."""
    if isinstance(x, nnx.GraphDef | nnx.State):
        return ()
    if not isinstance(x, nnx.Pytree):
        return None
    return [(name, value) for name, value in vars(x).items() if not name.startswith("_pytree__")]


def classes(objects: Iterable[Any]) -> Sequence[type]:
    """The classes whose methods run when modules are called: those of the objects, or that a `GraphDef` describes."""
    kinds: dict[Any, None] = {}
    for x in objects:
        described = [getattr(node, "type", None) for node in x.nodes] if isinstance(x, nnx.GraphDef) else [type(x)]
        kinds |= dict.fromkeys(described)
    modules = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, nnx.Module)]
    return [c for kind in modules for c in kind.__mro__ if issubclass(c, nnx.Module) and c not in _BASES]


def body(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method itself: NNX names nothing."""
    return method


def is_state_of(x: Any, module: Any) -> bool:
    """Whether all variables of a `State` are the module's."""
    if not isinstance(x, nnx.State):
        return False
    paths = {path for path, _ in nnx.to_flat_state(nnx.state(module))}
    return all(path in paths for path, _ in nnx.to_flat_state(x))


def choice(entry: Any) -> tuple[int, Any] | None:
    """`nnx.DiffState(argnum, filter)`."""
    return (entry.argnum, entry.filter) if isinstance(entry, nnx.DiffState) else None


def open(call: ArrayCall, names: Sequence[str], wanted: Mapping[int, Any], stack: ExitStack) -> ArrayCall:
    """Take modules apart into states, and put them together inside the function, with all that they share.

    Raises:
        GradientError: one variable is in an argument to differentiate and in one that is not, or a variable to
            differentiate by is a reference.
    """
    if not any(map(is_node, jax.tree.leaves((call.args, call.kwargs), is_leaf=is_node))):
        return call
    if not flax_trees.is_graph_mode():
        return flax_trees.open(call, names, wanted)
    _check_aliases(call, names, wanted)
    context = stack.enter_context(nnx.update_context(_TAG))
    args, kwargs, rest_keys = call.args, dict(call.kwargs), {}
    with nnx.split_context(_TAG) as split:
        filters = {n: nnx.Param if chosen is None else chosen for n, chosen in wanted.items()}
        taken = [_take_apart(arg, split, filters.get(n)) for n, arg in enumerate(args)]
        taken_by_key = {key: _take_apart(arg, split) for key, arg in call.kwargs.items()}
    originals = dict(context.outer_index_outer_ref or {})
    for n, (_, state, rest) in enumerate(taken):
        args = replace_item(args, n, state)
        if n in wanted:
            check_plain(names[n], state)
            rest_keys[n] = rest_key(names[n], kwargs)
            kwargs[rest_keys[n]] = rest
    kwargs |= {key: state for key, (_, state, _) in taken_by_key.items()}
    left: list[tuple[changes.Changes, _Parts]] = []

    @wraps(call.fun)
    def fun(*args: Any, **kwargs: Any) -> Any:
        with nnx.merge_context(_TAG, inner=True) as merge:
            rests = {n: kwargs.pop(key) for n, key in rest_keys.items()}
            args = tuple(_put_together(taken[n][0], arg, rests.get(n), merge) for n, arg in enumerate(args))
            kwargs = {key: _put_together(taken_by_key[key][0], arg, None, merge) for key, arg in kwargs.items()}
            copies = dict(merge.index_ref)
        before = {} if call.is_pure else changes.contents(copies)
        out = call.fun(*args, **kwargs)
        if call.is_pure or not call.is_complete(out):
            return out
        value, auxiliary = out if call.has_aux else (out, None)
        found = changes.found(before, copies)
        with nnx.split_context(_TAG) as split:
            parts, states, _ = _take_apart(([copies[i] for i in found], auxiliary), split)
        left.append((found, parts))
        return value, states

    def close(states: Any) -> Any:
        found, parts = left[-1]
        changes.check(found, originals, [*zip(names, call.args, strict=True), *call.kwargs.items()])
        with nnx.merge_context() as merge:
            _, auxiliary = _put_together(parts, states, None, merge)
            made = {outer: merge.index_ref[index] for outer, index in _indices(parts)}
        return call.close(changes.write(found, originals, made, auxiliary))

    if call.is_pure:
        return replace(call, fun=fun, args=args, kwargs=kwargs)
    return replace(call, fun=fun, args=args, kwargs=kwargs, has_aux=True, close=close)


def _indices(parts: "_Parts") -> Iterator[tuple[int, int]]:
    """For the nodes in `parts` that are copies: the index of the user's own, and that of the copy."""
    for definition in parts.definitions:
        for node in definition.nodes if definition is not None else ():
            if getattr(node, "outer_index", None) is not None:
                yield node.outer_index, node.index


def _check_aliases(call: ArrayCall, names: Sequence[str], wanted: Collection[int]) -> None:
    named = [*enumerate(zip(names, call.args, strict=True)), *((None, item) for item in call.kwargs.items())]
    owners: dict[int, str] = {}
    for is_wanted in (True, False):
        for name, arg in (item for n, item in named if (n in wanted) is is_wanted):
            for _, node in changes.walk(arg, name, set()):
                if is_wanted:
                    owners[id(node)] = name
                elif id(node) in owners and is_variable(node):
                    raise GradientError(
                        f"Argument '{name}' holds a {type(node).__name__} that is in '{owners[id(node)]}' too, by "
                        f"which the loss is differentiated; differentiate by both, or pass a copy (nnx.clone)."
                    )


def without_modules(tree: PyTree) -> PyTree:
    """Each module as its whole state; states stay as they are."""
    is_module = lambda x: isinstance(x, nnx.Pytree)  # noqa: E731
    if not flax_trees.is_graph_mode() or not any(map(is_module, jax.tree.leaves(tree, is_leaf=is_module))):
        return tree
    with nnx.split_context() as split:
        return _take_apart(tree, split)[1]


@dataclass(frozen=True)
class _Definition:
    """A pytree without its modules' arrays, as structure; those stand in nested dicts, without `nnx.Variable`s."""

    tree: PyTreeDef
    definitions: tuple[Any, ...]
    params: PyTreeDef
    others: PyTreeDef

    def put_together(self, params: PyTree, others: PyTree) -> PyTree:
        """The modules, which share what they shared."""
        states = self.params.unflatten(jax.tree.leaves(params)), self.others.unflatten(jax.tree.leaves(others))
        with nnx.merge_context() as merge:
            return _put_together(_Parts(self.tree, list(self.definitions)), *states, merge)

    def others_of(self, model: PyTree, others: PyTree) -> PyTree:
        """All variables that are no `nnx.Param`."""
        del others
        with nnx.split_context() as split:
            return _as_dicts(_take_apart(model, split, nnx.Param)[2])


def taken_apart(model: PyTree) -> Parts | None:
    """The `nnx.Param`s of modules, their other variables, and their graphs."""
    is_module = lambda x: isinstance(x, nnx.Pytree)  # noqa: E731
    if not any(map(is_module, jax.tree.leaves(model, is_leaf=is_module))):
        return None
    with nnx.split_context() as split:
        parts, params, others = _take_apart(model, split, nnx.Param)
    trees = jax.tree.structure(params), jax.tree.structure(others)
    return Parts(_as_dicts(params), _as_dicts(others), _Definition(parts.tree, tuple(parts.definitions), *trees))


def _as_dicts(states: PyTree) -> PyTree:
    """Nested dicts in the place of states; their leaves come in the same order."""
    is_state = lambda x: isinstance(x, nnx.State)  # noqa: E731
    return jax.tree.map(lambda x: nnx.to_pure_dict(x) if is_state(x) else x, states, is_leaf=is_state)


def leaf_paths(x: Any) -> list[tuple[Any, ...]] | None:
    """Key paths of the arrays of a variable, without the attribute `value`: it holds an array or a pytree of them."""
    if not is_variable(x):
        return None
    return [path[1:] for path, _ in jax.tree_util.tree_flatten_with_path(x)[0]]


class _Parts(NamedTuple):
    """A pytree without its modules' arrays: where they stand, and what each is."""

    tree: PyTreeDef
    definitions: list[Any]
    """A `GraphDef` for each module, None for each leaf that is none."""


def hand_over(given: PyTree, changed: PyTree) -> None:
    """Write on variables what is not None in others."""
    own, new = (filter(is_variable, jax.tree.leaves(tree, is_leaf=is_variable)) for tree in (given, changed))
    for variable, other in zip(own, new, strict=True):
        if other.get_raw_value() is not None:
            variable.update_from_state(other)


def _take_apart(tree: PyTree, split: Any, chosen: Any = None) -> tuple[_Parts, PyTree, PyTree]:
    """The pytree with a state in the place of each module, and the rest of their states.

    The states have everything, or what a filter has `chosen`.
    """
    leaves, structure = jax.tree.flatten(tree, is_leaf=is_node)
    definitions, states, rests = [], [], []
    for leaf in leaves:
        definition, state, rest = None, leaf, None
        if is_variable(leaf) or (is_node(leaf) and chosen is None):
            definition, state = split.split(leaf)
        elif is_node(leaf):
            definition, state, rest = split.split(leaf, chosen, ...)
        definitions.append(definition)
        states.append(state)
        rests.append(rest)
    return _Parts(structure, definitions), structure.unflatten(states), structure.unflatten(rests)


def _put_together(parts: _Parts, states: PyTree, rest: PyTree, merge: Any) -> PyTree:
    """What was taken apart, with these states."""
    leaves = parts.tree.flatten_up_to(states)
    rests = [None] * len(leaves) if rest is None else parts.tree.flatten_up_to(rest)
    merged = [
        leaf if definition is None else merge.merge(definition, *(s for s in (leaf, more) if s is not None))
        for definition, leaf, more in zip(parts.definitions, leaves, rests, strict=True)
    ]
    return parts.tree.unflatten(merged)
