"""Values and arguments by name: what `of` and `wrt` stand for in a graph."""

import contextlib
from collections.abc import Sequence
from operator import index
from typing import Any

import jax

from funcgrad.adapters import choice
from funcgrad.aliases import PyTreeDef
from funcgrad.errors import GradientError, printed
from funcgrad.graph import Addresses, Graph, Structure, Value, merged, with_turns
from funcgrad.naming import Where
from funcgrad.primitive import Scan

Names = int | str | Where | Sequence[int | str | Where]
"""How arguments and values are asked for: positions, and places in the graph."""


def listed(option: str, names: Names) -> tuple[int | Where, ...]:
    """One or several names as a tuple, strings as places; GradientError for anything else, and for none."""
    items = tuple(names) if isinstance(names, Sequence) and not isinstance(names, str) else (names,)
    if not items or not all(isinstance(item, int | str | Where) for item in items):
        raise GradientError(
            f"{option} takes positions of arguments, names, patterns, or several of these, got {names!r}."
        )
    return tuple(item if isinstance(item, int) else Where.of(item) for item in items)


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


def find_sources(of: Names, graph: Graph, parameters: Sequence[str]) -> tuple[Graph, PyTreeDef, tuple[Value, ...]]:
    """The values that `of` stands for: one, or a mapping from names, as a pytree; and the graph that has them.

    That is the same graph, unless a turn of a loop is asked for.

    Raises:
        GradientError: there is none of a name, or only inside of a loop or branch.
    """
    structure = graph.structure
    outermost = [*structure.inputs, *(v for node in structure.nodes for v in node.outputs)]
    addresses, items = Addresses(structure, outermost), listed("of", of)
    names = {v.name for v in outermost}
    found = []
    for item in items:
        where = Where(parameters[position_of("of", item, len(parameters))]) if isinstance(item, int) else item
        if where.turn is not None:
            found.append(Addresses(structure).find(where))
            continue
        try:
            is_argument = where.is_name and where.path in parameters and where.path not in names
            found.append(addresses.find_argument(str(where)) if is_argument else addresses.find(where))
        except GradientError:
            if not isinstance(item, int):
                _refuse_inside(item, structure)
            raise
    values = merged(found)
    turned = {name: (values[name], turn) for f in found for name, turn in f.turns.items()}
    graph, taken = with_turns(graph, turned)
    values |= taken
    is_one = all(f.is_one for f in found) and isinstance(of, int | str | Where)
    tree = jax.tree.structure(0 if is_one else dict.fromkeys(values, 0))
    return graph, tree, tuple(values[name] for name in (values if is_one else sorted(values)))


def _refuse_inside(where: Where, structure: Structure) -> None:
    """GradientError if a place is inside of a loop or branch."""
    for node in structure.nodes:
        inner = [v for body in node.bodies for v in body.structure.values]
        if inner and Addresses(structure, inner).has(where):
            if isinstance(node.holder, Scan):
                raise GradientError(
                    f"of='{where}' is inside '{node.name}' (a scan), so it has an array for each of "
                    f"{node.holder.lengths[0]} turns; say which, of=fg.Where('{where}', turn=-1) for that of the last."
                )
            raise GradientError(
                f"of='{where}' is inside '{node.name}' (a {node.op_name}), which runs as one node; return it from "
                f"there, and name what comes out with fg.name."
            )
