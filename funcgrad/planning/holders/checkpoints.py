"""The backward pass of `checkpoint`: its body is run again, from its inputs and what its policy saves."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from funcgrad.graph import Node, Value
from funcgrad.planning.activity import BodyActivity
from funcgrad.planning.holders.steps import BodyPlanner, reverse_pullback
from funcgrad.plans import Plan, Recomputation, Step
from funcgrad.primitive import Checkpoint, saves
from funcgrad.registry import Call, Equation
from funcgrad.reverse import forward, reverse


def plan_checkpoint(
    node: Node, positions: tuple[int, ...], found: tuple[BodyActivity, ...], planner: BodyPlanner
) -> Step:
    """The step of a `checkpoint`; see `Maker`."""
    (active,), (held,) = found, node.bodies
    assert isinstance(node.holder, Checkpoint)
    body = planner.body(held.structure, active)
    again = _recomputation(node, body, node.holder)
    saved = tuple(v for v in again.given if v not in body.structure.inputs)
    inside, pull = body.returns[len(positions) :], partial(_pull, body)
    pullbacks = reverse_pullback(node, positions, active.outputs, inside, body.kept, pull, (body,))
    made = (*saved, *body.observed)
    run = partial(_run_forward, body, made) if made else node.run
    return Step(node, positions, pullbacks, made, run, (body,), remade=again)


def _recomputation(node: Node, body: Plan, checkpoint: Checkpoint) -> Recomputation:
    """From the checkpoint's inputs and what its policy saves to what the rules of its body read.

    Its `prevent_cse` says which of them the compiler may not know again.
    """
    inputs, asked = body.structure.inputs, checkpoint.prevent_cse
    chosen = [v for n in body.structure.nodes for v in n.outputs if _is_saved(checkpoint.policy, n, v)]
    flags = dict(zip(inputs, (asked,) * len(inputs) if isinstance(asked, bool) else asked, strict=True))
    of_saved = any(flags.values())
    outside = dict(zip(inputs, node.inputs, strict=True))
    return Recomputation.of(body, [*inputs, *chosen], body.kept, outside, lambda v: flags.get(v, of_saved))


def _run_forward(body: Plan, made: Sequence[Value], *leaves: Any) -> list[Any]:
    """The checkpoint's results, then what is saved and what is observed."""
    outputs, found = forward(body, (), leaves, keep=made)
    return [*outputs, *found]


def _pull(body: Plan, *operands: Any) -> Sequence[Any]:
    """Cotangents of the active inputs, then of what is wanted inside."""
    n = len(body.kept)
    return reverse(body, operands[:n], operands[n:])


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
