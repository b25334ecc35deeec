"""What Mermaid and DOT draw of a scene: boxes, labels, and the arrows between."""

from collections.abc import Iterator

from funcgrad.view.folding import Folder, fold, group_inputs, makes, open_folders, readers_of, shown_as, summary
from funcgrad.view.scene import Box, Scene, Wire
from funcgrad.view.words import listed

BOXES = 80
"""About how many boxes a picture may have."""


class Picture:
    """A scene folded for about `most` boxes."""

    def __init__(self, scene: Scene, most: int):
        self.scene = scene
        self.root = fold(scene)
        self.opened = open_folders(self.root, most, alike_as_one=False)
        self.drawn = shown_as(self.root, self.opened)
        self.readers = readers_of(scene)
        self.inputs = group_inputs(scene)
        self.ids: dict[object, str] = {}

    def id(self, item: object) -> str:
        """What a box or folder is called in the picture's own language."""
        return self.ids.setdefault(item, f"n{len(self.ids)}")

    def label(self, item: Box | Folder) -> tuple[str, str]:
        """The two lines in a box: its name, and what it makes."""
        if isinstance(item, Folder) and item not in self.opened:
            return item.name, summary(item, self.readers, most=2)
        return item.name, listed(makes(item, self.readers), most=4)

    def _makers(self) -> dict[Wire, object]:
        """What draws each wire: an input itself, else the box that makes it."""
        makers: dict[Wire, object] = dict(self.inputs)
        for box in self.scene.all_boxes:
            makers |= dict.fromkeys(box.outputs, self.drawn[box])
            for scene in box.scenes:  # what goes into a scene is what goes into the box around it
                makers |= {inside: makers[outside] for outside, inside in scene.entries if outside in makers}
        return makers

    def arrows(self) -> Iterator[tuple[str, str, str]]:
        """From, to, and the shape of what is handed over; each pair of boxes once."""
        makers = self._makers()
        drawn = [box for box in self.scene.all_boxes if not (box.scenes and self.drawn[box] in self.opened)]
        uses: list[tuple[Wire, object]] = [(v, self.drawn[box]) for box in drawn for v in box.inputs]
        uses += [(v, "return") for v in self.scene.outputs]
        found: dict[tuple[str, str], str] = {}
        for wire, reader in uses:
            if wire in makers and makers[wire] is not reader:
                found.setdefault((self.id(makers[wire]), self.id(reader)), wire.shape)
        yield from ((a, b, shape) for (a, b), shape in found.items())

    def read_inputs(self) -> list[str]:
        """The boxes of inputs that an arrow starts from."""
        return [text for text in dict.fromkeys(self.inputs.values()) if text in self.ids]
