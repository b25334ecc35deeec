"""What rules make by products from kept values alone, as the forward pass did: it is kept, whatever the plan says.

A rule may ask for little and make the rest again: that of attention reads queries and keys, and makes the weights from
them. In a program of both passes XLA takes that for what the forward pass made. What is elementwise it makes again all
the same, inside of what reads it; a product, or what is made of one, it stores from one pass to the other. A fence
would make the rule as small as it looks, and a step of attention dearer by that product. In loops and in what a
checkpoint runs again the two are not shared, and nothing is kept.
"""

from collections.abc import Collection, Hashable, Iterable, Sequence
from functools import partial

import jax

from funcgrad.graph import Structure, Value, open_jaxpr
from funcgrad.naming import at_node
from funcgrad.plans.cost import bytes_of
from funcgrad.plans.pullback import Pullback
from funcgrad.plans.step import Step
from funcgrad.registry import Equation

PRODUCTS = {"dot_general", "conv_general_dilated"}


def repeated_bytes(steps: Iterable[Step], remade: Collection[Value]) -> int:
    """Bytes of what the rules of steps make by products before they come to a cotangent.

    Args:
        steps: the steps.
        remade: the values of the plan that are made again behind a fence: what is made of them waits as well.
    """
    total, found = 0, dict[Hashable, int]()  # a graph of a thousand nodes has a few dozen rules
    for step in steps:
        for pullback in step.pullbacks if _may_repeat(step) else ():
            arriving = pullback.operand_avals
            is_late = (*(v in remade for v in pullback.needs), *(True for _ in arriving))
            key = (pullback.pull, is_late, (*(v.aval for v in pullback.needs), *arriving))
            if key not in found:
                found[key] = _repeated(pullback, is_late)
            total += found[key]
    return total


def _may_repeat(step: Step) -> bool:
    """Whether a rule of a step may make a product of kept values: not that of a single operation of JAX's."""
    function = step.node.function
    if step.bodies or step.node.loops:
        return False
    return not isinstance(function, Equation) or function.is_custom_jvp or function.is_custom_vjp


def _repeated(pullback: Pullback, is_late: Sequence[bool]) -> int:
    avals = [*(v.aval for v in pullback.needs), *pullback.operand_avals]
    with at_node(pullback.node.name, lambda: pullback.node.line):
        # Inside a partial, for JAX writes the attributes that a function has over those of its own wrapper.
        structure = open_jaxpr(jax.make_jaxpr(partial(pullback.pull))(*avals))
    late = {v for v, flag in zip(structure.inputs, is_late, strict=True) if flag}
    return sum(map(bytes_of, _stored(structure, late)))


def _stored(structure: Structure, late: set[Value]) -> set[Value]:
    """What comes of products, needs nothing that is late, and is read by what does; of several forms the first."""
    products, read_late = set[Value](), set[Value]()
    for node in structure.nodes:
        reads = [v for v in node.inputs if isinstance(v, Value)]
        if late.intersection(reads):
            late.update(node.outputs)
            read_late.update(v for v in reads if v in products)
        elif node.op_name in PRODUCTS or products.intersection(reads):
            products.update(node.outputs)
    read_late.update(v for v in structure.outputs if v in products)
    forms = {v for n in structure.nodes if read_late.intersection(n.inputs) for v in n.outputs}
    return read_late - forms
