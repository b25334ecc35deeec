"""PyTorch as a second oracle, where it has the same operator: forward and every gradient, float64.

A family of ops has a file `test_torch_<family>.py` with a table of rows, checked by `over` and `assert_agrees`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.ops.asserting import assert_close

torch = pytest.importorskip("torch", reason="PyTorch is an optional oracle: pip install 'funcgrad[peers]'")
F = torch.nn.functional
RNG = np.random.default_rng(4)

Row = tuple[str, Callable[..., Any], Callable[..., Any], tuple[np.ndarray, ...]]
"""Name, our function, PyTorch's, and the floating arguments of both."""


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def over(rows: Sequence[Row]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", [pytest.param(r, id=r[0].replace(" ", "-")) for r in rows])


def assert_agrees(row: Row) -> None:
    """Our output and gradients are PyTorch's."""
    name, ours, theirs, args = row
    y, pull = jax.vjp(ours, *map(jnp.asarray, args))
    g = np.random.default_rng(0).normal(size=y.shape)
    leaves = [torch.tensor(a, requires_grad=True) for a in args]
    expected = theirs(*leaves)
    expected.backward(torch.tensor(g))
    assert_close(y, expected.detach().numpy(), f"{name}: output")
    for i, (found, leaf) in enumerate(zip(pull(jnp.asarray(g)), leaves, strict=True)):
        assert_close(found, leaf.grad.numpy(), f"{name}: gradient {i}")
