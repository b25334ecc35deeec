"""A scene in the language of mermaid.js; scopes are boxes around what stands in them."""

from collections.abc import Iterator
from typing import Any

from funcgrad.naming import printable
from funcgrad.view.folding import Folder, flattened
from funcgrad.view.picture import BOXES, Picture
from funcgrad.view.scene import Scene


def to_mermaid(scene: Scene, most: int = BOXES) -> str:
    """The scene in the language of mermaid.js, which Markdown renderers draw."""
    picture = Picture(scene, most)
    boxes = flattened(_boxes(picture, picture.root, "  "))
    arrows = [f"  {a} --> |{_text(shape)}| {b}" for a, b, shape in picture.arrows()]
    inputs = [f"  {picture.id(v)}([{_text(v)}])" for v in picture.read_inputs()]
    result = [f"  {picture.id('return')}([return])"] if "return" in picture.ids else []
    return "\n".join(["flowchart TD", *inputs, *boxes, *result, *arrows])


def _boxes(picture: Picture, folder: Folder, indent: str) -> Iterator[Any]:
    for item in folder.items:
        if isinstance(item, Folder) and item in picture.opened:
            yield f"{indent}subgraph {picture.id(item)}[{_text(item.name)}]"
            yield _boxes(picture, item, indent + "  ")
            yield f"{indent}end"
        else:
            left, right = ("[[", "]]") if isinstance(item, Folder) else ("[", "]")
            yield f"{indent}{picture.id(item)}{left}{_text(*picture.label(item))}{right}"


# What mermaid.js reads as something else than text inside of quotes: entities (#), HTML (<, >, &), the end of the
# quotes, Markdown (`), comments and directives (%), formulas ($), line breaks (\\n).
_ESCAPES = {ord(c): f"#{ord(c)};" for c in '#<>&"`%$\\'} | {ord('"'): "#quot;"}


def _text(*lines: str) -> str:
    return '"' + "<br>".join(printable(line).translate(_ESCAPES) for line in lines) + '"'
