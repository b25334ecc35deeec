"""Every row of docs/coming-from-pytorch.md runs, and both sides of it give the same numbers."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "coming-from-pytorch.md").read_text()


class Row(NamedTuple):
    name: str
    torch: str
    ours: str


def statements(cell: str) -> str:
    """The code of a cell: what stands in backticks, a statement each."""
    return "\n".join(re.findall(r"`([^`]+)`", cell))


def rows() -> list[Row]:
    cells = [line.strip("| \n").split(" | ") for line in PAGE.splitlines() if re.match(r"\| [^|-].* \| .*`", line)]
    return [Row(name, statements(torch), statements(ours)) for name, torch, ours in cells]


ROWS = rows()
((TORCH_START,), (START,)) = (
    re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE) for language in ("python torch", "python")
)


def run(start: str, code: str) -> list[np.ndarray]:
    """The arrays in the value of the last expression."""
    names: dict[str, object] = {}
    exec(start, names)
    *before, last = ast.parse(code).body
    assert isinstance(last, ast.Expr), code
    exec(compile(ast.Module(before, []), "page", "exec"), names)
    value = eval(compile(ast.Expression(last.value), "page", "eval"), names)
    return [np.asarray(x.detach() if hasattr(x, "detach") else x) for x in jax.tree.leaves(value)]


def test_the_table_is_read_whole():
    lines = [line for line in PAGE.splitlines() if line.startswith("| ") and "---" not in line and "| | Py" not in line]
    assert len(ROWS) == len(lines) >= 25
    assert all(row.torch and row.ours for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_our_side_runs(row):
    found = run(START, row.ours)
    assert found
    assert all(np.all(np.isfinite(x)) for x in found)
    assert any(np.any(x != 0) for x in found)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # by torch.func.jvp itself
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_both_sides_agree(row):
    torch = pytest.importorskip("torch", reason="PyTorch is an optional oracle: pip install 'funcgrad[peers]'")
    torch.set_default_dtype(torch.float64)
    try:
        expected = run(TORCH_START, row.torch)
    finally:
        torch.set_default_dtype(torch.float32)
    found = run(START, row.ours)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-12)
