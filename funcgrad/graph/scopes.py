"""What a pattern names in a graph: values, or scopes, by the values that leave them."""

from collections.abc import Iterable, Iterator, Sequence

from funcgrad.errors import GradientError, describe
from funcgrad.graph.labels import labels_in
from funcgrad.graph.structures import Structure
from funcgrad.graph.values import Node, Value
from funcgrad.naming import choose, is_glob, matches, suggest
from funcgrad.primitive import bodies
from funcgrad.registry import Equation


def find(structure: Structure, pattern: str, values: Iterable[Value]) -> dict[str, Value]:
    """The values with this name, or whose names match this glob, by name; else those that leave such a scope.

    A scope that one value leaves, as a module's does whose result is one array, gives it its name.

    Args:
        structure: the graph.
        pattern: a name or a glob, `*` within a segment, `**` across segments.
        values: those that may be found.

    Raises:
        GradientError: nothing is named so, or it could be one of several.
    """
    allowed = {v.name: v for v in values}
    if names := choose(pattern, allowed):
        if not is_glob(pattern):
            refuse_shared(names, structure)
        return {name: allowed[name] for name in names}
    scopes = list(dict.fromkeys(s for node in structure.all_nodes for s in _prefixes(node.scope)))
    found: dict[str, Value] = {}
    for scope in choose(pattern, scopes):
        leaving = [v for v in exits(structure, scope) if allowed.get(v.name) is v]
        found |= {scope: leaving[0]} if len(leaving) == 1 else {v.name: v for v in leaving}
    if not found:
        raise GradientError(missing(pattern, structure, list(allowed), "value or scope"))
    return found


def refuse_shared(names: Iterable[str], structure: Structure) -> None:
    """GradientError if one of the names is that of an argument, and the user gave it to another value as well.

    To the argument itself the user may give its own name.
    """
    arguments = (part for v in structure.inputs for part in (v.name, v.name.partition("/")[0]))
    asked = set(names).intersection(arguments)
    for node in structure.all_nodes if asked else ():
        for v in node.outputs:
            base, _, number = v.name.rpartition("#")
            is_argument = node.op_name == "name" and node.inputs[0].name == base
            if base in asked and number.isdecimal() and _is_labelled(node, v) and not is_argument:
                raise GradientError(
                    f"'{base}' is an argument and the name of a value that is made from it or beside it, listed as "
                    f"'{v.name}'; ask for that, or for the argument by its position, or rename one."
                )


def _is_labelled(node: Node, value: Value) -> bool:
    """Whether the user named this output of a node, and not with this very number."""
    label = value.label or (node.function if node.op_name == "name" else None)
    return isinstance(label, Equation) and not value.name.endswith(label.source.params["name"])


def missing(pattern: str, structure: Structure, names: Sequence[str], what: str = "value") -> str:
    """The sentence for a pattern that stands for none of the names: why, or which is meant."""
    for constant in structure.constants:
        if constant.name == pattern:
            return (
                f"'{pattern}' is {describe(constant.aval)} that the function closes over, and not one of its values; "
                f"pass it as an argument."
            )
    for node in structure.all_nodes:
        if isinstance(node.function, Equation) and not node.bodies:
            around = f"{node.scope}/" if node.scope else ""
            inside = (around + label for inner in bodies(node.function.source) for label in labels_in(inner))
            if any(matches(pattern, label) for label in inside):
                return (
                    f"'{pattern}' is inside '{node.name}', which is differentiated as a whole; name what goes in or "
                    f"comes out of it."
                )
    return f"No {what} is named '{pattern}'; " + (suggest(pattern, names) or "print(fg.trace(...)) lists the names.")


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


def _prefixes(scope: str) -> Iterator[str]:
    parts = scope.split("/")
    yield from ("/".join(parts[: i + 1]) for i in range(len(parts)) if scope)


def _stands_in(node: Node, scope: str) -> bool:
    return node.scope == scope or node.scope.startswith(f"{scope}/")
