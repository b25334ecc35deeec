"""The backward pass of a loop in groups of turns, of which only the carry between them is kept.

Of n turns that each leave r bytes, n r are stacked until the reverse pass comes. In groups of s turns, the forward
loop leaves the carry (c bytes) at the end of each group, and the reverse pass runs a group's turns again, from there,
before it pulls them back: n / s c + s r bytes, of the order of √n where s is, for one more forward pass of the loop
(Griewank, "Achieving logarithmic growth of temporal and spatial complexity in reverse automatic differentiation", 1992).

The group of turns that are left over runs last, so that it is the first to be pulled back. Arrays are read and cotangents
of slices are written where they are, by the number of the turn: cut into groups, a group of each would be copied.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array
from funcgrad.graph import Constant, Value, read
from funcgrad.planning.holders.reverse_loops import ReverseLoop
from funcgrad.planning.holders.steps import BodyPlanner
from funcgrad.plans import Groups, Recomputation, as_array
from funcgrad.primitive import fence, zeros_of
from funcgrad.registry import in_turn
from funcgrad.reverse import forward

_Name = TypeVar("_Name")


def in_groups(loop: ReverseLoop, turns: int, planner: BodyPlanner) -> ReverseLoop:
    """The same loop in groups of `turns`; as it is where its turns leave nothing, or cannot run twice."""
    again = _again(loop)
    if not loop.stacked or not 0 < turns < loop.loop.lengths[0] or not again.found.issuperset(loop.stacked):
        return loop
    n, ends = -(-loop.loop.lengths[0] // turns), dict[int, Value]()
    for k in _carried(loop, again):
        aval = loop.inputs[loop.loop.n_constants + k].aval
        stack = jax.ShapeDtypeStruct((n, *aval.shape), aval.dtype)
        ends[k] = planner.value(loop.node, f"/carry{k}:groups", stack)
    groups = Groups(turns, again, loop.stacked)
    return _GroupedLoop(loop.node, loop.positions, loop.found, loop.body, loop.loop, groups=groups, ends=ends)


def _again(loop: ReverseLoop) -> Recomputation:
    """How a turn makes again what it leaves, and what of the carry the turns after it need for that."""
    outputs, carried = loop.body.structure.outputs, list[int]()
    while True:
        wanted = [v for v in (*loop.stacked, *(outputs[k] for k in carried)) if isinstance(v, Value)]
        again = Recomputation.of(loop.body, [*loop.inputs, *loop.constant], wanted)
        if (found := _carried(loop, again)) == carried:
            return again
        carried = found


def _carried(loop: ReverseLoop, again: Recomputation) -> list[int]:
    """The parts of the carry that running a turn again begins with."""
    carry = loop.inputs[loop.loop.n_constants : loop.loop.n_unsliced]
    return [k for k, v in enumerate(carry) if v in again.given]


@dataclass(frozen=True, eq=False)
class _GroupedLoop(ReverseLoop):
    """Turns have two numbers: in which they run, from which their group follows, and where their slices are."""

    groups: Groups = field(kw_only=True)
    ends: Mapping[int, Value] = field(kw_only=True)
    """The carry at the end of each group, those parts of it that are needed."""

    @property
    def left(self) -> tuple[Value, ...]:
        return tuple(self.ends.values())

    @cached_property
    def asked(self) -> tuple[Value, ...]:
        carry = self.inputs[self.loop.n_constants : self.loop.n_unsliced]
        return tuple(dict.fromkeys((*self.body.kept, *(v for v in self.groups.again.given if v not in carry))))

    @cached_property
    def needs(self) -> tuple[Value | Constant, ...]:
        """Also, the carry that the first group begins with."""
        begin = (self.node.inputs[self.loop.n_constants + k] for k in self.ends)
        return (*self.constant, *self.slices.values(), *self.left, *begin)

    @property
    def n_turns(self) -> int:
        return self.loop.lengths[0]

    def place(self, turn: Any) -> Any:
        """Where the slices of a turn are, from its number in the order of running; and the other way round."""
        return self.n_turns - 1 - turn if self.loop.backwards else turn

    def run_forward(self, *leaves: Any) -> list[Any]:
        """The loop's results, then the ends of groups and what is observed.

        Each turn writes its carry at the place of its group, so the last one's stays.
        """
        arrays = [as_array(x, v.aval) for x, v in zip(leaves, self.node.inputs, strict=True)]
        n, m = self.loop.n_constants, self.loop.n_carry
        constants, carry, slices = arrays[:n], arrays[n : n + m], arrays[n + m :]
        n_groups = -(-self.n_turns // self.groups.turns)

        def turn(state: Any, x: Any) -> tuple[Any, Any]:
            (carry, ends), (number, slices) = state, x
            found, observed = forward(self.body, (), [*constants, *carry, *slices], self.body.observed)
            outputs = [as_array(y, v.aval) for y, v in zip(found, self.body.structure.outputs, strict=True)]
            group = self.place(number) // self.groups.turns
            ends = [_put(end, outputs[k], group) for k, end in zip(self.ends, ends, strict=True)]
            return (outputs[:m], ends), (outputs[m:], observed)

        ends = [jnp.broadcast_to(carry[k], (n_groups, *carry[k].shape)) for k in self.ends]
        (carry, ends), (ys, observed) = self.loop.scan(turn, (carry, ends), (jnp.arange(self.n_turns), slices))
        return [*carry, *ys, *ends, *observed]

    def pull(self, *operands: Any) -> list[Any]:
        """Cotangents of the node's inputs at `positions`, then of what is wanted inside."""
        operands, constants = _taken(operands, self.constant)
        operands, arrays = _taken(operands, self.slices)
        operands, ends = _taken(operands, self.ends)
        operands, begin = _taken(operands, self.ends)
        told, g = _taken(operands, self.found.outputs)
        turns, (n_groups, rest) = self.groups.turns, divmod(self.n_turns, self.groups.turns)

        def start_of(group: Any) -> dict[int, Array]:
            before = _at(ends, jnp.maximum(group - 1, 0))
            return {k: jnp.where(group == 0, begin[k], x) for k, x in before.items()}

        def ahead(carry: Any, turn: Array) -> tuple[Any, Any]:
            return self._run_again(constants | _at(arrays, self.place(turn)), carry)

        def back(state: Any, x: Any) -> tuple[Any, Any]:
            (carry_bars, totals, written), (turn, stacked) = state, x
            place = self.place(turn)
            slices, y_bars = [*_at(arrays, place).values(), *stacked], _at(all_y_bars, place)
            with in_turn(place):
                bars, found = self.turn_back(constants, carry_bars, totals, slices, y_bars, told)
            return (*bars, jax.tree.map(lambda whole, x: _put(whole, x, place), written, found)), None

        def pull_group(state: Any, start: Any, order: Array) -> Any:
            scan = replace(self.loop, lengths=order.shape, backwards=False)
            _, stacked = scan.scan(ahead, start, order)
            return scan.reversed.scan(back, state, (order, stacked))[0]

        def in_turn_of_groups(state: Any, group: Array) -> tuple[Any, None]:
            return pull_group(state, start_of(group), group * turns + jnp.arange(turns)), None

        last = start_of(n_groups) if rest else {}
        if rest:
            late, bars = fence(list(last.values()), until=list(g.values()))
            last, g = dict(zip(last, late, strict=True)), dict(zip(g, bars, strict=True))
        all_y_bars = {k: x for k, x in g.items() if k >= self.loop.n_carry}
        state = (*self.before(g), self._blank())
        if rest:
            state = pull_group(state, last, jnp.arange(n_groups * turns, self.n_turns))
        state, _ = lax.scan(in_turn_of_groups, state, jnp.arange(n_groups), reverse=True)
        carry_bars, totals, (x_bars, inside) = state
        return self.found_bars(carry_bars, totals, x_bars, inside)

    def _run_again(self, values: Mapping[Value, Any], carry: Mapping[int, Array]) -> tuple[dict[int, Array], list[Any]]:
        """One turn from its carry: that of the next one, and what the turn leaves."""
        outputs, n = self.body.structure.outputs, self.loop.n_constants
        found, _ = self.groups.again.run({**values, **{self.inputs[n + k]: x for k, x in carry.items()}}, {})
        after = {k: as_array(*read([outputs[k]], found), outputs[k].aval) for k in carry}
        return after, [found[v] for v in self.groups.left]

    def _blank(self) -> tuple[dict[int, Array], list[Array]]:
        """Zeros in the place of the cotangents of slices, and of what is wanted inside, of all turns."""
        m, arrays = self.loop.n_unsliced, self.node.inputs
        x_bars = {i: zeros_of(arrays[i].aval) for i in self.found.inputs if i >= m}
        return x_bars, [zeros_of(v.seen_from(self.node.loops)) for v in self.inside]


def _taken(operands: Sequence[Any], names: Collection[_Name]) -> tuple[Sequence[Any], dict[_Name, Any]]:
    """The first of the operands, by names; and the others before them."""
    n = len(names)
    return operands[n:], dict(zip(names, operands[:n], strict=True))


def _at(arrays: Mapping[_Name, Array], number: Any) -> dict[_Name, Array]:
    """One slice of each of some arrays."""
    return {name: lax.dynamic_index_in_dim(x, number, keepdims=False) for name, x in arrays.items()}


def _put(whole: Array, x: Array, number: Any) -> Array:
    """An array with `x` at one of its first axis' places."""
    return lax.dynamic_update_index_in_dim(whole, x, number, 0)
