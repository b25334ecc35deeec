"""What only the size of numbers tells: gradients out of bounds, dead units."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from funcgrad import ops
from funcgrad.checking.blaming.conditions import Conditions, level, size
from funcgrad.checking.blaming.connections import Place
from funcgrad.checking.blaming.findings import Finding, described
from funcgrad.errors import require
from funcgrad.graph import Constant, Node, Value
from funcgrad.plans import Look
from funcgrad.registry import Call, Equation

_RECTIFIERS = (ops.relu, ops.relu6)
_NAMES_OF_JAX = ("relu", "relu6")
"""What `jax.nn` gave a derivative of its own; of such a function a jaxpr keeps the name and no more."""


@dataclass(frozen=True)
class Thresholds:
    """From where on something is a finding; see `blame`."""

    vanishing: float = 1e-6
    exploding: float = 1e6
    dead: float = 0.95

    def __post_init__(self) -> None:
        for name in ("vanishing", "exploding", "dead"):
            require(getattr(self, name), (int, float, np.number), name, "a number")


def measure_growth(conditions: Conditions) -> dict[str, float]:
    """By node: the largest cotangent of a node's output among its inputs, over the largest of its own outputs."""
    found, arguments = {}, conditions.connections.structure.inputs
    for place in conditions.connections.places:
        got = [s for v in place.node.outputs if (s := _cotangent_size(conditions, v))]
        inner = [x for x in place.node.inputs if isinstance(x, Value) and x not in arguments]
        given = [s for x in inner if (s := _cotangent_size(conditions, x)) is not None]
        if got and given:
            found[place.node.name] = max(given) / max(got)
    return found


def _cotangent_size(conditions: Conditions, v: Value) -> float | None:
    reading = conditions.readings.get(v)
    return size(reading.cotangent) if reading is not None else None


def find_out_of_bounds(conditions: Conditions, thresholds: Thresholds) -> Iterator[Finding]:
    """Where the cotangents first leave their bounds, seen from the loss."""
    order = [(p, v) for p in reversed(conditions.connections.places) for v in p.node.outputs]
    seen = [(p, v, s) for p, v in order if (s := _cotangent_size(conditions, v)) and np.isfinite(s)]
    if not seen:
        return
    reference = seen[0][2]
    upto = _largest_upto(conditions)
    for place, v, s in seen:
        if 0 < upto.get(v, 0.0) < thresholds.vanishing * reference:
            yield _out_of_bounds("vanishing", place, v, s, reference, "and none before it is larger than")
            break
    for place, v, s in seen:
        if s > thresholds.exploding * reference:
            yield _out_of_bounds("exploding", place, v, s, reference, "which is")
            break


def _out_of_bounds(kind: str, place: Place, v: Value, s: float, reference: float, how: str) -> Finding:
    share = f"{s / reference:.2g} times that of the last node"
    return Finding.at(kind, place.node, f"the cotangent of {described(v)} is {s:.3g}, {how} {share}")


def _largest_upto(conditions: Conditions) -> dict[Value, float]:
    """For each output of a node that is made of another's, the largest cotangent of all that it is made of.

    So a side branch with a small cotangent says nothing, as long as the trunk before it has a large one.
    """
    largest: dict[Value | Constant, float] = {}
    deep: dict[Value, float] = {}
    for place in conditions.connections.places:
        for body in place.node.bodies:
            pairs = zip(body.structure.inputs, place.node.inputs[body.holder.offset :], strict=False)
            largest.update((v, largest[x]) for v, x in pairs if x in largest)
        before = [largest[x] for x in place.node.inputs if x in largest]
        for v in place.node.outputs:
            own = _cotangent_size(conditions, v)
            if own is not None and not np.isfinite(own):
                own = np.inf
            if before or own:
                largest[v] = max([own or 0.0, *before])
            if before and own:
                deep[v] = largest[v]
    return deep


def find_dead_units(conditions: Conditions, thresholds: Thresholds) -> Iterator[Finding]:
    """Rectifiers whose output is zero nearly everywhere."""
    look = Look({v: place.node for v, place in conditions.connections.maker.items()})
    for place in conditions.connections.places:
        node = place.node
        for v in node.outputs if _rectifies(node, look) else ():
            reading = conditions.readings.get(v)
            if reading is None or "zeros" not in reading.value or level(reading.value).any():
                continue
            share = float(np.mean(np.asarray(reading.value["zeros"])))
            if share > thresholds.dead:
                detail = f"{share:.1%} of its output {described(v)} is zero, more than {thresholds.dead:.1%}"
                yield Finding.at("dead", node, detail)


def _rectifies(node: Node, look: Look) -> bool:
    """Whether a node is an activation that cuts off; a maximum is, where it is one with zero of no variance."""
    function = node.function
    if isinstance(function, Call):
        return any(function.op is op for op in _RECTIFIERS)
    if node.primitive == "max":
        with_zero = any(isinstance(x, Constant) and np.all(np.asarray(x.content) == 0) for x in node.inputs)
        return with_zero and not any(_is_difference_of_means(sub, look) for sub in look.makers_of(node, "sub"))
    return isinstance(function, Equation) and function.is_custom_jvp and function.name in _NAMES_OF_JAX


def _is_difference_of_means(node: Node, look: Look) -> bool:
    """`E x² - (E x)²`: a variance, which rounding may make negative."""
    makers = [look.maker(v) for v in node.inputs]
    return all(
        m is not None and (m.primitive == "reduce_sum" or any(True for _ in look.above(m, "reduce_sum", depth=2)))
        for m in makers
    )
