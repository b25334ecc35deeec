"""Which node to blame: where a pass stops being finite, its gradient vanishes or explodes, units are dead."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax

from funcgrad.aliases import Array
from funcgrad.autodiff.named_values import Names, positions
from funcgrad.autodiff.requests import Request, Traced
from funcgrad.autodiff.selection import Wrt
from funcgrad.autodiff.taps import Readings, Watch
from funcgrad.checking.blaming.conditions import Conditions
from funcgrad.checking.blaming.findings import Finding
from funcgrad.checking.blaming.inner_nodes import descend
from funcgrad.checking.blaming.magnitudes import Thresholds, find_dead_units, find_out_of_bounds, measure_growth
from funcgrad.checking.blaming.origins import (
    find_backward_origins,
    find_forward_origins,
    find_suspects,
    find_wrong_arguments,
)
from funcgrad.checking.blaming.uses import LevelsByUse, Uses
from funcgrad.checking.blaming.zero_gradients import Blocks, find_zero_gradients
from funcgrad.errors import GradientError, called_with
from funcgrad.graph import Graph, Measurement, Node, Structure, Value
from funcgrad.planning import find_replacements
from funcgrad.primitive import bodies
from funcgrad.registry import Equation, RuleSet
from funcgrad.reverse import reverse

CHEAP = ("max",)
"""The one statistic that blame needs: the largest magnitude, which passes NaN and infinity on."""
_THOROUGH = ("max", "norm", "zeros")
_NOTHING = (
    "nothing wrong: no node makes infinity or NaN, no cotangent is out of bounds or zero everywhere, no unit is dead"
)
_SHOWN = 3
"""How many findings of a kind are printed: the first is the cause, the others mostly follow from it."""


@dataclass(frozen=True)
class Blame:
    """What is wrong in a pass, the first first. Print it, or ask `.ok`.

    Attributes:
        findings: what is wrong; what follows from one of them is none.
        growth: by node, the largest cotangent it gives to a node before it, over the largest it got.
        n_watched: how many values were watched.

    >>> import jax.numpy as jnp
    >>> import funcgrad as fg
    >>> report = fg.blame(lambda x: jnp.sqrt(x * x).sum(), jnp.zeros(2))
    >>> report.ok, report.forward, report.backward.node
    (False, None, 'sqrt')
    >>> [finding.kind for finding in report.findings]
    ['backward']
    """

    findings: tuple[Finding, ...]
    growth: dict[str, float]
    n_watched: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def of_kind(self, kind: str) -> tuple[Finding, ...]:
        """The findings of one kind.

        Args:
            kind: as in `Finding`: `"vanishing"`.

        Returns:
            These, the first first; none where there are none.
        """
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

        Returns:
            The findings, as of `blame`; of several readers of a value, the last is named and the others beside it.

        Raises:
            GradientError: a reading's name is not in the graph, or nothing was read that tells what is finite.

        >>> import jax.numpy as jnp
        >>> import funcgrad as fg
        >>> loss, x = (lambda x: jnp.log(x).sum()), jnp.array([1.0, -1.0])
        >>> _, _, readings = fg.value_and_grad(loss, taps="**", stats=fg.checking.CHEAP)(x)
        >>> fg.checking.Blame.of(fg.trace(loss, x), readings).forward.node
        'log'
        """
        constants = dict(zip(graph.structure.constants, graph.constants, strict=True))
        conditions = Conditions(graph.structure, constants, readings)
        got = [v for v, r in conditions.readings.items() if r.cotangent is not None and v in graph.structure.inputs]
        thresholds = Thresholds(vanishing, exploding, dead)
        return _investigate(conditions, thresholds, {}, got, partial(_blocks, RuleSet()))

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
    of: Names | None = None,
    wrt: Wrt | None = None,
    rules: RuleSet | None = None,
    vanishing: float = 1e-6,
    exploding: float = 1e6,
    dead: float = 0.95,
    **kwargs: Any,
) -> Blame:
    """Run `f` and its backward pass once, every value watched, and say which node is to blame.

    Forward, the first node whose output is not finite while its inputs are (infinity where all inputs are finite, NaN
    where none is NaN: an infinite mask is no one's fault); backward, the first from the loss back that gives a
    cotangent which is not finite while those it got are; and where a gradient of nothing but zeros is cut off or dies.
    What follows from a finding is no finding. In loops turn by turn. In a training loop watch what you can
    pay for, `fg.value_and_grad(f, taps="block*", stats=fg.checking.CHEAP)`, and ask `fg.checking.Blame.of`.

    Args:
        f: a function that `fg.value_and_grad` could take; of an output that is no scalar, the sum is differentiated.
        args: its arguments.
        argnums: by which to differentiate.
        has_aux: `f` returns `(loss, aux)`.
        of: the values inside of `f` that are differentiated instead of its result, as in `fg.value_and_grad`.
        wrt: the values by which to differentiate instead of `argnums`, as there.
        rules: as in `fg.value_and_grad`.
        vanishing: a finding where no cotangent up to a node is larger than this, times that of the loss.
        exploding: a finding where a cotangent is larger than this, times that of the loss.
        dead: a finding where the output of a rectifier is zero in more than this share of its entries.
        kwargs: keyword arguments of `f`.

    Returns:
        The findings, the first first; empty where nothing is wrong.

    Raises:
        GradientError: `f` cannot be differentiated, or a threshold is no number.

    >>> import jax.numpy as jnp
    >>> import funcgrad as fg
    >>> def loss(w, x):
    ...     with fg.scope("body"):
    ...         h = jnp.tanh(x @ w)
    ...     with fg.scope("head"):
    ...         return jnp.log(h).sum()
    >>> report = fg.blame(loss, -jnp.ones((3, 3)), jnp.ones((2, 3)))
    >>> report.forward.kind, report.forward.node
    ('forward', 'head/log')
    """
    watch, thresholds = Watch.of("**", _THOROUGH), Thresholds(vanishing, exploding, dead)
    request = Request(f, positions(argnums), has_aux, of=of, wrt=wrt, unreachable="zero", rules=rules, watch=watch)
    with called_with("blame", f, args, kwargs):
        traced, readings = _passed(request, args, kwargs)
    structure = traced.plan.structure
    constants = dict(zip(structure.constants, traced.constants, strict=True))
    conditions = Conditions(structure, constants, readings)
    unclear = [v.name for v in find_suspects(conditions) if len(conditions.connections.readers[v]) > 1]
    by_use: LevelsByUse = {}
    if unclear:
        uses = Uses(unclear, Watch.of((), CHEAP).measurement)
        by_use = uses.read_levels(_passed(request._replace(watch=uses), args, kwargs)[1])
    blocks = partial(_blocks, find_replacements(rules or RuleSet(), structure)[0])
    report = _investigate(conditions, thresholds, by_use, traced.plan.wanted, blocks)
    inputs = dict(zip(structure.inputs, traced.inputs, strict=True))
    return replace(report, findings=tuple(_innermost(f, structure, constants | inputs) for f in report.findings))


def _passed(request: Request, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Traced, Readings]:
    """What is asked for, planned, and what one pass of it reads."""
    with request.traced_at(args, kwargs) as (_, traced):
        return traced, jax.jit(partial(_run, traced))(traced.constants, traced.inputs)


def _blocks(rules: RuleSet, node: Node, v: Value) -> bool:
    """Whether a node passes no cotangent to a value that it reads."""
    function, positions = node.function, [i for i, x in enumerate(node.inputs) if x is v]
    if isinstance(function, Measurement):
        return all(function.blocks(i) for i in positions)
    return all(rules.blocks(function, i, node.name) for i in positions)


def _innermost(finding: Finding, structure: Structure, values: Mapping[Value, Any]) -> Finding:
    """What is born forward inside of a node that is not opened, by the inner node, its line and turn."""
    node = next((n for n in structure.all_nodes if n.name == finding.node), None)
    function = None if node is None else node.function
    if finding.kind != "forward" or not isinstance(function, Equation) or not bodies(function.source):
        return finding
    inner = descend(structure, values)
    if inner is None or not inner.holders:
        return finding
    turns = "".join(f", in turn {t}" for t in inner.turns)
    detail = f"{finding.detail}; inside, '{inner.node.name}' makes it{turns}"
    return Finding.at("forward", inner.node, detail, inner.holders, finding.line)


def _run(traced: Traced, constants: tuple[Array, ...], inputs: list[Array]) -> Readings:
    """One pass, forward and backward; what was watched."""
    watched = traced.watched
    assert watched is not None
    value, _, kept, observed = traced._replace(constants=constants, inputs=inputs).run()
    found = reverse(traced.plan, kept, traced.output.ones(value))
    return watched.assemble(traced.plan, observed, found[len(traced.plan.wanted) :])


def _investigate(
    conditions: Conditions,
    thresholds: Thresholds,
    by_use: LevelsByUse,
    wanted: Sequence[Value],
    blocks: Blocks,
) -> Blame:
    if not any({"max", "norm", "rms", "finite"} & r.value.keys() for r in conditions.readings.values()):
        raise GradientError(
            f"blame needs one of the statistics max, norm, rms, finite, got "
            f"{', '.join(sorted({s for r in conditions.readings.values() for s in r.value})) or 'no readings'}; pass "
            f"stats=fg.checking.CHEAP."
        )
    wrong = find_wrong_arguments(conditions)
    born, spoiled = find_forward_origins(conditions, wrong)
    findings = [
        *wrong,
        *born,
        *find_backward_origins(conditions, spoiled, by_use),
        *find_out_of_bounds(conditions, thresholds),
    ]
    dead = list(find_dead_units(conditions, thresholds))
    findings += [*dead, *find_zero_gradients(conditions, wanted, blocks, [f.node for f in dead])]
    return Blame(tuple(findings), measure_growth(conditions), len(conditions.readings))
