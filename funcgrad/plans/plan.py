"""One backward pass, decided before anything runs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from funcgrad.errors import GradientError
from funcgrad.graph import Constant, Measurement, Node, Structure, Value, read
from funcgrad.plans.memory import Fitted, Memory
from funcgrad.plans.pullback import Pullback
from funcgrad.plans.recomputation import is_view
from funcgrad.plans.repetition import repeated_bytes
from funcgrad.plans.rows import make_rows
from funcgrad.plans.scenes import make_scene
from funcgrad.plans.step import Step
from funcgrad.plans.suggestions import Suggestion, find_patterns
from funcgrad.registry import Hook, Marker
from funcgrad.view import LINES, Row, Scene, Totals, page_width, to_table


@dataclass(frozen=True, eq=False)
class Tap:
    """A cotangent to be measured as soon as it is complete; `readings` are its statistics."""

    value: Value
    measurement: Measurement
    readings: tuple[Value, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """A backward pass as data: what is wanted, the rule at every node, what is kept until it is read.

    Made by `fg.plan`. `print` it for the table of nodes, rules, bytes and FLOPs.

    Example:
        >>> plan = fg.plan(lambda x: fg.ops.sum(fg.ops.tanh(x)), jnp.ones((8, 8), jnp.float32))
        >>> for step in plan.steps:
        ...     print(step.node.name, [pullback.rule.name for pullback in step.pullbacks])
        tanh ['tanh_x']
        sum ['sum_x']
        >>> plan.totals.kept_bytes
        256
    """

    structure: Structure
    wanted: tuple[Value, ...]
    """The values whose cotangents come out."""
    sources: tuple[Value, ...]
    """The values whose cotangents go in."""
    steps: tuple[Step, ...]
    """The active nodes, in forward order."""
    reached: frozenset[Value]
    """The values that get a cotangent."""
    taps: tuple[Tap, ...] = ()
    """Cotangents that are measured on the way."""
    readings: tuple[Value, ...] = ()
    """What taps read, here and inside of nodes."""
    observed: tuple[Value, ...] = ()
    """Statistics of values, taken on the way forward, here and inside of nodes."""
    told: tuple[Value, ...] = ()
    """The last of `sources` that are values of a graph around this one, whose cotangents rules here ask for."""
    hooks: Mapping[Value, tuple[Hook, ...]] = field(default_factory=dict)
    """What changes the cotangents of values, once they are whole."""
    marked: Mapping[Node, tuple[tuple[str, Marker], ...]] = field(default_factory=dict)
    """The arguments that get no cotangent because a marker was put in."""
    settled: frozenset[Value] = frozenset()
    """The values whose cotangents a compiled program is made to store: sums, which it would else make again for each
    that reads them, and keep the terms of."""
    temp_bytes: int | None = None
    """What XLA says that its program of both passes needs beside its arguments and results; None before it is asked.

    Buffers of results serve for what is kept as long as they are empty, so this may be less than `totals.kept_bytes`.
    """

    fitted: Fitted | None = None
    """The memory budget that it was made for, if any."""

    def __reduce__(self) -> str:
        """Its rules and equations are functions of this process."""
        raise GradientError("A plan cannot be pickled or copied; pickle the function, and plan it again with fg.plan.")

    @cached_property
    def kept(self) -> tuple[Value, ...]:
        """Every value that the reverse pass starts from, in the order of first use: what the forward leaves behind."""
        return tuple(dict.fromkeys(v for step in self.steps for v in step.reads if isinstance(v, Value)))

    @cached_property
    def remade(self) -> frozenset[Value]:
        """The values of this graph that rules read and that are made again instead of kept."""
        return frozenset().union(*(step.again.made for step in self.steps if step.again))

    @property
    def lacking(self) -> tuple[Value, ...]:
        """What the rules of custom derivatives close over, and no node of the graph makes."""
        made = {*self.structure.inputs, *self.structure.constants}
        made.update(v for node in self.structure.nodes for v in self.made_at(node))
        taken = (*(v for step in self.steps for v in step.captured), *self.kept)
        return tuple(dict.fromkeys(v for v in taken if isinstance(v, Value) and v not in made))

    def run(self, node: Node, values: dict[Value, Any]) -> None:
        """Run a node forward: add to `values` its outputs and, where it is active, what its rules need saved."""
        step, leaves = self.step_of.get(node), read(self.read_at(node), values)
        if step is None:
            values.update(zip(node.outputs, node.run(*leaves), strict=True))
        else:
            values.update(zip((*node.outputs, *step.saved), step.forward(*leaves), strict=True))

    def read_at(self, node: Node) -> tuple[Value | Constant, ...]:
        """The values that running a node takes."""
        return (*node.inputs, *self.step_of[node].captured) if node in self.step_of else node.inputs

    def made_at(self, node: Node) -> tuple[Value, ...]:
        """The values that running a node makes."""
        return (*node.outputs, *self.step_of[node].saved) if node in self.step_of else node.outputs

    @property
    def pullbacks(self) -> Iterator[Pullback]:
        """The rules of all steps, in forward order."""
        return (p for step in self.steps for p in step.pullbacks)

    @property
    def all_pullbacks(self) -> Iterator[Pullback]:
        """The same, those of the graphs that nodes hold in the place of the nodes' own."""
        for step in self.steps:
            if step.bodies:
                yield from (p for body in step.bodies for p in body.all_pullbacks)
            else:
                yield from step.pullbacks

    @property
    def all_hooks(self) -> Iterator[tuple[Hook, ...]]:
        """The hooks of its values, those inside of nodes included."""
        yield from self.hooks.values()
        for step in self.steps:
            for body in step.bodies:
                yield from body.all_hooks

    @property
    def returns(self) -> tuple[Value, ...]:
        """What the reverse pass returns: the cotangents that are wanted, then what taps read."""
        return (*self.wanted, *self.readings)

    @property
    def all_taps(self) -> Iterator[Tap]:
        """The taps, those inside of nodes included."""
        yield from self.taps
        for step in self.steps:
            for body in step.bodies:
                yield from body.all_taps

    @property
    def lasting(self) -> tuple[Value, ...]:
        """The values whose cotangents are read again after their node: what is returned or measured, and signals."""
        signals = (p.signal for p in self.pullbacks if p.signal is not None)
        return (*self.returns, *(tap.value for tap in self.taps), *signals)

    @cached_property
    def step_of(self) -> dict[Node, Step]:
        """The active step of a node."""
        return {step.node: step for step in self.steps}

    @cached_property
    def pruned(self) -> tuple[Node, ...]:
        """Nodes that the backward pass does not visit."""
        return tuple(n for n in self.structure.nodes if n not in self.step_of)

    @cached_property
    def repeated_bytes(self) -> int:
        """Bytes that a program of both passes keeps beside `totals.kept_bytes`: what rules make by products from kept
        values alone, as the forward pass did, which a compiler makes once.
        """
        makers = {v: node for node in self.structure.nodes for v in self.made_at(node)}
        fenced = {v for v in self.remade if not is_view(makers[v])}
        return repeated_bytes(self.steps, fenced)

    @cached_property
    def memory(self) -> Memory:
        """What its passes hold, moment by moment, as foreseen."""
        return Memory(self)

    @cached_property
    def suggestions(self) -> tuple[Suggestion, ...]:
        """Where plain JAX does what an op of ours does with less."""
        return tuple(find_patterns(self.structure))

    @cached_property
    def _rows_and_totals(self) -> tuple[tuple[Row, ...], Totals]:
        return make_rows(self)

    @property
    def rows(self) -> tuple[Row, ...]:
        """A row per node, in forward order, those of a graph inside a node after the node's."""
        return self._rows_and_totals[0]

    @property
    def totals(self) -> Totals:
        """Bytes, FLOPs and rules of the whole pass."""
        return self._rows_and_totals[1]

    @property
    def scene(self) -> Scene:
        """What can be shown of it, as data: what the table is made of."""
        return make_scene(self)

    def table(self, width: int | None = None, lines: int | None = None) -> str:
        """The table in full, a line per node, as wide as it needs to be; `print(plan)` folds it to fit the terminal.

        Args:
            width: how many columns of a terminal the lines may take. Where they need more, what is redundant is left
                out, then whole columns, and what is still too long ends in `…`.
            lines: about how many lines of nodes; where there are more, they are folded by scope.

        Returns:
            The table as text, facts of the whole below it.

        Example:
            >>> loss = lambda w, x: fg.ops.mean(fg.ops.tanh(fg.ops.linear(x, w)))
            >>> plan = fg.plan(loss, jnp.ones((3, 4), jnp.float32), jnp.ones((2, 3), jnp.float32))
            >>> for line in plan.table(width=60).splitlines()[2:5]:
            ...     print(line)
            linear  f32[2,4]  linear_w  x*                 48        48
            tanh    f32[2,4]  tanh_x    y       32 B        8        32
            mean    f32[]     mean_x                        9         1
        """
        return to_table(self.scene, width, lines)

    def __str__(self) -> str:
        return self.table(page_width(), LINES)
