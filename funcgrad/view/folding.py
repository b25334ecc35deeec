"""A scene folded by scope: what stands in one is drawn as one, until there is room to open it.

Nothing here recurs: scopes may be nested deeper than Python's stack.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import GeneratorType
from typing import Any

from funcgrad.view.scene import Box, Scene, Wire
from funcgrad.view.words import listed

ALIKE = 3
"""From how many neighbours on they are drawn as one."""

Place = tuple[int, ...]
"""Where something stands in a tree: the position of what holds it in what holds that, and so on."""


@dataclass(eq=False)
class Folder:
    """A scope, or a box that holds scenes, with what is in it, in topological order.

    A scope that reads what was made after it of its own values is several folders, one after another.
    """

    name: str
    place: Place = ()
    box: Box | None = None
    """The box that holds the scenes, where it is no scope."""
    items: "list[Box | Folder]" = field(default_factory=list)
    latest: "dict[str, Folder]" = field(default_factory=dict)
    """The last folder of each scope in it."""

    @property
    def folders(self) -> "list[Folder]":
        """The folders directly in it."""
        return [item for item in self.items if isinstance(item, Folder)]

    @property
    def boxes(self) -> Iterator[Box]:
        """All boxes in it, at any depth; a box that holds scenes counts beside those it holds."""
        waiting: list[Box | Folder] = [self]
        while waiting:
            item = waiting.pop()
            if not isinstance(item, Folder):
                yield item
                continue
            if item.box:
                yield item.box
            waiting.extend(reversed(item.items))

    @property
    def outermost(self) -> Iterator[Box]:
        """The boxes in it, without those that other boxes of it hold; of such a box, itself."""
        waiting: list[Box | Folder] = [self]
        while waiting:
            item = waiting.pop()
            if not isinstance(item, Folder):
                yield item
            elif item.box:
                yield item.box
            else:
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
        """How many boxes there are of each op."""
        return Counter(box.op for box in self.boxes)

    @cached_property
    def kinds(self) -> list[Any]:
        """The ops in it, the shapes that they make, and what a plan says of them but for names."""
        return [(box.op, [v.shape for v in box.outputs], _cost(box)) for box in self.boxes]

    def is_like(self, other: "Box | Folder") -> bool:
        """Whether the same ops make values of the same shapes, in the same order: another layer of the same kind.

        In a plan they also have the same rules, which read and cost the same.
        """
        if not isinstance(other, Folder) or (self.box is None) != (other.box is None):
            return False
        return self.kinds == other.kinds

    def scope(self, name: str, inputs: Collection[Place]) -> "Folder":
        """The folder of a scope in this one in which something can stand that reads what is made at `inputs`.

        The last one of the scope, unless some input stands after it.
        """
        folder = self.latest.get(name)
        if folder is None or any(place[: len(folder.place)] > folder.place for place in inputs):
            path = "/".join(part for part in (self.base, name) if part)
            folder = self.latest[name] = Folder(path, self.next_place)
            self.items.append(folder)
        return folder

    @property
    def base(self) -> str:
        """The scope that what is in it stands in: of a box, that around it."""
        return self.name if self.box is None else _around(self.name)

    @property
    def next_place(self) -> Place:
        """Where what is put into it next will stand."""
        return (*self.place, len(self.items))


def _cost(box: Box) -> Any:
    row = box.row
    if row is None:
        return None
    counts = (len(row.reads), len(row.remakes), row.new_bytes, row.forward_flops, row.backward_flops)
    return row.rules, row.hooks, counts


def fold(scene: Scene) -> Folder:
    """The tree of scopes of a scene. Read from top to bottom, every box stands after what it reads."""
    root = Folder("")
    waiting = [(root, scene)]
    while waiting:
        folder, inside = waiting.pop()
        waiting += reversed(_fill(folder, inside))
    return root


def _fill(root: Folder, scene: Scene) -> list[tuple[Folder, Scene]]:
    """Put the boxes of a scene into a folder; returns the folders of those that hold scenes, still empty."""
    root.latest.clear()  # what a scene beside this one has in a scope, it has apart
    places: dict[Wire, Place] = {}
    holders = []
    for box in scene.boxes:
        inputs, home = [places[v] for v in box.inputs if v in places], root
        for part in filter(None, _below(box.scope, root.name).split("/")):
            home = home.scope(part, inputs)
        places |= dict.fromkeys(box.outputs, home.next_place)
        if box.scenes:
            holder = Folder(box.name, home.next_place, box)
            home.items.append(holder)
            holders += [(holder, inner) for inner in box.scenes]
        else:
            home.items.append(box)
    return holders


def _around(name: str) -> str:
    return name.rpartition("/")[0]


def _below(scope: str, root: str) -> str:
    """The part of a scope that the box around it does not stand in already."""
    around = _around(root)
    return scope.removeprefix(around).strip("/") if around and f"{scope}/".startswith(f"{around}/") else scope


def open_folders(root: Folder, most: int, alike_as_one: bool = True) -> set[Folder]:
    """The folders that can be open while about `most` items are shown, of which several alike may count as one.

    All, if there is room for everything; else outer ones first, a whole level or none, and none of several alike.
    """
    size = lambda folder: sum(1 for _ in alike_runs(folder.items)) if alike_as_one else len(folder.items)  # noqa: E731
    if sum(1 for _ in root.boxes) <= most:
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


def alike_runs(items: "Sequence[Box | Folder]") -> "Iterator[Sequence[Box | Folder]]":
    """The items, those of `ALIKE` and more neighbouring folders that are alike together."""
    i = 0
    while i < len(items):
        first, n = items[i], 1
        if isinstance(first, Folder):
            n = next((k for k, other in enumerate(items[i:]) if not first.is_like(other)), len(items) - i)
        yield from [items[i : i + n]] if n >= ALIKE else ([item] for item in items[i : i + n])
        i += n


def shown_as(root: Folder, opened: Collection[Folder]) -> dict[Box, "Box | Folder"]:
    """For every box, what is drawn in its place: itself, or the outermost closed folder around it."""
    drawn: dict[Box, Box | Folder] = {}
    waiting = [root]
    while waiting:
        for item in waiting.pop().items:
            if not isinstance(item, Folder):
                drawn[item] = item
            elif item in opened:
                waiting.append(item)
                if item.box:
                    drawn[item.box] = item
            else:
                drawn |= dict.fromkeys(item.boxes, item)
    return drawn


Readers = dict[Wire, list[Box | None]]
"""The boxes that read each wire; None stands for the caller, who gets it."""


def readers_of(scene: Scene) -> Readers:
    """Who reads the wires of a scene and of those inside."""
    readers: Readers = {}
    for box in scene.all_boxes:
        for v in box.inputs:
            readers.setdefault(v, []).append(box)
    for v in _results(scene):
        readers.setdefault(v, []).append(None)
    return readers


def makes(item: "Box | Folder", readers: Readers) -> list[str]:
    """The shapes of what a box or folder makes that others read."""
    if not isinstance(item, Folder):
        return [v.shape for v in item.outputs]
    if item.box:
        return [v.shape for v in item.box.outputs]
    inside: set[Box | None] = set(item.boxes)
    made = (v for box in item.boxes for v in box.outputs)
    return [v.shape for v in made if any(reader not in inside for reader in readers.get(v, ()))]


def _results(scene: Scene) -> set[Wire]:
    held = (_results(inner) for box in scene.boxes for inner in box.scenes)
    return set(scene.outputs).union(*held)


def summary(folder: Folder, readers: Readers, most: int = 4) -> str:
    """What a closed folder holds: `38 nodes (12 add, 6 dot_general, …) -> f32[8,64]`."""
    ops = folder.ops.most_common()
    held = ", ".join(f"{n} {op}" for op, n in ops[:most]) + (", …" if len(ops) > most else "")
    return f"{sum(folder.ops.values())} nodes ({held}) -> {listed(makes(folder, readers), most)}"


def group_inputs(scene: Scene, most: int = 12) -> dict[Wire, str]:
    """What an input is drawn as: itself, or where they are more than `most`, the argument it belongs to."""
    if len(scene.inputs) <= most:
        return {v: str(v) for v in scene.inputs}
    groups: dict[str, list[Wire]] = {}
    for v in scene.inputs:
        groups.setdefault(v.name.split("/")[0], []).append(v)
    return {v: str(v) if len(vs) == 1 else f"{name}: {len(vs)} arrays" for name, vs in groups.items() for v in vs}


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
