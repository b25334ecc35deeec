"""Every example runs in smoke mode, from anywhere, and says what it is with --help."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

# What an example prints, and the files it leaves: the first bytes of each.
PRINTS = {"digits": ("FLOPs", "shared@once/conv2d0/w", "once/conv2d0/conv2d", "test accuracy")}
LEAVES = {"digits": {"runs/digits.png": b"\x89PNG", "runs/digits.jsonl": b'{"step": 1, "kind": "train"'}}


def run(example, *arguments, where):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "NO_COLOR": "1"}
    command = [sys.executable, "-W", "error::DeprecationWarning:__main__", str(example), *arguments]
    return subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_there_are_examples():
    assert EXAMPLES


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_smoke(example, tmp_path):
    done = run(example, "--smoke", where=tmp_path)
    assert done.returncode == 0, done.stderr
    for text in PRINTS[example.stem]:
        assert text in done.stdout
    for path, start in LEAVES[example.stem].items():
        assert (tmp_path / path).read_bytes().startswith(start)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_help(example, tmp_path):
    done = run(example, "--help", where=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "--smoke" in done.stdout


@pytest.mark.slow
def test_digits_learns(tmp_path):
    done = run(ROOT / "examples" / "digits.py", where=tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("test accuracy"))
    assert float(line.split()[2].rstrip("%,")) >= 97.5
