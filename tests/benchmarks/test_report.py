"""The published tables are the stored one, and targets are judged against the fastest peer."""

import json
from pathlib import Path

import pytest

from benchmarks import report


def rows(**ratios):
    """Step ratios of one network."""
    return [
        {"network": "convnet", "against": a.replace("_", " "), "metric": "step", "ratio": r} for a, r in ratios.items()
    ]


@pytest.mark.parametrize(("page", "networks"), [("README.md", 7), ("docs/performance.md", 7)])
def test_a_published_table_is_what_the_report_prints_for_the_stored_rows(page, networks):
    against, block = report.published(Path(__file__).parents[2] / page)
    rows = report.asked_for(json.loads(report.RESULTS.read_text()), against)
    assert len({r["network"] for r in rows}) == networks
    assert block.startswith(report.table(rows) + "\n\n")


def test_a_page_may_ask_for_some_peers_and_must_have_one_table(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results.json")
    some, none = tmp_path / "some.md", tmp_path / "none.md"
    some.write_text("a\n<!-- benchmark:begin against plain jax, pytorch -->\nold\n<!-- benchmark:end -->\nb\n")
    none.write_text("nothing")
    found = rows(plain_jax=0.9, equinox=0.5, pytorch=2.0)
    report.publish(found, [], [some])
    table = report.table([found[0], found[2]])
    assert some.read_text().startswith(f"a\n<!-- benchmark:begin against plain jax, pytorch -->\n{table}\n\njax ")
    assert "old" not in some.read_text()
    assert json.loads((tmp_path / "results.json").read_text()) == found
    with pytest.raises(ValueError, match=r"none\.md must hold one pair of marks .* found 0\."):
        report.publish(found, [], [none])


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
