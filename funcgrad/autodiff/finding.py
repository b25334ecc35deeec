"""Values and arguments by name: what `of` and `wrt` stand for in a graph."""

import contextlib
from collections.abc import Sequence
from operator import index
from typing import Any

import jax

from funcgrad.adapters import choice
from funcgrad.aliases import PyTreeDef
from funcgrad.errors import GradientError, describe, printed
from funcgrad.graph import Graph, Structure, Value, missing, refuse_shared
from funcgrad.naming import choose, is_glob, matches

Names = int | str | Sequence[int | str]
"""How arguments and values are asked for: positions, argument names, value names, globs."""


def listed(option: str, names: Names) -> tuple[int | str, ...]:
    """One or several names as a tuple; GradientError for anything else, and for none."""
    items = tuple(names) if isinstance(names, Sequence) and not isinstance(names, str) else (names,)
    if not items or not all(isinstance(item, int | str) for item in items):
        raise GradientError(
            f"{option} takes positions of arguments, names, patterns, or several of these, got {names!r}."
        )
    return items


def positions(argnums: Any, may_be_none: bool = False) -> Any:
    """`argnums` as an int or a tuple of ints; GradientError for anything that JAX does not read as such.

    Entries that are a library's own way to say a position and more (`nnx.DiffState`) are left as they are. A Jacobian
    by no argument is empty, so there may be none; a gradient by no argument is refused, as in JAX.
    """
    with contextlib.suppress(TypeError):
        return _position(argnums)
    with contextlib.suppress(TypeError):
        several = tuple(map(_position, argnums))
        if several or may_be_none:
            return several
    raise GradientError(
        f"argnums takes the position of an argument, as 0, or several, as (0, 1), got {printed(argnums)}; the "
        f"arguments themselves go to the function that is returned: fg.grad(loss)(w, x)."
    )


def _position(entry: Any) -> Any:
    return entry if choice(entry)[0] is not entry else index(entry)


def position_of(argument: str, position: int, n_args: int) -> int:
    """A position among the arguments, counted from the front; GradientError where there is none."""
    if not -n_args <= position < n_args:
        raise GradientError(
            f"{argument} asks for argument {position}, got {n_args} positional argument{'s' * (n_args != 1)}."
        )
    return position % n_args


def find(name: str, values: Sequence[Value], structure: Structure) -> list[Value]:
    """The values that a name or glob stands for; GradientError where there is none that can have a cotangent."""
    by_name = {v.name: v for v in values}
    found = [by_name[n] for n in choose(name, by_name)]
    if is_glob(name):
        found = [v for v in found if v.is_inexact]
    elif found and not found[0].is_inexact:
        raise GradientError(f"'{name}' is {describe(found[0].aval)}; only floating or complex values have gradients.")
    else:
        refuse_shared([v.name for v in found], structure)
    if not found:
        raise GradientError(missing(name, structure, [n for n, v in by_name.items() if v.is_inexact]))
    return found


def find_sources(of: Names, graph: Graph, parameters: Sequence[str]) -> tuple[PyTreeDef, tuple[Value, ...]]:
    """The values that `of` stands for: one, or a mapping from names, as a pytree.

    Raises:
        GradientError: there is none of a name, or only inside of a loop or branch.
    """
    outermost = [*graph.structure.inputs, *(v for node in graph.structure.nodes for v in node.outputs)]
    known = {v.name for v in outermost}
    found: dict[str, Value] = {}
    is_one = isinstance(of, int | str)
    for item in listed("of", of):
        name = parameters[position_of("of", item, len(parameters))] if isinstance(item, int) else item
        if name in parameters and name not in known:
            name = f"{name}/**"
        is_one = is_one and not is_glob(name)
        try:
            found |= {v.name: v for v in find(name, outermost, graph.structure)}
        except GradientError:
            _refuse_inside(name, graph.structure)
            raise
    tree = jax.tree.structure(0 if is_one else dict.fromkeys(found, 0))
    return tree, tuple(found[name] for name in (found if is_one else sorted(found)))


def _refuse_inside(name: str, structure: Structure) -> None:
    """GradientError if a name stands for a value inside of a loop or branch."""
    for node in structure.nodes:
        for body in node.bodies:
            if any(matches(name, v.name) for v in body.structure.values):
                raise GradientError(
                    f"of='{name}' is inside '{node.name}' (a {node.op_name}), which runs as one node; return it from "
                    f"there, and name what comes out with fg.name."
                )
