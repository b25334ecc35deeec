"""Every op stands in a row against PyTorch, or has no operator there to stand against."""

from importlib import import_module
from pathlib import Path

import jax.numpy as jnp

import funcgrad as fg
from funcgrad.registry import Call
from tests.ops.against_torch import Row
from tests.ops.cases import library_ops

NOT_IN_TORCH = {
    "squareplus": "PyTorch has no such activation",
    "sparse_plus": "PyTorch has no such activation",
    "sparse_sigmoid": "PyTorch has no such activation",
    "rotary": "PyTorch's own library has none",
    "heaviside": "its own has no derivative; tests/rulesets has the surrogates of snntorch and norse",
    "binarize": "PyTorch has no sign of two values",
    "ternarize": "PyTorch has no such sign",
    "fake_quantize": "PyTorch's goes straight through, as the rule sets do that tests/rulesets holds to it",
    "stochastic_round": "PyTorch has no such rounding",
    "dropout": "its random numbers are others",
    "drop_path": "its random numbers are others",
}


def ops_of(row: Row) -> set[str]:
    _, ours, _, args = row
    return {n.op_name for n in fg.trace(ours, *map(jnp.asarray, args)).nodes if isinstance(n.function, Call)}


def test_every_op_stands_against_torch_or_has_a_reason():
    files = [p.stem for p in Path(__file__).parent.glob("test_torch_*.py") if p.stem != Path(__file__).stem]
    rows = [row for name in files for row in import_module(f"tests.ops.{name}").ROWS]
    assert {name for row in rows for name in ops_of(row)} == library_ops() - set(NOT_IN_TORCH)
