"""A graph folded by scope: what stands in one is drawn as one, until there is room to open it.

Nothing here recurs: scopes may be nested deeper than Python's stack.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import GeneratorType
from typing import Any

from funcgrad.graph.structures import Structure
from funcgrad.graph.values import Constant, Node, Value

ALIKE = 3
"""From how many neighbours on they are drawn as one."""

Place = tuple[int, ...]
"""Where something stands in a tree: the position of what holds it in what holds that, and so on."""


@dataclass(eq=False)
class Folder:
    """A scope, or a node that holds graphs, with what is in it, in topological order.

    A scope that reads what was made after it of its own values is several folders, one after another.
    """

    name: str
    place: Place = ()
    node: Node | None = None
    """The node that holds the graphs, where it is no scope."""
    items: "list[Node | Folder]" = field(default_factory=list)
    latest: "dict[str, Folder]" = field(default_factory=dict)
    """The last folder of each scope in it."""

    @property
    def folders(self) -> "list[Folder]":
        """The folders directly in it."""
        return [item for item in self.items if isinstance(item, Folder)]

    @property
    def nodes(self) -> Iterator[Node]:
        """All nodes in it, at any depth; a node that holds graphs counts beside those it holds."""
        waiting: list[Node | Folder] = [self]
        while waiting:
            item = waiting.pop()
            if not isinstance(item, Folder):
                yield item
                continue
            if item.node:
                yield item.node
            waiting.extend(reversed(item.items))

    @property
    def all_folders(self) -> "Iterator[Folder]":
        """Itself, and the folders in it at any depth."""
        waiting: list[Folder] = [self]
        while waiting:
            folder = waiting.pop()
            yield folder
            waiting.extend(folder.folders)

    @property
    def ops(self) -> Counter[str]:
        """How many nodes there are of each op."""
        return Counter(node.op_name for node in self.nodes)

    @cached_property
    def kinds(self) -> list[Any]:
        """The ops in it, and the shapes that they make."""
        return [(node.op_name, [(v.aval.shape, v.aval.dtype) for v in node.outputs]) for node in self.nodes]

    def is_like(self, other: "Node | Folder") -> bool:
        """Whether the same ops make values of the same shapes, in the same order: another layer of the same kind."""
        if not isinstance(other, Folder) or (self.node is None) != (other.node is None):
            return False
        return self.kinds == other.kinds

    def scope(self, name: str, inputs: Collection[Place]) -> "Folder":
        """The folder of a scope in this one in which something can stand that reads what is made at `inputs`.

        The last one of the scope, unless some input stands after it.
        """
        folder = self.latest.get(name)
        if folder is None or any(place[: len(folder.place)] > folder.place for place in inputs):
            path = "/".join(part for part in (self.name if self.node is None else _around(self.name), name) if part)
            folder = self.latest[name] = Folder(path, self.next_place)
            self.items.append(folder)
        return folder

    @property
    def next_place(self) -> Place:
        """Where what is put into it next will stand."""
        return (*self.place, len(self.items))


def fold(structure: Structure) -> Folder:
    """The tree of scopes of a graph. Read from top to bottom, every node stands after what it reads."""
    root = Folder("")
    waiting = [(root, structure)]
    while waiting:
        folder, inside = waiting.pop()
        waiting += reversed(_fill(folder, inside))
    return root


def _fill(root: Folder, structure: Structure) -> list[tuple[Folder, Structure]]:
    """Put the nodes of a graph into a folder; returns the folders of those that hold graphs, still empty."""
    root.latest.clear()  # what a graph beside this one has in a scope, it has apart
    places: dict[Value | Constant, Place] = {}
    holders = []
    for node in structure.nodes:
        inputs, home = [places[v] for v in node.inputs if v in places], root
        for part in filter(None, _below(node.scope, root.name).split("/")):
            home = home.scope(part, inputs)
        places |= dict.fromkeys(node.outputs, home.next_place)
        if node.bodies:
            holder = Folder(node.name, home.next_place, node)
            home.items.append(holder)
            holders += [(holder, body.structure) for body in node.bodies]
        else:
            home.items.append(node)
    return holders


def _around(name: str) -> str:
    return name.rpartition("/")[0]


def _below(scope: str, root: str) -> str:
    """The part of a scope that the node around it does not stand in already."""
    around = _around(root)
    return scope.removeprefix(around).strip("/") if around and f"{scope}/".startswith(f"{around}/") else scope


def open_folders(root: Folder, most: int, alike_as_one: bool = True) -> set[Folder]:
    """The folders that can be open while about `most` items are shown, of which several alike may count as one.

    All, if there is room for everything; else outer ones first, a whole level or none, and none of several alike.
    """
    size = lambda folder: sum(1 for _ in alike_runs(folder.items)) if alike_as_one else len(folder.items)  # noqa: E731
    if sum(1 for _ in root.nodes) <= most:
        return set(root.all_folders)
    opened, shown, level = {root}, size(root), _unlike(root)
    while level:
        shown += sum(map(size, level))
        if shown > most:
            break
        opened.update(level)
        level = [inner for folder in level for inner in _unlike(folder)]
    return opened


def _unlike(folder: Folder) -> list[Folder]:
    """The folders in a folder that are not among several alike."""
    return [run[0] for run in alike_runs(folder.items) if len(run) == 1 and isinstance(run[0], Folder)]


def alike_runs(items: "Sequence[Node | Folder]") -> "Iterator[Sequence[Node | Folder]]":
    """The items, those of `ALIKE` and more neighbouring folders that are alike together."""
    i = 0
    while i < len(items):
        first, n = items[i], 1
        if isinstance(first, Folder):
            n = next((k for k, other in enumerate(items[i:]) if not first.is_like(other)), len(items) - i)
        yield from [items[i : i + n]] if n >= ALIKE else ([item] for item in items[i : i + n])
        i += n


def shown_as(root: Folder, opened: Collection[Folder]) -> dict[Node, "Node | Folder"]:
    """For every node, what is drawn in its place: itself, or the outermost closed folder around it."""
    drawn: dict[Node, Node | Folder] = {}
    waiting = [root]
    while waiting:
        for item in waiting.pop().items:
            if not isinstance(item, Folder):
                drawn[item] = item
            elif item in opened:
                waiting.append(item)
                if item.node:
                    drawn[item.node] = item
            else:
                drawn |= dict.fromkeys(item.nodes, item)
    return drawn


Readers = dict[Value | Constant, list[Node | None]]
"""The nodes that read each value; None stands for the caller, who gets it."""


def readers_of(structure: Structure) -> Readers:
    """Who reads the values of a graph and of those inside."""
    readers: Readers = {}
    for node in structure.all_nodes:
        for v in node.inputs:
            readers.setdefault(v, []).append(node)
    for v in _results(structure):
        readers.setdefault(v, []).append(None)
    return readers


def makes(item: "Node | Folder", readers: Readers) -> list[Value]:
    """What a node or folder makes that others read."""
    if not isinstance(item, Folder):
        return list(item.outputs)
    if item.node:
        return list(item.node.outputs)
    inside: set[Node | None] = set(item.nodes)
    return [v for n in item.nodes for v in n.outputs if any(reader not in inside for reader in readers.get(v, ()))]


def _results(structure: Structure) -> set[Value | Constant]:
    held = (_results(body.structure) for node in structure.nodes for body in node.bodies)
    return {*structure.outputs}.union(*held)


def flattened(lines: Iterator[Any]) -> Iterator[Any]:
    """The lines of a generator that yields another one where lines of an inner folder stand."""
    waiting = [lines]
    while waiting:
        for line in waiting[-1]:
            if isinstance(line, GeneratorType):
                waiting.append(line)
                break
            yield line
        else:
            waiting.pop()


def group_inputs(structure: Structure, most: int) -> dict[Value, str]:
    """What an input is drawn as: itself, or where they are more than `most`, the argument it belongs to."""
    if len(structure.inputs) <= most:
        return {v: str(v) for v in structure.inputs}
    groups: dict[str, list[Value]] = {}
    for v in structure.inputs:
        groups.setdefault(v.name.split("/")[0], []).append(v)
    return {v: str(v) if len(vs) == 1 else f"{name}: {len(vs)} arrays" for name, vs in groups.items() for v in vs}
