"""The backward pass of somebody's own function, checked node by node at its own shapes, dtypes and numbers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from funcgrad.aliases import Array
from funcgrad.autodiff.finding import Names, positions
from funcgrad.autodiff.requests import Request
from funcgrad.autodiff.selection import Wrt
from funcgrad.checking.comparing import Difference, difference, index_text, largest, wide
from funcgrad.checking.subjects import as_dtype, draw
from funcgrad.checking.untying import FREE, Failure, untied_sums
from funcgrad.checking.widening import (
    derivative,
    given_derivative,
    has_plain_derivative,
    holds_given_derivatives,
    holds_what_cannot_be_widened,
    plain,
    widened,
)
from funcgrad.errors import CheckError, GradientError, describe, require_function
from funcgrad.graph import Node, Value, read
from funcgrad.naming import standing_at
from funcgrad.plans import Plan, Pullback, Step, as_array
from funcgrad.primitive import is_inexact, loop_of
from funcgrad.registry import Call, Equation, Function, RuleSet
from funcgrad.reverse import forward

FACTOR = 4.0
"""How many times the error of JAX's own derivative in the same dtype is allowed, if that is more than `FREE`."""
_NUDGES = 8
_NUDGE = 1e-5
"""How far, as a share of the largest entry, arguments are moved to look for kinks."""


@dataclass(frozen=True)
class Audit:
    """What an audit found. Print it."""

    failures: tuple[Failure, ...]
    n_nodes: int
    """Nodes of the backward pass, those inside of loops and branches included."""
    n_cotangents: int
    claims: tuple[str, ...]
    """Rules that claim to be no derivative of the node's function: not compared."""
    own_dtype: tuple[str, ...]
    """Loops, branches and checkpoints compared with `jax.vjp` in their own dtype, since what they hold cannot be run in
    float64, or has derivatives of its own.
    """
    untested: tuple[str, ...]
    """Nodes that nothing can be compared with: there is no derivative but the one they were given, or JAX's."""
    shared: tuple[str, ...]
    """Arguments that are read several times, for which the sum over an untied copy was taken."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.failures

    def raise_if_wrong(self) -> None:
        """CheckError with the first failure."""
        for first in self.failures[:1]:
            more = f" ({len(self.failures) - 1} more)" if len(self.failures) > 1 else ""
            raise CheckError(f"audit: {first}{more}.")

    def __str__(self) -> str:
        verdict = "right" if self.ok else f"WRONG in {len(self.failures)} of {self.n_cotangents} cotangents"
        lines = [f"audit: {verdict} ({self.n_nodes} nodes, {self.n_cotangents} cotangents)", *map(str, self.failures)]
        lines += [f"as claimed, not compared: {claim}" for claim in self.claims]
        if self.own_dtype:
            lines.append(f"compared in their own dtype: {', '.join(self.own_dtype)}")
        if self.untested:
            lines.append(f"not tested: {', '.join(self.untested)}")
        if self.shared:
            lines.append(f"read several times, so compared with the sum over copies: {', '.join(self.shared)}")
        return "\n  ".join(lines)


def audit(
    f: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    of: Names | None = None,
    wrt: Wrt | None = None,
    rules: RuleSet | None = None,
    **kwargs: Any,
) -> Audit:
    """Check every node of the backward pass of `f` at these arguments.

    The node's inputs are the real ones. Its cotangents, for a random and a zero cotangent of its output, are compared
    with `jax.vjp` of its plain function in float64, up to 32 roundings in the node's own dtype, or 4 times the error
    that JAX's own derivative makes in it. Inside of loops that is done in the first turn, of a `cond` in the branch
    that is taken; and all turns together are compared as one function. A function that was given a derivative by
    `jax.custom_jvp` or `jax.custom_vjp` is compared with its own: what is meant to be another belongs in an op, whose
    rule says so with `kind=fg.modified`. An argument that is read several times must get the sum of what its uses get
    when each has a copy of its own.

    Args:
        f: a function that `fg.vjp` could take.
        args: its arguments: arrays, not their descriptions.
        argnums: by which to differentiate.
        has_aux: `f` returns `(output, aux)`.
        of: the values inside of `f` that are differentiated instead of its result, as in `fg.value_and_grad`.
        wrt: the values by which to differentiate instead of `argnums`, as there.
        rules: as in `fg.value_and_grad`.
        kwargs: keyword arguments of `f`.

    Raises:
        GradientError: `f` cannot be differentiated, or there are no numbers to do it at.

    >>> print(fg.audit(loss, params, x))
    """
    require_function("audit", f)
    request = Request(f, positions(argnums), has_aux, of=of, wrt=wrt, unreachable="zero", rules=rules)
    with request.posed(args, kwargs, runs=False) as (_, traced):  # descriptions have a sentence of its own, below
        pass
    for x in (*traced.inputs, *traced.constants):
        if isinstance(x, jax.ShapeDtypeStruct | Tracer):
            raise GradientError(f"audit needs arrays to compute with, got a description of one, {describe(x)}.")
    auditor = _Auditor()
    auditor.visit(traced.plan, traced.constants, traced.inputs)
    shared, failures = untied_sums(traced, rules)
    return Audit(
        (*auditor.failures, *failures),
        auditor.n_nodes,
        auditor.n_cotangents + len(shared),
        tuple(auditor.claims),
        tuple(auditor.own_dtype),
        tuple(auditor.untested),
        shared,
    )


@dataclass
class _Auditor:
    """Walks through plans, running them forward, and collects what it finds."""

    failures: list[Failure] = field(default_factory=list)
    n_nodes: int = 0
    n_cotangents: int = 0
    claims: list[str] = field(default_factory=list)
    own_dtype: list[str] = field(default_factory=list)
    untested: list[str] = field(default_factory=list)
    programs: dict[Any, Callable[..., Any]] = field(default_factory=dict)

    def visit(self, plan: Plan, constants: Sequence[Any], inputs: Sequence[Any]) -> None:
        """Run a plan forward, and check its nodes on the way."""
        values = _values(plan, constants, inputs)
        for step in plan.steps:
            self.step(step, values)

    def step(self, step: Step, values: dict[Value, Any]) -> None:
        node, failed = step.node, len(self.failures)
        self.n_nodes += 1
        leaves = read(node.inputs, values)
        if step.bodies:
            plan, inputs = _inside(step, leaves)
            if plan is not None:
                self.visit(plan, (), inputs)
        if len(self.failures) > failed or _is_modified(step):
            return  # the node that is wrong is inside, or what is there is not meant to be a derivative
        there, _ = step.remake(values, until={})
        for pullback in step.pullbacks:
            if pullback.rule is not None and not pullback.rule.kind.is_derivative:
                self.claims.append(f"'{node.name}': {pullback.name} ({pullback.rule.kind})")
            elif pullback.arguments:
                self.pullback(pullback, leaves, there)

    def pullback(self, pullback: Pullback, leaves: Sequence[Any], values: Mapping[Value, Any]) -> None:
        """Compare one pullback with the derivative, for two seeds."""
        node = pullback.node
        positions = _positions(pullback)
        self.n_cotangents += len(positions)
        if _is_untestable(pullback, leaves):
            self.untested.append(node.name)
            return
        by, given = _maker(pullback), given_derivative(node)
        right = f"the derivative of its function '{node.op_name}'" if given else "that of jax.vjp"
        for seed, g in _seeds(pullback).items():
            taken = [g[v] for v in pullback.sources]
            found, own = self.pulling(pullback)(read(pullback.needs, values), taken, leaves, list(g.values()))
            expected = self.in_float64(pullback, leaves, list(g.values()), own)
            for i, name in enumerate(pullback.arguments):
                if (found[i].shape, found[i].dtype) != (own[i].shape, own[i].dtype):
                    detail = f"is {describe(found[i])}, and must be {describe(own[i])}"
                elif apart := _apart(found[i], expected[i], own[i]):
                    if (given or _is_subgradient(pullback)) and _within_hull(
                        node, leaves, positions, i, list(g.values()), found[i], expected[i], own[i]
                    ):
                        continue
                    where = f"{seed} cotangent of the output" + (", first turn" * bool(node.loops))
                    entry = f" at entry {index_text(apart.index)}" if apart.index else ""
                    detail = f"is not {right}{entry}, {where}: {apart}"
                else:
                    continue
                self.failures.append(Failure(node.name, name, by, node.line, detail))
                return

    def pulling(self, pullback: Pullback) -> Callable[..., tuple[list[Array], list[Array]]]:
        """Compiled once for nodes that are alike: the pullback, and JAX's own derivative of the node."""
        node, positions = pullback.node, _positions(pullback)

        def run(needs: list[Any], taken: list[Array], leaves: list[Any], g: list[Array]) -> Any:
            with standing_at(node.name, lambda: node.line):
                found = pullback.pull(*map(as_array, needs), *taken)
            return list(found)[: len(positions)], derivative(plain(node, wide=False), leaves, positions, g)

        return self.programs.setdefault((_signature(pullback), "own"), jax.jit(run))

    def in_float64(
        self, pullback: Pullback, leaves: Sequence[Any], g: Sequence[Array], own: list[Array]
    ) -> list[Array]:
        """The derivative in float64; JAX's own where the node holds what is not run so, which is noted."""
        node, positions = pullback.node, _positions(pullback)

        def run(leaves: list[Array], g: list[Array]) -> list[Array]:
            return derivative(plain(node, wide=True), leaves, positions, g)

        if holds_what_cannot_be_widened(node) or holds_given_derivatives(node):
            if node.name not in self.own_dtype:
                self.own_dtype.append(node.name)
            return own
        with _float64():
            program = self.programs.setdefault((_signature(pullback), "wide"), jax.jit(run))
            return program([widened(x) for x in leaves], [widened(x) for x in g])


def _values(plan: Plan, constants: Sequence[Any], inputs: Sequence[Any]) -> dict[Value, Any]:
    """All values of a graph, and what its nodes save."""
    structure = plan.structure
    made = [v for node in structure.nodes for v in plan.made_at(node)]

    def run(constants: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        return forward(plan, constants, inputs, keep=made)[1]

    values: dict[Value, Any] = dict(zip(made, jax.jit(run)(constants, inputs), strict=True))
    values.update(zip(structure.constants, constants, strict=True))
    values.update(zip(structure.inputs, inputs, strict=True))
    return values


def _signature(pullback: Pullback) -> Any:
    """Equal for nodes that are alike."""
    function = pullback.node.function
    key = function.key if isinstance(function, Equation) and not pullback.node.bodies else function
    avals = tuple(v.aval for v in pullback.node.inputs)
    return key, avals, pullback.rule, tuple(_positions(pullback)), len(pullback.needs)


@contextmanager
def _float64() -> Iterator[None]:
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        yield


def _inside(step: Step, leaves: Sequence[Any]) -> tuple[Plan | None, Sequence[Any]]:
    """The plan inside of a node, and its inputs: of the branch that is taken, of the first turn; None for no turn."""
    node = step.node
    if node.op_name == "cond":
        branch = int(np.clip(int(leaves[0]), 0, len(step.bodies) - 1))
        return step.bodies[branch], leaves[1:]
    if node.op_name != "scan":
        return step.bodies[0], leaves
    loop = loop_of(node.origin)
    if not loop.length:
        return None, ()
    first = -1 if loop.backwards else 0
    return step.bodies[0], [x if i < loop.n_unsliced else x[first] for i, x in enumerate(leaves)]


def _is_modified(step: Step) -> bool:
    """Whether rules inside of a node are no derivatives, so that the node's pullback is none either."""
    rules = [p.rule for body in step.bodies for p in body.all_pullbacks if p.rule is not None]
    return any(not rule.kind.is_derivative for rule in rules)


def _positions(pullback: Pullback) -> list[int]:
    """Which inputs of the node its arguments are."""
    node = pullback.node
    assert isinstance(node.function, Function)
    names = list(node.function.leaf_names([v.aval for v in node.inputs]))
    return [names.index(name) for name in pullback.arguments]


def _maker(pullback: Pullback) -> str:
    """By what a cotangent is made, as a failure says it."""
    if pullback.rule:
        return f"rule {pullback.name}"
    if pullback.node.bodies:
        return "reverse"
    given = given_derivative(pullback.node)
    return f"its {given}" if given else f"{pullback.name} (no rule)"


def _is_untestable(pullback: Pullback, leaves: Sequence[Any]) -> bool:
    """Whether there is no other derivative: the function cannot be derived, or it is JAX's in any case."""
    node = pullback.node
    if node.bodies or isinstance(node.function, Call):
        return False
    if holds_what_cannot_be_widened(node):
        return True
    return bool(given_derivative(node)) and not has_plain_derivative(
        node, leaves, _positions(pullback), list(_seeds(pullback)["zero"].values())
    )


def _seeds(pullback: Pullback) -> dict[str, dict[Value, Array]]:
    """Cotangents of the node's outputs: zero for one that nothing differentiated reads."""
    node = pullback.node
    rng = np.random.default_rng(1)
    outputs = [v for v in node.outputs if v.is_inexact]
    random = {v: as_dtype(draw(rng, v.aval.shape, v.aval.dtype), v.aval.dtype) for v in outputs}
    zero = {v: jnp.zeros_like(x) for v, x in random.items()}
    return {"random": {v: x if v in pullback.sources else zero[v] for v, x in random.items()}, "zero": zero}


def _apart(found: Array, expected: Array, own: Array) -> Difference | None:
    """Where a cotangent is too far from what is expected; entries that are not finite in JAX's own are left open."""
    open = ~(np.isfinite(wide(expected)) & np.isfinite(wide(own)))
    eps = float(jnp.finfo(found.dtype).eps)
    clean = [np.where(open, 0.0, wide(x)) for x in (found, expected, own)]
    size = largest(clean[1])
    error = float(np.max(np.abs(clean[2] - clean[1]), initial=0.0))
    return difference(clean[0], clean[1], 0.0, max(FREE * eps * size, FACTOR * error))


def _is_subgradient(pullback: Pullback) -> bool:
    return pullback.rule is not None and pullback.rule.kind.name == "subgradient"


def _within_hull(
    node: Node,
    leaves: Sequence[Any],
    positions: Sequence[int],
    i: int,
    g: Sequence[Array],
    found: Array,
    expected: Array,
    own: Array,
) -> bool:
    """Whether a cotangent lies, entry by entry, between derivatives at arguments nearby: the choice at a kink."""
    rng = np.random.default_rng(2)
    with _float64():
        near = []
        for _ in range(_NUDGES):
            moved = [_nudged(rng, widened(x)) if p in positions else widened(x) for p, x in enumerate(leaves)]
            near.append(wide(derivative(plain(node, wide=True), moved, positions, [widened(x) for x in g])[i]))
    near.append(wide(expected))
    low, high = np.min(near, axis=0), np.max(near, axis=0)
    open = ~np.isfinite(wide(own))
    allowed = FREE * float(jnp.finfo(found.dtype).eps) * largest(expected)
    return difference(found, np.clip(wide(found), low, high), 0.0, allowed, open) is None


def _nudged(rng: np.random.Generator, x: Array) -> Array:
    size = _NUDGE * max(largest(x), 1e-3)
    return as_dtype(wide(x) + size * rng.uniform(-1, 1, size=x.shape), x.dtype) if is_inexact(jax.typeof(x)) else x
