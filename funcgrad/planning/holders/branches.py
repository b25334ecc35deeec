"""The backward pass of a `cond`: the reverse pass of the branch that was taken."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from funcgrad.aliases import Array, Aval
from funcgrad.graph import Constant, Measurement, Node, Value
from funcgrad.planning.activity import BodyActivity
from funcgrad.planning.holders.steps import BodyPlanner, reverse_pullback
from funcgrad.plans import Plan, Step, as_array
from funcgrad.primitive import Cond, zeros_of
from funcgrad.reverse import forward, reverse


def plan_branches(
    node: Node, positions: tuple[int, ...], found: tuple[BodyActivity, ...], planner: BodyPlanner
) -> Step:
    """The step of a `cond`, whose first input is the index of the branch; see `Maker`."""
    assert isinstance(node.holder, Cond)
    bodies = tuple(planner.body(b.structure, active) for b, active in zip(node.bodies, found, strict=True))
    branches = _Branches(node, positions, found, bodies, node.holder, planner.value)
    pullbacks = reverse_pullback(
        node, positions, branches.outputs, branches.inside, branches.needs, branches.pull, bodies
    )
    return Step(node, positions, pullbacks, (*branches.slots, *branches.observed), branches.run_forward, bodies)


@dataclass(frozen=True, eq=False)
class _Branches:
    """A cond whose branches have plans. Only one of them runs, so what they keep shares its room."""

    node: Node
    positions: tuple[int, ...]
    found: tuple[BodyActivity, ...]
    bodies: tuple[Plan, ...]
    cond: Cond
    add: Callable[[Node, str, Aval], Value]

    @cached_property
    def outputs(self) -> tuple[int, ...]:
        """The outputs that can have a cotangent, whatever the branch."""
        return tuple(sorted({k for active in self.found for k in active.outputs}))

    @cached_property
    def inside(self) -> tuple[Value, ...]:
        """What is wanted inside of the branches."""
        return tuple(v for b, f in zip(self.bodies, self.found, strict=True) for v in b.returns[len(f.inputs) :])

    @cached_property
    def contents(self) -> tuple["_Contents", ...]:
        return tuple(_Contents.of(body, self.node.loops) for body in self.bodies)

    @cached_property
    def slots(self) -> tuple[Value, ...]:
        """As many arrays of every kind as the branch that keeps most of that kind."""
        most: Counter[Any] = Counter()
        for kept in self.contents:
            most |= Counter(map(_kind, kept.avals))
        like = {_kind(aval): aval for kept in self.contents for aval in kept.avals}
        avals = [like[kind] for kind, n in most.items() for _ in range(n)]
        return tuple(self.add(self.node, f"/kept{i}", aval) for i, aval in enumerate(avals))

    @cached_property
    def observed(self) -> tuple[Value, ...]:
        """What is observed in any branch."""
        return tuple(v for body in self.bodies for v in body.observed)

    @cached_property
    def needs(self) -> tuple[Value | Constant, ...]:
        """The node's inputs, then what the branch has kept."""
        return (*self.node.inputs, *self.slots)

    def run_forward(self, *leaves: Any) -> list[Any]:
        """The results of the branch that is taken, then what it keeps and what is observed."""
        return self._choose(self._run, leaves)

    def _choose(self, function: Callable[..., list[Any]], leaves: Sequence[Any]) -> list[Any]:
        """A function of the branch that is taken, and the operands after the index."""
        return self.cond.run([partial(function, b) for b in range(len(self.bodies))], *map(as_array, leaves))

    def _run(self, branch: int, *operands: Array) -> list[Any]:
        body, contents = self.bodies[branch], self.contents[branch]
        outputs, kept = forward(body, (), operands, keep=(*contents.values, *body.observed))
        n = len(contents.values)
        seen = dict(zip(body.observed, kept[n:], strict=True))
        outputs = [as_array(y, v.aval) for y, v in zip(outputs, self.node.outputs, strict=True)]
        at = dict(zip(self._places(branch), kept[:n], strict=True))
        slots = [at[i] if i in at else zeros_of(v.aval) for i, v in enumerate(self.slots)]
        return [*outputs, *slots, *(seen[v] if v in seen else self._unseen(v) for v in self.observed)]

    def _unseen(self, statistic: Value) -> Array:
        """A statistic of a value inside of another branch."""
        nodes = (n for body in self.bodies for n in body.structure.all_nodes)
        node = next(n for n in nodes if statistic in n.outputs)
        assert isinstance(node.function, Measurement)
        assert isinstance(node.inputs[0], Value)
        return node.function.blank(node.inputs[0], self.node.loops)[node.outputs.index(statistic)]

    def _places(self, branch: int) -> list[int]:
        """The slot of each array that a branch keeps: the first free one of its kind."""
        free: dict[Any, list[int]] = defaultdict(list)
        for i, v in enumerate(self.slots):
            free[_kind(v.aval)].append(i)
        return [free[_kind(aval)].pop(0) for aval in self.contents[branch].avals]

    def pull(self, *operands: Any) -> Sequence[Any]:
        """Cotangents of the node's inputs at `positions`, then of what is wanted inside."""
        return self._choose(self._pull, operands)

    def _pull(self, branch: int, *operands: Any) -> list[Any]:
        body, active = self.bodies[branch], self.found[branch]
        inputs, operands = operands[: len(self.node.inputs) - 1], operands[len(self.node.inputs) - 1 :]
        slots, operands = operands[: len(self.slots)], operands[len(self.slots) :]
        g, told = dict(zip(self.outputs, operands, strict=False)), operands[len(self.outputs) :] if body.told else ()
        values = dict(zip(body.structure.inputs, inputs, strict=True))
        places = self._places(branch)
        values |= {v: slots[i] for v, i in zip(self.contents[branch].values, places, strict=True)}
        found = reverse(body, [values[v] for v in body.kept], [*(g[k] for k in active.outputs), *told])
        bars = dict(zip(active.inputs, found, strict=False))
        at_inputs = [bars[p - 1] if p - 1 in bars else zeros_of(self.node.inputs[p].aval) for p in self.positions]
        within = dict(zip(body.returns[len(active.inputs) :], found[len(active.inputs) :], strict=True))
        return [*at_inputs, *(within[v] if v in within else self._nothing(v) for v in self.inside)]

    def _nothing(self, value: Value) -> Any:
        """The cotangent of a value inside of another branch, or the reading of one."""
        for tap in (t for body in self.bodies for t in body.all_taps):
            if value in tap.readings:
                return tap.measurement.blank(tap.value, self.node.loops)[tap.readings.index(value)]
        return zeros_of(value.seen_from(self.node.loops))


@dataclass(frozen=True)
class _Contents:
    """What a branch keeps, beside its inputs, and what that is seen from outside of loops inside."""

    values: tuple[Value, ...]
    avals: tuple[Aval, ...]

    @classmethod
    def of(cls, body: Plan, loops: tuple[int, ...]) -> "_Contents":
        """List it."""
        values = tuple(v for v in body.kept if v not in body.structure.inputs)
        return cls(values, tuple(v.seen_from(loops) for v in values))


def _kind(aval: Any) -> tuple[tuple[int, ...], Any]:
    return aval.shape, aval.dtype
