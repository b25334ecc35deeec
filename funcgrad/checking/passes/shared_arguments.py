"""The cotangent of an argument that is read several times is the sum of what its uses get.

Each use is given a copy of its own, an input more of the graph; what these copies get does not pass the place where
cotangents of one value are added, so their sum is an oracle for that place.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcgrad.aliases import Array
from funcgrad.autodiff.requests import Traced
from funcgrad.checking.differences import difference, index_text, largest, wide
from funcgrad.checking.numbers import as_dtype, draw
from funcgrad.checking.passes.failures import FREE, Failure
from funcgrad.graph import Structure, Value
from funcgrad.planning import make_plan
from funcgrad.plans import Plan
from funcgrad.registry import RuleSet
from funcgrad.reverse import forward, reverse


def compare_shared_arguments(traced: Traced, rules: RuleSet | None) -> tuple[tuple[str, ...], list[Failure]]:
    """Compare the cotangent of every input that several nodes read with the sum over copies: which, and failures."""
    plan, structure = traced.plan, traced.plan.structure
    with_copies, copies = _give_copies(structure, plan.wanted)
    shared = [v for v in plan.wanted if v in copies and v in plan.reached]
    if not shared:
        return (), []
    flat = [c for v in shared for c in copies[v]]
    arrays = dict(zip(structure.inputs, traced.inputs, strict=True))
    inputs = [*traced.inputs, *(arrays[v] for v in copies for _ in copies[v])]
    seeds = _draw_seeds(plan)
    whole = _cotangents(plan, traced.constants, traced.inputs, seeds)
    parts = _cotangents(make_plan(with_copies, flat, plan.sources, rules), traced.constants, inputs, seeds)
    failures = []
    for v in shared:
        terms = [wide(parts[c]) for c in copies[v]]
        total = np.sum(terms, axis=0)
        allowed = FREE * float(jnp.finfo(v.aval.dtype).eps) * max(map(largest, terms))
        if apart := difference(whole[v], total, 0.0, allowed, open=~np.isfinite(total)):
            where = index_text(apart.index)
            detail = f"is not the sum over an untied copy of its {len(terms)} uses{where}: {apart}"
            failures.append(Failure(v.name, v.name, "the sum of its uses", "", detail))
    return tuple(v.name for v in shared), failures


def _give_copies(structure: Structure, wanted: Sequence[Value]) -> tuple[Structure, dict[Value, list[Value]]]:
    """The graph in which every use of an input that several nodes read has an input of its own, and these inputs."""
    uses = {v: sum(x is v for node in structure.nodes for x in node.inputs) for v in wanted if v in structure.inputs}
    copies: dict[Value, list[Value]] = {v: [] for v, n in uses.items() if n > 1}

    def own(x: Any) -> Any:
        if x not in copies:
            return x
        copies[x].append(Value(f"{x.name}@{len(copies[x])}", x.aval))
        return copies[x][-1]

    nodes = tuple(replace(node, inputs=tuple(map(own, node.inputs))) for node in structure.nodes)
    added = tuple(c for v in copies for c in copies[v])
    return replace(structure, nodes=nodes, inputs=(*structure.inputs, *added)), copies


def _draw_seeds(plan: Plan) -> list[Array]:
    """A random cotangent of what is differentiated."""
    rng = np.random.default_rng(3)
    return [as_dtype(draw(rng, v.aval.shape, v.aval.dtype), v.aval.dtype) for v in plan.sources]


def _cotangents(
    plan: Plan, constants: Sequence[Any], inputs: Sequence[Any], seeds: Sequence[Array]
) -> dict[Value, Array]:
    """The cotangents of what a plan wants."""

    def run(constants: Sequence[Any], inputs: Sequence[Any], seeds: Sequence[Array]) -> list[Array]:
        return reverse(plan, forward(plan, constants, inputs)[1], seeds)

    return dict(zip(plan.wanted, jax.jit(run)(constants, inputs, seeds), strict=False))
