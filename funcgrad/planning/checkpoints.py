"""The backward pass of `checkpoint`: its body is run again, from its inputs and what its policy saves."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from funcgrad.graph import Node, Value
from funcgrad.planning.activity import BodyActivity
from funcgrad.planning.pullbacks import names_at
from funcgrad.planning.recomputation import Recomputation
from funcgrad.plans import Plan, Pullback, Step
from funcgrad.primitive import fence, saves
from funcgrad.registry import Call, Equation
from funcgrad.reverse import forward, reverse


def plan_checkpoint(node: Node, positions: tuple[int, ...], found: BodyActivity, body: Plan) -> Step:
    """The step of a `checkpoint`.

    Args:
        node: the checkpoint.
        positions: its inputs that get a cotangent.
        found: what is active in its body.
        body: the plan of its body; it wants the cotangents of the inputs at `positions`, and of what is wanted inside.
    """
    assert isinstance(node.function, Equation)
    checkpoint = _Checkpoint(node, body, node.function.source.params)
    targets = (*(v for p in positions if isinstance(v := node.inputs[p], Value)), *body.returns[len(positions) :])
    names = names_at(node)
    pullback = Pullback(
        node,
        None,
        sources=tuple(node.outputs[k] for k in found.outputs),
        targets=targets,
        needs=checkpoint.needs,
        pull=checkpoint.pull,
        arguments=tuple(names[p] for p in positions),
        reads=tuple(v.name for v in checkpoint.needs),
    )
    made = (*checkpoint.saved, *body.observed)
    run = checkpoint.run_forward if made else node.run
    return Step(node, positions, (pullback,) if targets else (), made, run, (body,))


@dataclass(frozen=True, eq=False)
class _Checkpoint:
    """A checkpoint whose body has a plan."""

    node: Node
    body: Plan
    params: dict[str, Any]

    @cached_property
    def again(self) -> Recomputation:
        inputs, nodes = self.body.structure.inputs, self.body.structure.nodes
        chosen = [v for n in nodes for v in n.outputs if _is_saved(self.params["policy"], n, v)]
        return Recomputation.of(self.body, [*inputs, *chosen], self.body.kept)

    @cached_property
    def saved(self) -> tuple[Value, ...]:
        """What the policy saves, as far as the reverse pass has a use for it."""
        return tuple(v for v in self.again.reads if v not in self.body.structure.inputs)

    @cached_property
    def needs(self) -> tuple[Any, ...]:
        outside = dict(zip(self.body.structure.inputs, self.node.inputs, strict=True))
        return tuple(outside.get(v, v) for v in self.again.reads)

    @cached_property
    def barred(self) -> tuple[bool, ...]:
        """Which of `needs` the compiler may not know again: `prevent_cse` is one flag, or one for each argument."""
        inputs, asked = self.body.structure.inputs, self.params["prevent_cse"]
        flags = dict(zip(inputs, (asked,) * len(inputs) if isinstance(asked, bool) else asked, strict=True))
        return tuple(flags.get(v, any(flags.values())) for v in self.again.reads)

    def run_forward(self, *leaves: Any) -> list[Any]:
        """The checkpoint's results, then what is saved and what is observed."""
        outputs, saved = forward(self.body, (), leaves, keep=(*self.saved, *self.body.observed))
        return [*outputs, *saved]

    def pull(self, *operands: Any) -> Sequence[Any]:
        """Cotangents of the active inputs, then of what is wanted inside.

        The barrier keeps the compiler from taking the second run for the first, and from starting it early.
        """
        reads, g = list(operands[: len(self.needs)]), operands[len(self.needs) :]
        behind = [i for i, is_barred in enumerate(self.barred) if is_barred]
        if behind:
            late, g = fence([reads[i] for i in behind], until=g)
            reads = [dict(zip(behind, late, strict=True)).get(i, x) for i, x in enumerate(reads)]
        values = self.again.run(dict(zip(self.again.reads, reads, strict=True)))
        return reverse(self.body, [values[v] for v in self.body.kept], g)


def _is_saved(policy: Any, node: Node, output: Value) -> bool:
    """Whether a policy saves what a node computes, or what its output is labelled as."""
    avals, function = [v.aval for v in node.inputs], node.function
    if output.label is not None:
        label = output.label.source
        if saves(policy, label.primitive, [output.aval], label.params):
            return True
    if isinstance(function, Call):
        return bool(saves(policy, function.op.primitives.forward, avals, {"call": function}))
    if isinstance(function, Equation):
        return bool(saves(policy, function.source.primitive, avals, function.source.params))
    return False
