"""A scene in Graphviz' language; scopes are boxes around what stands in them."""

from collections.abc import Iterator
from typing import Any

from funcgrad.naming import printable
from funcgrad.view.folding import Folder, flattened
from funcgrad.view.picture import BOXES, Picture
from funcgrad.view.scene import Scene


def to_dot(scene: Scene, most: int = BOXES) -> str:
    """The scene in Graphviz' language."""
    picture = Picture(scene, most)
    boxes = list(flattened(_boxes(picture, picture.root, "  ")))
    arrows = [f"  {a} -> {b} [label={_text(shape)}];" for a, b, shape in picture.arrows()]
    inputs = [f"  {picture.id(v)} [label={_text(v)}, shape=ellipse];" for v in picture.read_inputs()]
    result = [f"  {picture.id('return')} [label=return, shape=ellipse];"] if "return" in picture.ids else []
    return "\n".join(["digraph {", "  node [shape=box];", *inputs, *boxes, *result, *arrows, "}"])


def _boxes(picture: Picture, folder: Folder, indent: str) -> Iterator[Any]:
    for item in folder.items:
        if isinstance(item, Folder) and item in picture.opened:
            yield f"{indent}subgraph cluster_{picture.id(item)} {{"
            yield f"{indent}  label={_text(item.name)};"
            if item.box:  # arrows to what holds a graph end at its name
                yield f"{indent}  {picture.id(item)} [label={_text(item.box.op)}, shape=plaintext];"
            yield _boxes(picture, item, indent + "  ")
            yield f"{indent}}}"
        else:
            shape = ", shape=box3d" if isinstance(item, Folder) else ""
            yield f"{indent}{picture.id(item)} [label={_text(*picture.label(item))}{shape}];"


# Graphviz takes HTML's entities in any label, and gives a backslash a meaning of its own.
_ESCAPES = {ord(c): f"&#{ord(c)};" for c in "<>&`%"} | {ord('"'): '\\"', ord("\\"): "\\\\"}


def _text(*lines: str) -> str:
    return '"' + "\\n".join(printable(line).translate(_ESCAPES) for line in lines) + '"'
