"""From a plan that keeps everything to the cheapest one that stays within a number of bytes.

The plan is counted (`plans.accounts`), the numbers are chosen from (`funcgrad.budget`), and what is not kept becomes
segments that are made again (`planning.segments`). A loop's turns come first: for several ways to leave ever less of
each turn, the rest of the graph is chosen from.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import pairwise
from math import inf
from operator import itemgetter
from typing import Any, NoReturn

import jax

from funcgrad.budget import Budget, Timeline, choose, smallest
from funcgrad.errors import BudgetError
from funcgrad.graph import Node, Value
from funcgrad.planning.segments import Remaking
from funcgrad.planning.turns import Turns, choices_of, loops_of, segments_of
from funcgrad.plans import ADDITIONS, PRODUCTS, Fitted, Memory, Plan, Step, is_view, repeated_bytes
from funcgrad.primitive import is_inexact, settle, type_of
from funcgrad.registry import Equation
from funcgrad.view import listed, quantity

WAYS, LIKELY = 8, 3
"""For the smallest peak, so many ways to leave less of the turns of loops are made plans of, and of so many of these,
those with the smallest peaks before anything else is left, the rest is chosen."""


@dataclass
class Limit:
    """What the memory of one function's passes shall stay within; told of each plan that is made for it."""

    asked: Budget
    aim: int | None = None
    """What plans are made for, where that is less than what was asked: a compiled program took more than foreseen."""
    least: bool = False
    """Whether to plan for the smallest peak, whatever was asked."""
    plans: list[Plan] = field(default_factory=list)
    """Those that were made."""


def fit(make: Callable[[Remaking], Plan], limit: Limit) -> Plan:
    """The cheapest plan within a limit.

    Args:
        make: plans, with what is made again instead of kept; each time of the same values.
        limit: what it stays within.

    Raises:
        BudgetError: nothing does.
    """
    plan = make(Remaking())
    everything = plan.memory.peak
    size = limit.asked.bytes(everything, device_bytes)
    aim = size if limit.aim is None else limit.aim
    fitted = Fitted(limit.asked, size, aim, everything)
    if everything > aim:
        is_least = limit.least or (limit.asked.word == "min" and limit.aim is None)
        plan = _least(make, plan, _ways(plan)) if is_least else _within(make, plan, fitted)
    limit.plans.append(plan := replace(plan, fitted=fitted))
    return plan


def _within(make: Callable[[Remaking], Plan], plan: Plan, fitted: Fitted) -> Plan:
    """The cheapest plan that stays within.

    Of the ways to leave less of turns, which come in the order of their cost, the first that fits is found by
    bisection; the next one may be cheaper in all, as more is kept outside of loops.
    """
    ways = _ways(plan)

    @cache
    def tried(k: int) -> tuple[float, Remaking, Plan, Timeline] | None:
        inner = ways[k]
        candidate = make(inner) if inner else plan
        inside = candidate.memory.cost_again - candidate.memory.timeline.overhead
        timeline = choose(candidate.memory.account.schedule, fitted.aim)
        return timeline and (inside + timeline.overhead, inner, candidate, timeline)

    first = bisect_left(range(len(ways)), True, key=lambda k: tried(k) is not None)
    found = [one for k in range(first, min(first + 2, len(ways))) if (one := tried(k))]
    if found:
        return _made(make, *min(found, key=itemgetter(0))[1:])
    least = _least(make, plan, ways)
    if least.memory.peak <= fitted.aim:  # the ways are in the order of what turns leave, not of what passes take
        return least
    refuse_budget(f"memory={fitted.asked.said}", least.memory, least.memory.peak, fitted.everything)


def refuse_budget(where: str, least: Memory, needed: int, everything: int) -> NoReturn:
    """Say of a budget that nothing stays within it.

    Args:
        where: whose budget.
        least: of the plan with the smallest peak.
        needed: bytes that its passes take, as foreseen or as compiled.
        everything: bytes with everything kept, as foreseen.

    Raises:
        BudgetError: always.
    """
    held = listed([f"{h.value} ({quantity(h.bytes, 'B')}, {h.why})" for h in least.at_peak], 3)
    raise BudgetError(
        f"{where}: the passes need {quantity(needed, 'B')} at least, of which at '{least.summit.node}' {held}, and "
        f"{quantity(everything, 'B')} with everything kept; ask for more, or make the batch smaller."
    )


def _least(make: Callable[[Remaking], Plan], plan: Plan, ways: Sequence[Remaking]) -> Plan:
    """The plan with the smallest peak that is found."""
    every = -(-len(ways) // WAYS)
    made = [(inner, make(inner) if inner else plan) for inner in ways[::-every]]
    likely = sorted(made, key=lambda one: one[1].memory.peak)[:LIKELY]
    found = [(smallest(candidate.memory.account.schedule), inner, candidate) for inner, candidate in likely]
    least, inner, candidate = min(found, key=lambda one: (one[0].peak, one[0].overhead))
    return _made(make, inner, candidate, least)


def _made(make: Callable[[Remaking], Plan], inner: Remaking, plan: Plan, timeline: Timeline) -> Plan:
    keep = timeline.kept | plan.memory.account.schedule.fixed
    segments = segments_of(plan.memory.account, keep)
    return make(inner + Remaking(tuple(segments))) if segments else plan


def _ways(plan: Plan) -> list[Remaking]:
    """Ways to leave ever less of the turns of a plan's loops, at ever more cost; the first leaves all."""
    choices = [found for step in loops_of(plan) if len(found := choices_of(step)) > 1]
    if len(choices) == 1:
        rows = [[turns] for turns in choices[0]]
    else:
        rows = [[min(found, key=lambda turns: turns.cost + price * turns.bytes) for found in choices]
                for price in _prices(choices)]  # fmt: skip
    ways, left = [Remaking()], inf
    for row in rows:
        size = sum(turns.bytes for turns in row)
        if size < left * 0.99 or row is rows[-1]:
            ways.append(sum((turns.remaking for turns in row), Remaking()))
            left = size
    return ways


def _prices(choices: list[list[Turns]]) -> list[float]:
    """What a byte may cost, such that each of some choices is the best one: the slopes between neighbours."""
    neighbours = (pair for found in choices for pair in pairwise(found))
    slopes = sorted({(b.cost - a.cost) / (a.bytes - b.bytes) * 1.0001 for a, b in neighbours})
    return [*slopes, *([slopes[-1] * 1e6] if slopes else [])]


def device_bytes() -> int:
    """What the default device has left, as it says itself.

    Raises:
        BudgetError: it does not say.
    """
    device = jax.local_devices()[0]
    found = device.memory_stats() or {}
    if "bytes_limit" not in found:
        raise BudgetError(
            f"memory='auto' asks the device what it has, and {device.device_kind} ({device.platform}) does not say; "
            f"pass a size, such as '2 GiB'."
        )
    return int(found["bytes_limit"] - found.get("bytes_in_use", 0))


def fence_reads(plan: Plan) -> Plan:
    """The plan that a compiler leaves as it is: what is kept is stored, and read no earlier than it is needed.

    XLA:CPU makes cheap things again inside of what reads them, and keeps what they were made of: instead of an
    activation, the product before it, and, where a product reads the activation too, both. So what is kept, and what
    sums of cotangents come to, is settled. And a form of its own in which a rule reads an array, a transposed copy or
    the weights of attention, XLA makes as soon as it can, on the way forward, and keeps it beside the array. So such
    rules read what is kept behind a fence. A product of matrices has no such form, and a fence before it makes one.
    """
    given = {*plan.structure.inputs, *plan.structure.constants}
    makers = {v: node for node in plan.structure.nodes for v in node.outputs}
    stored = _bases(makers, [v for v in plan.kept if v not in given])
    steps = (_fenced(_settling(step, stored), given) for step in plan.steps)
    fenced = replace(plan, steps=tuple(replace(s, in_turn=_has_turns(s, plan, makers)) for s in steps))
    return replace(fenced, settled=_settled(fenced) - given)


def _settled(plan: Plan) -> frozenset[Value]:
    """The values whose cotangents are stored: sums, what products read that others read too, or read transposed, and
    what fences wait for, which would else read what that is made of.

    An addition hands on the very cotangent that it takes; that one is stored then.
    """
    uses = Counter(v for step in plan.steps for p in step.pullbacks for v in p.targets)
    same: dict[Value, Value] = {}
    found = {v for v, n in uses.items() if n > 1}
    for step in reversed(plan.steps):
        node = step.node
        if node.op_name in ADDITIONS and not node.bodies:
            source = node.outputs[0]
            alike = (v for p in step.pullbacks for v in p.targets if v.aval == source.aval and uses[v] == 1)
            same.update((v, same.get(source, source)) for v in alike)
        elif node.op_name in PRODUCTS and not node.bodies:
            found.update(same.get(v, v) for v in step.outputs if v in same or _is_transposed(node))
        if step.fenced or (step.again and step.again.fenced):
            found.update(same.get(v, v) for v in step.outputs)
    return frozenset(found)


def _bases(makers: Mapping[Value, Node], values: Iterable[Value]) -> set[Value]:
    """The values, in the place of views of others these."""
    found = set[Value]()
    for v in values:
        while v in makers and is_view(makers[v]) and isinstance(base := makers[v].inputs[0], Value):
            v = base
        found.add(v)
    return found


def _settling(step: Step, stored: Collection[Value]) -> Step:
    node = step.node
    places = tuple(i for i, v in enumerate((*node.outputs, *step.saved)) if v in stored and v.is_inexact)
    if not places or node.bodies or node.op_name in PRODUCTS or is_view(node):
        return step
    return replace(step, forward=partial(_run_settled, step.forward, places))


def _run_settled(forward: Callable[..., list[Any]], places: tuple[int, ...], *leaves: Any) -> list[Any]:
    made = list(forward(*leaves))
    witness = next((x for x in leaves if is_inexact(type_of(x)) and x.size), None)
    if witness is not None:
        for i in places:
            made[i] = settle(made[i], witness)
    return made


def _fenced(step: Step, given: Collection[Value]) -> Step:
    if step.node.loops or step.bodies or not (_is_transposed(step.node) or repeated_bytes([step], ())):
        return step
    reads = (v for v in step.asks if isinstance(v, Value) and v.is_inexact)
    return replace(step, fenced=tuple(v for v in reads if v not in given and v not in step.borrowed))


def _has_turns(step: Step, plan: Plan, makers: Mapping[Value, Node]) -> bool:
    """Whether XLA might put off the gradient of a product's parameter until the next rule has run.

    It must be no product that the cotangent goes to: behind a fence its operand would be a copy.
    """
    if step.node.op_name not in PRODUCTS or step.node.bodies:
        return False
    further = [v for v in step.targets if v not in plan.wanted]
    if any(v not in makers or makers[v].op_name in PRODUCTS for v in _bases(makers, further)):
        return False
    return 0 < len(further) < len(step.targets)


def _is_transposed(node: Node) -> bool:
    """Whether rules of a product read its factors in another form."""
    if node.op_name != "dot_general" or not isinstance(node.function, Equation):
        return node.op_name in {"conv", "conv_general_dilated"}
    _, batch = node.function.source.params["dimension_numbers"]
    return bool(batch[0])
