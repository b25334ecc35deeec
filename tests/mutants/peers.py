"""The same mutants before other checkers: `jax.test_util.check_grads` and `torch.autograd.gradcheck`.

Both compare with finite differences in float64, along one random direction or entry by entry; neither knows of `jit`,
`vmap`, kinds or other dtypes. PyTorch sees a mutant as an `autograd.Function` whose forward and backward are the op's.
"""

import importlib.util
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from funcgrad.registry import Op
from tests.mutants.mutant import Mutant


def torch_is_here() -> bool:
    return importlib.util.find_spec("torch") is not None


def passes_check_grads(op: Op, mutant: Mutant) -> bool:
    """Second order in both modes, as it does by default."""
    moving, function = _moving(op, mutant)
    try:
        check_grads(function, moving, order=2)
    except Exception:
        return False
    return True


def passes_gradcheck(op: Op, mutant: Mutant) -> bool:
    """In its default mode: entry by entry."""
    import torch

    moving, function = _moving(op, mutant)

    class Bridge(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *tensors: Any) -> Any:
            ys, ctx.pull = jax.vjp(function, *[jnp.asarray(t.detach().numpy()) for t in tensors])
            return tuple(torch.from_numpy(np.array(y)) for y in ys)

        @staticmethod
        def backward(ctx: Any, *g: Any) -> Any:
            return tuple(torch.from_numpy(np.array(x)) for x in ctx.pull(tuple(jnp.asarray(v.numpy()) for v in g)))

    tensors = [torch.tensor(np.asarray(x), requires_grad=True) for x in moving]
    try:
        return torch.autograd.gradcheck(Bridge.apply, tensors)
    except Exception:
        return False


def _moving(op: Op, mutant: Mutant) -> tuple[list[jax.Array], Any]:
    """The floating arguments of the first example, and the op as a function of them, with a tuple of outputs."""
    arguments = [jnp.asarray(x) for x in mutant.cases[0]]
    places = [i for i, x in enumerate(arguments) if jnp.issubdtype(x.dtype, jnp.floating)]

    def function(*moved: jax.Array) -> tuple[jax.Array, ...]:
        full = list(arguments)
        for i, x in zip(places, moved, strict=True):
            full[i] = x
        y = op(*full, **mutant.attributes)
        return y if isinstance(y, tuple) else (y,)

    return [arguments[i] for i in places], function
