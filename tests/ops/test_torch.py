"""PyTorch as a second oracle, where it has the same operator: forward and every gradient, float64."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcgrad import ops
from tests.ops.asserting import assert_close

torch = pytest.importorskip("torch", reason="PyTorch is an optional oracle: pip install 'funcgrad[peers]'")
F = torch.nn.functional
RNG = np.random.default_rng(4)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def images_last(f: Callable[..., Any]) -> Callable[..., Any]:
    """A torch function of channels-first images, as one of channels-last images."""
    return lambda x, *rest, **kw: f(x.permute(0, 3, 1, 2), *rest, **kw).permute(0, 2, 3, 1)


def torch_conv(x, kernel, b, stride, padding):
    return images_last(F.conv2d)(x, kernel.permute(3, 2, 0, 1), b, stride=stride, padding=padding)


LABELS = RNG.integers(0, 5, size=4)
ROWS: list[tuple[str, Callable[..., Any], Callable[..., Any], tuple[np.ndarray, ...]]] = [
    ("relu", ops.relu, F.relu, (normal(3, 4),)),
    ("relu at 0", ops.relu, F.relu, (np.zeros(3),)),
    ("leaky_relu", ops.leaky_relu, F.leaky_relu, (normal(3, 4),)),
    ("elu", ops.elu, F.elu, (normal(3, 4),)),
    ("sigmoid", ops.sigmoid, torch.sigmoid, (normal(3, 4) * 5,)),
    ("tanh", ops.tanh, torch.tanh, (normal(3, 4) * 5,)),
    ("softplus", ops.softplus, lambda x: F.softplus(x, threshold=1e3), (normal(3, 4) * 5,)),
    ("silu", ops.silu, F.silu, (normal(3, 4) * 5,)),
    ("gelu tanh", ops.gelu, lambda x: F.gelu(x, approximate="tanh"), (normal(3, 4) * 5,)),
    ("gelu", lambda x: ops.gelu(x, approximate=False), F.gelu, (normal(3, 4) * 5,)),
    ("maximum at ties", ops.maximum, torch.maximum, (np.ones(3), np.array([0.0, 1.0, 2.0]))),
    ("divide", ops.divide, torch.div, (normal(3, 4), normal(4) + 4)),
    ("power", lambda x: ops.power(x, exponent=2.5), lambda x: x**2.5, (np.abs(normal(4)),)),
    ("linear", ops.linear, lambda x, w, b: F.linear(x, w.T, b), (normal(2, 5, 4), normal(4, 3), normal(3))),
    ("matmul", ops.matmul, torch.matmul, (normal(2, 1, 3, 4), normal(5, 4, 6))),
    ("max", lambda x: ops.max(x, axis=(0, 1)), lambda x: torch.amax(x, (0, 1)), (np.round(normal(3, 4, 2)),)),
    ("softmax", ops.softmax, lambda x: F.softmax(x, -1), (normal(3, 5) * 9,)),
    ("log_softmax", ops.log_softmax, lambda x: F.log_softmax(x, -1), (normal(3, 5) * 9,)),
    ("cross_entropy", lambda z: ops.cross_entropy(z, jnp.asarray(LABELS)),
     lambda z: F.cross_entropy(z, torch.as_tensor(LABELS), reduction="none"), (normal(4, 5) * 9,)),
    ("layer_norm", ops.layer_norm, lambda x, s, b: F.layer_norm(x, (8,), s, b, 1e-6),
     (normal(5, 8), normal(8), normal(8))),
    ("conv2d", lambda x, k, b: ops.conv2d(x, k, b, stride=2, padding=((1, 1), (2, 2))),
     lambda x, k, b: torch_conv(x, k, b, 2, (1, 2)), (normal(2, 7, 6, 3), normal(3, 2, 3, 4), normal(4))),
    ("conv2d same", lambda x, k, b: ops.conv2d(x, k, b), lambda x, k, b: torch_conv(x, k, b, 1, "same"),
     (normal(2, 5, 6, 3), normal(3, 3, 3, 4), normal(4))),
    ("max_pool2d", lambda x: ops.max_pool2d(x, window=3, stride=2, padding=((1, 1), (1, 1))),
     images_last(lambda x: F.max_pool2d(x, 3, 2, 1)), (normal(2, 7, 6, 3),)),
    ("max_pool2d at ties", lambda x: ops.max_pool2d(x, window=2), images_last(lambda x: F.max_pool2d(x, 2)),
     (np.ones((1, 4, 4, 1)),)),
    ("avg_pool2d", lambda x: ops.avg_pool2d(x, window=3, stride=2, padding=((1, 1), (1, 1))),
     images_last(lambda x: F.avg_pool2d(x, 3, 2, 1)), (normal(2, 7, 6, 3),)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "ours", "theirs", "args"), ROWS, ids=[r[0].replace(" ", "-") for r in ROWS])
def test_agrees_with_torch(name, ours, theirs, args):
    y, pull = jax.vjp(ours, *map(jnp.asarray, args))
    g = np.random.default_rng(0).normal(size=y.shape)
    leaves = [torch.tensor(a, requires_grad=True) for a in args]
    expected = theirs(*leaves)
    expected.backward(torch.tensor(g))
    assert_close(y, expected.detach().numpy(), f"{name}: output")
    for i, (found, leaf) in enumerate(zip(pull(jnp.asarray(g)), leaves, strict=True)):
        assert_close(found, leaf.grad.numpy(), f"{name}: gradient {i}")
