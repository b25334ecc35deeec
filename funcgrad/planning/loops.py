"""The backward pass of a loop: the same turns in reverse order, each the reverse pass of the loop's body.

A turn computes (carry', y) = φ(constants, carry, x). Backwards, the cotangent of carry' is handed from turn to turn,
that of a constant is a sum over all turns, and those of x and y are slices of the whole arrays' cotangents. What the
rules of a turn read is: slices of x and y, which are there anyway; constants, and what the turn computes from
constants alone, which is computed once more instead of kept; and the rest, which the forward loop stacks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax

from funcgrad.aliases import Array
from funcgrad.graph import Constant, Node, Value
from funcgrad.planning.activity import BodyActivity
from funcgrad.planning.pullbacks import names_at
from funcgrad.plans import Plan, Pullback, Recomputation, Step, as_array, few_fences
from funcgrad.primitive import Loop, loop_of, zeros_of
from funcgrad.registry import Equation
from funcgrad.reverse import forward, reverse


def plan_loop(node: Node, positions: tuple[int, ...], found: BodyActivity, body: Plan) -> Step:
    """The step of a `scan`.

    Args:
        node: the scan.
        positions: its inputs that get a cotangent.
        found: what is active in its body.
        body: the plan of its body. It wants the cotangents of the active inputs, then of what is wanted inside. Its
            sources are the active outputs, then active constants: the cotangent that such a constant has so far
            enters each turn, where that of the turn is added to it.
    """
    assert isinstance(node.function, Equation)
    loop = _ReverseLoop(node, positions, found, body, loop_of(node.function.source))
    names = names_at(node)
    pullback = Pullback(
        node,
        None,
        sources=tuple(node.outputs[k] for k in found.outputs),
        targets=(*(v for p in positions if isinstance(v := node.inputs[p], Value)), *loop.inside),
        needs=loop.needs,
        pull=loop.pull,
        arguments=tuple(names[p] for p in positions),
        positions=positions,
        reads=tuple(v.name for v in loop.needs),
    )
    pullbacks = (pullback,) if pullback.targets else ()
    made = (*loop.stacked, *body.observed)
    return Step(node, positions, pullbacks, made, loop.run_forward, (body,), remade=loop.once)


@dataclass(frozen=True, eq=False)
class _ReverseLoop:
    """A scan whose body has a plan. Values are those of the body; numbers are positions of its inputs and outputs."""

    node: Node
    positions: tuple[int, ...]
    found: BodyActivity
    body: Plan
    loop: Loop

    @cached_property
    def inputs(self) -> tuple[Value, ...]:
        return self.body.structure.inputs

    @cached_property
    def inside(self) -> tuple[Value, ...]:
        """What is wanted beside the active inputs; outside of the loop it is stacked."""
        return self.body.returns[len(self.found.inputs) :]

    @cached_property
    def once(self) -> Recomputation:
        """What is computed from constants alone.

        A loop whose passes are in one program is fenced, as a checkpoint is. Without that XLA:CPU takes what is made
        here for what it made before the forward loop, and keeps it: eight loops of four turns, each with four matrices
        of 1 MB that depend on a constant alone, needed 53.0 MB (plain JAX 53.2), and need 17.3. The passes of a
        loop inside of another one are computations of their own, between which nothing is shared.
        """
        outside = dict(zip(self.inputs, self.node.inputs, strict=True))
        once = Recomputation.of(self.body, self.inputs[: self.loop.n_constants], self.body.kept, outside)
        return once if self.node.loops else replace(once, fenced=few_fences(self.body, once.nodes))

    @cached_property
    def constant(self) -> tuple[Value, ...]:
        """What is read of each turn and is the same in all."""
        return tuple(v for v in self.body.kept if v in self._of_constants)

    @cached_property
    def slices(self) -> dict[Value, Value | Constant]:
        """What is read of each turn and is a slice of one of the node's arrays, with that array."""
        n = self.loop.n_unsliced
        arrays: dict[Any, Value | Constant] = dict(zip(self.inputs[n:], self.node.inputs[n:], strict=True))
        n = self.loop.n_carry
        arrays |= zip(self.body.structure.outputs[n:], self.node.outputs[n:], strict=True)
        return {v: arrays[v] for v in self.body.kept if v in arrays and v not in self._of_constants}

    @cached_property
    def stacked(self) -> tuple[Value, ...]:
        """What is read of each turn and only the forward loop can leave."""
        return tuple(v for v in self.body.kept if v not in self._of_constants and v not in self.slices)

    @cached_property
    def _of_constants(self) -> set[Value]:
        return {*self.inputs[: self.loop.n_constants], *self.once.made}

    @cached_property
    def needs(self) -> tuple[Value | Constant, ...]:
        """What the pullback reads: what is constant, arrays that are sliced, stacked values."""
        return (*self.constant, *self.slices.values(), *self.stacked)

    def run_forward(self, *leaves: Any) -> list[Any]:
        """The loop's results, then what it stacks and what is observed."""
        n, arrays = self.loop.n_carry, [as_array(x, v.aval) for x, v in zip(leaves, self.node.inputs, strict=True)]
        constants, others = arrays[: self.loop.n_constants], arrays[self.loop.n_constants :]

        def turn(carry: Sequence[Array], x: Sequence[Array]) -> tuple[list[Array], Any]:
            keep = (*self.stacked, *self.body.observed)
            outputs, stacked = forward(self.body, (), [*constants, *carry, *x], keep)
            outputs = [as_array(y, v.aval) for y, v in zip(outputs, self.body.structure.outputs, strict=True)]
            return outputs[:n], (outputs[n:], stacked)

        carry, (ys, stacked) = _scan(turn, others[:n], others[n:], self.loop)
        return [*carry, *ys, *stacked]

    @cached_property
    def carried(self) -> dict[int, Value]:
        """The parts of the carry that have a cotangent at the end of a turn or at its start."""
        starts = [i - self.loop.n_constants for i in self.found.inputs]
        both = sorted({k for k in (*self.found.outputs, *starts) if 0 <= k < self.loop.n_carry})
        return {k: self.inputs[k + self.loop.n_constants] for k in both}

    @cached_property
    def constants(self) -> tuple[int, ...]:
        """The active constants."""
        return tuple(i for i in self.found.inputs if i < self.loop.n_constants)

    @cached_property
    def entering(self) -> tuple[int, ...]:
        """Those whose cotangent so far enters each turn; that of the others is added after the turn."""
        entering = set(self.body.sources[len(self.found.outputs) :])
        return tuple(i for i in self.constants if self.inputs[i] in entering)

    def pull(self, *operands: Any) -> list[Any]:
        """Cotangents of the node's inputs at `positions`, then of what is wanted inside."""
        n_constants, n_needs = len(self.constant), len(self.needs)
        constants = dict(zip(self.constant, operands, strict=False))
        g = dict(zip(self.found.outputs, operands[n_needs:], strict=True))
        y_bars = {k: x for k, x in g.items() if k >= self.loop.n_carry}

        def turn(state: Any, x: Any) -> tuple[Any, Any]:
            return self._turn_back(constants, *state, *x)

        start = {k: g[k] if k in g else zeros_of(v.aval) for k, v in self.carried.items()}
        totals = {i: zeros_of(self.inputs[i].aval) for i in self.constants}
        xs = (operands[n_constants:n_needs], y_bars)
        (carry_bars, totals), (x_bars, inside) = _scan(turn, (start, totals), xs, self.loop.reversed)
        bars = totals | {k + self.loop.n_constants: x for k, x in carry_bars.items()} | x_bars
        return [*(bars[p] for p in self.positions), *inside]

    def _turn_back(
        self,
        constants: dict[Value, Any],
        carry_bars: dict[int, Array],
        totals: dict[int, Array],
        slices: Sequence[Any],
        y_bars: dict[int, Array],
    ) -> tuple[tuple[dict[int, Array], dict[int, Array]], tuple[dict[int, Array], list[Any]]]:
        """One turn in reverse: the cotangents of carry and constants before it, and of its slices and inside it."""
        values = constants | dict(zip((*self.slices, *self.stacked), slices, strict=True))
        seeds = [y_bars[k] if k in y_bars else carry_bars[k] for k in self.found.outputs]
        entering = [totals[i] for i in self.entering]
        found = reverse(self.body, [values[v] for v in self.body.kept], [*seeds, *entering])
        bars = dict(zip(self.found.inputs, found, strict=False))
        n, m = self.loop.n_constants, self.loop.n_unsliced
        carried = {k: bars[k + n] if k + n in bars else zeros_of(v.aval) for k, v in self.carried.items()}
        totals = {i: bars[i] if i in self.entering else x + bars[i] for i, x in totals.items()}
        return (carried, totals), ({i: x for i, x in bars.items() if i >= m}, found[len(self.found.inputs) :])


def _scan(turn: Callable[..., Any], start: Any, xs: Any, loop: Loop) -> Any:
    return jax.lax.scan(turn, start, xs, length=loop.length, reverse=loop.backwards, unroll=loop.unroll)
