"""What a plan needs of memory and time, as numbers: the problem that a memory budget poses (`funcgrad.budget`).

Values are counted as XLA allots them. Arrays that hold the entries of another one in another shape share its room; an
addition hands one cotangent to all its operands; a rule whose cotangents are as large as the one that it takes writes
them over it. Inputs and constants are arguments of the program and count nothing. What comes out, gradients among it,
has room from the first moment to the last: XLA gives every result a buffer of its own, in which another array lies only
by chance.

Time is counted by a roofline: a node takes as long as its floating point operations, or as its bytes to and from
memory, whichever is longer.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

from funcgrad.budget import Pull, Run, Schedule
from funcgrad.graph import Constant, Node, Value
from funcgrad.plans.recomputation import PRODUCTS, is_view
from funcgrad.plans.repetition import repeated_bytes
from funcgrad.primitive import Scan
from funcgrad.registry import Call

if TYPE_CHECKING:
    from funcgrad.plans.plan import Plan
    from funcgrad.plans.step import Step

FLOPS_PER_BYTE = 8.0
"""Floating point operations that take as long as one byte of memory traffic.

Two cores: 60 GFLOP/s in products of 512 x 512, 8 GB/s in a sum of two arrays. On an accelerator it is some 200, which
makes elementwise nodes cheaper still beside products; the order in which they are remade is the same.
"""

ADDITIONS = {"add", "add_any", "name"}
"""Which hand on the cotangent that they take."""
_CONVOLUTIONS = {"conv", "conv_general_dilated"}
_LOCAL = {"linear", "matmul", "einsum", "dot_general", "attention", "dot_product_attention", *_CONVOLUTIONS}
"""Whose cotangents are made of more than the entries at the same place."""


@dataclass(frozen=True, eq=False)
class Account:
    """A plan as numbers. What the schedule calls `i` is the i-th node of the plan's graph, or the i-th room."""

    plan: "Plan"
    schedule: Schedule
    rooms: tuple[tuple[Value, ...], ...]
    """The values that share each room; the last ones are rooms of cotangents alone, each of one value."""
    result_bytes: int
    """Of what the forward pass returns, a part of what is resident."""

    @cached_property
    def room_of(self) -> Mapping[Value, int]:
        """The room of each value."""
        return {v: i for i, values in reversed(list(enumerate(self.rooms))) for v in values}

    def name_of(self, room: int) -> str:
        """What a room is called: as the first value in it."""
        return self.rooms[room][0].name


def account_of(plan: "Plan") -> Account:
    """Count a plan: every node as it runs once, every step as it pulls back."""
    return _Accountant(plan).account()


class _Accountant:
    def __init__(self, plan: "Plan"):
        self.plan = plan
        self.loops = plan.structure.loops
        self.rooms: list[list[Value]] = []
        self.sizes: list[int] = []
        self.room_of: dict[Value, int] = {}
        self.bars: dict[Value, int] = {}
        """The rooms of cotangents that are no value's."""
        self.place: dict[Value, int] = {}
        """Of the node that makes a value."""
        self.given = {*plan.structure.inputs, *plan.structure.constants}
        self.results = {v for v in plan.structure.outputs if isinstance(v, Value)}
        self.wanted = set(plan.wanted)
        self.uses = Counter(v for step in plan.steps for p in step.pullbacks for v in p.targets)
        self.runs: list[Run] = []

    def account(self) -> Account:
        nodes = self.plan.structure.nodes
        for v in self.given:
            self.enter(v, 0)
        self.runs = [self.run(place, node) for place, node in enumerate(nodes)]
        pulls = [self.pull(place, self.plan.step_of.get(node)) for place, node in enumerate(nodes)]
        there = {self.bar(v) for v in self.plan.sources}.union(*(pull.gives for pull in pulls if pull))
        pulls = [pull and replace(pull, takes=tuple(v for v in pull.takes if v in there)) for pull in pulls]
        outputs = sorted({self.room_of[v] for v in self.results - self.given if v in self.room_of})
        results = sum(map(self.bytes, self.results))
        resident = results + sum(map(self.bytes, self.wanted))
        schedule = Schedule(tuple(self.sizes), tuple(self.runs), tuple(pulls), resident, tuple(outputs))
        return Account(self.plan, schedule, tuple(map(tuple, self.rooms)), results)

    def enter(self, value: Value, size: int) -> int:
        """Give a value a room of its own."""
        self.rooms.append([value])
        self.sizes.append(size)
        self.room_of[value] = len(self.rooms) - 1
        return self.room_of[value]

    def bytes(self, value: Value) -> int:
        """Of a value, over all turns of the loops inside of this graph."""
        aval = value.seen_from(self.loops)
        return 0 if aval is None else prod(aval.shape) * aval.dtype.itemsize

    def run(self, place: int, node: Node) -> Run:
        reads = self.rooms_of(self.plan.read_at(node))
        if is_view(node) and isinstance(node.inputs[0], Value):
            room = self.room_of[node.inputs[0]]
            self.room_of[node.outputs[0]] = room
            self.rooms[room].append(node.outputs[0])
            self.place[node.outputs[0]] = place
            return Run(reads, (), 0.0)
        made = self.plan.made_at(node)
        self.place.update(dict.fromkeys(made, place))
        writes = tuple(self.enter(v, 0 if v in self.results else self.bytes(v)) for v in made)
        step = self.plan.step_of.get(node)
        inside = max((_forward_inside(step, body) for body in step.bodies), default=0) if step else 0
        remakable = not (node.has_effects or _makes_stacks(node, step))
        return Run(reads, writes, seconds(node), inside, remakable)

    def rooms_of(self, values: Iterable[Value | Constant]) -> tuple[int, ...]:
        """The rooms of values, each once; of what the plan reads and no node makes (a rule closes over it), none."""
        return tuple(dict.fromkeys(self.room_of[v] for v in values if isinstance(v, Value) and v in self.room_of))

    def pull(self, place: int, step: "Step | None") -> Pull | None:
        if step is None or not step.pullbacks:
            return None
        lasting = set(self.plan.lasting)
        taken = [v for v in step.outputs if v in self.uses and v not in lasting]
        targets = list(dict.fromkeys(v for p in step.pullbacks for v in p.targets))
        shared = self.shared(step, targets)
        takes, gives = tuple(map(self.bar, taken)), tuple(self.bar(v) for v in targets if v not in shared)
        inside = max((_inside(step, body) for body in step.bodies), default=0)
        reads, again = self.rooms_of(step.asks), repeated_bytes([step], self.plan.remade)
        if again and not step.fenced:  # made on the way forward already, and kept
            run = self.runs[place]
            reads = (*reads, self.enter(Value(f"{step.node.name}/again", None), again))
            self.runs[place] = replace(run, writes=(*run.writes, reads[-1]))
        return Pull(
            reads=reads,
            takes=takes,
            gives=gives,
            workspace=inside + (again if step.fenced else 0) + self.workspace(step, taken, targets),
        )

    def shared(self, step: "Step", targets: list[Value]) -> set[Value]:
        """Those of the targets that get the very cotangent that another one gets: of an addition's operands all but
        the one that was made first, whose cotangent is read last.
        """
        if step.node.op_name not in ADDITIONS:
            return set()
        (source,) = step.outputs
        alike = [v for v in targets if v.aval.shape == source.aval.shape]
        alike.sort(key=lambda v: self.place.get(v, -1))
        return {v for v in alike[1:] if self.uses[v] == 1}

    def bar(self, value: Value) -> int:
        """The room of a value's cotangent: the value's own number, unless that has another size."""
        room, size = self.room_of.get(value), 0 if value in self.wanted else self.bytes(value)
        if room is not None and self.sizes[room] == size and value not in self.given:
            return room
        if value not in self.bars:
            self.rooms.append([value])
            self.sizes.append(size)
            self.bars[value] = len(self.rooms) - 1
        return self.bars[value]

    def workspace(self, step: "Step", taken: list[Value], targets: list[Value]) -> int:
        """Bytes beside what a rule reads, takes and gives; less than none where it writes over what it takes."""
        name = step.node.op_name
        if name in _CONVOLUTIONS:  # the gradient of a kernel correlates transposed copies of both
            return self.bytes(step.node.outputs[0]) + max(self.bytes(v) for v in step.node.inputs if v in self.room_of)
        if name in _LOCAL or step.bodies or self.is_flattened(step.node):
            return 0
        return -min(sum(map(self.bytes, taken)), sum(self.bytes(v) for v in targets if v not in self.given))

    def is_flattened(self, node: Node) -> bool:
        """Whether the one loop that XLA makes of an op's rule has an array in two shapes: `[batch, tokens, d]`, and
        `[batch * tokens, d]` as a product beside it has it. Such a loop never writes over what it reads.
        """
        if not isinstance(node.function, Call) or all(v.aval.ndim < 3 for v in node.outputs):
            return False
        return any(v in self.beside_products for v in (*node.inputs, *node.outputs))

    @cached_property
    def beside_products(self) -> frozenset[Value | Constant]:
        """What products read or make."""
        products = (node for node in self.plan.structure.nodes if node.op_name in PRODUCTS)
        return frozenset(v for node in products for v in (*node.inputs, *node.outputs))


def seconds(node: Node) -> float:
    """What running a node costs, in bytes of memory traffic: see `FLOPS_PER_BYTE`."""
    if is_view(node):
        return 0.0
    if node.bodies:
        inside = [sum(map(seconds, body.structure.nodes), 0.0) for body in node.bodies]
        turns = prod(node.holder.lengths) if node.holder else 1
        return turns * max(inside, default=0.0)
    moved = sum(_bytes_of(v) for v in (*node.inputs, *node.outputs))
    return max(node.flops / FLOPS_PER_BYTE, float(moved))


def _makes_stacks(node: Node, step: "Step | None") -> bool:
    """Whether a node is a loop, in no other one, that stacks what its turns make.

    XLA:CPU fills every stack of a program with zeros before the first loop, so a second run of such a loop has its
    stacks there from the beginning as well. Of six loops, of which three were to run again in the room of the others,
    the program took 34.7 MB, as with everything kept, where 19.1 had been foreseen. What a loop in groups leaves is no
    such stack: its room is made from the carry that the loop begins with.
    """
    left = step.saved if step and step.groups is None else ()
    return isinstance(node.holder, Scan) and not node.loops and len((*node.outputs, *left)) > node.holder.n_carry


def _forward_inside(step: "Step", body: "Plan") -> int:
    """Bytes that the forward pass of a body takes."""
    is_loop = isinstance(step.node.holder, Scan)
    return body.memory.turn_peaks[0] if is_loop else body.memory.forward_peak


def _inside(step: "Step", body: "Plan") -> int:
    """Bytes that the reverse pass of a body takes.

    The cotangents of a loop's constants all turns add up in one place, that of the result. Where turns run again, what
    those of a group leave is there beside, from the forward pass of its first turn on.
    """
    holder = step.node.holder
    if not isinstance(holder, Scan):
        return body.memory.peak
    summed = sum(_bytes_of(v) for v in body.structure.inputs[: holder.n_constants] if v in body.wanted)
    forward, back = body.memory.turn_peaks
    return back - summed if step.groups is None else step.groups.bytes + max(forward, back - summed)


def _bytes_of(value: Value | Constant) -> int:
    return 0 if value.aval is None else prod(value.aval.shape) * value.aval.dtype.itemsize
