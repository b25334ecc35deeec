"""What a pattern names in a graph: values, or scopes, by the values that leave them."""

import difflib
from collections.abc import Iterable, Iterator, Sequence

from funcgrad.errors import GradientError
from funcgrad.graph.structures import Structure
from funcgrad.graph.values import Node, Value
from funcgrad.registry import matches


def find(structure: Structure, pattern: str, values: Iterable[Value]) -> dict[str, Value]:
    """The values with this name, or whose names match this glob, by name; else those that leave such a scope.

    A scope that one value leaves, as a module's does whose result is one array, gives it its name.

    Args:
        structure: the graph.
        pattern: a name or a glob, `*` within a segment, `**` across segments.
        values: those that may be found.

    Raises:
        GradientError: nothing is named so.
    """
    allowed = list(values)
    if found := {v.name: v for v in allowed if matches(pattern, v.name)}:
        return found
    scopes = list(dict.fromkeys(s for node in structure.all_nodes for s in _prefixes(node.scope)))
    for scope in (s for s in scopes if matches(pattern, s)):
        leaving = [v for v in exits(structure, scope) if v in allowed]
        found |= {scope: leaving[0]} if len(leaving) == 1 else {v.name: v for v in leaving}
    if not found:
        raise GradientError(f"No value or scope is named '{pattern}'; {suggest(pattern, [v.name for v in allowed])}")
    return found


def exits(structure: Structure, scope: str) -> Iterator[Value]:
    """The floating values that are made in a scope and read outside of it."""
    inside = {node for node in structure.nodes if _stands_in(node, scope)}
    outer = (v for node in structure.nodes if node not in inside for v in node.inputs)
    read = {*outer, *structure.outputs}
    for node in structure.nodes:
        if node in inside:
            yield from (v for v in node.outputs if v in read and v.is_inexact)
        else:
            for body in node.bodies:
                yield from exits(body.structure, scope)


def suggest(name: str, names: Sequence[str]) -> str:
    """What to try where a name finds nothing."""
    near = difflib.get_close_matches(name, names, n=2)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else "print(fg.trace(...)) lists the names."


def _prefixes(scope: str) -> Iterator[str]:
    parts = scope.split("/")
    yield from ("/".join(parts[: i + 1]) for i in range(len(parts)) if scope)


def _stands_in(node: Node, scope: str) -> bool:
    return node.scope == scope or node.scope.startswith(f"{scope}/")
