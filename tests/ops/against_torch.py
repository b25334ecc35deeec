"""PyTorch as a second oracle, where it has the same operator: forward, backward and double backward, float64.

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


def assert_agrees(row: Row, twice: bool = True) -> None:
    """Our output, gradients and, if `twice`, the gradients of the gradients are PyTorch's.

    With x̄(x, g) the gradients and u random: of Σ <u, x̄>, with respect to the arguments and to g.
    """
    name, ours, theirs, args = row
    xs = list(map(jnp.asarray, args))
    rng = np.random.default_rng(0)
    y = jax.eval_shape(ours, *xs)
    g, us = rng.normal(size=y.shape), [rng.normal(size=x.shape) for x in xs]

    def gradients(xs: Sequence[jax.Array], g: jax.Array) -> tuple[tuple[jax.Array, ...], jax.Array]:
        y, pull = jax.vjp(ours, *xs)
        return pull(g), y

    @jax.jit
    def twice_pulled(xs: Sequence[jax.Array], g: jax.Array, us: Sequence[jax.Array]) -> Any:
        if not twice:
            return *gradients(xs, g), None
        found, pull, y = jax.vjp(gradients, xs, g, has_aux=True)
        return found, y, pull(tuple(us))

    found, y, found_second = twice_pulled(xs, g, us)
    leaves, seed = [torch.tensor(a, requires_grad=True) for a in args], torch.tensor(g, requires_grad=True)
    expected = theirs(*leaves)
    assert_close(y, expected.detach().numpy(), f"{name}: output")
    first = torch.autograd.grad(expected, leaves, seed, create_graph=twice)
    for i, (a, b) in enumerate(zip(found, first, strict=True)):
        assert_close(a, b.detach().numpy(), f"{name}: gradient {i}")
    if not twice:
        return
    second = torch.autograd.grad(first, [*leaves, seed], [torch.tensor(u) for u in us], materialize_grads=True)
    for i, (a, b) in enumerate(zip(jax.tree.leaves(found_second), second, strict=True)):
        assert_close(a, b.numpy(force=True), f"{name}: second gradient {i}")
