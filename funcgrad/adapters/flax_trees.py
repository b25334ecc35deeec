"""NNX's tree mode: modules are pytrees, and so are their gradients, as for `jax.grad` and `nnx.grad(graph=False)`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any

import jax
from flax import nnx  # pyright: ignore[reportMissingImports]

from funcgrad.adapters import flax_changes as changes
from funcgrad.adapters.array_calls import ArrayCall
from funcgrad.adapters.flax_changes import is_variable
from funcgrad.aliases import PyTree
from funcgrad.errors import GradientError


def is_graph_mode() -> bool:
    """Whether modules share variables and change structure, as they do unless the user says otherwise to NNX."""
    switches = [getattr(nnx, name, None) for name in ("set_graph_mode", "set_graph_updates")]
    return all(switch.current_value() for switch in switches if switch)  # none before Flax had tree mode


def open(call: ArrayCall, names: Sequence[str], wanted: Mapping[int, Any]) -> ArrayCall:
    """Leave modules as the pytrees that they are in tree mode; only their variables change while they run."""
    if call.is_pure:
        return call
    named = [*zip(names, call.args, strict=True), *call.kwargs.items()]
    _check(named, wanted)
    for n in wanted:
        check_plain(*named[n])
    originals = dict(enumerate(_variables(call.args, call.kwargs)))
    left: list[changes.Changes] = []

    @wraps(call.fun)
    def fun(*args: Any, **kwargs: Any) -> Any:
        copies = dict(enumerate(_variables(args, kwargs)))
        before = changes.contents(copies)
        out = call.fun(*args, **kwargs)
        if not call.is_complete(out):
            return out
        value, auxiliary = out if call.has_aux else (out, None)
        left.append(changes.found(before, copies))
        return value, ({i: copies[i] for i in left[-1]}, auxiliary)

    def close(states: Any) -> Any:
        changes.check(left[-1], originals, named)
        return call.close(changes.write(left[-1], originals, *states))

    return replace(call, fun=fun, has_aux=True, close=close)


def _check(named: Sequence[tuple[str, Any]], wanted: Mapping[int, Any]) -> None:
    for n, chosen in wanted.items():
        if chosen is not None:
            raise GradientError(
                f"An nnx.DiffState chooses variables of '{named[n][0]}', which is a pytree in NNX's tree mode; choose "
                f"leaves by wrt=fg.select(...), or leave tree mode (nnx.set_graph_mode, nnx.set_graph_updates)."
            )
    paths: dict[int, str] = {}
    for name, argument in named:
        for keys, leaf in jax.tree_util.tree_flatten_with_path(argument, is_leaf=is_variable)[0]:
            path = "/".join(filter(None, (name, jax.tree_util.keystr(keys, simple=True, separator="/"))))
            if is_variable(leaf) and paths.setdefault(id(leaf), path) != path:
                raise GradientError(
                    f"'{path}' is the same {type(leaf).__name__} as '{paths[id(leaf)]}', which pytrees cannot share; "
                    f"leave NNX's tree mode (nnx.set_graph_mode, nnx.set_graph_updates), or pass a copy (nnx.clone)."
                )


def check_plain(name: str, state: PyTree) -> None:
    """GradientError where a variable of a state or module to differentiate by is a reference."""
    for keys, leaf in jax.tree_util.tree_flatten_with_path(state, is_leaf=is_variable)[0]:
        kinds = [kind for kind in ("ref", "hijax") if is_variable(leaf) and getattr(leaf, kind, False)]
        if kinds:
            path = "/".join(filter(None, (name, jax.tree_util.keystr(keys, simple=True, separator="/"))))
            raise GradientError(
                f"'{path}' is a {leaf.var_type.__name__} with {kinds[0]}=True, by which JAX does not differentiate; "
                f"differentiate by plain ones: nnx.with_vars(model, {kinds[0]}=False)."
            )


def _variables(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    return [x for x in jax.tree.leaves((tuple(args), dict(kwargs)), is_leaf=is_variable) if is_variable(x)]
