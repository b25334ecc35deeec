"""Our gradient of a model against that of its own library, which is `jax.value_and_grad` of the same function."""

from typing import Any

import jax
import numpy as np

import funcgrad as fg
from benchmarks.models import Model
from benchmarks.report import HEADINGS, Rows, setting, table
from benchmarks.timing import compile_in_turns, time_in_turns

AGAINST = "jax"
TARGETS = {"trace_lower": 1.0, "step": 1.02, "temp_bytes": 1.0}


def compare(model: Model, rounds: int, compiles: int, tolerance: float = 1e-3) -> Rows:
    """Rows `{network, against, metric, ratio}`: ours over theirs."""
    steps = {"ours": model.step(fg.value_and_grad), AGAINST: model.step(model.value_and_grad)}
    compiled = compile_in_turns(steps, compiles)
    runs = {name: c.run for name, c in compiled.items()}
    assert_same(model.name, runs["ours"](), runs[AGAINST](), tolerance)
    seconds = time_in_turns(runs, rounds)
    found = {n: {"step": seconds[n]} | {m: getattr(c, m) for m in HEADINGS if m != "step"} for n, c in compiled.items()}
    ratios = {m: round(found["ours"][m] / max(found[AGAINST][m], 1e-12), 3) for m in HEADINGS}
    return [{"network": model.name, "against": AGAINST, "metric": m, "ratio": r} for m, r in ratios.items()]


def assert_same(what: str, ours: Any, theirs: Any, tolerance: float) -> None:
    """Both results have one structure, and each array is equal up to `tolerance` of its norm."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs), f"{what}: another structure"
    paths = jax.tree_util.tree_flatten_with_path(theirs)[0]
    for a, (path, b) in zip(jax.tree.leaves(ours), paths, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype), f"{what}{jax.tree_util.keystr(path)}: {a.dtype}{a.shape}"
        error, size = np.linalg.norm(np.asarray(a - b)), np.linalg.norm(np.asarray(b))
        place = f"{what}{jax.tree_util.keystr(path)}"
        assert error <= tolerance * size + 1e-9 * a.size, f"{place} differs by {error:.3g} where the norm is {size:.3g}"


def misses(rows: Rows) -> list[str]:
    """Where a ratio is above its target, one line each."""
    return [
        f"{r['network']}, {HEADINGS[r['metric']]}: {r['ratio']:.3f} > {TARGETS[r['metric']]:g}"
        for r in rows
        if r["ratio"] > TARGETS.get(r["metric"], float("inf"))
    ]


def summary(rows: Rows, missing: list[str]) -> str:
    """All of it, to print."""
    missed = misses(rows)
    verdict = ["Above its target:", *missed] if missed else ["All ratios are within their targets."]
    return "\n".join([table(rows), "", setting(missing), "", *verdict])
