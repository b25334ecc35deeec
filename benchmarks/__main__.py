"""`python -m benchmarks speed`: our step against `jax.value_and_grad`, as ratios (below 1 we are faster or smaller).

Two peers: `own forward`, jax.value_and_grad of the same forward with funcgrad ops, and `plain jax`, the network as
an expert writes it without funcgrad. Losses and gradients are checked to agree before anything is timed.
"""

import argparse
import json
import platform
from dataclasses import fields
from pathlib import Path
from typing import Any

import jax
import numpy as np

import funcgrad as fg
from benchmarks.networks import ALL, QUICK, Network
from benchmarks.timing import Measured, measure

METRICS = tuple(field.name for field in fields(Measured))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suite", choices=["speed"])
    parser.add_argument("--quick", action="store_true", help="small networks, few rounds: under two minutes")
    parser.add_argument("--rounds", type=int, help="timed steps per candidate (default 100, quick 5)")
    parser.add_argument("--only", help="one network by name")
    parser.add_argument("--json", type=Path, help="write rows {network, against, metric, ratio} here")
    options = parser.parse_args()
    networks = [make(**(QUICK.get(make.__name__, {}) if options.quick else {})) for make in ALL]
    networks = [n for n in networks if options.only in (None, n.name)]
    rounds, compiles = options.rounds or (5 if options.quick else 100), 1 if options.quick else 3
    rows = [row for network in networks for row in compare(network, rounds, compiles)]
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def compare(network: Network, rounds: int, compiles: int) -> list[dict[str, Any]]:
    """Ratios of ours to each peer on one network."""
    candidates = {
        "ours": fg.value_and_grad(network.with_ops),
        "own forward": jax.value_and_grad(network.with_ops),
        "plain jax": jax.value_and_grad(network.plain),
    }
    results = {name: jax.jit(f)(*network.arguments) for name, f in candidates.items()}
    for name in candidates:
        assert_agree(network.name, results["ours"], results[name])
    measured = measure(candidates, network.arguments, rounds, compiles)
    return [
        {
            "network": network.name,
            "against": peer,
            "metric": metric,
            "ratio": round(getattr(measured["ours"], metric) / max(getattr(measured[peer], metric), 1e-12), 3),
        }
        for peer in candidates
        if peer != "ours"
        for metric in METRICS
    ]


def assert_agree(name: str, ours: Any, theirs: Any) -> None:
    """Equal up to float32 rounding, measured against the largest entry of each array."""
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        error, size = np.abs(np.asarray(a) - np.asarray(b)).max(), np.abs(np.asarray(b)).max()
        assert error <= 1e-3 * size + 1e-6, f"{name}: gradients differ by {error} where the largest is {size}"


def table(rows: list[dict[str, Any]]) -> str:
    """The ratios as Markdown."""
    ratios = {(r["network"], r["against"], r["metric"]): r["ratio"] for r in rows}
    pairs = list(dict.fromkeys((r["network"], r["against"]) for r in rows))
    heading = ["network", "against", "trace + lower", "compile", "step", "temp memory"]
    lines = [heading, ["---"] * 2 + ["---:"] * 4]
    lines += [[n, a, *(f"{ratios[n, a, m]:.2f}" for m in METRICS)] for n, a in pairs]
    where = f"jax {jax.__version__}, {jax.devices()[0].platform}, {platform.machine()}; ratios ours / theirs"
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{where}"


if __name__ == "__main__":
    main()
