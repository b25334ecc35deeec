"""A scene as text: every box on a line while that can be read, else folded by scope."""

from funcgrad.naming import printable
from funcgrad.view.columns import Cell, Column, lay_out
from funcgrad.view.folding import Readers, group_inputs, readers_of, summary
from funcgrad.view.outline import LINES, Line, outline
from funcgrad.view.scene import Box, Scene
from funcgrad.view.words import columns_of, indentation, listed, shorter_lists, shorter_paths, wrapped

_COLUMNS = (Column("", least=20), Column("", least=20))


def to_text(scene: Scene, most: int = LINES, width: int | None = None) -> str:
    """The scene as text.

    Args:
        scene: a scene of a graph.
        most: about how many lines it may take, folded by scope where there are more boxes.
        width: how many columns of a terminal the lines may take; None for as many as they need.
    """
    readers = readers_of(scene)
    _, *body = lay_out(_COLUMNS, [_cells(line, readers, width) for line in outline(scene, most)], width)
    results = ", ".join(_fitting(v.name, width) for v in scene.outputs)
    inputs = ", ".join(dict.fromkeys(group_inputs(scene).values()))
    return "\n".join([*_wrapped(f"graph({inputs})", width), *body, *_wrapped(f"  return {results}", width)])


def _fitting(name: str, width: int | None) -> str:
    paths = shorter_paths(name)
    return next((path for path in paths if width is None or columns_of(path) < width - 10), paths[-1])


def _wrapped(text: str, width: int | None) -> list[str]:
    """A list of values on lines that fit, each with its shape on its line."""
    lines = wrapped(printable(text).replace(": ", ":\xa0"), width, 6)  # a space at which no line ends
    return [line.replace(":\xa0", ": ") for line in lines]


def _cells(line: Line, readers: Readers, width: int | None) -> tuple[Cell, Cell]:
    """What is shown and what is said of it, each in ever shorter forms."""
    indent = indentation(line.depth + 1, width)
    folder = line.folder
    if folder is None and not line.box:
        return f"{indent}…", f"{len(line.items)} more"
    if len(line.items) > 1:
        names = [" … ".join(line.names), f"{line.names[0]} …"]
    else:
        names = shorter_paths(line.names[0])
    shown = [indent + name for name in names]
    if line.box:
        return shown, _calls(line.box)
    if folder is None or line.is_open:
        return shown, ""
    alike = f"{len(line.items)} alike, each " if len(line.items) > 1 else ""
    return shown, [alike + summary(folder, readers, most) for most in (4, 2, 1)]


def _calls(box: Box) -> list[str]:
    """What a box applies and makes: whole, then without the output's name where that is the box's, then with less of
    what it reads.
    """
    reads, made = [v.name for v in box.inputs], listed(list(map(str, box.outputs)))
    own = [v.shape if _is_own(v.name, box) else f"{shorter_paths(v.name)[-1]}: {v.shape}" for v in box.outputs]
    paths = [shorter_paths(name) for name in reads]
    shorter = [listed([p[min(k, len(p) - 1)] for p in paths]) for k in range(1, max(map(len, paths), default=1))]
    few = [*shorter_lists([p[-1] for p in paths]), "…"] if reads else []
    calls = [listed(reads), *shorter, *few]
    forms = [
        (calls[0], made),
        *((call, listed(own)) for call in calls),
        *((calls[-1], listed(own, n)) for n in (4, 2, 1)),
    ]
    return [f"{box.op}({read}) -> {made}" for read, made in forms]


def _is_own(name: str, box: Box) -> bool:
    """Whether a value is called after the box that makes it."""
    return name == box.name or name.startswith(f"{box.name}.")
