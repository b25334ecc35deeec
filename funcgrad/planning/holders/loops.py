"""The steps of loops: of a `scan`, whose turns are pulled back in reverse order, and of a `while`, that has none."""

from funcgrad.errors import GradientError
from funcgrad.graph import Node
from funcgrad.planning.activity import BodyActivity
from funcgrad.planning.holders.groups import in_groups
from funcgrad.planning.holders.reverse_loops import ReverseLoop
from funcgrad.planning.holders.steps import BodyPlanner, reverse_pullback
from funcgrad.plans import Step
from funcgrad.primitive import Scan


def plan_loop(node: Node, positions: tuple[int, ...], found: tuple[BodyActivity, ...], planner: BodyPlanner) -> Step:
    """The step of a `scan`; see `Maker`.

    Sources of the body's plan are also its active constants: the cotangent that such a constant has so far enters each
    turn, where that of the turn is added to it. Not of those that are wanted or watched for themselves.
    """
    (active,), (body,) = found, node.bodies
    assert isinstance(node.holder, Scan)
    constants = (body.structure.inputs[i] for i in active.inputs if i < node.holder.n_constants)
    summed = [v for v in constants if not planner.is_apart(v)]
    loop = ReverseLoop(node, positions, active, planner.body(body.structure, active, summed), node.holder)
    if sizes := planner.remaking.groups.get(node):
        loop = in_groups(loop, sizes, planner)
    pullbacks = reverse_pullback(node, positions, active.outputs, loop.inside, loop.needs, loop.pull, (loop.body,))
    made = (*loop.left, *loop.body.observed)
    return Step(node, positions, pullbacks, made, loop.run_forward, (loop.body,), remade=loop.once, groups=loop.groups)


def refuse_while(node: Node, positions: tuple[int, ...], found: tuple[BodyActivity, ...], planner: BodyPlanner) -> Step:
    """GradientError: a `while` loop has no step."""
    del positions, found, planner
    raise GradientError(
        f"{node.name}: a reverse pass needs to know how many turns a loop makes, and a while loop does not say; use "
        f"jax.lax.scan, or fori_loop with bounds that are numbers."
    )
