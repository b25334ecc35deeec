"""The backward pass of a loop in groups of turns, of which only the carry between them is kept.

Of n turns that each leave r bytes, n r are stacked until the reverse pass comes. In groups of s turns, the forward
loop leaves the carry (c bytes) at the end of each group, and the reverse pass runs a group's turns again, from there,
before it pulls them back: n / s c + s r bytes, of the order of √n where s is, for one more forward pass of the loop
(Chen et al., "Training deep nets with sublinear memory cost", 2016). A group can be cut into groups in its turn: with
k sizes, it is of the order of k n^(1 / (k + 1)) bytes for k forward passes, down to log n for log n (Griewank,
"Achieving logarithmic growth of temporal and spatial complexity in reverse automatic differentiation", 1992).

The turns that are left over run last, so that they are the first to be pulled back. Arrays are read, and cotangents of
slices written, where they are, by the number of the turn: cut into groups, a group of each would be copied.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
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
from funcgrad.primitive import Scan, fence, zeros_of
from funcgrad.registry import in_turn
from funcgrad.reverse import forward

_Name = TypeVar("_Name")
_Carry = dict[int, Array]
"""Parts of the carry."""


def in_groups(loop: ReverseLoop, sizes: Sequence[int], planner: BodyPlanner) -> ReverseLoop:
    """The same loop in groups of these sizes; as it is where its turns cannot run twice, or need not."""
    again, (n_turns,) = _again(loop), loop.loop.lengths
    sizes = tuple(size for size in sizes if size < n_turns)
    if again is None or not sizes:
        return loop
    n_groups, carry, ends = -(-n_turns // sizes[0]), dict[int, Value](), dict[int, Value]()
    for k in _carried(loop, again):
        carry[k] = loop.inputs[loop.loop.n_constants + k]
        stack = jax.ShapeDtypeStruct((n_groups, *carry[k].aval.shape), carry[k].aval.dtype)
        ends[k] = planner.value(loop.node, f"/carry{k}:every{sizes[0]}", stack)
    groups = Groups(sizes, again, tuple(carry.values()), loop.stacked)
    return _GroupedLoop(loop.node, loop.positions, loop.found, loop.body, loop.loop, groups=groups, ends=ends)


def _again(loop: ReverseLoop) -> Recomputation | None:
    """How a turn makes again what it leaves, and what of the carry the turns after it need for that; None where it
    leaves nothing, or would repeat an effect.
    """
    outputs, carried = loop.body.structure.outputs, list[int]()
    while True:
        wanted = [v for v in (*loop.stacked, *(outputs[k] for k in carried)) if isinstance(v, Value)]
        again = Recomputation.of(loop.body, [*loop.inputs, *loop.constant], wanted)
        if (found := _carried(loop, again)) == carried:
            return again if loop.stacked and again.found.issuperset(wanted) else None
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

    @property
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
        """The loop's results, then the carry at the ends of groups and what is observed."""
        arrays = [as_array(x, v.aval) for x, v in zip(leaves, self.node.inputs, strict=True)]
        n, m = self.loop.n_constants, self.loop.n_carry
        constants, carry, slices = arrays[:n], arrays[n : n + m], arrays[n + m :]

        def turn(state: Any, x: Any) -> tuple[Any, Any]:
            (carry, ends), (place, slices) = state, x
            found, observed = forward(self.body, (), [*constants, *carry, *slices], self.body.observed)
            outputs = [as_array(y, v.aval) for y, v in zip(found, self.body.structure.outputs, strict=True)]
            ends = _noted(ends, dict(enumerate(outputs)), self.place(place) // self.groups.sizes[0])
            return (outputs[:m], ends), (outputs[m:], observed)

        ends = _room_for_ends({k: carry[k] for k in self.ends}, self.n_turns, self.groups.sizes[0])
        (carry, ends), (ys, observed) = self.loop.scan(turn, (carry, ends), (jnp.arange(self.n_turns), slices))
        return [*carry, *ys, *ends.values(), *observed]

    def pull(self, *operands: Any) -> list[Any]:
        """Cotangents of the node's inputs at `positions`, then of what is wanted inside."""
        rest, constants = _taken(operands, self.constant)
        rest, arrays = _taken(rest, self.slices)
        rest, ends = _taken(rest, self.ends)
        rest, begin = _taken(rest, self.ends)
        told, g = _taken(rest, self.found.outputs)
        every_y_bar = {k: x for k, x in g.items() if k >= self.loop.n_carry}

        def ahead(carry: Any, turn: Array) -> tuple[Any, Any]:
            return self._run_again(constants | _at(arrays, self.place(turn)), carry)

        def back(state: Any, x: Any) -> tuple[Any, Any]:
            (carry_bars, totals, x_bars), (turn, stacked) = state, x
            place = self.place(turn)
            slices, y_bars = [*_at(arrays, place).values(), *stacked], _at(every_y_bar, place)
            with in_turn(place):
                bars, (found, inside) = self.turn_back(constants, (carry_bars, totals), slices, y_bars, told)
            return (*bars, {i: _put(x_bars[i], x, place) for i, x in found.items()}), inside

        x_bars = {i: zeros_of(self.node.inputs[i].aval) for i in self.found.inputs if i >= self.loop.n_unsliced}
        state, back_through = (*self.before(g), x_bars), _Turns(self.loop, ahead, back).pull_groups
        state, inside = back_through(state, begin, ends, 0, self.n_turns, self.groups.sizes)
        carry_bars, totals, x_bars = state
        return self.found_bars(
            carry_bars, totals, x_bars, [jnp.flip(x, 0) if self.loop.backwards else x for x in inside]
        )

    def _run_again(self, values: Mapping[Value, Any], carry: Mapping[int, Array]) -> tuple[dict[int, Array], list[Any]]:
        """One turn from its carry: that of the next one, and what the turn leaves."""
        outputs, begin = self.body.structure.outputs, zip(self.groups.carry, carry.values(), strict=True)
        found, _ = self.groups.again.run({**values, **dict(begin)}, {})
        after = {k: as_array(read([outputs[k]], found)[0], outputs[k].aval) for k in carry}
        return after, [found[v] for v in self.groups.left]


@dataclass(frozen=True, eq=False)
class _Turns:
    """Turns of a loop, numbered in the order in which they run, and how they run.

    In what follows, `state` is what is handed from turn to turn on the way back, cotangents of the carry first. It
    comes out, and what is found in each turn beside it, stacked in the order in which the turns run.
    """

    loop: Scan
    ahead: Callable[..., Any]
    """Run a turn again, from its carry and number to the next one's carry and what it leaves."""
    back: Callable[..., Any]
    """Pull a turn back, from the state, its number and what it has left: to the state before it, and what is found."""

    def pull_groups(
        self, state: Any, begin: _Carry, ends: _Carry, first: Any, length: int, sizes: Sequence[int]
    ) -> tuple[Any, list[Array]]:
        """The state before so many turns from the first one on, of which the carry at the ends of groups is there.

        What runs last is what is left over. It waits for the cotangents: nothing else keeps it from running early.
        """
        (size, *inner), found_last = sizes, []
        n_groups, rest = divmod(length, size)
        if rest:
            (carry_bars, *others), last = state, _at(ends, n_groups - 1)
            late, bars = fence(list(last.values()), until=list(carry_bars.values()))
            last, state = dict(zip(last, late, strict=True)), (dict(zip(carry_bars, bars, strict=True)), *others)
            state, found_last = self.pull(state, last, first + n_groups * size, rest, inner)

        def pull_group(state: Any, group: Array) -> tuple[Any, list[Array]]:
            before = _at(ends, jnp.maximum(group - 1, 0))
            start = {k: jnp.where(group == 0, begin[k], x) for k, x in before.items()}
            return self.pull(state, start, first + group * size, size, inner)

        state, found = lax.scan(pull_group, state, jnp.arange(n_groups), reverse=True)
        found = [lax.collapse(x, 0, 2) for x in found]
        return state, [jnp.concatenate(pair) for pair in zip(found, found_last, strict=True)] if rest else found

    def pull(self, state: Any, begin: _Carry, first: Any, length: int, sizes: Sequence[int]) -> tuple[Any, list[Array]]:
        """The same, of which no carry is there but the first one's."""
        order, scan = first + jnp.arange(length), replace(self.loop, lengths=(length,), backwards=False)
        sizes = [size for size in sizes if size < length]
        if not sizes:
            _, stacked = scan.scan(self.ahead, begin, order)
            return scan.reversed.scan(self.back, state, (order, stacked))

        def turn(state: Any, turn: Array) -> tuple[Any, None]:
            carry, _ = self.ahead(state[0], turn)
            return (carry, _noted(state[1], carry, (turn - first) // sizes[0])), None

        (_, ends), _ = scan.scan(turn, (begin, _room_for_ends(begin, length, sizes[0])), order)
        return self.pull_groups(state, begin, ends, first, length, sizes)


def _room_for_ends(carry: _Carry, length: int, size: int) -> _Carry:
    """Where the carry at the end of each group goes."""
    return {k: jnp.broadcast_to(x, (-(-length // size), *x.shape)) for k, x in carry.items()}


def _noted(ends: _Carry, carry: _Carry, group: Any) -> _Carry:
    """The ends with a turn's carry in the place of its group: that of the group's last turn stays."""
    return {k: _put(end, carry[k], group) for k, end in ends.items()}


def _taken(operands: Sequence[Any], names: Collection[_Name]) -> tuple[Sequence[Any], dict[_Name, Any]]:
    """What is left of operands, and the first of them by their names."""
    n = len(names)
    return operands[n:], dict(zip(names, operands[:n], strict=True))


def _at(arrays: Mapping[_Name, Array], number: Any) -> dict[_Name, Array]:
    """One slice of each of some arrays."""
    return {name: lax.dynamic_index_in_dim(x, number, keepdims=False) for name, x in arrays.items()}


def _put(whole: Array, x: Array, number: Any) -> Array:
    """An array with `x` at one of its first axis' places."""
    return lax.dynamic_update_index_in_dim(whole, x, number, 0)
