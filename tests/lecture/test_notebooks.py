"""Each notebook is kept twice, as readable source and executed with its outputs: both must be the same notebook."""

import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"


def cells_of_source(path):
    """(kind, text) of every cell of a py:percent file."""
    _, *parts = re.split(r"^# %%(.*)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for title, text in zip(parts[::2], parts[1::2], strict=True):
        if "[markdown]" in title:
            yield "markdown", re.sub(r"^# ?", "", text.strip(), flags=re.MULTILINE)
        else:
            yield "code", text.strip()


def notebook_of(source):
    return json.loads(source.with_suffix(".ipynb").read_text(encoding="utf-8"))


def test_there_are_notebooks():
    assert {p.stem for p in FOLDER.glob("*.ipynb")} == {p.stem for p in FOLDER.glob("[0-9]*.py")} != set()


@pytest.mark.parametrize("source", sorted(FOLDER.glob("[0-9]*.py")), ids=lambda p: p.stem)
def test_source_and_notebook_are_the_same(source):
    found = [(c["cell_type"], "".join(c["source"]).strip()) for c in notebook_of(source)["cells"]]
    assert found == list(cells_of_source(source))


@pytest.mark.parametrize("source", sorted(FOLDER.glob("[0-9]*.py")), ids=lambda p: p.stem)
def test_a_notebook_is_short_executed_and_ends_by_checking_itself(source):
    code = [c for c in notebook_of(source)["cells"] if c["cell_type"] == "code"]
    assert len(notebook_of(source)["cells"]) <= 40
    assert [c["execution_count"] for c in code] == list(range(1, len(code) + 1))
    assert not [o for c in code for o in c["outputs"] if o["output_type"] == "error" or o.get("name") == "stderr"]
    assert "assert" in "".join(code[-1]["source"])
