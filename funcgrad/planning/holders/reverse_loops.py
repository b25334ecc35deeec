"""The backward pass of a loop: the same turns in reverse order, each the reverse pass of the loop's body.

A turn computes (carry', y) = φ(constants, carry, x). Backwards, the cotangent of carry' is handed from turn to turn,
that of a constant is a sum over all turns, and those of x and y are slices of the whole arrays' cotangents. What the
rules of a turn read is: slices of x and y, which are there anyway; constants, and what the turn computes from
constants alone, which is computed once more instead of kept; and the rest, which the forward loop stacks.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax.numpy as jnp

from funcgrad.aliases import Array
from funcgrad.graph import Constant, Node, Value
from funcgrad.planning.activity import BodyActivity
from funcgrad.plans import Groups, Plan, Recomputation, as_array, few_fences
from funcgrad.primitive import Scan, zeros_of
from funcgrad.registry import in_turn
from funcgrad.reverse import forward, reverse


@dataclass(frozen=True, eq=False)
class ReverseLoop:
    """A scan whose body has a plan. Values are those of the body; numbers are positions of its inputs and outputs."""

    node: Node
    positions: tuple[int, ...]
    found: BodyActivity
    body: Plan
    loop: Scan
    groups: Groups | None = None
    """How the turns run again, some at a time; None where each leaves what its rules read."""

    @cached_property
    def inputs(self) -> tuple[Value, ...]:
        """Constants, carry and slices."""
        return self.body.structure.inputs

    @cached_property
    def inside(self) -> tuple[Value, ...]:
        """What is wanted beside the active inputs; outside of the loop it is stacked."""
        return self.body.returns[len(self.found.inputs) :]

    @property
    def left(self) -> tuple[Value, ...]:
        """What the forward loop leaves."""
        return self.stacked

    @property
    def asked(self) -> tuple[Value, ...]:
        """What is read of each turn."""
        return self.body.kept

    @cached_property
    def once(self) -> Recomputation:
        """What is computed from constants alone.

        A loop whose passes are in one program is fenced, as a checkpoint is. Without that XLA:CPU takes what is made
        here for what it made before the forward loop, and keeps it: eight loops of four turns, each with four matrices
        of 1 MB that depend on a constant alone, needed 53.0 MB (plain JAX 53.2), and need 17.3. The passes of a
        loop inside of another one are computations of their own, between which nothing is shared.
        """
        outside = dict(zip(self.inputs, self.node.inputs, strict=True))
        once = Recomputation.of(self.body, self.inputs[: self.loop.n_constants], self.asked, outside)
        return once if self.node.loops else replace(once, fenced=few_fences(self.body, once.nodes))

    @cached_property
    def constant(self) -> tuple[Value, ...]:
        """What is read of each turn and is the same in all."""
        return tuple(v for v in self.asked if v in self._of_constants)

    @cached_property
    def slices(self) -> dict[Value, Value | Constant]:
        """What is read of each turn and is a slice of one of the node's arrays, with that array."""
        n = self.loop.n_unsliced
        arrays: dict[Any, Value | Constant] = dict(zip(self.inputs[n:], self.node.inputs[n:], strict=True))
        n = self.loop.n_carry
        arrays |= zip(self.body.structure.outputs[n:], self.node.outputs[n:], strict=True)
        return {v: arrays[v] for v in self.asked if v in arrays and v not in self._of_constants}

    @cached_property
    def stacked(self) -> tuple[Value, ...]:
        """What is read of each turn and only the forward loop can leave."""
        return tuple(v for v in self.body.kept if v not in self._of_constants and v not in self.slices)

    @cached_property
    def _of_constants(self) -> set[Value]:
        return {*self.inputs[: self.loop.n_constants], *self.once.made}

    @cached_property
    def needs(self) -> tuple[Value | Constant, ...]:
        """What the pullback reads: what is constant, arrays that are sliced, what the forward loop leaves."""
        return (*self.constant, *self.slices.values(), *self.left)

    def run_forward(self, *leaves: Any) -> list[Any]:
        """The loop's results, then what it stacks and what is observed."""
        arrays = [as_array(x, v.aval) for x, v in zip(leaves, self.node.inputs, strict=True)]
        return self.loop.run([self._turn], *arrays)

    def _turn(self, *inputs: Array) -> list[Array]:
        outputs, left = forward(self.body, (), inputs, (*self.stacked, *self.body.observed))
        return [*(as_array(y, v.aval) for y, v in zip(outputs, self.body.structure.outputs, strict=True)), *left]

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

    @cached_property
    def draws(self) -> bool:
        """Whether something inside is told the turn: it asks for a random key, or which slice it has."""
        return any(p.key is not None or p.at for p in self.body.all_pullbacks) or any(
            hook.key is not None for hooks in self.body.all_hooks for hook in hooks
        )

    def pull(self, *operands: Any) -> list[Any]:
        """Cotangents of the node's inputs at `positions`, then of what is wanted inside."""
        n_constants, n_needs = len(self.constant), len(self.needs)
        constants = dict(zip(self.constant, operands, strict=False))
        g = dict(zip(self.found.outputs, operands[n_needs:], strict=False))
        told = operands[n_needs + len(g) :]
        y_bars = {k: x for k, x in g.items() if k >= self.loop.n_carry}

        def turn(state: Any, x: Any) -> tuple[Any, Any]:
            slices, y_bars, *number = x
            with in_turn(*number) if number else nullcontext():
                return self.turn_back(constants, state, slices, y_bars, told)

        xs: tuple[Any, ...] = (operands[n_constants:n_needs], y_bars)
        if self.draws:
            xs = (*xs, jnp.arange(self.loop.lengths[0]))
        (carry_bars, totals), (x_bars, inside) = self.loop.reversed.scan(turn, self.before(g), xs)
        return self.found_bars(carry_bars, totals, x_bars, inside)

    def before(self, g: Mapping[int, Array]) -> tuple[dict[int, Array], dict[int, Array]]:
        """The cotangents of the carry and of constants before the first turn back, from those of the outputs."""
        carry_bars = {k: g[k] if k in g else zeros_of(v.aval) for k, v in self.carried.items()}
        return carry_bars, {i: zeros_of(self.inputs[i].aval) for i in self.constants}

    def found_bars(
        self,
        carry_bars: Mapping[int, Array],
        totals: Mapping[int, Array],
        x_bars: Mapping[int, Array],
        inside: Sequence[Array],
    ) -> list[Array]:
        """What the pullback returns, from what there is after the last turn back."""
        n = self.loop.n_constants
        bars = {**totals, **{k + n: x for k, x in carry_bars.items()}, **x_bars}
        return [*(bars[p] for p in self.positions), *inside]

    def turn_back(
        self,
        constants: dict[Value, Any],
        state: tuple[dict[int, Array], dict[int, Array]],
        slices: Sequence[Any],
        y_bars: dict[int, Array],
        told: Sequence[Array],
    ) -> tuple[tuple[dict[int, Array], dict[int, Array]], tuple[dict[int, Array], list[Any]]]:
        """One turn in reverse: the cotangents of carry and constants before it, and of its slices and inside it."""
        carry_bars, totals = state
        values = constants | dict(zip((*self.slices, *self.stacked), slices, strict=True))
        seeds = [y_bars[k] if k in y_bars else carry_bars[k] for k in self.found.outputs]
        entering = [totals[i] for i in self.entering]
        found = reverse(self.body, [values[v] for v in self.body.kept], [*seeds, *entering, *told])
        bars = dict(zip(self.found.inputs, found, strict=False))
        n, m = self.loop.n_constants, self.loop.n_unsliced
        carried = {k: bars[k + n] if k + n in bars else zeros_of(v.aval) for k, v in self.carried.items()}
        totals = {i: bars[i] if i in self.entering else x + bars[i] for i, x in totals.items()}
        return (carried, totals), ({i: x for i, x in bars.items() if i >= m}, found[len(self.found.inputs) :])
