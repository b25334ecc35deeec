"""A graph folded by scope: what stands in one is drawn as one, until there is room to open it."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from funcgrad.graph.structures import Structure
from funcgrad.graph.values import Constant, Node, Value

ALIKE = 3
"""From how many neighbours on they are drawn as one."""


@dataclass(eq=False)
class Folder:
    """A scope, or a node that holds graphs, with what is in it, in order of first appearance."""

    name: str
    node: Node | None = None
    """The node that holds the graphs, where it is no scope."""
    items: "list[Node | Folder]" = field(default_factory=list)

    @property
    def folders(self) -> "list[Folder]":
        """The folders directly in it."""
        return [item for item in self.items if isinstance(item, Folder)]

    @property
    def nodes(self) -> Iterator[Node]:
        """All nodes in it, at any depth; a node that holds graphs counts beside those it holds."""
        if self.node:
            yield self.node
        for item in self.items:
            if isinstance(item, Folder):
                yield from item.nodes
            else:
                yield item

    @property
    def ops(self) -> Counter[str]:
        """How many nodes there are of each op."""
        return Counter(node.op_name for node in self.nodes)

    def is_like(self, other: "Node | Folder") -> bool:
        """Whether the same ops make values of the same shapes, in the same order: another layer of the same kind."""
        if not isinstance(other, Folder) or (self.node is None) != (other.node is None):
            return False
        return [_kind(n) for n in self.nodes] == [_kind(n) for n in other.nodes]


def _kind(node: Node) -> tuple[str, list[object]]:
    return node.op_name, [(v.aval.shape, v.aval.dtype) for v in node.outputs]


def fold(structure: Structure) -> Folder:
    """The tree of scopes of a graph."""
    root = Folder("")
    _fill(root, structure)
    return root


def _fill(root: Folder, structure: Structure) -> None:
    scopes = {"": root}
    for node in structure.nodes:
        home = _folder_of(_below(node.scope, root.name), root, scopes)
        if node.bodies:
            holder = Folder(node.name, node)
            home.items.append(holder)
            for body in node.bodies:
                _fill(holder, body.structure)
        else:
            home.items.append(node)


def _below(scope: str, root: str) -> str:
    """The part of a scope that the node around it does not stand in already."""
    around = root.rpartition("/")[0]
    return scope.removeprefix(around).strip("/") if around and f"{scope}/".startswith(f"{around}/") else scope


def _folder_of(scope: str, root: Folder, scopes: dict[str, Folder]) -> Folder:
    if scope not in scopes:
        outer = _folder_of(scope.rpartition("/")[0], root, scopes)
        around = root.name.rpartition("/")[0] if root.node else ""
        scopes[scope] = Folder("/".join(part for part in (around, scope) if part))
        outer.items.append(scopes[scope])
    return scopes[scope]


def open_folders(root: Folder, most: int, alike_as_one: bool = True) -> set[Folder]:
    """The folders that can be open while about `most` items are shown, of which several alike may count as one.

    All, if there is room for everything; else outer ones first, a whole level or none, and none of several alike.
    """
    size = lambda folder: sum(1 for _ in alike_runs(folder.items)) if alike_as_one else len(folder.items)  # noqa: E731
    if sum(1 for _ in root.nodes) <= most:
        return set(_all(root))
    opened, shown, level = {root}, size(root), _unlike(root)
    while level:
        shown += sum(map(size, level))
        if shown > most:
            break
        opened.update(level)
        level = [inner for folder in level for inner in _unlike(folder)]
    return opened


def _all(folder: Folder) -> Iterator[Folder]:
    yield folder
    for inner in folder.folders:
        yield from _all(inner)


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
    for item in root.items:
        if not isinstance(item, Folder):
            drawn[item] = item
        elif item in opened:
            drawn |= shown_as(item, opened)
            if item.node:
                drawn[item.node] = item
        else:
            drawn |= dict.fromkeys(item.nodes, item)
    return drawn


def makes(item: "Node | Folder", structure: Structure) -> list[Value]:
    """What a node or folder makes that others read."""
    if not isinstance(item, Folder):
        return list(item.outputs)
    if item.node:
        return list(item.node.outputs)
    inside = set(item.nodes)
    read = {v for n in structure.all_nodes if n not in inside for v in n.inputs} | _results(structure)
    return [v for n in item.nodes for v in n.outputs if v in read]


def _results(structure: Structure) -> set[Value | Constant]:
    held = (_results(body.structure) for node in structure.nodes for body in node.bodies)
    return {*structure.outputs}.union(*held)


def group_inputs(structure: Structure, most: int) -> dict[Value, str]:
    """What an input is drawn as: itself, or where they are more than `most`, the argument it belongs to."""
    if len(structure.inputs) <= most:
        return {v: str(v) for v in structure.inputs}
    groups: dict[str, list[Value]] = {}
    for v in structure.inputs:
        groups.setdefault(v.name.split("/")[0], []).append(v)
    return {v: str(v) if len(vs) == 1 else f"{name}: {len(vs)} arrays" for name, vs in groups.items() for v in vs}
