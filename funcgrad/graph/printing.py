"""A graph as text: every node on a line while that can be read, else folded by scope."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from funcgrad.errors import describe
from funcgrad.graph.folding import (
    Folder,
    Readers,
    alike_runs,
    flattened,
    fold,
    group_inputs,
    makes,
    open_folders,
    readers_of,
)
from funcgrad.graph.structures import Structure
from funcgrad.graph.values import Node
from funcgrad.naming import printable

LINES = 60
"""About how many lines a graph may take."""
INPUTS = 12
"""How many inputs are listed one by one."""


def write(structure: Structure, most: int = LINES) -> str:
    """The graph as text of about `most` lines."""
    root = fold(structure)
    opened = open_folders(root, most)
    text = _Text(readers_of(structure), opened, most, all(folder in opened for folder in root.all_folders))
    lines = [(printable(name), printable(said)) for name, said in flattened(text.lines(root, "  "))]
    width = max((len(name) for name, _ in lines), default=0)
    body = [f"{name:<{width}}  {said}".rstrip() for name, said in lines]
    results = printable(", ".join(v.name for v in structure.outputs))
    inputs = printable(", ".join(dict.fromkeys(group_inputs(structure, INPUTS).values())))
    return "\n".join([f"graph({inputs})", *body, f"  return {results}"])


@dataclass(frozen=True)
class _Text:
    """How a graph is written. What yields lines may yield generators of lines instead."""

    readers: Readers
    opened: Collection[Folder]
    most: int
    is_whole: bool
    """Whether nothing is folded: scopes then need no lines of their own, for the nodes' names say them."""

    def lines(self, folder: Folder, indent: str) -> Iterator[Any]:
        """A line per item, closed folders that are alike on one; of very many, the first and the last."""
        runs: list[Sequence[Node | Folder]] = []
        for run in alike_runs(folder.items):
            runs += [run] if run[0] not in self.opened else [[item] for item in run]
        half = self.most // 2
        hidden = runs[half:-half] if len(runs) > self.most else []
        for run in runs[:half] if hidden else runs:
            yield self.item(run[0], run[-1], len(run), indent)
        if hidden:
            yield f"{indent}…", f"{sum(map(len, hidden))} more"
            for run in runs[-half:]:
                yield self.item(run[0], run[-1], len(run), indent)

    def item(self, item: Node | Folder, last: Node | Folder, n: int, indent: str) -> Iterator[Any]:
        """The lines of an item, or of `n` closed folders from it to `last`."""
        if not isinstance(item, Folder):
            yield indent + item.name, _call(item)
        elif item in self.opened:
            if item.node:
                yield indent + item.name, _call(item.node)
            elif not self.is_whole:
                yield f"{indent}{item.name}/", ""
            yield self.lines(item, indent if self.is_whole and not item.node else indent + "  ")
        else:
            mark = "" if item.node else "/"
            name = item.name + mark + (f" … {last.name}{mark}" if n > 1 else "")
            yield indent + name, (f"{n} alike, each " if n > 1 else "") + summary(item, self.readers)


def _call(node: Node) -> str:
    return f"{node.op_name}({listed([v.name for v in node.inputs])}) -> {listed(list(map(str, node.outputs)))}"


def listed(items: Sequence[str], most: int = 8, between: str = ", ") -> str:
    """The first few, and how many more: a loop may have as many operands as a model has parameters."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return between.join(items[:most]) + more


def summary(folder: Folder, readers: Readers, most: int = 4) -> str:
    """What a closed folder holds: `38 nodes (12 add, 6 dot_general, …) -> f32[8,64]`."""
    ops = folder.ops.most_common()
    held = ", ".join(f"{n} {op}" for op, n in ops[:most]) + (", …" if len(ops) > most else "")
    made = listed([describe(v.aval) for v in makes(folder, readers)], most)
    return f"{sum(folder.ops.values())} nodes ({held}) -> {made}"
