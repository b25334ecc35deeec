"""Every example runs in smoke mode, from anywhere, and says what it is with --help."""

import gzip
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

# What an example prints, and the files it leaves: the first bytes of each.
PRINTS = {
    "digits": ("FLOPs", "shared@once/conv2d0/w", "once/conv2d0/conv2d", "test accuracy"),
    "fashion": ("stage4/chain1/residual0/body/batch_norm1", "values of state", "test accuracy"),
    "denoise": ("levels/split/below/up", "PSNR noisy 20.0", "least total variation"),
    "characters": ("blocks/blocks/block0/feed_forward", "chapter 1 of Moby-Dick only", "validation"),
    "lstm": ("recurrent0", "chapter 1 of Moby-Dick only", "validation"),
}
FIRST_RECORD = b'{"step": 1, "kind": "train"'
LEAVES = {
    "digits": {"runs/digits.png": b"\x89PNG", "runs/digits.jsonl": FIRST_RECORD},
    "fashion": {"runs/fashion.png": b"\x89PNG", "runs/fashion.jsonl": FIRST_RECORD},
    "denoise": {"runs/denoise.png": b"\x89PNG", "runs/denoise.jsonl": FIRST_RECORD},
    "characters": {"runs/characters.jsonl": FIRST_RECORD},
    "lstm": {"runs/lstm.jsonl": FIRST_RECORD},
}


def run(example, *arguments, where, **environment):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "NO_COLOR": "1", **environment}
    command = [sys.executable, "-W", "error::DeprecationWarning:__main__", str(example), *arguments]
    return subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_there_are_examples():
    assert EXAMPLES


# In one interpreter, which imports JAX and the rest once; the slow tests run each by itself.
ALL = """
import runpy, sys
for path in sys.argv[1:]:
    for argument in ("--help", "--smoke"):
        print("==", flush=True)
        sys.argv = [path, argument]
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as end:
            assert argument == "--help" and not end.code
        else:
            assert argument == "--smoke", f"{path} --help ran on"
"""


def test_help_and_smoke(tmp_path):
    paths = f"{ROOT}{os.pathsep}{ROOT / 'examples'}"
    done = run("-c", ALL, *map(str, EXAMPLES), where=tmp_path, PYTHONPATH=paths, MPLBACKEND="Agg")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    printed = done.stdout.split("==\n")[1:]
    for example, described, printed_by_run in zip(EXAMPLES, printed[::2], printed[1::2], strict=True):
        assert "--smoke" in described, example
        for text in PRINTS[example.stem]:
            assert text in printed_by_run, example
        for path, start in LEAVES[example.stem].items():
            assert (tmp_path / path).read_bytes().startswith(start), path


def number_after(words, example, *arguments, where):
    """The number that follows these words in what the example prints, whose code is optimized: it trains."""
    done = run(example, *arguments, where=where, JAX_DISABLE_MOST_OPTIMIZATIONS="0", XLA_FLAGS="")
    assert done.returncode == 0, done.stderr
    (number,) = re.findall(rf"{words} (-?\d+\.\d+)", done.stdout)
    return float(number)


@pytest.mark.slow
def test_digits_learns(tmp_path):
    assert number_after("test accuracy", ROOT / "examples" / "digits.py", where=tmp_path) >= 97.5


@pytest.mark.slow
def test_fashion_learns_digits(tmp_path):
    example = ROOT / "examples" / "fashion.py"
    assert number_after("test accuracy", example, "--data", "nowhere", where=tmp_path) >= 97


@pytest.mark.slow
def test_fashion_reads_idx_files(tmp_path):
    rng = np.random.default_rng(0)
    for part, n in (("train", 16), ("t10k", 8)):
        for kind, array in (
            ("images-idx3", rng.integers(0, 256, (n, 28, 28), np.uint8)),
            ("labels-idx1", rng.integers(0, 10, n, np.uint8)),
        ):
            header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">i4").tobytes()
            (tmp_path / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))
    done = run(ROOT / "examples" / "fashion.py", "--smoke", "--data", ".", where=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "training on digits" not in done.stdout
    assert "f32[8,28,28,2]" in done.stdout


@pytest.mark.slow
def test_denoise_gains(tmp_path):
    assert number_after("gain", ROOT / "examples" / "denoise.py", where=tmp_path) >= 8


# The frequencies of the characters alone give about 4.4 bits: less takes their order.
@pytest.mark.slow
@pytest.mark.parametrize(("name", "bits"), [("characters", 3.7), ("lstm", 4.2)])
def test_language_models_learn(name, bits, tmp_path):
    example = ROOT / "examples" / f"{name}.py"
    assert number_after("validation", example, "--steps", "150", "--width", "64", where=tmp_path) <= bits


def test_a_folder_of_chapters_is_read_in_their_order(tmp_path):
    for number in (1, 2, 10):
        (tmp_path / f"chapter_{number}.txt").write_text(f"chapter {number}")
    load_text = runpy.run_path(str(ROOT / "examples" / "characters.py"))["load_text"]
    assert load_text(tmp_path) == "chapter 1\n\nchapter 2\n\nchapter 10"
