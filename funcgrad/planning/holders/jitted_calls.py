"""A jitted function inside that stays whole: its two passes are jitted functions too, made once for all its traces.

`jax.grad` of a function that calls jitted ones compiles a forward and a backward program for each of them and traces
them once, however often the gradient is asked for. So here: both are kept beside what else is known of the function's
body (`Body.remembered`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax

from funcgrad.graph import Node, Value
from funcgrad.planning.activity import BodyActivity
from funcgrad.planning.holders.steps import BodyPlanner, reverse_pullback
from funcgrad.plans import Plan, Step, as_array
from funcgrad.reverse import forward, reverse


def plan_jitted_call(
    node: Node, positions: tuple[int, ...], found: tuple[BodyActivity, ...], planner: BodyPlanner
) -> Step:
    """The step of a jitted function; see `Maker`."""
    (body,), (active,) = node.bodies, found

    def compile() -> _Compiled:
        return _Compiled(node.origin.params["name"], planner.body(body.structure, active))

    key = ("plan", active.inputs, active.outputs)
    compiled = compile() if planner.remaking else body.remembered(key, compile)
    loops = compiled.body.structure.loops
    kept = tuple(planner.value(node, f"/{v.name}", v.seen_from(loops)) for v in compiled.kept)
    needs = (
        *(node.inputs[i] for i in compiled.inputs_read),
        *(node.outputs[k] for k in compiled.outputs_read),
        *kept,
    )
    pullbacks = reverse_pullback(node, positions, active.outputs, (), needs, compiled.pull, (compiled.body,))
    return Step(node, positions, pullbacks, kept, compiled.run, (compiled.body,))


@dataclass(frozen=True, eq=False)
class _Compiled:
    """Both passes of a jitted function."""

    name: str
    body: Plan
    """The plan of its body; it wants the cotangents of the active inputs."""

    @cached_property
    def inputs_read(self) -> tuple[int, ...]:
        """Its inputs that the reverse pass reads."""
        return tuple(i for i, v in enumerate(self.body.structure.inputs) if v in self._read)

    @cached_property
    def outputs_read(self) -> tuple[int, ...]:
        """Its outputs that the reverse pass reads, each once; those that are inputs are read there."""
        inputs, outputs = self.body.structure.inputs, self.body.structure.outputs
        return tuple(k for k, v in enumerate(outputs) if v in self._read and v not in inputs and outputs.index(v) == k)

    @cached_property
    def kept(self) -> tuple[Value, ...]:
        """What else it reads."""
        there = {*self.body.structure.inputs, *self.body.structure.outputs}
        return tuple(v for v in self.body.kept if v not in there)

    @cached_property
    def _read(self) -> frozenset[Value]:
        return frozenset(self.body.kept)

    def run(self, *leaves: Any) -> list[Any]:
        """The results, then all that is kept."""
        return self._forward(*map(as_array, leaves, (v.aval for v in self.body.structure.inputs)))

    def pull(self, *operands: Any) -> Sequence[Any]:
        """Cotangents of the active inputs, from what is read and the cotangents of the outputs."""
        return self._reverse(*operands)

    @cached_property
    def _forward(self) -> Callable[..., list[Any]]:
        def run(*leaves: Any) -> list[Any]:
            outputs, kept = forward(self.body, (), leaves, keep=self.kept)
            structure = self.body.structure
            return [*(as_array(y, v.aval) for y, v in zip(outputs, structure.outputs, strict=True)), *kept]

        return _jitted(run, self.name)

    @cached_property
    def _reverse(self) -> Callable[..., list[Any]]:
        inputs, outputs = self.body.structure.inputs, self.body.structure.outputs
        read = [*(inputs[i] for i in self.inputs_read), *(outputs[k] for k in self.outputs_read), *self.kept]

        def pull(*operands: Any) -> list[Any]:
            values = dict(zip(read, operands, strict=False))
            return reverse(self.body, [values[v] for v in self.body.kept], operands[len(read) :])

        return _jitted(pull, f"{self.name}_reverse")


def _jitted(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Under `jax.jit`, and called so in profiles."""
    function.__name__ = function.__qualname__ = name
    return jax.jit(function)
