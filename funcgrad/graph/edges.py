"""Uses of a value apart: what each of its readers gives back, before it is added up.

A use is called `value@reader`. The reader's part is the shortest leading part of the reading node's name that no other
reader of the value has, without what the value's own name and those of all its readers begin with: `w@x1` is what
`x1/linear` reads, where nothing else inside of x1 reads it. What the graph returns, it reads as `return`.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

import jax

from funcgrad.errors import GradientError
from funcgrad.graph.structures import Structure
from funcgrad.graph.values import Node, Value
from funcgrad.naming import Names, holds, is_glob, name
from funcgrad.registry import Equation

RETURN = "return"
"""The reader of what a graph, or a graph inside of it, returns."""


@dataclass(frozen=True, eq=False)
class Use(Equation):
    """The function of a node that hands a value on to one of its readers, as it is."""

    reader: str = field(kw_only=True)
    """The name of the node that reads it."""
    short: str = field(kw_only=True)
    """What it is called after the `@`."""


def apart(
    structure: Structure, values: Collection[Value], results: bool = True
) -> tuple[Structure, dict[Value, tuple[str, str]]]:
    """The graph in which every node reads its own copy of each of the values.

    Args:
        structure: the graph.
        values: those of which every use gets a node.
        results: whether that a graph returns a value is one of its uses.

    Returns:
        The graph, and for each copy the names of the value and of the node that reads it.
    """
    copies: dict[Value, tuple[str, str]] = {}
    return _apart(structure, frozenset(values), results, structure.names, copies), copies


def _apart(
    structure: Structure,
    values: frozenset[Value],
    results: bool,
    names: Names,
    copies: dict[Value, tuple[str, str]],
) -> Structure:
    mine = {v: readers for v, readers in readers_in(structure, values).items() if v in values}
    shorts = {v: dict(zip(readers, shortened(v.name, readers), strict=True)) for v, readers in mine.items()}
    nodes: list[Node] = []

    def use(v: Value, reader: str, scope: str) -> Value:
        short = shorts[v][reader]
        copy = Value(names.give(f"{v.name}@{short}"), v.aval, v.loops)
        copies[copy] = (v.name, reader)
        nodes.append(Node(copy.name, scope, Use(_identity(v), reader=reader, short=short), (v,), (copy,)))
        return copy

    for node in structure.nodes:
        read = [v for v in node.inputs if isinstance(v, Value) and v in values]
        own = {v: use(v, node.name, node.scope) for v in dict.fromkeys(read)}
        inputs = tuple(own.get(v, v) if isinstance(v, Value) else v for v in node.inputs)
        bodies = tuple(replace(b, structure=_apart(b.structure, values, results, names, copies)) for b in node.bodies)
        nodes.append(replace(node, inputs=inputs, bodies=bodies) if own or bodies else node)
    returned = [v for v in structure.outputs if isinstance(v, Value) and v in values] if results else []
    own = {v: use(v, RETURN, "") for v in dict.fromkeys(returned)}
    outputs = tuple(own.get(v, v) if isinstance(v, Value) else v for v in structure.outputs)
    return replace(structure, nodes=tuple(nodes), outputs=outputs)


def _identity(value: Value) -> object:
    """An equation that hands on a value as it is."""
    return jax.make_jaxpr(lambda x: name(x, "use"))(value.aval).eqns[0]


def readers_in(structure: Structure, values: Collection[Value]) -> dict[Value, list[str]]:
    """The names of the nodes that read some values, in the graph that these are of; `return` where it returns one."""
    readers: dict[Value, list[str]] = {}
    for node in structure.nodes:
        for v in dict.fromkeys(node.inputs):
            if isinstance(v, Value) and v in values:
                readers.setdefault(v, []).append(node.name)
    for v in dict.fromkeys(structure.outputs):
        if isinstance(v, Value) and v in values:
            readers.setdefault(v, []).append(RETURN)
    return readers


def shortened(value: str, readers: Sequence[str]) -> list[str]:
    """What the uses of a value are called after the `@`.

    >>> shortened("params/w1", ["x1/linear", "x3/linear", "x3/add"])
    ['x1', 'x3/linear', 'x3/add']
    """
    paths = [reader.split("/") for reader in readers]
    own = value.split("/")[:-1]
    common = 0
    while all(len(path) > common + 1 and path[common : common + 1] == own[common : common + 1] for path in paths):
        common += 1
    rests = [path[common:] for path in paths]
    return ["/".join(_distinct(rest, [other for other in rests if other is not rest])) for rest in rests]


def _distinct(path: Sequence[str], others: Sequence[Sequence[str]]) -> Sequence[str]:
    """The shortest leading part of a path that is none of any other."""
    lengths = (n for n in range(1, len(path) + 1) if all(other[:n] != path[:n] for other in others))
    return path[: next(lengths, len(path))]


def splits(path: str) -> Iterator[tuple[str, str]]:
    r"""A path as that of a value and what follows an `@`, in every way that it can be read; `\@` is no such sign."""
    for sign in re.finditer(r"(?<!\\)@", path):
        value, reader = path[: sign.start()], path[sign.end() :]
        if value and reader:
            yield value, reader


def chosen_uses(written: str, uses: Sequence[Use]) -> list[Use]:
    """Those of the uses of one value that are meant by what is written after the `@`.

    That is the use's short name, the node's name, a scope around the node, of which it may hold several, or what only
    one of the nodes has anywhere in its name.

    Raises:
        GradientError: it is part of the names of several.
    """
    if is_glob(written):
        return [use for use in uses if holds(written, use.short) or holds(written, use.reader)]
    tests = (
        lambda use: use.short == written,
        lambda use: use.reader == written,
        lambda use: use.short.startswith(f"{written}/") or use.reader.startswith(f"{written}/"),
    )
    for test in tests:
        if found := [use for use in uses if test(use)]:
            return found
    found = [use for use in uses if f"/{written}/" in f"/{use.reader}/"]
    if len(found) > 1:
        raise GradientError(f"'@{written}' could be {' or '.join(repr(f'@{use.short}') for use in found)}.")
    return found
