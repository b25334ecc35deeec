"""The walk through a plan that compares each of its pullbacks with JAX's derivative of the node, where it stands."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcgrad.aliases import Array
from funcgrad.checking.differences import Difference, difference, index_text, largest, wide
from funcgrad.checking.numbers import as_dtype, draw
from funcgrad.checking.passes.derivatives import (
    derivative,
    given_derivative,
    has_plain_derivative,
    holds_given_derivatives,
    holds_what_cannot_be_widened,
    plain,
    widened,
)
from funcgrad.checking.passes.failures import FREE, Failure
from funcgrad.errors import describe
from funcgrad.graph import Node, Value, read
from funcgrad.naming import at_node
from funcgrad.plans import Plan, Pullback, Step, as_array
from funcgrad.primitive import bodies, is_inexact
from funcgrad.registry import Call, Equation
from funcgrad.reverse import forward

FACTOR = 4.0
"""How many times the error of JAX's own derivative in the same dtype is allowed, if that is more than `FREE`."""
_NUDGES = 8
_NUDGE = 1e-5
"""How far, as a share of the largest entry, arguments are moved to look for kinks."""


@dataclass
class Auditor:
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
        """Check what a node holds, then the node: where the inside is wrong, the whole is so for that reason."""
        node, failed = step.node, len(self.failures)
        self.n_nodes += 1
        leaves = read(node.inputs, values)
        if node.holder is not None and step.bodies and (entering := node.holder.entering(leaves)) is not None:
            k, inputs = entering  # of the branch that is taken, of the first turn
            self.visit(step.bodies[k], (), inputs)
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
        positions = pullback.positions
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
        node, positions = pullback.node, pullback.positions

        def run(needs: list[Any], taken: list[Array], leaves: list[Any], g: list[Array]) -> Any:
            with at_node(node.name, lambda: node.line):
                found = pullback.pull(*map(as_array, needs), *taken)
            return list(found)[: len(positions)], derivative(plain(node, wide=False), leaves, positions, g)

        return self.programs.setdefault((_signature(pullback), "own"), jax.jit(run))

    def in_float64(
        self, pullback: Pullback, leaves: Sequence[Any], g: Sequence[Array], own: list[Array]
    ) -> list[Array]:
        """The derivative in float64; JAX's own where the node holds what is not run so, which is noted."""
        node, positions = pullback.node, pullback.positions

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
    return key, avals, pullback.rule, pullback.positions, len(pullback.needs)


@contextmanager
def _float64() -> Iterator[None]:
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        yield


def _is_modified(step: Step) -> bool:
    """Whether rules inside of a node are no derivatives, so that the node's pullback is none either."""
    rules = [p.rule for body in step.bodies for p in body.all_pullbacks if p.rule is not None]
    return any(not rule.kind.is_derivative for rule in rules)


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
    if pullback.signal is not None or pullback.key is not None:
        return True  # it depends on more than its node
    if node.bodies or isinstance(node.function, Call):
        return False
    if holds_what_cannot_be_widened(node) and pullback.rule is None:
        return True
    may_lack_it = isinstance(node.function, Equation) and bool(bodies(node.function.source))
    return may_lack_it and not has_plain_derivative(
        node, leaves, pullback.positions, list(_seeds(pullback)["zero"].values())
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
    if holds_what_cannot_be_widened(node):
        return False  # it cannot be run in float64, where derivatives nearby are told apart
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
