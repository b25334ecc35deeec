"""Which node to blame: where a pass stops being finite, its gradient vanishes or explodes, units are dead."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from funcgrad.aliases import Array
from funcgrad.autodiff.requests import Request, Traced
from funcgrad.autodiff.taps import Readings, Watch
from funcgrad.checking.conditions import INFINITE, NAN, Conditions, Place
from funcgrad.checking.findings import Finding, Thresholds, dead_units, described, growth, sizes
from funcgrad.errors import GradientError
from funcgrad.graph import Graph, Node, Structure, Value
from funcgrad.registry import RuleSet
from funcgrad.reverse import reverse

CHEAP = ("max",)
"""The one statistic that blame needs: the largest magnitude, which passes NaN and infinity on."""
_THOROUGH = ("max", "norm", "zeros")
_NOTHING = "nothing wrong: no node makes infinity or NaN, no cotangent is out of bounds, no unit is dead"
_SHOWN = 3
"""How many findings of a kind are printed: the first is the cause, the others mostly follow from it."""


@dataclass(frozen=True)
class Blame:
    """What is wrong in a pass, the first first. Print it."""

    findings: tuple[Finding, ...]
    growth: dict[str, float]
    """By node: the largest cotangent it gives to a node before it, over the largest it got."""
    n_watched: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def of_kind(self, kind: str) -> tuple[Finding, ...]:
        """The findings of one kind."""
        return tuple(f for f in self.findings if f.kind == kind)

    @property
    def forward(self) -> Finding | None:
        """The first node whose output is not finite and whose inputs are."""
        return next(iter(self.of_kind("forward")), None)

    @property
    def backward(self) -> Finding | None:
        """The first node, from the loss back, that gets a finite cotangent and gives one that is not."""
        return next(iter(self.of_kind("backward")), None)

    @classmethod
    def of(
        cls, graph: Graph, readings: Readings, *, vanishing: float = 1e-6, exploding: float = 1e6, dead: float = 0.95
    ) -> "Blame":
        """Look for what is wrong in the readings of a pass, on the host.

        Args:
            graph: `fg.trace(f, *args)`, of the function that was differentiated.
            readings: what `fg.value_and_grad(f, taps=..., stats=fg.checking.CHEAP)` returned, of all values or of some:
                where not everything was watched, the blame falls on what lies between two that were.
            vanishing: see `blame`, as
            exploding: and
            dead: are.

        Raises:
            GradientError: a reading's name is not in the graph, or nothing was read that tells what is finite.
        """
        constants = dict(zip(graph.structure.constants, graph.constants, strict=True))
        return _investigated(graph.structure, constants, readings, Thresholds(vanishing, exploding, dead))

    def __str__(self) -> str:
        n = len(self.findings)
        verdict = f"{n} finding{'s' if n > 1 else ''}" if n else _NOTHING
        lines = [f"blame: {verdict} ({self.n_watched} values watched)"]
        for kind in dict.fromkeys(f.kind for f in self.findings):
            found = self.of_kind(kind)
            lines += [f"  {f}" for f in found[:_SHOWN]]
            lines += [f"  {kind}: {len(found) - _SHOWN} nodes more"] if len(found) > _SHOWN else []
        return "\n".join(lines)


def blame(
    f: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    rules: RuleSet | None = None,
    vanishing: float = 1e-6,
    exploding: float = 1e6,
    dead: float = 0.95,
    **kwargs: Any,
) -> Blame:
    """Run `f` and its backward pass once, every value watched, and say which node is to blame.

    Forward, the first node whose output is not finite while its inputs are (infinity where all inputs are finite, NaN
    where none is NaN: an infinite mask is no one's fault); backward, the first from the loss back that gives a
    cotangent which is not finite while those it got are. In loops turn by turn. In a training loop watch what you can
    pay for, `fg.value_and_grad(f, taps="block*", stats=fg.checking.CHEAP)`, and ask `fg.checking.Blame.of`.

    Args:
        f: a function that `fg.value_and_grad` could take; of an output that is no scalar, the sum is differentiated.
        args: its arguments.
        argnums: by which to differentiate.
        has_aux: `f` returns `(loss, aux)`.
        rules: as in `fg.value_and_grad`.
        vanishing: a finding where no cotangent up to a node is larger than this, times that of the loss.
        exploding: a finding where a cotangent is larger than this, times that of the loss.
        dead: a finding where the output of a rectifier is zero in more than this share of its entries.
        kwargs: keyword arguments of `f`.

    >>> print(fg.blame(loss, params, x))
    """
    watch = Watch.of("**", _THOROUGH)
    request = Request(f, argnums, has_aux, unreachable="zero", rules=rules, watch=watch)
    with request.posed(args, kwargs) as (_, traced):
        readings = jax.jit(partial(_run, traced))(traced.constants, traced.inputs)
    structure = traced.plan.structure
    constants = dict(zip(structure.constants, traced.constants, strict=True))
    return _investigated(structure, constants, readings, Thresholds(vanishing, exploding, dead))


def _run(traced: Traced, constants: tuple[Array, ...], inputs: list[Array]) -> Readings:
    """One pass, forward and backward; what was watched."""
    watched = traced.watched
    assert watched is not None
    value, _, kept, observed = traced._replace(constants=constants, inputs=inputs).run()
    found = reverse(traced.plan, kept, traced.output.ones(value))
    return watched.assemble(traced.plan, observed, found[len(traced.plan.wanted) :])


def _investigated(
    structure: Structure, constants: Mapping[Value, Any], readings: Readings, thresholds: Thresholds
) -> Blame:
    conditions = Conditions(structure, constants, readings)
    if not any({"max", "norm", "rms", "finite"} & r.value.keys() for r in conditions.readings.values()):
        raise GradientError(
            f"blame needs one of the statistics max, norm, rms, finite, got "
            f"{', '.join(sorted({s for r in readings.values() for s in r.value})) or 'no readings'}; pass "
            f"stats=fg.checking.CHEAP."
        )
    findings = [*arguments(conditions), *births(conditions), *losses(conditions)]
    return Blame(
        (*findings, *sizes(conditions, thresholds), *dead_units(conditions, thresholds)),
        growth(conditions),
        len(conditions.readings),
    )


def arguments(conditions: Conditions) -> list[Finding]:
    """Arguments, and arrays closed over, that come in with NaN; with infinity, if the result is not finite either."""
    structure = conditions.map.structure
    worst = NAN if not any(conditions.value(v).any() for v in structure.outputs) else INFINITE
    found = []
    for v in (*structure.inputs, *structure.constants):
        if (conditions.value(v) >= worst).any():
            what = _word(conditions.value(v), (), ())
            found.append(Finding("forward", v.name, "argument", "", f"{described(v)} comes in with {what}"))
    return found


def births(conditions: Conditions) -> list[Finding]:
    """The nodes whose output is worse than all they read, in the order in which that happens."""
    found = []
    for place in conditions.map.places:
        for v in place.node.outputs:
            if v in conditions.readings and (born := conditions.value(v) > conditions.before(v)).any():
                turn = _first(born, v.loops, place)
                what = _word(conditions.value(v), turn, v.loops)
                detail = f"its output {described(v)} has {what}, and {_inputs(conditions, v)}{_turn(turn, v.loops)}"
                found.append((place.order(turn, v.loops), place.node, detail))
    return _in_order("forward", found)


def _inputs(conditions: Conditions, v: Value) -> str:
    """What the node that makes v read, as far as it was watched."""
    read = [x for x in conditions.map.maker[v].node.inputs if isinstance(x, Value) and x.is_inexact]
    if all(x in conditions.readings or x in conditions.map.structure.constants for x in read):
        names = ", ".join(f"'{x.name}'" for x in dict.fromkeys(read))
        return f"what it reads has none ({names})" if names else "it reads no array"
    behind = ", ".join(f"'{x.name}'" for x in _nearest(conditions, v))
    if not behind:
        return "nothing was watched before it: it is one of the nodes before, or an argument"
    return f"what was watched before it has none ({behind}): it is one of the nodes between"


def _nearest(conditions: Conditions, v: Value) -> list[Value]:
    """The watched values that v is made of, with none in between."""
    found, seen, stack = [], {v}, [v]
    while stack:
        x = stack.pop()
        if x is not v and x in conditions.readings:
            found.append(x)
            continue
        entry = conditions.map.entries.get(x)
        before = conditions.map.maker[x].node.inputs if x in conditions.map.maker else [entry.outside] if entry else []
        new = [y for y in before if isinstance(y, Value) and y not in seen]
        seen.update(new)
        stack += new
    return found[::-1]


def losses(conditions: Conditions) -> list[Finding]:
    """The nodes that give a cotangent worse than those they got, in the order of the reverse pass."""
    found = []
    for v, reading in conditions.readings.items():
        if reading.cotangent is None or not (born := conditions.cotangent(v) > conditions.after(v)).any():
            continue
        readers = conditions.map.readers.get(v, [])
        guilty = _guilty(conditions, readers)
        if not guilty:
            continue
        turn = _first(born, v.loops, guilty[-1], reverse=True)
        what = _word(conditions.cotangent(v), turn, v.loops)
        got = "those it got have none"
        if any(conditions.value(x).any() for p in guilty for x in p.node.inputs):
            got += ", but it reads values that are not finite"
        others = " or ".join(f"'{p.node.name}'" for p in guilty[:-1])
        others = f" (or {others} does)" if others else ""
        detail = f"the cotangent it gives to {described(v)}{others} has {what}, and {got}{_turn(turn, v.loops)}"
        order = tuple(-i for i in guilty[-1].order(turn, v.loops))
        found.append((order, guilty[-1].node, detail))
    return _in_order("backward", found)


def _guilty(conditions: Conditions, readers: Sequence[Place]) -> list[Place]:
    """Those readers of a value that can have given it a cotangent, because they got one."""
    reached = [p for p in readers if any(_has_cotangent(conditions, y) for y in p.node.outputs)]
    return reached or list(readers)


def _has_cotangent(conditions: Conditions, v: Value) -> bool:
    reading = conditions.readings.get(v)
    return reading is None or reading.cotangent is not None


def _in_order(kind: str, found: list[tuple[tuple[int, ...], Node, str]]) -> list[Finding]:
    """A finding per node, the first first; of a node that holds the culprit, nothing."""
    first: dict[Node, tuple[tuple[int, ...], str]] = {}
    for order, node, detail in sorted(found, key=lambda item: item[0]):
        first.setdefault(node, (order, detail))
    holders = {n for n in first if any(inner in first for b in n.bodies for inner in b.structure.all_nodes)}
    return [Finding(kind, n.name, n.op_name, n.line, d) for n, (_, d) in first.items() if n not in holders]


def _first(born: np.ndarray, loops: tuple[int, ...], place: Place, reverse: bool = False) -> tuple[int, ...]:
    """The turn in which it happens first."""
    turns = [tuple(map(int, t)) for t in np.argwhere(np.broadcast_to(born, loops))]
    return (max if reverse else min)(turns, key=lambda turn: place.order(turn, loops))


def _word(levels: np.ndarray, turn: tuple[int, ...], loops: tuple[int, ...]) -> str:
    return "NaN" if np.broadcast_to(levels, loops)[turn] == NAN else "infinity"


def _turn(turn: tuple[int, ...], loops: tuple[int, ...]) -> str:
    return "".join(f", in turn {t} of {n}" for t, n in zip(turn, loops, strict=True))
