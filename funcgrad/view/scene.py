"""What can be shown of a graph or of a plan, as data: boxes, what runs between them, and for a plan the row of each.

A graph or a plan makes its scene, and every table and picture is made of that alone: nothing here knows what a node is.
"""

from dataclasses import dataclass, field

from funcgrad.view.words import listed


@dataclass(frozen=True, eq=False, slots=True)
class Wire:
    """A value that boxes make and read; two wires are the same only if identical."""

    name: str
    shape: str = ""
    """As `f32[8,64]`."""
    is_constant: bool = False
    """Whether it is a number written into the graph: its name is that number, and no box makes it."""

    def __str__(self) -> str:
        return f"{self.name}: {self.shape}"


@dataclass(frozen=True)
class RowRule:
    """A rule at a node: what makes the cotangents of some of its arguments."""

    arguments: tuple[str, ...]
    name: str
    """The rule's name, or what it is derived by."""
    kind: str
    """`exact`, `subgradient`, `surrogate`, `modified`, `nonlinear`; `derived` where nobody did, `label` at a name;
    `marked` where a marker was put in, by which there is no cotangent."""
    claim: str
    """The kind with its convention: `subgradient (0 at 0)`."""

    @property
    def is_plain(self) -> bool:
        """Whether it is the derivative without any convention, so that nothing need be said of its kind."""
        return self.claim in ("exact", "derived", "label")

    def __str__(self) -> str:
        text = f"{listed(self.arguments, 4)}: {self.name}"
        return text if self.is_plain else f"{text} [{self.claim}]"


@dataclass(frozen=True)
class RowRead:
    """What the rules at a node read."""

    name: str
    """The rules' own name for it: an argument, an output, a saved value."""
    value: str
    """The name of the value in the graph."""
    in_place: bool
    """Whether it is an input or a constant of the graph, which is there whether a plan keeps it or not."""

    def __str__(self) -> str:
        return f"{self.name}*" if self.in_place else self.name


@dataclass(frozen=True)
class Row:
    """One node of a plan."""

    node: str
    op: str
    shapes: tuple[str, ...]
    """Of its outputs, as `f32[8,64]`."""
    rules: tuple[RowRule, ...] = ()
    """Empty where it is pruned."""
    reads: tuple[RowRead, ...] = ()
    new_bytes: int = 0
    """Bytes of the kept values that no earlier row counts; inputs count nothing, they are there anyway."""
    forward_flops: float = 0.0
    backward_flops: float = 0.0
    """Over all turns of the loops around the node."""
    remakes: tuple[str, ...] = ()
    """The nodes that are run again before its rules; itself, for a loop whose turns are."""
    hooks: tuple[str, ...] = ()
    """The functions that change the cotangents of its outputs."""
    depth: int = 0
    """How many nodes hold the graph that this one is in."""

    @property
    def keeps(self) -> tuple[str, ...]:
        """What its rules read, by the names of the graph: what must be there when the reverse pass comes to it."""
        return tuple(read.value for read in self.reads)


@dataclass(frozen=True)
class Totals:
    """Sums over a plan."""

    kept_bytes: int
    input_bytes: int
    """Bytes of inputs and constants that rules read in place."""
    forward_flops: float
    backward_flops: float
    kinds: tuple[tuple[str, int], ...]
    """How many rules there are of each kind."""
    pruned: int
    remade: int
    """How many nodes are run again for the rules to read what they make; their FLOPs are among `backward_flops`."""

    @property
    def ratio(self) -> float:
        """Backward over forward FLOPs; the lecture says about two."""
        return self.backward_flops / self.forward_flops if self.forward_flops else 0.0


@dataclass(frozen=True)
class Facts:
    """What is said of a plan as a whole."""

    totals: Totals
    wanted: tuple[str, ...]
    """The values whose cotangents come out."""
    zero: tuple[str, ...] = ()
    """Those of them on which nothing that is differentiated depends."""
    remade: tuple[str, ...] = ()
    """The nodes that are run again on the way back."""
    hooks: tuple[str, ...] = ()
    """What changes cotangents, as `features: negative`."""
    suggestions: tuple[str, ...] = ()
    """Where plain JAX does what an op of ours does with less."""
    repeated_bytes: int = 0
    """What rules make by products as the forward pass did, which a compiler keeps instead."""
    compiled_bytes: int | None = None
    """What XLA says that the compiled program needs; None where it was not asked."""
    budget: str = ""
    """Of a plan that was made for a memory budget: what was asked, what is foreseen, what it costs."""


@dataclass(frozen=True, eq=False, slots=True)
class Box:
    """A node: what it is called, what it applies to what, and what comes out."""

    name: str
    scope: str
    op: str
    inputs: tuple[Wire, ...]
    outputs: tuple[Wire, ...]
    scenes: "tuple[Scene, ...]" = ()
    """The graphs that it holds: of a loop's turn, of branches, of a checkpoint."""
    row: Row | None = None
    """What a plan says of it."""


@dataclass(frozen=True, eq=False)
class Scene:
    """Boxes in topological order, and the wires that go in and out."""

    boxes: tuple[Box, ...]
    inputs: tuple[Wire, ...]
    outputs: tuple[Wire, ...]
    entries: tuple[tuple[Wire, Wire], ...] = ()
    """Inside of a box: pairs of what goes into the box and the input that it is in here."""
    facts: Facts | None = field(default=None, repr=False)
    """Of a plan."""

    @property
    def all_boxes(self) -> "list[Box]":
        """The boxes; after one that holds scenes, those inside."""
        return [b for box in self.boxes for b in (box, *(inner for s in box.scenes for inner in s.all_boxes))]
