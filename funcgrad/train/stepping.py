"""One training step: gradient, clipping, update; jitted, the state's buffers reused."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from funcgrad.adapters import Definition
from funcgrad.aliases import Array, PyTree
from funcgrad.autodiff import Programs, value_and_grad
from funcgrad.autodiff.parameters import join
from funcgrad.budget import Budget
from funcgrad.errors import ShapeError, TrainingError, printed
from funcgrad.ops.contraction import widen
from funcgrad.ops.labelled_axes import cut_by_labels
from funcgrad.planning import Limit
from funcgrad.primitive import n_parts, type_of
from funcgrad.registry import RuleSet
from funcgrad.train.batches import as_arrays
from funcgrad.train.contracts import (
    check_arrays,
    check_batch,
    check_loss_function,
    check_number,
    check_optimizer,
    check_optimizer_state,
    check_trained,
    check_unchanged,
    checked,
)
from funcgrad.train.nonfinite import Nonfinite, OnNonfinite, check_choice, raising
from funcgrad.train.objectives import LossFunction
from funcgrad.train.random_keys import random_key
from funcgrad.train.scaling import LossScale, divide, pick
from funcgrad.train.state import State, check_scale, check_state

Step = Callable[[State, Any, Array], tuple[State, dict[str, Any]]]
"""`(state, batch, key) -> (state, metrics)`."""


class _Pass(NamedTuple):
    """What one forward and backward pass gives."""

    gradient: PyTree
    carried: PyTree
    """The arrays of a model that are not trained, and the model's state: what a pass hands on to the next."""
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
    memory: int | float | str | Budget | None = None,
) -> "CompiledStep":
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
        memory: what a step may take beside the state and the batch, as in `value_and_grad`: `"2 GiB"`, bytes, a share
            of what keeping everything takes, `"min"`, `"auto"`. The whole step is compiled and measured, up to three
            times for each kind of batch.

    Returns:
        The step. Its `lower` is that of any jitted function: `step.lower(state, batch, key).compile()`.

    Raises:
        TrainingError: microbatches, clip_norm, loss_scale or on_nonfinite is out of range; from the first call, where
            the state was made without the loss scale, or with one that the step lacks.
        BudgetError: `memory` cannot be read; from the first call, where nothing stays within it.
        NonfiniteError: from a call, with `on_nonfinite="raise"`.
        ShapeError: from the first call, where the batch cannot be split, or its leaves differ in size.
        GradientError: from the first call, where the loss function does not return what it should.

    Example:
        >>> import optax
        >>> def loss(params, model_state, batch, key):
        ...     return jnp.mean((params["w"] * batch - 1.0) ** 2), (model_state, {"largest": jnp.max(params["w"])})
        >>> optimizer = optax.sgd(0.5)
        >>> state, step = fg.train.init({"w": jnp.zeros(())}, optimizer), fg.train.step(loss, optimizer, clip_norm=1.0)
        >>> state, metrics = step(state, jnp.ones(4), 0)
        >>> print(metrics["loss"], metrics["gradient_norm"], state.params["w"])
        1.0 2.0 0.5
    """
    if not isinstance(microbatches, int | np.integer):
        raise TrainingError(f"train.step: microbatches must be an integer, got {printed(microbatches)}.")
    if microbatches < 1:
        raise TrainingError(f"train.step: microbatches must be at least 1, got {microbatches}.")
    if clip_norm is not None:
        check_number("train.step: clip_norm", clip_norm)
    if clip_norm is not None and not clip_norm > 0:
        raise TrainingError(f"train.step: clip_norm must be positive, got {clip_norm}; None means no clipping.")
    check_loss_function(loss_fn)
    check_optimizer("train.step", optimizer)
    scaling = None if loss_scale is None else LossScale.of(loss_scale)
    check_choice(on_nonfinite, scaling is not None)

    def update(limit: Limit | None, state: State, batch: Any, key: Array) -> tuple[State, dict[str, Any]]:
        check_batch(batch, microbatches)
        check_scale(state, scaling)
        check_trained(state.split_params()[0])
        with jax.numpy_dtype_promotion("standard"):  # optax mixes its counters' dtypes with the parameters'
            check_optimizer_state(optimizer, state.split_params()[0], state.optimizer_state)
        scaled = _scaled(_of_arrays(checked(loss_fn), state.definition))
        differentiate = value_and_grad(
            scaled, has_aux=True, wrt=state.trainable, unreachable="zero", rules=rules, memory=limit
        )

        def one_pass(params: PyTree, carried: PyTree, batch: Any, key: Array, scale: Array | None) -> _Pass:
            (_, (loss, carried, metrics)), gradient = differentiate(params, carried, batch, key, scale)
            return _Pass(gradient, carried, {"loss": loss, **metrics})

        key = jax.random.fold_in(random_key("train.step", key), state.step)
        scale = None if state.loss_scale is None else state.loss_scale.value
        if microbatches == 1:
            result = one_pass(state.params, (state.others, state.model_state), batch, key, scale)
        else:
            keys = jax.random.split(key, microbatches)
            result = _accumulated(one_pass, state, _split(batch, microbatches), keys, scale)
        gradient = result.gradient if scale is None else divide(result.gradient, scale)
        metrics = {**result.metrics, "gradient_norm": optax.tree.norm(gradient)}
        with jax.numpy_dtype_promotion("standard"):
            updated = _updated(optimizer, clip_norm, state, gradient)
        others, model_state = result.carried
        after = jax.tree.map(_typed_like, replace(updated, others=others, model_state=model_state), state)
        return _settled(state, after, gradient, metrics, scaling, on_nonfinite)

    if memory is None:
        jitted = jax.jit(partial(update, None), donate_argnums=0)
    else:
        jitted = Programs(memory, lambda limit: partial(update, limit), "train.step", donate_argnums=0)
    return CompiledStep(jitted, on_nonfinite == "raise")


class CompiledStep:
    """`step(state, batch, key) -> (state, metrics)`, jitted; made by `step`."""

    def __init__(self, jitted: Any, raises: bool):
        self._jitted = raising(jitted) if raises else jitted
        self.lower = jitted.lower
        """As of any jitted function: `step.lower(state, batch, key).compile()`."""

    def __call__(self, state: State, batch: Any, key: Array | int) -> tuple[State, dict[str, Any]]:
        """Make a step.

        Args:
            state: from `init`, or the last step; its arrays are deleted.
            batch: what the loss function takes, a pytree of arrays.
            key: a random key, or an integer for one.
        """
        check_state("train.step", state)
        if type_of(key) is None:
            random_key("train.step", key)  # has the sentence
        try:
            return self._jitted(state, batch, key)
        except TypeError:  # of a leaf that is no array, say, which JAX refuses before anything runs
            arrays = as_arrays(batch)
            check_arrays("train.step", "a batch", arrays)
            if all(a is b for a, b in zip(jax.tree.leaves(arrays), jax.tree.leaves(batch), strict=True)):
                raise
        return self._jitted(state, arrays, key)


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
        after = pick(fails, replace(before, step=after.step), after)
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
        total, handed_on = carried
        result = one_pass(state.params, handed_on, *part, scale)
        total = jax.tree.map(lambda a, g: a + widen(g), total, result.gradient)
        return (total, result.carried), result.metrics

    trained, _ = state.split_params()
    start = (jax.tree.map(lambda p: jnp.zeros_like(widen(p)), trained), (state.others, state.model_state))
    (total, handed_on), metrics = jax.lax.scan(add, start, (parts, keys))
    gradient = jax.tree.map(lambda g, p: (g / len(keys)).astype(p.dtype if scale is None else g.dtype), total, trained)
    return _Pass(gradient, handed_on, jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics))


def _split(batch: PyTree, n: int) -> PyTree:
    """The parts of a batch, one after another, each over all the devices that the batch is over."""

    def split(x: Array) -> Array:
        size, axes = x.shape[0] // n, [*range(x.ndim)]
        if size % (devices := n_parts(jax.typeof(x), 0)):
            raise ShapeError(
                f"train.step: a microbatch must be spread over the {devices} devices that the batch is over, got "
                f"{size} of {x.shape[0]} examples; use fewer microbatches."
            )
        return cut_by_labels(lambda x: x.reshape(n, size, *x.shape[1:]), (x,), (axes,), (None, *axes))

    return jax.tree.map(split, batch)


def _of_arrays(loss_fn: LossFunction, definition: Definition | None) -> LossFunction:
    """The loss as a function of arrays, for a loss of a model of another library that is made of them."""

    def loss(params: PyTree, carried: PyTree, batch: Any, key: Array) -> Any:
        others, model_state = carried
        model = params if definition is None else definition.put_together(params, others)
        value, (model_state, metrics) = loss_fn(model, model_state, batch, key)
        if definition is not None:
            before, others = others, definition.others_of(model, others)
            check_unchanged("what else the model holds", before, others)
        return value, ((others, model_state), metrics)

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
