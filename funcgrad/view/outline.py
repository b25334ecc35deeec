"""A scene line by line, folded so that about so many lines are enough: what text and table are written from."""

import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from funcgrad.view.folding import Folder, alike_runs, flattened, fold, open_folders
from funcgrad.view.scene import Box, Scene

LINES = 60
"""About how many lines a scene may take."""


@dataclass(frozen=True)
class Line:
    """What one line shows: a box, an open folder whose items follow, or closed ones that are alike."""

    items: Sequence[Box | Folder]
    depth: int
    """How many open folders it is in that have lines of their own."""
    base: str = ""
    """The scope that the lines above it have named."""
    is_open: bool = False
    is_rest: bool = False
    """Whether it stands for items of which there are too many to be shown."""

    @property
    def box(self) -> Box | None:
        """The box that it shows by itself, with its scenes on the lines below it if it has any."""
        item = self.items[0]
        if self.is_rest:
            return None
        if isinstance(item, Folder):
            return item.box if self.is_open else None
        return item

    @property
    def names(self) -> list[str]:
        """What it shows, by name, a scope with a slash at its end; of several items, the first and the last."""
        ends = self.items[:1] if len(self.items) == 1 else (self.items[0], self.items[-1])
        return [f"{item.name}/" if isinstance(item, Folder) and not item.box else item.name for item in ends]

    @property
    def folder(self) -> Folder | None:
        """The folder that it shows, the first of several."""
        item = self.items[0]
        return item if isinstance(item, Folder) and not self.is_rest else None


def outline(scene: Scene, most: int | None = LINES) -> Iterator[Line]:
    """The lines of a scene in about `most`; with None, all boxes of it."""
    root = fold(scene)
    opened = open_folders(root, sys.maxsize if most is None else most)
    is_whole = all(folder in opened for folder in root.all_folders)
    return flattened(_Outline(opened, sys.maxsize if most is None else most, is_whole).lines(root, 0, ""))


@dataclass(frozen=True)
class _Outline:
    """How a scene is folded. What yields lines may yield generators of lines instead."""

    opened: Collection[Folder]
    most: int
    is_whole: bool
    """Whether nothing is folded: scopes then need no lines of their own, for the boxes' names say them."""

    def lines(self, folder: Folder, depth: int, base: str) -> Iterator[Any]:
        """A line per item, closed folders that are alike on one; of very many, the first and the last."""
        runs: list[Sequence[Box | Folder]] = []
        for run in alike_runs(folder.items):
            runs += [run] if run[0] not in self.opened else [[item] for item in run]
        half = self.most // 2
        hidden = runs[half:-half] if len(runs) > self.most else []
        for run in runs[:half] if hidden else runs:
            yield self.run(run, depth, base)
        if hidden:
            yield Line([item for run in hidden for item in run], depth, base, is_rest=True)
            for run in runs[-half:]:
                yield self.run(run, depth, base)

    def run(self, run: Sequence[Box | Folder], depth: int, base: str) -> Iterator[Any]:
        """The lines of an item, or of several closed folders."""
        item, is_open = run[0], run[0] in self.opened
        if not (isinstance(item, Folder) and is_open):
            yield Line(run, depth, base)
        elif self.is_whole and not item.box:
            yield self.lines(item, depth, base)
        else:
            yield Line(run, depth, base, is_open=True)
            yield self.lines(item, depth + 1, "" if self.is_whole else item.base)
