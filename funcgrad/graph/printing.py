"""A graph as text: every node on a line while that can be read, else folded by scope."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from funcgrad.errors import describe
from funcgrad.graph.folding import Folder, alike_runs, fold, group_inputs, makes, open_folders
from funcgrad.graph.structures import Structure
from funcgrad.graph.values import Node

LINES = 60
"""About how many lines a graph may take."""
INPUTS = 12
"""How many inputs are listed one by one."""

Line = tuple[str, str]
"""What stands on the left, and what is said of it."""


def write(structure: Structure, most: int = LINES) -> str:
    """The graph as text of about `most` lines."""
    root = fold(structure)
    opened = open_folders(root, most)
    lines = list(_Text(structure, opened, most, _is_open(root, opened)).lines(root, "  "))
    width = max((len(name) for name, _ in lines), default=0)
    body = [f"{name:<{width}}  {text}".rstrip() for name, text in lines]
    results = ", ".join(v.name for v in structure.outputs)
    inputs = ", ".join(dict.fromkeys(group_inputs(structure, INPUTS).values()))
    return "\n".join([f"graph({inputs})", *body, f"  return {results}"])


@dataclass(frozen=True)
class _Text:
    """How a graph is written."""

    structure: Structure
    opened: Collection[Folder]
    most: int
    is_whole: bool
    """Whether nothing is folded: scopes then need no lines of their own, for the nodes' names say them."""

    def lines(self, folder: Folder, indent: str) -> Iterator[Line]:
        """A line per item, closed folders that are alike on one; of very many, the first and the last."""
        runs: list[Sequence[Node | Folder]] = []
        for run in alike_runs(folder.items):
            runs += [run] if run[0] not in self.opened else [[item] for item in run]
        half = self.most // 2
        hidden = runs[half:-half] if len(runs) > self.most else []
        for run in runs[:half] if hidden else runs:
            yield from self.item(run[0], run[-1], len(run), indent)
        if hidden:
            yield f"{indent}…", f"{sum(map(len, hidden))} more"
            for run in runs[-half:]:
                yield from self.item(run[0], run[-1], len(run), indent)

    def item(self, item: Node | Folder, last: Node | Folder, n: int, indent: str) -> Iterator[Line]:
        """The lines of an item, or of `n` closed folders from it to `last`."""
        if not isinstance(item, Folder):
            yield indent + item.name, _call(item)
        elif item in self.opened:
            if item.node:
                yield indent + item.name, _call(item.node)
            elif not self.is_whole:
                yield f"{indent}{item.name}/", ""
            yield from self.lines(item, indent if self.is_whole and not item.node else indent + "  ")
        else:
            mark = "" if item.node else "/"
            name = item.name + mark + (f" … {last.name}{mark}" if n > 1 else "")
            yield indent + name, (f"{n} alike, each " if n > 1 else "") + summary(item, self.structure)


def _is_open(folder: Folder, opened: Collection[Folder]) -> bool:
    return folder in opened and all(_is_open(inner, opened) for inner in folder.folders)


def _call(node: Node) -> str:
    made = ", ".join(map(str, node.outputs))
    return f"{node.op_name}({', '.join(v.name for v in node.inputs)}) -> {made}"


def summary(folder: Folder, structure: Structure, most: int = 4) -> str:
    """What a closed folder holds: `38 nodes (12 add, 6 dot_general, …) -> f32[8,64]`."""
    ops = folder.ops.most_common()
    listed = ", ".join(f"{n} {op}" for op, n in ops[:most]) + (", …" if len(ops) > most else "")
    made = ", ".join(describe(v.aval) for v in makes(folder, structure)[:most])
    return f"{sum(folder.ops.values())} nodes ({listed}) -> {made}"
