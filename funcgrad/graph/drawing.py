"""A graph as a picture: Mermaid, DOT, and HTML for notebooks; scopes are boxes around what stands in them."""

import html
from collections.abc import Collection, Iterator
from typing import Any

from funcgrad.errors import describe
from funcgrad.graph.folding import (
    Folder,
    Readers,
    flattened,
    fold,
    group_inputs,
    makes,
    open_folders,
    readers_of,
    shown_as,
)
from funcgrad.graph.printing import INPUTS, listed, summary
from funcgrad.graph.structures import Structure
from funcgrad.graph.values import Constant, Node, Value
from funcgrad.naming import printable

BOXES = 80
"""About how many boxes a picture may have."""

Item = Node | Folder


class _Picture:
    """What is drawn, and the arrows between."""

    def __init__(self, structure: Structure, most: int):
        self.structure = structure
        self.root = fold(structure)
        self.opened = open_folders(self.root, most, alike_as_one=False)
        self.drawn = shown_as(self.root, self.opened)
        self.readers = readers_of(structure)
        self.inputs = group_inputs(structure, INPUTS)
        self.ids: dict[object, str] = {}

    def id(self, item: object) -> str:
        return self.ids.setdefault(item, f"n{len(self.ids)}")

    def label(self, item: Item) -> tuple[str, str]:
        """The two lines in a box: its name, and what it makes."""
        if isinstance(item, Folder) and item not in self.opened:
            return item.name, summary(item, self.readers, most=2)
        return item.name, _made(item, self.readers)

    def makers(self) -> dict[Value, object]:
        """What draws each value: an input itself, else the box of the node that makes it."""
        makers: dict[Value, object] = dict(self.inputs)
        for node in self.structure.all_nodes:
            makers |= dict.fromkeys(node.outputs, self.drawn[node])
            for body in node.bodies:  # what goes into a body is what goes into the node around it
                outside = node.inputs[body.offset : body.offset + len(body.structure.inputs)]
                pairs = zip(body.structure.inputs, outside, strict=True)
                makers |= {v: makers[o] for v, o in pairs if isinstance(o, Value) and o in makers}
        return makers

    def arrows(self) -> Iterator[tuple[str, str, str]]:
        """From, to, and the shape of what is handed over; each pair of boxes once."""
        makers = self.makers()
        drawn = [n for n in self.structure.all_nodes if not (n.bodies and self.drawn[n] in self.opened)]
        uses: list[tuple[Value | Constant, object]] = [(v, self.drawn[n]) for n in drawn for v in n.inputs]
        uses += [(v, "return") for v in self.structure.outputs]
        found: dict[tuple[str, str], str] = {}
        for value, reader in uses:
            if isinstance(value, Value) and value in makers and makers[value] is not reader:
                found.setdefault((self.id(makers[value]), self.id(reader)), describe(value.aval))
        yield from ((a, b, shape) for (a, b), shape in found.items())

    def read_inputs(self) -> list[str]:
        """The boxes of inputs that an arrow starts from."""
        return [text for text in dict.fromkeys(self.inputs.values()) if text in self.ids]


def _made(item: Item, readers: Readers) -> str:
    return listed([describe(v.aval) for v in makes(item, readers)], most=4)


def to_mermaid(structure: Structure, most: int = BOXES) -> str:
    """The graph in the language of mermaid.js, which Markdown renderers draw."""
    picture = _Picture(structure, most)
    boxes = flattened(_mermaid_boxes(picture, picture.root, "  "))
    arrows = [f"  {a} --> |{_mermaid_text(shape)}| {b}" for a, b, shape in picture.arrows()]
    inputs = [f"  {picture.id(v)}([{_mermaid_text(v)}])" for v in picture.read_inputs()]
    result = [f"  {picture.id('return')}([return])"] if "return" in picture.ids else []
    return "\n".join(["flowchart TD", *inputs, *boxes, *result, *arrows])


def _mermaid_boxes(picture: _Picture, folder: Folder, indent: str) -> Iterator[Any]:
    for item in folder.items:
        if isinstance(item, Folder) and item in picture.opened:
            yield f"{indent}subgraph {picture.id(item)}[{_mermaid_text(item.name)}]"
            yield _mermaid_boxes(picture, item, indent + "  ")
            yield f"{indent}end"
        else:
            left, right = ("[[", "]]") if isinstance(item, Folder) else ("[", "]")
            yield f"{indent}{picture.id(item)}{left}{_mermaid_text(*picture.label(item))}{right}"


# What mermaid.js reads as something else than text inside of quotes: entities (#), HTML (<, >, &), the end of the
# quotes, Markdown (`), comments and directives (%), formulas ($), line breaks (\\n).
_MERMAID = {ord(c): f"#{ord(c)};" for c in '#<>&"`%$\\'} | {ord('"'): "#quot;"}


def _mermaid_text(*lines: str) -> str:
    return '"' + "<br>".join(printable(line).translate(_MERMAID) for line in lines) + '"'


def to_dot(structure: Structure, most: int = BOXES) -> str:
    """The graph in Graphviz' language."""
    picture = _Picture(structure, most)
    boxes = list(flattened(_dot_boxes(picture, picture.root, "  ")))
    arrows = [f"  {a} -> {b} [label={_dot_text(shape)}];" for a, b, shape in picture.arrows()]
    inputs = [f"  {picture.id(v)} [label={_dot_text(v)}, shape=ellipse];" for v in picture.read_inputs()]
    result = [f"  {picture.id('return')} [label=return, shape=ellipse];"] if "return" in picture.ids else []
    return "\n".join(["digraph {", "  node [shape=box];", *inputs, *boxes, *result, *arrows, "}"])


def _dot_boxes(picture: _Picture, folder: Folder, indent: str) -> Iterator[Any]:
    for item in folder.items:
        if isinstance(item, Folder) and item in picture.opened:
            yield f"{indent}subgraph cluster_{picture.id(item)} {{"
            yield f"{indent}  label={_dot_text(item.name)};"
            if item.node:  # arrows to what holds a graph end at its name
                yield f"{indent}  {picture.id(item)} [label={_dot_text(item.node.op_name)}, shape=plaintext];"
            yield _dot_boxes(picture, item, indent + "  ")
            yield f"{indent}}}"
        else:
            shape = ", shape=box3d" if isinstance(item, Folder) else ""
            yield f"{indent}{picture.id(item)} [label={_dot_text(*picture.label(item))}{shape}];"


# Graphviz takes HTML's entities in any label, and gives a backslash a meaning of its own.
_DOT = {ord(c): f"&#{ord(c)};" for c in "<>&`%"} | {ord('"'): '\\"', ord("\\"): "\\\\"}


def _dot_text(*lines: str) -> str:
    return '"' + "\\n".join(printable(line).translate(_DOT) for line in lines) + '"'


def to_html(structure: Structure, most: int = 20) -> str:
    """The graph as a list whose scopes open and close by a click; open at first are those for which there is room."""
    root = fold(structure)
    opened = open_folders(root, most)
    inputs = _html_text(", ".join(dict.fromkeys(group_inputs(structure, INPUTS).values())))
    results = _html_text(", ".join(v.name for v in structure.outputs))
    lines = "".join(flattened(_html_lines(root, readers_of(structure), opened)))
    return f"<div style='font-family:monospace'>graph({inputs}){lines}return {results}</div>"


def _html_lines(folder: Folder, readers: Readers, opened: Collection[Folder]) -> Iterator[Any]:
    yield "<div style='margin-left:1.5em'>"
    for item in folder.items:
        if isinstance(item, Folder):
            is_open = " open" if item in opened else ""
            text = _html_text(f"{item.name}{'' if item.node else '/'}  {summary(item, readers)}")
            yield f"<details{is_open}><summary>{text}</summary>"
            yield _html_lines(item, readers, opened)
            yield "</details>"
        else:
            call = _html_text(f"{item.op_name}({listed([v.name for v in item.inputs])})")
            yield f"<div><b>{_html_text(item.name)}</b> {call} → {_html_text(_made(item, readers))}</div>"
    yield "</div>"


def _html_text(text: str) -> str:
    return html.escape(printable(text))
