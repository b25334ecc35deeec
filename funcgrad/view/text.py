"""A scene as text: every box on a line while that can be read, else folded by scope."""

from funcgrad.naming import printable
from funcgrad.view.folding import Readers, group_inputs, readers_of, summary
from funcgrad.view.outline import LINES, Line, outline
from funcgrad.view.scene import Box, Scene
from funcgrad.view.words import listed


def to_text(scene: Scene, most: int = LINES) -> str:
    """The scene as text of about `most` lines."""
    readers = readers_of(scene)
    lines = [_name_and_words(line, readers) for line in outline(scene, most)]
    lines = [(printable(name), printable(said)) for name, said in lines]
    width = max((len(name) for name, _ in lines), default=0)
    body = [f"{name:<{width}}  {said}".rstrip() for name, said in lines]
    results = printable(", ".join(v.name for v in scene.outputs))
    inputs = printable(", ".join(dict.fromkeys(group_inputs(scene).values())))
    return "\n".join([f"graph({inputs})", *body, f"  return {results}"])


def _name_and_words(line: Line, readers: Readers) -> tuple[str, str]:
    indent = "  " * (line.depth + 1)
    if line.box:
        return indent + line.names[0], _call(line.box)
    folder = line.folder
    if folder is None:
        return f"{indent}…", f"{len(line.items)} more"
    if line.is_open:
        return indent + line.names[0], ""
    alike = f"{len(line.items)} alike, each " if len(line.items) > 1 else ""
    return indent + " … ".join(line.names), alike + summary(folder, readers)


def _call(box: Box) -> str:
    return f"{box.op}({listed([v.name for v in box.inputs])}) -> {listed(list(map(str, box.outputs)))}"
