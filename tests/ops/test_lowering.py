"""Every op, its value and its gradient, is lowered for CUDA and TPU, where CI has no device; `defer` is CPU's alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from tests.lowering import defers, lowered
from tests.ops.asserting import Flat
from tests.ops.cases import CASES, Case

RANDOM = ("dropout", "drop_path", "stochastic_round")


@pytest.mark.parametrize("case", [c for c in CASES if c.primary], ids=lambda c: c.op.name)
def test_ops_for_cuda_and_tpu(case: Case):
    flat = Flat(case.op, case.args, case.attributes, np.float32)
    function = flat.function(plain=False)

    def loss(*moving):
        return sum((jnp.sum(y) for y in function(*moving)), jnp.float32(0))

    def everything(*moving):
        argnums = tuple(range(len(moving)))
        return function(*moving), [lib.grad(loss, argnums)(*moving) if moving else () for lib in (fg, jax)]

    program = lowered(everything, *flat.low)
    assert case.op.name in RANDOM or not defers(program)


@pytest.mark.parametrize("platforms", [("cpu",), ("cuda",), ("tpu",)])
def test_only_cpu_defers(platforms: tuple[str, ...]):
    """The gradient of a convolution waits for its cotangent on CPU: else XLA transposes `x` in the forward pass."""

    def gradient(kernel, x):
        return fg.grad(lambda kernel: jnp.sum(jnp.sin(ops.conv2d(x, kernel))))(kernel)

    program = lowered(gradient, jnp.ones((3, 3, 2, 4)), jnp.ones((2, 5, 5, 2)), platforms=platforms)
    assert defers(program) == (platforms == ("cpu",))
