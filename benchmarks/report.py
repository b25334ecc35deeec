"""What was measured, as a table, as JSON, and against where it must stand."""

import json
import platform
import re
from pathlib import Path
from typing import Any

import jax

from benchmarks.comparison import LIMIT, METRICS

Rows = list[dict[str, Any]]
"""Rows `{network, against, metric, ratio}`."""
RESULTS = Path(__file__).parent / "results.json"
"""The rows of the published tables."""
HEADINGS = dict(zip(METRICS, ("trace + lower", "compile", "step", "temp memory"), strict=True))
PEERS = ("plain jax", "flax nnx", "equinox")
"""In each metric the fastest of them counts."""
FASTEST = "fastest of jax, nnx, equinox"
OWN_FORWARD_TARGETS = {
    "trace_lower": {"*": 0.7},
    "compile": {"residual": 0.5, "transformer": 0.5},
    "step": {"*": 1.0, "residual": 0.75, "transformer": 0.75, "convnet": 0.75},
    "temp_bytes": {"transformer": 0.85, "convnet": 0.6},
}
_BLOCK = re.compile(r"(<!-- benchmark:begin(?: against ([\w, ]+?))? -->\n)(.*?)(<!-- benchmark:end -->)", re.DOTALL)


def table(rows: Rows) -> str:
    """The ratios as Markdown, ours over theirs."""
    ratios = {(r["network"], r["against"], r["metric"]): r["ratio"] for r in rows}
    lines = [["network", "against", *HEADINGS.values()], ["---"] * 2 + ["---:"] * len(HEADINGS)]
    for network, against in dict.fromkeys((r["network"], r["against"]) for r in rows):
        cells = [ratios.get((network, against, m)) for m in METRICS]
        lines.append([network, against, *("" if c is None else f"{c:.2f}" for c in cells)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def setting(missing: list[str]) -> str:
    """On what it was measured, and which peers are left out."""
    where = f"jax {jax.__version__}, {jax.devices()[0].platform}, {platform.machine()}; ratios ours / theirs"
    return where + (f"; not installed, so left out: {', '.join(missing)}" if missing else "")


def misses(rows: Rows) -> list[str]:
    """Where a ratio is above its target, one line each."""
    lines = []
    for network in dict.fromkeys(r["network"] for r in rows):
        for metric in METRICS:
            found = {r["against"]: r["ratio"] for r in rows if (r["network"], r["metric"]) == (network, metric)}
            own = OWN_FORWARD_TARGETS[metric]
            standings = [
                (FASTEST, max((r for peer, r in found.items() if peer in PEERS), default=None), 1.0),
                ("own forward", found.get("own forward"), own.get(network, own.get("*"))),
            ]
            for against, ratio, target in standings:
                if ratio is not None and target is not None and ratio > target:
                    lines.append(f"{network}, {HEADINGS[metric]} against {against}: {ratio:.3f} > {target:g}")
    return lines


def summary(rows: Rows, missing: list[str]) -> str:
    """All of it, to print."""
    missed = misses(rows)
    verdict = ["Above its target:", *missed] if missed else ["All ratios are within their targets."]
    limit = f"Against `{LIMIT}`: our step over the time of its matrix products and convolutions, run back to back."
    return "\n".join([table(rows), "", setting(missing), limit, "", *verdict])


def write_json(rows: Rows, path: Path) -> None:
    """One row a line."""
    path.write_text("[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n")


def publish(rows: Rows, missing: list[str], documents: list[Path]) -> None:
    """Store the rows, and put their table between the marks in each document.

    All of it, or what the mark asks for: `<!-- benchmark:begin against plain jax, pytorch -->`.
    """
    write_json(rows, RESULTS)
    for document in documents:
        text, n = _BLOCK.subn(
            lambda m: f"{m[1]}{table(asked_for(rows, m[2]))}\n\n{setting(missing)}\n{m[4]}", document.read_text()
        )
        if n != 1:
            raise ValueError(f"{document} must hold one pair of marks <!-- benchmark:begin --> ... end, found {n}.")
        document.write_text(text)


def published(document: Path) -> tuple[str | None, str]:
    """Whom a document's table is against, None for all; and what stands between its marks."""
    ((_, against, block, _),) = _BLOCK.findall(document.read_text())
    return against or None, block


def asked_for(rows: Rows, against: str | None) -> Rows:
    """The rows against some, `plain jax, pytorch`; all for None."""
    return rows if against is None else [r for r in rows if r["against"] in against.split(", ")]
