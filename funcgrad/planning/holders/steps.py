"""What the steps of all nodes that hold graphs have in common: how they are asked for, and the one pullback of each."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from funcgrad.graph import Constant, Node, Structure, Value
from funcgrad.planning.activity import BodyActivity
from funcgrad.planning.pullbacks import names_at
from funcgrad.planning.segments import Remaking
from funcgrad.plans import Plan, Pullback, Step
from funcgrad.registry import Pull


@runtime_checkable
class BodyPlanner(Protocol):
    """Who plans the graphs that a node holds."""

    remaking: Remaking
    """What is made again instead of kept, which is one plan's own."""

    def value(self, node: Node, name: str, aval: Any) -> Value:
        """Add a value to the plan at a node, called after it and `name`; the same one when it is planned again."""
        ...

    def body(self, structure: Structure, active: BodyActivity, summed: Sequence[Value] = ()) -> Plan:
        """Plan a graph.

        The plan wants the cotangents of the active inputs, then of what is wanted inside. Its sources are the active
        outputs, then the inputs `summed`, whose cotangents from outside enter, then what its rules are `told`.
        """
        ...

    def is_apart(self, value: Value) -> bool:
        """Tell whether a value's cotangent is asked for by itself: it is wanted, or watched."""
        ...


Maker = Callable[[Node, tuple[int, ...], tuple[BodyActivity, ...], BodyPlanner], Step]
"""To the step of a node, from its inputs that get a cotangent, what is active in its bodies, and who plans these."""


def reverse_pullback(
    node: Node,
    positions: tuple[int, ...],
    outputs: Sequence[int],
    inside: Sequence[Value],
    needs: Sequence[Value | Constant],
    pull: Pull,
    bodies: Sequence[Plan],
) -> tuple[Pullback, ...]:
    """The pullback of a node that holds graphs; none where it is there only for what is observed inside.

    Args:
        node: the node.
        positions: its inputs that get a cotangent.
        outputs: its outputs that can have one.
        inside: what else is wanted, values of the graphs that it holds.
        needs: what it reads.
        pull: from these, the cotangents of the outputs, and that of the signal where rules inside ask for it, to the
            cotangents of the inputs, then of what is wanted inside.
        bodies: the plans of the graphs that it holds.
    """
    targets, names = (*(v for p in positions if isinstance(v := node.inputs[p], Value)), *inside), names_at(node)
    if not targets:
        return ()
    pullback = Pullback(
        node,
        None,
        sources=tuple(node.outputs[k] for k in outputs),
        targets=targets,
        needs=tuple(needs),
        pull=pull,
        arguments=tuple(names[p] for p in positions),
        positions=positions,
        reads=tuple(v.name for v in needs),
        signal=next((v for body in bodies for v in body.told), None),
    )
    return (pullback,)
