"""A graph as a picture: Mermaid, DOT, and HTML for notebooks; scopes are boxes around what stands in them."""

import html
from collections.abc import Collection, Iterator

from funcgrad.errors import describe
from funcgrad.graph.folding import Folder, fold, group_inputs, makes, open_folders, shown_as
from funcgrad.graph.printing import INPUTS, summary
from funcgrad.graph.structures import Structure
from funcgrad.graph.values import Constant, Node, Value

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
        self.inputs = group_inputs(structure, INPUTS)
        self.ids: dict[object, str] = {}

    def id(self, item: object) -> str:
        return self.ids.setdefault(item, f"n{len(self.ids)}")

    def label(self, item: Item) -> str:
        if isinstance(item, Folder) and item not in self.opened:
            return f"{item.name}\n{summary(item, self.structure, most=2)}"
        shapes = ", ".join(describe(v.aval) for v in makes(item, self.structure))
        return f"{item.name}\n{shapes}"

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


def to_mermaid(structure: Structure, most: int = BOXES) -> str:
    """The graph in the language of mermaid.js, which Markdown renderers draw."""
    picture = _Picture(structure, most)
    boxes = list(_mermaid_boxes(picture, picture.root, "  "))
    arrows = [f"  {a} --> |{_quoted(shape)}| {b}" for a, b, shape in picture.arrows()]
    inputs = [f"  {picture.id(v)}([{_quoted(str(v))}])" for v in picture.read_inputs()]
    result = [f"  {picture.id('return')}([return])"] if "return" in picture.ids else []
    return "\n".join(["flowchart TD", *inputs, *boxes, *result, *arrows])


def _mermaid_boxes(picture: _Picture, folder: Folder, indent: str) -> Iterator[str]:
    for item in folder.items:
        if isinstance(item, Folder) and item in picture.opened:
            yield f"{indent}subgraph {picture.id(item)}[{_quoted(item.name)}]"
            yield from _mermaid_boxes(picture, item, indent + "  ")
            yield f"{indent}end"
        else:
            left, right = ("[[", "]]") if isinstance(item, Folder) else ("[", "]")
            yield f"{indent}{picture.id(item)}{left}{_quoted(picture.label(item))}{right}"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', "#quot;").replace("\n", "<br>") + '"'


def to_dot(structure: Structure, most: int = BOXES) -> str:
    """The graph in Graphviz' language."""
    picture = _Picture(structure, most)
    boxes = list(_dot_boxes(picture, picture.root, "  "))
    arrows = [f"  {a} -> {b} [label={_dot_text(shape)}];" for a, b, shape in picture.arrows()]
    inputs = [f"  {picture.id(v)} [label={_dot_text(v)}, shape=ellipse];" for v in picture.read_inputs()]
    result = [f"  {picture.id('return')} [label=return, shape=ellipse];"] if "return" in picture.ids else []
    return "\n".join(["digraph {", "  node [shape=box];", *inputs, *boxes, *result, *arrows, "}"])


def _dot_boxes(picture: _Picture, folder: Folder, indent: str) -> Iterator[str]:
    for item in folder.items:
        if isinstance(item, Folder) and item in picture.opened:
            yield f"{indent}subgraph cluster_{picture.id(item)} {{"
            yield f"{indent}  label={_dot_text(item.name)};"
            if item.node:  # arrows to what holds a graph end at its name
                yield f"{indent}  {picture.id(item)} [label={_dot_text(item.node.op_name)}, shape=plaintext];"
            yield from _dot_boxes(picture, item, indent + "  ")
            yield f"{indent}}}"
        else:
            shape = ", shape=box3d" if isinstance(item, Folder) else ""
            yield f"{indent}{picture.id(item)} [label={_dot_text(picture.label(item))}{shape}];"


def _dot_text(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def to_html(structure: Structure, most: int = 20) -> str:
    """The graph as a list whose scopes open and close by a click; open at first are those for which there is room."""
    root = fold(structure)
    opened = open_folders(root, most)
    inputs = html.escape(", ".join(dict.fromkeys(group_inputs(structure, INPUTS).values())))
    results = html.escape(", ".join(v.name for v in structure.outputs))
    lines = "".join(_html_lines(root, structure, opened))
    return f"<div style='font-family:monospace'>graph({inputs}){lines}return {results}</div>"


def _html_lines(folder: Folder, structure: Structure, opened: Collection[Folder]) -> Iterator[str]:
    yield "<div style='margin-left:1.5em'>"
    for item in folder.items:
        made = html.escape(", ".join(describe(v.aval) for v in makes(item, structure)))
        if isinstance(item, Folder):
            is_open = " open" if item in opened else ""
            text = html.escape(f"{item.name}{'' if item.node else '/'}  {summary(item, structure)}")
            yield f"<details{is_open}><summary>{text}</summary>"
            yield from _html_lines(item, structure, opened)
            yield "</details>"
        else:
            reads = html.escape(", ".join(v.name for v in item.inputs))
            yield f"<div><b>{html.escape(item.name)}</b> {html.escape(item.op_name)}({reads}) → {made}</div>"
    yield "</div>"
