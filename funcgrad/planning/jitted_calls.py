"""A jitted function inside that stays whole: its two passes are jitted functions too, made once for all its traces.

`jax.grad` of a function that calls jitted ones compiles a forward and a backward program for each of them and traces
them once, however often the gradient is asked for. So here: JAX has one jaxpr for all calls of a jitted function with
arguments of the same avals, and what is opened, found active, planned and compiled of it is kept beside that jaxpr, for
as long as it lives.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import jax

from funcgrad.graph import Body, Node, Value
from funcgrad.naming import Names
from funcgrad.planning.pullbacks import names_at
from funcgrad.plans import Plan, Pullback, Step, as_array
from funcgrad.primitive import current_context
from funcgrad.registry import Call
from funcgrad.reverse import forward, reverse

T = TypeVar("T")


def remembered(body: Body, key: tuple[Hashable, ...], make: Callable[[], T]) -> T:
    """What `make` finds of a body, once for all traces that share it; of one trace's own body, each time.

    It depends on the context that decides a trace, and on the rules of the ops inside, of which more may be registered.
    """
    if body.found is None:
        return make()
    if "ops" not in body.found:
        calls = (n.function for n in body.structure.all_nodes if isinstance(n.function, Call))
        body.found["ops"] = tuple(dict.fromkeys(call.op for call in calls))
    rules = tuple(rule for op in body.found["ops"] for rule in op.rules.items())
    key = (current_context(), rules, *key)
    if key not in body.found:
        body.found[key] = make()
    return body.found[key]


def plan_call(
    node: Node, positions: tuple[int, ...], outputs: Sequence[int], compiled: "Compiled", names: Names
) -> Step:
    """The step of a jitted function.

    Args:
        node: the call.
        positions: its inputs that get a cotangent.
        outputs: its outputs that can have one.
        compiled: its passes; they want the cotangents of the inputs at `positions`.
        names: those that are taken.
    """
    named = [(names.give(f"{node.name}/{v.name}"), v.seen_from(compiled.body.structure.loops)) for v in compiled.kept]
    kept = tuple(Value(name, aval, node.loops) for name, aval in named)
    needs = (
        *(node.inputs[i] for i in compiled.inputs_read),
        *(node.outputs[k] for k in compiled.outputs_read),
        *kept,
    )
    arguments = names_at(node)
    pullback = Pullback(
        node,
        None,
        sources=tuple(node.outputs[k] for k in outputs),
        targets=tuple(v for p in positions if isinstance(v := node.inputs[p], Value)),
        needs=needs,
        pull=compiled.pull,
        arguments=tuple(arguments[p] for p in positions),
        positions=positions,
        reads=tuple(v.name for v in needs),
    )
    return Step(node, positions, (pullback,), kept, compiled.run, (compiled.body,))


@dataclass(frozen=True, eq=False)
class Compiled:
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
