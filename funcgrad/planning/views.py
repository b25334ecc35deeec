"""Values that hold the entries of another one in another shape: kept where that is kept, they would be kept twice.

In one program XLA takes both for one buffer. Where the passes are programs of their own, or turns of a loop, whose
residuals are stacked, each would be an array: of a transformer's attention, the output as heads and as features.
"""

from funcgrad.graph import Constant, Node, Value
from funcgrad.plans import Plan, is_view
from funcgrad.plans.cost import bytes_of


def find_views(plan: Plan) -> list[list[Value]]:
    """What a plan keeps and need not, because what it is a view of is there: each a segment that costs nothing.

    That is kept for a rule, is an input, is a number, or takes less room than its views that are kept.
    """
    makers = {node.outputs[0]: node for node in plan.structure.nodes if is_view(node)}
    chains = {v: _chain(v, makers) for v in plan.kept if v in makers}
    if not chains:
        return []
    there = {*plan.kept, *plan.structure.inputs, *plan.structure.constants} - chains.keys()
    room: dict[Value | None, int] = {}
    for v, (_, root) in chains.items():
        room[root] = room.get(root, 0) + bytes_of(v)
    return [chain for chain, root in chains.values() if root is None or root in there or bytes_of(root) < room[root]]


def _chain(value: Value, makers: dict[Value, Node]) -> tuple[list[Value], Value | None]:
    """The views between a value and what it is a view of, itself included; and that, None where it is a number."""
    chain, root = [], value
    while root in makers:
        chain.append(root)
        (root, *_) = makers[root].inputs
        if isinstance(root, Constant):
            return chain, None
    return chain, root
