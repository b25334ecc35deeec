"""One training step: gradient, clipping, update; jitted, the state's buffers reused."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from funcgrad.aliases import Array, PyTree
from funcgrad.autodiff import value_and_grad
from funcgrad.errors import GradientError, ShapeError, TrainingError, describe, describe_tree
from funcgrad.registry import RuleSet
from funcgrad.train.objectives import LossFunction
from funcgrad.train.state import State

Step = Callable[[State, Any, Array], tuple[State, dict[str, Array]]]
"""`(state, batch, key) -> (state, metrics)`."""

_RESERVED = ("loss", "gradient_norm")


class _Pass(NamedTuple):
    """What one forward and backward pass gives."""

    gradient: PyTree
    model_state: PyTree
    metrics: dict[str, Array]


def step(
    loss_fn: LossFunction,
    optimizer: optax.GradientTransformation,
    *,
    microbatches: int = 1,
    clip_norm: float | None = None,
    rules: RuleSet | None = None,
) -> Step:
    """Make `step(state, batch, key) -> (state, metrics)`, jitted; the state that goes in is deleted.

    The metrics are `loss`, `gradient_norm` (before clipping) and those of the loss function, all on the device.
    The key is folded with the step count, so the same one can be passed every time.

    Args:
        loss_fn: `(params, model_state, batch, key) -> (loss, (model_state, metrics))`, the loss a mean over the
            batch; see `supervised`.
        optimizer: any optax optimizer, the one that `init` was given.
        microbatches: into how many equal parts, one after another, the batch is split; the gradient is the mean
            of theirs, for less memory.
        clip_norm: scale the gradient down to this global norm.
        rules: which J^T stands for which op, where not the ops' own.

    Raises:
        TrainingError: microbatches or clip_norm is out of range.
        ShapeError: from the first call, where the batch cannot be split, or its leaves differ in size.
        GradientError: from the first call, where the loss function does not return what it should.
    """
    if microbatches < 1:
        raise TrainingError(f"train.step: microbatches must be at least 1, got {microbatches}.")
    if clip_norm is not None and not clip_norm > 0:
        raise TrainingError(f"train.step: clip_norm must be positive, got {clip_norm}; None means no clipping.")
    differentiate = value_and_grad(_checked(loss_fn), has_aux=True, rules=rules)

    def one_pass(params: PyTree, model_state: PyTree, batch: Any, key: Array) -> _Pass:
        (loss, (model_state, metrics)), gradient = differentiate(params, model_state, batch, key)
        return _Pass(gradient, model_state, {"loss": loss, **metrics})

    def update(state: State, batch: Any, key: Array) -> tuple[State, dict[str, Array]]:
        _check_batch(batch, microbatches)
        key = jax.random.fold_in(key, state.step)
        if microbatches == 1:
            result = one_pass(state.params, state.model_state, batch, key)
        else:
            result = _accumulated(one_pass, state, _split(batch, microbatches), jax.random.split(key, microbatches))
        gradient = result.gradient
        metrics = {**result.metrics, "gradient_norm": optax.tree.norm(gradient)}
        with jax.numpy_dtype_promotion("standard"):  # optax mixes its counters' dtypes with the parameters'
            if clip_norm is not None:
                gradient, _ = optax.clip_by_global_norm(clip_norm).update(gradient, optax.EmptyState())
            updates, optimizer_state = optimizer.update(gradient, state.optimizer_state, state.params)
            params = optax.apply_updates(state.params, updates)
        after = State(params, result.model_state, optimizer_state, state.step + 1)
        return jax.tree.map(_typed_like, after, state), metrics

    return jax.jit(update, donate_argnums=0)


def _typed_like(new: Array, old: Array) -> Array:
    """An optimizer that returns another dtype, or a weak one, would make the next step be traced again."""
    return new if jnp.issubdtype(old.dtype, jax.dtypes.extended) else new.astype(old.dtype)


def _accumulated(one_pass: Callable[..., _Pass], state: State, parts: PyTree, keys: Array) -> _Pass:
    """The mean of the gradients of the parts, one part in memory at a time."""

    def add(carried: tuple[PyTree, PyTree], part: tuple[Any, Array]) -> tuple[tuple[PyTree, PyTree], Any]:
        total, model_state = carried
        result = one_pass(state.params, model_state, *part)
        return (jax.tree.map(jnp.add, total, result.gradient), result.model_state), result.metrics

    start = (jax.tree.map(jnp.zeros_like, state.params), state.model_state)
    (total, model_state), metrics = jax.lax.scan(add, start, (parts, keys))
    gradient = jax.tree.map(lambda g: g / len(keys), total)
    return _Pass(gradient, model_state, jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics))


def _split(batch: PyTree, n: int) -> PyTree:
    return jax.tree.map(lambda x: x.reshape(n, x.shape[0] // n, *x.shape[1:]), batch)


def _check_batch(batch: PyTree, microbatches: int) -> None:
    found = describe_tree(batch)
    shapes = [x.shape for x in jax.tree.leaves(batch)]
    if not shapes or () in shapes or len({shape[0] for shape in shapes}) != 1:
        raise ShapeError(f"train.step: all leaves of a batch must have the same first axis, got {found}.")
    if (size := shapes[0][0]) % microbatches:
        raise ShapeError(
            f"train.step: a batch of {size} cannot be split into {microbatches} equal microbatches, got {found}."
        )


def _checked(loss_fn: LossFunction) -> LossFunction:
    """The loss function, its result checked while it is traced."""

    def loss(params: PyTree, model_state: PyTree, batch: Any, key: Array) -> Any:
        result = loss_fn(params, model_state, batch, key)
        try:
            value, (after, metrics) = result
        except (TypeError, ValueError):
            raise GradientError(
                f"train.step: loss_fn must return (loss, (model_state, metrics)), got {describe_tree(result)}."
            ) from None
        if jnp.shape(value) != ():
            raise GradientError(f"train.step: the loss must be a scalar, got {describe(value)}; take its mean.")
        if not isinstance(metrics, Mapping):
            raise GradientError(f"train.step: metrics must be a mapping from names, got {describe_tree(metrics)}.")
        if taken := [n for n in _RESERVED if n in metrics]:
            raise GradientError(f"train.step: the metric name '{taken[0]}' is taken; rename it.")
        if describe_tree(after) != describe_tree(model_state):
            raise GradientError(
                f"train.step: model_state must stay {describe_tree(model_state)}, got {describe_tree(after)}."
            )
        return value, (after, dict(metrics))

    return loss
