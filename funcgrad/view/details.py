"""A scene as HTML for notebooks: a list whose scopes open and close by a click."""

import html
from collections.abc import Collection, Iterator
from typing import Any

from funcgrad.naming import printable
from funcgrad.view.folding import (
    Folder,
    Readers,
    flattened,
    fold,
    group_inputs,
    makes,
    open_folders,
    readers_of,
    summary,
)
from funcgrad.view.scene import Scene
from funcgrad.view.words import listed


def to_html(scene: Scene, most: int = 20) -> str:
    """The scene as such a list; open at first are those scopes for which there is room."""
    root = fold(scene)
    opened = open_folders(root, most)
    inputs = _text(", ".join(dict.fromkeys(group_inputs(scene).values())))
    results = _text(", ".join(v.name for v in scene.outputs))
    lines = "".join(flattened(_lines(root, readers_of(scene), opened)))
    return f"<div style='font-family:monospace'>graph({inputs}){lines}return {results}</div>"


def _lines(folder: Folder, readers: Readers, opened: Collection[Folder]) -> Iterator[Any]:
    yield "<div style='margin-left:1.5em'>"
    for item in folder.items:
        if isinstance(item, Folder):
            is_open = " open" if item in opened else ""
            text = _text(f"{item.name}{'' if item.box else '/'}  {summary(item, readers)}")
            yield f"<details{is_open}><summary>{text}</summary>"
            yield _lines(item, readers, opened)
            yield "</details>"
        else:
            call = _text(f"{item.op}({listed([v.name for v in item.inputs])})")
            made = _text(listed(makes(item, readers), most=4))
            yield f"<div><b>{_text(item.name)}</b> {call} → {made}</div>"
    yield "</div>"


def _text(text: str) -> str:
    return html.escape(printable(text))
