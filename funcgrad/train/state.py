"""What changes while training: parameters, the model's state, the optimizer's state, a count."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from funcgrad.aliases import Array, PyTree
from funcgrad.train.scaling import LossScale, Scale


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["params", "model_state", "optimizer_state", "step", "loss_scale"],
    meta_fields=[],
)
@dataclass(frozen=True)
class State:
    """Everything that a step reads and returns; a pytree, so it can be saved, sharded and donated."""

    params: PyTree
    model_state: PyTree
    optimizer_state: PyTree
    step: Array
    """How many steps were made, skipped ones included, `i32[]`."""
    loss_scale: Scale | None = None
    """The loss scale, where there is one."""


def init(
    params: PyTree,
    optimizer: optax.GradientTransformation,
    model_state: PyTree = None,
    *,
    loss_scale: float | LossScale | None = None,
) -> State:
    """The state before the first step.

    Every array is copied: a step deletes the state it is given, and must not delete the caller's arrays.

    Args:
        params: the parameters that `net.init` returned.
        optimizer: any optax optimizer.
        model_state: the state that `net.init` returned; none by default.
        loss_scale: what `step` is given.

    Raises:
        TrainingError: the loss scale is out of range.
    """
    model_state = {} if model_state is None else model_state
    with jax.numpy_dtype_promotion("standard"):
        optimizer_state = optimizer.init(params)
    scale = None if loss_scale is None else LossScale.of(loss_scale).begin()
    return jax.tree.map(_own, State(params, model_state, optimizer_state, jnp.zeros((), jnp.int32), scale))


def _own(x: Any) -> Array:
    """A copy of exactly the dtype: a weakly typed array would make the second step be traced again."""
    x = jnp.array(x, copy=True)
    return x if jnp.issubdtype(x.dtype, jax.dtypes.extended) else x.astype(x.dtype)
