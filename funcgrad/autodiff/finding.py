"""Values and arguments by name: what `of` and `wrt` stand for in a graph."""

from collections.abc import Sequence

import jax

from funcgrad.aliases import PyTreeDef
from funcgrad.errors import GradientError, describe
from funcgrad.graph import Graph, Structure, Value, suggest
from funcgrad.registry import matches

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


def position_of(argument: str, position: int, n_args: int) -> int:
    """A position among the arguments, counted from the front; GradientError where there is none."""
    if not -n_args <= position < n_args:
        raise GradientError(
            f"{argument} asks for argument {position}, got {n_args} positional argument{'s' * (n_args != 1)}."
        )
    return position % n_args


def find(name: str, values: Sequence[Value]) -> list[Value]:
    """The values that a name or glob stands for; GradientError where there is none that can have a cotangent."""
    if "*" in name:
        found = [v for v in values if v.is_inexact and matches(name, v.name)]
    else:
        found = [v for v in values if v.name == name]
        if found and not found[0].is_inexact:
            raise GradientError(
                f"'{name}' is {describe(found[0].aval)}; only floating or complex values have gradients."
            )
    if not found:
        raise GradientError(f"No value is named '{name}'; {suggest(name, [v.name for v in values])}")
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
        is_one = is_one and "*" not in name
        try:
            found |= {v.name: v for v in find(name, outermost)}
        except GradientError:
            _refuse_inside(name, graph.structure)
            raise
    tree = jax.tree.structure(0 if is_one else dict.fromkeys(found, 0))
    return tree, tuple(found[name] for name in (found if is_one else sorted(found)))


def _refuse_inside(name: str, structure: Structure) -> None:
    """GradientError if a name stands for a value inside of a loop or branch."""
    for node in structure.nodes:
        for body in node.bodies:
            if any(v.name == name or ("*" in name and matches(name, v.name)) for v in body.structure.values):
                raise GradientError(
                    f"of='{name}' is inside '{node.name}' (a {node.op_name}), which runs as one node; return it from "
                    f"there, and name what comes out with fg.name."
                )
