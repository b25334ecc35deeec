"""One training step: gradient, clipping, update; jitted, the state's buffers reused."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from funcgrad.aliases import Array, PyTree
from funcgrad.autodiff import value_and_grad
from funcgrad.autodiff.parameters import join
from funcgrad.errors import GradientError, ShapeError, TrainingError, describe, describe_tree
from funcgrad.ops.contraction import widen
from funcgrad.registry import RuleSet
from funcgrad.train.nonfinite import Nonfinite, OnNonfinite, check_choice, raising
from funcgrad.train.objectives import LossFunction
from funcgrad.train.scaling import LossScale, choose, divide
from funcgrad.train.state import State

Step = Callable[[State, Any, Array], tuple[State, dict[str, Any]]]
"""`(state, batch, key) -> (state, metrics)`."""

_RESERVED = ("loss", "gradient_norm", "loss_scale", "skipped", "nonfinite")


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
    loss_scale: float | LossScale | None = None,
    on_nonfinite: OnNonfinite | None = None,
    rules: RuleSet | None = None,
) -> Step:
    """Make `step(state, batch, key) -> (state, metrics)`, jitted; the state that goes in is deleted.

    The metrics are `loss`, `gradient_norm` (before clipping) and those of the loss function, all on the device.
    Only what `init` was told to train is differentiated and updated.
    The key is folded with the step count, so the same one can be passed every time.

    With a loss scale, a step whose gradient is not finite is skipped: parameters, the optimizer's state and the
    model's state stay as they were, only the count goes on. The metrics then include `loss_scale`, the one of this
    step, and `skipped`.

    Args:
        loss_fn: `(params, model_state, batch, key) -> (loss, (model_state, metrics))`, the loss a mean over the
            batch; see `supervised`.
        optimizer: any optax optimizer, the one that `init` was given.
        microbatches: into how many equal parts, one after another, the batch is split; the gradient is the mean
            of theirs, for less memory.
        clip_norm: scale the gradient down to this global norm.
        loss_scale: for networks that compute in float16: a `LossScale`, or a number for one that stays. `init`
            must be given the same one.
        on_nonfinite: what to do where the loss or the gradient is not finite. `"report"`: the metric `nonfinite` says
            of which parameters (its `names`; a list of them in the records of `fit`). `"skip"`: that, and such a step
            leaves the parameters, the optimizer's state and the model's state as they were; the metric `skipped`.
            `"raise"`: the step then raises, and the error holds the untouched state. Only this one makes the host
            wait for the device at every step. None does as the numbers come.
        rules: which J^T stands for which op, where not the ops' own.

    Raises:
        TrainingError: microbatches, clip_norm, loss_scale or on_nonfinite is out of range; from the first call, where
            the state was made without the loss scale, or with one that the step lacks.
        NonfiniteError: from a call, with `on_nonfinite="raise"`.
        ShapeError: from the first call, where the batch cannot be split, or its leaves differ in size.
        GradientError: from the first call, where the loss function does not return what it should.
    """
    if microbatches < 1:
        raise TrainingError(f"train.step: microbatches must be at least 1, got {microbatches}.")
    if clip_norm is not None and not clip_norm > 0:
        raise TrainingError(f"train.step: clip_norm must be positive, got {clip_norm}; None means no clipping.")
    scaling = None if loss_scale is None else LossScale.of(loss_scale)
    check_choice(on_nonfinite, scaling is not None)
    scaled = _scaled(_checked(loss_fn))

    def update(state: State, batch: Any, key: Array) -> tuple[State, dict[str, Any]]:
        _check_batch(batch, microbatches)
        _check_scale(state, scaling)
        differentiate = value_and_grad(scaled, has_aux=True, wrt=state.trainable, unreachable="zero", rules=rules)

        def one_pass(params: PyTree, model_state: PyTree, batch: Any, key: Array, scale: Array | None) -> _Pass:
            (_, (loss, model_state, metrics)), gradient = differentiate(params, model_state, batch, key, scale)
            return _Pass(gradient, model_state, {"loss": loss, **metrics})

        key = jax.random.fold_in(key, state.step)
        scale = None if state.loss_scale is None else state.loss_scale.value
        if microbatches == 1:
            result = one_pass(state.params, state.model_state, batch, key, scale)
        else:
            keys = jax.random.split(key, microbatches)
            result = _accumulated(one_pass, state, _split(batch, microbatches), keys, scale)
        gradient = result.gradient if scale is None else divide(result.gradient, scale)
        metrics = {**result.metrics, "gradient_norm": optax.tree.norm(gradient)}
        with jax.numpy_dtype_promotion("standard"):  # optax mixes its counters' dtypes with the parameters'
            updated = _updated(optimizer, clip_norm, state, gradient)
        after = replace(updated, model_state=result.model_state)
        after = jax.tree.map(_typed_like, after, state)
        return _settled(state, after, gradient, metrics, scaling, on_nonfinite)

    jitted = jax.jit(update, donate_argnums=0)
    return raising(jitted) if on_nonfinite == "raise" else jitted


def _updated(optimizer: optax.GradientTransformation, clip_norm: float | None, state: State, gradient: PyTree) -> State:
    """The state after the optimizer's step, which sees the parameters that are trained and no others."""
    if clip_norm is not None:
        gradient, _ = optax.clip_by_global_norm(clip_norm).update(gradient, optax.EmptyState())
    trained, others = state.split_params()
    updates, optimizer_state = optimizer.update(gradient, state.optimizer_state, trained)
    params = join(optax.apply_updates(trained, updates), others)
    return replace(state, params=params, optimizer_state=optimizer_state, step=state.step + 1)


def _settled(
    before: State,
    after: State,
    gradient: PyTree,
    metrics: dict[str, Any],
    scaling: LossScale | None,
    on_nonfinite: OnNonfinite | None,
) -> tuple[State, dict[str, Any]]:
    """What a step returns, when it has been seen which numbers are not finite: the new state, or all but the old."""
    if scaling is None and on_nonfinite is None:
        return after, metrics
    found = Nonfinite.of(metrics["loss"], gradient)
    if on_nonfinite is not None:
        metrics["nonfinite"] = found
    if scaling is not None or on_nonfinite != "report":
        fails = found.in_gradient if on_nonfinite is None else found.any
        after = choose(fails, replace(before, step=after.step), after)
        metrics["skipped"] = fails
    if scaling is not None and before.loss_scale is not None:
        after = replace(after, loss_scale=scaling.adjust(before.loss_scale, ~found.in_gradient))
        metrics["loss_scale"] = before.loss_scale.value
    return after, metrics


def _typed_like(new: Array, old: Array) -> Array:
    """An optimizer that returns another dtype, or a weak one, would make the next step be traced again."""
    return new if jnp.issubdtype(old.dtype, jax.dtypes.extended) else new.astype(old.dtype)


def _accumulated(
    one_pass: Callable[..., _Pass], state: State, parts: PyTree, keys: Array, scale: Array | None
) -> _Pass:
    """The mean of the gradients of the parts, one part in memory at a time, summed in float32 at least."""

    def add(carried: tuple[PyTree, PyTree], part: tuple[Any, Array]) -> tuple[tuple[PyTree, PyTree], Any]:
        total, model_state = carried
        result = one_pass(state.params, model_state, *part, scale)
        total = jax.tree.map(lambda a, g: a + widen(g), total, result.gradient)
        return (total, result.model_state), result.metrics

    trained, _ = state.split_params()
    start = (jax.tree.map(lambda p: jnp.zeros_like(widen(p)), trained), state.model_state)
    (total, model_state), metrics = jax.lax.scan(add, start, (parts, keys))
    gradient = jax.tree.map(lambda g, p: (g / len(keys)).astype(p.dtype if scale is None else g.dtype), total, trained)
    return _Pass(gradient, model_state, jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics))


def _split(batch: PyTree, n: int) -> PyTree:
    return jax.tree.map(lambda x: x.reshape(n, x.shape[0] // n, *x.shape[1:]), batch)


def _check_scale(state: State, scaling: LossScale | None) -> None:
    if (state.loss_scale is None) != (scaling is None):
        lacking, having = ("train.init", "train.step") if state.loss_scale is None else ("train.step", "train.init")
        raise TrainingError(f"train.step: {having} was given a loss_scale and {lacking} was not; give it to both.")


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


def _scaled(loss_fn: LossFunction) -> Callable[..., tuple[Array, tuple[Array, PyTree, Mapping[str, Array]]]]:
    """The loss function, its value multiplied by a scale (in float32 at least) and returned beside it as it is."""

    def loss(
        params: PyTree, model_state: PyTree, batch: Any, key: Array, scale: Array | None
    ) -> tuple[Array, tuple[Array, PyTree, Mapping[str, Array]]]:
        value, (model_state, metrics) = loss_fn(params, model_state, batch, key)
        wide = widen(jnp.asarray(value))
        scaled = value if scale is None else wide * scale.astype(wide.dtype)
        return scaled, (value, model_state, metrics)

    return loss
