"""Places of a graph: what a `Where`, or a string that stands for one, names in it, for everybody who asks.

A string is read as the first of these that it fits: the name of a value or of a node (a node's outputs go by its name
too), the name of an argument, a scope, the path of a leaf without the name of its argument, one use of a value
(`w@x1`). So a name that is printed always stands for what it is printed for, and what is shorter is read so where
nothing has that name. A glob is read in the same way, and stands for all that fit the first line in which one does.

A use is a value only where a node hands it on; `with_uses` puts that node into the graph, for what is asked for.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NoReturn

from funcgrad.errors import GradientError, describe, said_by
from funcgrad.graph.edges import Use, apart, chosen_uses, readers_in, shortened, splits
from funcgrad.graph.given_names import labels_in
from funcgrad.graph.graphs import Graph
from funcgrad.graph.structures import Structure
from funcgrad.graph.turns import Turn, checked_turn
from funcgrad.graph.values import Measurement, Node, Value
from funcgrad.naming import Where, choose, is_glob, matches, suggest
from funcgrad.primitive import bodies
from funcgrad.registry import Equation, Target
from funcgrad.view import listed

_LIST = "print(fg.trace(...)) lists the names."


@dataclass(frozen=True)
class Found:
    """The values that one place stands for, by what they are called in the answer."""

    where: Where
    values: Mapping[str, Value]
    is_one: bool
    """Whether it was a name that stands for one value, so that the answer may be that value itself."""
    turns: Mapping[str, Turn] = field(default_factory=dict)
    """Which turn of each value is meant, by the same names; none where all are."""

    def at_turn(self) -> "Found":
        """The same values at the turn that the place says; GradientError where one has no such turn."""
        turn = self.where.turn
        if not isinstance(turn, tuple):
            return self
        names = {name: f"{name}[{','.join(map(str, turn))}]" for name in self.values}
        turns = {names[name]: checked_turn(v, turn) for name, v in self.values.items()}
        return replace(self, values={names[name]: v for name, v in self.values.items()}, turns=turns)


class Addresses:
    """The places of one graph. What nobody asks for is not looked up."""

    def __init__(self, structure: Structure, among: Iterable[Value] | None = None):
        """Of the `structure`, the values that may be found are those `among`, all by default."""
        self.structure = structure
        self._among = among

    @cached_property
    def among(self) -> tuple[Value, ...]:
        """The values that may be found, but for their uses."""
        return tuple(v for v in (self.structure.values if self._among is None else self._among) if v not in self._used)

    @cached_property
    def _used(self) -> dict[Value, Node]:
        """What stands for one use of a value, and the node that makes it of the value."""
        return {n.outputs[0]: n for n in self.structure.all_nodes if isinstance(n.function, Use)}

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes of the function, those inside of others included, and none that was put in since."""
        return tuple(node for node in self.structure.all_nodes if not isinstance(node.function, Measurement | Use))

    @cached_property
    def _by_name(self) -> dict[str, Value]:
        return {v.name: v for v in self.among}

    @cached_property
    def _by_maker(self) -> dict[str, tuple[Value, ...]]:
        """What nodes make that do not share their name with an output."""
        found = ((n.name, n.outputs) for n in self.nodes if all(v.name != n.name for v in n.outputs))
        may = set(self.among)
        return {name: own for name, outputs in found if (own := tuple(v for v in outputs if v in may))}

    @cached_property
    def _scopes(self) -> list[str]:
        return list(dict.fromkeys(s for node in self.nodes for s in _prefixes(node.scope)))

    def find(self, where: Where) -> Found:
        """The floating values that a place stands for: one at least.

        Raises:
            GradientError: nothing is there, it could be one of several, or it has a name and is no floating value.
        """
        return self._find(where).at_turn()

    def _find(self, where: Where) -> Found:
        sign, _ = where.joined
        if sign or where.path is None:
            chosen = self._values(where)
            values = {v.name: v for v in (*self.among, *self._used) if v in chosen and v.is_inexact}
            if not values:
                raise GradientError(f"No value is '{where}', though each part of that is somewhere; {_LIST}")
            return Found(where, values, False)
        found, is_several = self._path(where.path)
        values = {name: v for name, v in found.items() if v.is_inexact}
        if not values:
            if found and not is_glob(where.path):
                raise GradientError(_refused(where.path, next(iter(found.values()))))
            raise GradientError(self.missing(where.path))
        if is_glob(where.path) or is_several or len(values) > 1:
            return Found(where, values, False)
        return Found(where, {where.path: next(iter(values.values()))}, True)

    def find_argument(self, name: str) -> Found:
        """The floating leaves of the argument of this name, which has several; GradientError where none is floating."""
        leaves = _leaves_of(name, self._by_name)
        refuse_shared([name], self.structure)
        values = {n: self._by_name[n] for n in leaves if self._by_name[n].is_inexact}
        if leaves and not values:
            raise GradientError(_refused(leaves[0], self._by_name[leaves[0]]))
        return Found(Where(name), values, False) if values else self._nowhere(self.missing(name))

    def has(self, where: Where) -> bool:
        """Whether a place stands for something."""
        try:
            self.find(where)
        except GradientError:
            return False
        return True

    def find_nodes(self, where: Where, among: Collection[Node]) -> list[Node]:
        """Those of some nodes that a place stands for, of which there may be none.

        Raises:
            GradientError: a part of a combination stands for nothing in the whole graph.
        """
        sign, _ = where.joined
        chosen = self._nodes(where, among) if sign or where.path is None else self._nodes_at(where.path, among)
        return [node for node in among if node in chosen]

    def _values(self, where: Where) -> frozenset[Value]:
        sign, _ = where.joined
        if where.path is not None and not sign:
            return frozenset(self._path(where.path)[0].values()) or self._nowhere(self.missing(where.path))
        if sign in ("", "&") and where.is_of_nodes:
            return frozenset(v for node in self._nodes(where, self.nodes) for v in node.outputs)
        return where.joining(self._values, self.among)

    def _nodes(self, where: Where, among: Collection[Node]) -> frozenset[Node]:
        """Those of some nodes, refusing what stands for nothing in the whole graph."""
        if where.joined[0]:
            return where.joining(lambda part: self._nodes(part, among), among)
        if where.path is not None:
            found = self._nodes_at(where.path, among)
            is_there = found or self._nodes_at(where.path, self.nodes) or self._path(where.path)[0]
            return found if is_there else self._nowhere(self.missing(where.path))
        if where.op is not None:
            return self._applying(where.op, among)
        found = frozenset(node for node in among if _fits(where, node))
        if not found and not any(_fits(where, node) for node in self.nodes):
            self._nowhere(f"No node fits {where}; print(fg.trace(...)) lists them.")
        return found

    def _applying(self, op: Any, among: Collection[Node]) -> frozenset[Node]:
        """Those of some nodes that apply an op, a function of JAX's, or what has a name or fits a glob."""
        if isinstance(op, str):
            title, applies = op, lambda node: matches(op, node.op_name)
        else:
            target = Target.of(op)
            title, applies = target.title, lambda node: target.covers(node.function)
        if not any(map(applies, self.nodes)):
            self._nowhere(f"No node is a {title}; {nearest_ops(title, self.nodes)}")
        return frozenset(filter(applies, among))

    def _nowhere(self, sentence: str) -> NoReturn:
        raise GradientError(sentence)

    def _path(self, path: str) -> tuple[dict[str, Value], bool]:
        """What a name or a glob stands for, and whether it is made to stand for several; nothing where nothing is."""
        is_name = not is_glob(path)
        if found := self._named(path):
            if is_name:
                refuse_shared((v.name for v in found.values()), self.structure)
            else:
                self._refuse_uses(path, [name for name, v in found.items() if v in self.structure.inputs])
            return found, False
        may = set(self.among)
        scoped: dict[str, Value] = {}
        for scope in choose(path, self._scopes):
            leaving = [v for v in exits(self.structure, scope) if v in may]
            scoped |= {scope: leaving[0]} if len(leaving) == 1 else {v.name: v for v in leaving}
        if scoped:
            return scoped, False
        inputs = {v.name: v for v in self.structure.inputs if v in may}
        if found := _leaves_of(path, inputs):
            refuse_shared([path], self.structure)
            return {name: inputs[name] for name in found}, True
        leaves, uses = _of_one_argument(path, inputs), self._uses_at(path)
        if leaves and not is_name:
            self._refuse_uses(path, leaves)
        if leaves and uses and is_name:
            self._nowhere(
                f"'{path}' could be '{leaves[0]}' or '{next(iter(uses))}'; write the name of the argument in front, or "
                f"more of the name of the node that reads it."
            )
        return {name: inputs[name] for name in leaves} or uses, False

    def _uses_at(self, path: str) -> dict[str, Value]:
        """The uses of values that a path with an `@` stands for, as far as the graph has nodes for them."""
        if not self._used or "@" not in path:
            return {}
        found: dict[str, Value] = {}
        for written, reader in splits(path):
            values = set(self._path(written)[0].values())
            uses: dict[Value, list[Use]] = {}
            made: dict[Use, Value] = {}
            for copy, node in self._used.items():
                (v,) = node.inputs
                if v in values and isinstance(v, Value) and isinstance(node.function, Use):
                    uses.setdefault(v, []).append(node.function)
                    made[node.function] = copy
            found |= {made[use].name: made[use] for own in uses.values() for use in chosen_uses(reader, own)}
        return found

    def _refuse_uses(self, glob: str, names: Sequence[str]) -> None:
        """GradientError if arguments that a glob finds by name are named like uses, and it stands for uses as well.

        What is named so inside of the graph is a use: networks of ours name them.
        """
        for v in self.used_at(glob) if names else ():
            if any(matches(glob, use) or matches(glob, use.partition("/")[2]) for use in self._uses_of(v)):
                written = glob.replace("@", r"\@")
                self._nowhere(
                    f"'{glob}' could be '{next(iter(names))}', which is named so, or uses of '{v.name}'; write "
                    f"r'{written}' for what is named so, and a use by its whole name."
                )

    def is_named(self, path: str) -> bool:
        """Whether a path or glob is the name of something by itself."""
        return bool(self._named(path) or choose(path, self._scopes))

    def used_at(self, path: str) -> frozenset[Value]:
        """The values that stand before an `@` in a path."""
        parts = (written for written, _ in splits(path)) if "@" in path else ()
        return frozenset(v for written in parts for v in self._path(written)[0].values() if v.is_inexact)

    def _named(self, path: str) -> dict[str, Value]:
        """The values that are named so, or made by nodes that are."""
        found = {name: self._by_name[name] for name in choose(path, self._by_name)}
        if not found or is_glob(path):
            made = [v for name in choose(path, self._by_maker) for v in self._by_maker[name]]
            found |= {v.name: v for v in made}  # last, though they may be made first: a mapping is asked by name
        return found

    def _nodes_at(self, path: str, among: Collection[Node]) -> frozenset[Node]:
        """Those of some nodes that have this name, or an output that has; else those inside of the scope."""
        names: dict[str, Node] = {name: n for n in among for name in (n.name, *(v.name for v in n.outputs))}
        if found := choose(path, names):
            return frozenset(names[name] for name in found)
        scopes = choose(path, self._scopes)
        return frozenset(node for node in among if any(_stands_in(node, scope) for scope in scopes))

    def missing(self, path: str) -> str:
        """The sentence for a path that stands for nothing: why, or which is meant."""
        for constant in self.structure.constants:
            if constant.name == path:
                return (
                    f"'{path}' is {describe(constant.aval)} that the function closes over, and not one of its values; "
                    f"pass it as an argument."
                )
        for node in self.structure.all_nodes:
            if isinstance(node.function, Equation) and not node.bodies:
                around = f"{node.scope}/" if node.scope else ""
                inside = (around + label for inner in bodies(node.function.source) for label in labels_in(inner))
                if any(matches(path, label) for label in inside):
                    return (
                        f"'{path}' is inside '{node.name}', which is differentiated as a whole; name what goes in or "
                        f"comes out of it."
                    )
        if used := sorted(self.used_at(path), key=lambda v: v.name):
            read = [f"'{use}'" for use in self._uses_of(used[0])]
            more = f" and {len(read) - 8} more" if len(read) > 8 else ""
            return f"'{path}' is no use of '{used[0].name}', whose uses are {', '.join(read[:8]) or 'none'}{more}."
        known = [v.name for v in self.among if v.is_inexact]
        names = [*known, *self._by_maker, *self._scopes]
        before = (suggest(written, names) for written, _ in splits(path))
        inner = {v.name.partition("/")[2] for v in self.structure.inputs}
        near = next(filter(None, before), "") or hint(path, names, inner) or _LIST
        return f"No value or scope is named '{path}'; {near}"

    def near(self, where: Where, nodes: Iterable[Node]) -> str:
        """The end of a sentence about a path that stands for nothing in the whole graph: where the nodes are, if near.

        Nothing for any other place.
        """
        path = where.path
        if where.joined[0] or path is None or self._nodes_at(path, self.nodes) or self.has(where):
            return ""
        names = (name for n in nodes for name in (n.name, *(v.name for v in n.outputs), *_prefixes(n.scope)))
        return suggest(path, list(dict.fromkeys(names)))

    def _uses_of(self, value: Value) -> list[str]:
        """The names of the uses of a value."""
        if names := [copy.name for copy, node in self._used.items() if node.inputs[0] is value]:
            return names
        inside = (body.structure for node in self.structure.all_nodes for body in node.bodies)
        readers = (readers_in(structure, {value}).get(value, []) for structure in (self.structure, *inside))
        return [f"{value.name}@{use}" for found in readers for use in shortened(value.name, found)]


def with_uses(graph: Graph, places: Iterable[Where]) -> Graph:
    """The graph in which the uses that some places stand for are values: each use of a value that they speak of."""
    paths = [atom.path for where in places for atom in where.atoms if atom.path is not None and "@" in atom.path]
    if not paths:
        return graph
    addresses = Addresses(graph.structure)
    used = frozenset(v for path in paths if not addresses.is_named(path) for v in addresses.used_at(path))
    return replace(graph, structure=apart(graph.structure, used)[0]) if used else graph


def merged(found: Iterable[Found]) -> dict[str, Value]:
    """What several places stand for; a value that is asked for by its name is not listed by a glob again."""
    found = tuple(found)
    named = {v for f in found if f.is_one and not f.turns for v in f.values.values()}
    return {name: v for f in found for name, v in f.values.items() if f.is_one or f.turns or v not in named}


def _refused(name: str, value: Value) -> str:
    return f"'{name}' is {describe(value.aval)}; only floating or complex values have gradients."


def _fits(where: Where, node: Node) -> bool:
    """Whether a predicate is true of a node; GradientError, with the node, where it raises."""
    assert where.when is not None
    try:
        return bool(where.when(node))
    except Exception as error:
        raise GradientError(
            f"fg.Where({where}) raised {said_by(error)} at '{node.name}' (a {node.op_name}); it is asked about every "
            f"node, of which inputs and outputs may be several or none."
        ) from error


def leaves_at(where: Where, names: Collection[str]) -> frozenset[str]:
    """Those of the names of arguments' leaves that a place may stand for."""
    if where.joined[0]:
        return where.joining(lambda part: leaves_at(part, names), names)
    if where.path is None:
        return frozenset()
    path = where.path
    found = choose(path, names) or _leaves_of(path, names) or _without_argument(path, names)
    of_uses = (leaves_at(Where(value), names) for value, _ in splits(path)) if "@" in path and not found else ()
    return frozenset(found).union(*of_uses)


def _leaves_of(argument: str, names: Iterable[str]) -> list[str]:
    """Those of the names of arguments' leaves that are in the argument of a name."""
    return [name for name in names if name.startswith(f"{argument}/")] if "/" not in argument else []


def _without_argument(path: str, names: Iterable[str]) -> list[str]:
    """Those of the names of arguments' leaves that a path or glob fits without its first part, the argument's name."""
    inner: dict[str, list[str]] = {}
    for name in names:
        if "/" in name:
            inner.setdefault(name.partition("/")[2], []).append(name)
    return [name for rest in choose(path, inner) for name in inner[rest]]


def _of_one_argument(path: str, names: Iterable[str]) -> list[str]:
    """The same; GradientError if they are in several arguments."""
    found = _without_argument(path, names)
    first = {name.partition("/")[0]: name for name in reversed(found)}
    if len(first) > 1:
        meant = " or ".join(f"'{name}'" for name in reversed(first.values()))
        raise GradientError(f"'{path}' could be {meant}; write the name of the argument in front.")
    return found


def nearest_ops(op: str, nodes: Iterable[Node]) -> str:
    """The end of a sentence about an op that no node applies: those whose names are much like it, else the first."""
    ops = list(dict.fromkeys(node.op_name for node in nodes))
    return suggest(op, ops) or (f"its ops are {listed(ops, 5)}." if ops else "it has no nodes.")


def hint(path: str, names: Sequence[str], inner: Collection[str] = ()) -> str:
    """The end of a sentence about a path that stands for nothing: what is below it, or what is named much like it.

    What is below may have names of which a first part may be left out: `inner` is the rest of these.
    """
    below = any(name.startswith(f"{path}/") for name in (*names, *inner))
    return f"what is below it matches '{path}/**'." if below else suggest(path, names)


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


def exits(structure: Structure, scope: str) -> Iterator[Value]:
    """The floating values that are made in a scope and read outside of it."""
    inside = {node for node in structure.nodes if _stands_in(node, scope)}
    readers = (n for n in structure.nodes if n not in inside and not isinstance(n.function, Measurement))
    outer = (v for node in readers for v in node.inputs)
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
