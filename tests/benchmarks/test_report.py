"""The README's table is the stored one, and targets are judged against the fastest peer."""

import json
import re
from pathlib import Path

from benchmarks import report


def rows(**ratios):
    """Step ratios of one network."""
    return [
        {"network": "convnet", "against": a.replace("_", " "), "metric": "step", "ratio": r} for a, r in ratios.items()
    ]


def test_readme_table_is_what_the_report_prints_for_the_stored_rows():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    stored = json.loads(report.RESULTS.read_text())
    (block,) = re.findall(r"<!-- benchmark:begin -->\n(.*?)<!-- benchmark:end -->", readme, re.DOTALL)
    assert block.startswith(report.table(stored) + "\n\n")


def test_missing_metrics_are_empty_cells():
    table = report.table(rows(pytorch=0.5))
    assert table.splitlines()[-1] == "| convnet | pytorch |  |  | 0.50 |  |"


def test_targets_are_judged_against_the_fastest_peer():
    assert report.misses(rows(plain_jax=0.9, equinox=0.5, own_forward=0.7, pytorch=2.0)) == []
    assert report.misses(rows(plain_jax=0.9, equinox=1.004, own_forward=0.8)) == [
        "convnet, step against fastest of jax, nnx, equinox: 1.004 > 1",
        "convnet, step against own forward: 0.800 > 0.75",
    ]


def test_json_is_rows(tmp_path):
    report.write_json(rows(plain_jax=0.9), tmp_path / "rows.json")
    assert json.loads((tmp_path / "rows.json").read_text()) == rows(plain_jax=0.9)
