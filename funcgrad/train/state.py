"""What changes while training: parameters, the model's state, the optimizer's state, a count."""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from funcgrad.adapters import Definition, taken_apart
from funcgrad.aliases import Array, PyTree
from funcgrad.autodiff import Selector
from funcgrad.errors import TrainingError, require
from funcgrad.layers import Layer
from funcgrad.train.contracts import check_arrays, check_optimizer
from funcgrad.train.scaling import LossScale, Scale


def _zero() -> Array:
    return jnp.zeros((), jnp.int32)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["params", "model_state", "optimizer_state", "step", "loss_scale", "epoch", "batch", "others"],
    meta_fields=["trainable", "definition"],
)
@dataclass(frozen=True)
class State:
    """Everything that a step reads and returns; a pytree, so it can be saved, sharded and donated. `init` makes it.

    Example:
        >>> import optax
        >>> state = fg.train.init({"w": jnp.ones(2)}, optax.sgd(0.1))
        >>> print(state.params["w"], state.step, state.epoch, state.batch)
        [1. 1.] 0 0 0
    """

    params: PyTree
    model_state: PyTree
    optimizer_state: PyTree
    step: Array
    """How many steps were made, skipped ones included, `i32[]`."""
    loss_scale: Scale | None = None
    """The loss scale, where there is one."""
    trainable: Selector | None = None
    """Which parameters are trained; None for all."""
    epoch: Array = field(default_factory=_zero)
    """The epoch that `fit` goes on with, from 0, `i32[]`; as many are finished."""
    batch: Array = field(default_factory=_zero)
    """How many batches of that epoch `fit` has used, `i32[]`; an iterator's are not counted, it keeps its own place."""

    others: PyTree = None
    """Of a model of Flax NNX or Equinox, the arrays that are not trained: running statistics, keys, integers."""
    definition: Definition | None = None
    """Of such a model, what is no array."""

    @property
    def model(self) -> PyTree:
        """What the loss function gets: the parameters, or the model of another library that holds them."""
        return self.params if self.definition is None else self.definition.put_together(self.params, self.others)

    def split_params(self) -> tuple[PyTree, PyTree]:
        """The parameters that are trained, and the others: two pytrees like `params`, None at what they lack."""
        if self.trainable is None:
            return self.params, jax.tree.map(_nothing, self.params)
        return self.trainable.split(self.params)

    def at_epoch(self, epoch: int, batch: int = 0) -> "State":
        """The same state at a place in the data from which `fit` goes on.

        Args:
            epoch: the epoch, from 0.
            batch: how many of its batches are used already.

        Returns:
            Another state, of the same arrays.
        """
        # Like the count in device and sharding, so that the step is not compiled anew for them.
        return replace(self, epoch=0 * self.step + epoch, batch=0 * self.step + batch)


def init(
    params: PyTree,
    optimizer: optax.GradientTransformation,
    model_state: PyTree = None,
    *,
    trainable: Selector | None = None,
    loss_scale: float | LossScale | None = None,
) -> State:
    """The state before the first step.

    Every array is copied: a step deletes the state it is given, and must not delete the caller's arrays.

    A model of Flax NNX or Equinox is taken as it is. The loss function is then given the model, `state.model` is the
    model with what it has learnt, and what else it changes while it runs (running statistics, counts of random
    numbers) is part of the state.

    Args:
        params: the parameters that `net.init` returned, or a model of another library.
        optimizer: any optax optimizer.
        model_state: the state that `net.init` returned; none by default.
        trainable: which parameters are trained, `fg.select("head/**")` or `fg.freeze("encoder/**")`; all by default.
            `step` reads it from the state. It computes no gradient of the others, and the optimizer never sees them:
            no moments, no weight decay, no share in the norm that is clipped.
        loss_scale: what `step` is given.

    Returns:
        The state, its arrays copies of those given.

    Raises:
        GradientError: a pattern of `trainable` matches no parameter, or it leaves none to train.
        TrainingError: the loss scale is out of range; something is no parameters, or no optimizer.

    Example:
        >>> import optax
        >>> params = {"body": {"w": jnp.ones(2)}, "head": {"w": jnp.ones(2)}}
        >>> state = fg.train.init(params, optax.adam(1e-3), trainable=fg.select("head/**"))
        >>> trained, others = state.split_params()
        >>> jax.tree.map(jnp.shape, trained)
        {'body': {'w': None}, 'head': {'w': (2,)}}
    """
    if isinstance(params, Layer):
        raise TrainingError(
            f"train.init: expects parameters, got the network {type(params).__name__}; pass those of "
            f"params, model_state = net.init(key, x)."
        )
    check_optimizer("train.init", optimizer)
    chosen = "which parameters are trained, as fg.select('head/**') or fg.freeze('encoder/**')"
    require(trainable, (Selector, type(None)), "train.init: trainable=", chosen, TrainingError)
    model_state = {} if model_state is None else model_state
    scale = None if loss_scale is None else LossScale.of(loss_scale).begin()
    state = State(params, model_state, None, _zero(), scale, trainable)
    if (parts := taken_apart(params)) is not None:
        state = replace(state, params=parts.params, others=parts.others, definition=parts.definition)
    check_arrays("train.init", "params", state.params)
    check_arrays("train.init", "model_state", model_state)
    with jax.numpy_dtype_promotion("standard"):
        optimizer_state = optimizer.init(state.split_params()[0])
    return jax.tree.map(_own, replace(state, optimizer_state=optimizer_state))


def _nothing(_: Any) -> None:
    """What stands at a parameter that is not there."""


def _own(x: Any) -> Array:
    """A copy of exactly the dtype: a weakly typed array would make the second step be traced again."""
    x = jnp.array(x, copy=True)
    return x if jnp.issubdtype(x.dtype, jax.dtypes.extended) else x.astype(x.dtype)


def check_state(where: str, state: Any) -> None:
    """TrainingError for what is no state, and for one that a step has used up."""
    if not isinstance(state, State):
        raise TrainingError(
            f"{where}: the state must be what train.init returned, or an earlier step, got {type(state).__name__}."
        )
    is_deleted = getattr(state.step, "is_deleted", None)
    if not isinstance(state.step, Tracer) and is_deleted is not None and is_deleted():
        raise TrainingError(
            f"{where}: this state was used by an earlier step, which reuses its memory; go on with the state that step "
            f"or fit returned (after an error in fit, with the .state of the error), and keep one by "
            f"jax.tree.map(jnp.copy, state)."
        )


def check_scale(state: State, scaling: LossScale | None) -> None:
    """TrainingError where the state has a loss scale and the step has none, or the other way round."""
    if (state.loss_scale is None) != (scaling is None):
        lacking, having = ("train.init", "train.step") if state.loss_scale is None else ("train.step", "train.init")
        raise TrainingError(f"train.step: {having} was given a loss_scale and {lacking} was not; give it to both.")
