"""What a step holds its arguments to: the loss function, the optimizer, the state, the batch; each in one sentence."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from funcgrad.adapters import named_leaves
from funcgrad.aliases import Array, PyTree
from funcgrad.errors import GradientError, ShapeError, TrainingError, describe, describe_tree, printed, require
from funcgrad.layers import Layer
from funcgrad.naming import paths_of
from funcgrad.primitive import is_inexact, type_of
from funcgrad.train.objectives import LossFunction

_RESERVED = ("loss", "gradient_norm", "loss_scale", "skipped", "nonfinite")


def check_loss_function(loss_fn: Any) -> None:
    """TrainingError unless it takes what a step gives it."""
    if isinstance(loss_fn, Layer):
        raise TrainingError(
            f"train.step: expects a loss function, got the network {type(loss_fn).__name__}; "
            f"write train.supervised(net, objective)."
        )
    require(loss_fn, Callable, "train.step: loss_fn", "a function", TrainingError)
    try:
        signature = inspect.signature(loss_fn)
    except (TypeError, ValueError):  # written in C: the call will tell
        return
    try:
        signature.bind("params", "model_state", "batch", "key")
    except TypeError:
        names = ", ".join(str(p.replace(annotation=p.empty)) for p in signature.parameters.values())
        raise TrainingError(
            f"train.step: loss_fn must take (params, model_state, batch, key), got {_name(loss_fn)}({names}); "
            f"train.supervised makes such a function of a network and an objective."
        ) from None


def checked(loss_fn: LossFunction) -> LossFunction:
    """The loss function, its result checked while it is traced."""

    def loss(params: PyTree, model_state: PyTree, batch: Any, key: Array) -> Any:
        result = loss_fn(params, model_state, batch, key)
        try:
            value, (after, metrics) = result
        except (TypeError, ValueError):
            raise GradientError(
                f"train.step: loss_fn must return (loss, (model_state, metrics)), got {describe_tree(result)}."
            ) from None
        if type_of(value) is None:
            raise GradientError(f"train.step: the loss must be a scalar, got {printed(value)}.")
        if jnp.shape(value) != ():
            raise GradientError(f"train.step: the loss must be a scalar, got {describe(value)}; take its mean.")
        if not isinstance(metrics, Mapping):
            raise GradientError(f"train.step: metrics must be a mapping from names, got {describe_tree(metrics)}.")
        for name, metric in metrics.items():
            if wrong := [x for x in jax.tree.leaves(metric) if type_of(x) is None]:
                raise GradientError(
                    f"train.step: the metric '{name}' must be an array or a number, got {printed(wrong[0])}; "
                    f"leave it out."
                )
        if taken := [n for n in _RESERVED if n in metrics]:
            raise GradientError(f"train.step: the metric name '{taken[0]}' is taken; rename it.")
        check_unchanged("model_state", model_state, after)
        return value, (after, dict(metrics))

    return loss


def check_unchanged(what: str, before: PyTree, after: PyTree) -> None:
    """GradientError unless a state is after a step what it was before, but for its numbers."""
    if describe_tree(after) != describe_tree(before):
        raise GradientError(f"train.step: {what} must stay {describe_tree(before)}, got {describe_tree(after)}.")


def check_optimizer(where: str, optimizer: Any) -> None:
    """TrainingError unless it is one."""
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TrainingError(
            f"{where}: the optimizer must be an optax.GradientTransformation such as optax.adam(1e-3), got "
            f"{_name(optimizer)}."
        )


def check_optimizer_state(optimizer: optax.GradientTransformation, trained: PyTree, found: PyTree) -> None:
    """TrainingError where a state was made for another optimizer, as far as it shows."""
    try:
        expected = jax.eval_shape(optimizer.init, trained)
    except Exception:  # an optimizer whose `init` wants numbers; its `update` will tell
        return
    if jax.tree.structure(expected) != jax.tree.structure(found):
        raise TrainingError(
            f"train.step: the state was made for another optimizer, expected {_outline(expected)}, got "
            f"{_outline(found)}; give train.init and train.step the same one."
        )
    leaves = named_leaves(expected)
    names = paths_of(path for path, _ in leaves)
    for name, (_, a), (_, b) in zip(names, leaves, named_leaves(found), strict=True):
        if a.shape != b.shape:
            raise TrainingError(
                f"train.step: the state was made for another optimizer or other parameters, expected '{name}' of "
                f"{describe(a)}, got {describe(b)}; give train.init and train.step the same."
            )


def check_batch(batch: PyTree, microbatches: int) -> None:
    """ShapeError unless a batch can be split."""
    found = describe_tree(batch)
    shapes = [x.shape for x in jax.tree.leaves(batch)]
    if not shapes or () in shapes or len({shape[0] for shape in shapes}) != 1:
        raise ShapeError(f"train.step: all leaves of a batch must have the same first axis, got {found}.")
    if (size := shapes[0][0]) % microbatches:
        raise ShapeError(
            f"train.step: a batch of {size} cannot be split into {microbatches} equal microbatches, got {found}."
        )


def check_arrays(where: str, what: str, tree: PyTree) -> None:
    """TrainingError where a pytree has a leaf that is no array."""
    leaves = named_leaves(tree)
    for name, (_, leaf) in zip(paths_of(path for path, _ in leaves), leaves, strict=True):
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic | complex | float | int):
            at = f" at '{name}'" if name else ""
            raise TrainingError(
                f"{where}: {what} must be a pytree of arrays, got {type(leaf).__name__}{at}; leave it out."
            )


def check_trained(trained: PyTree) -> None:
    """TrainingError where one of the parameters that are trained can have no gradient."""
    leaves = named_leaves(trained)
    for name, (_, leaf) in zip(paths_of(path for path, _ in leaves), leaves, strict=True):
        if not is_inexact(jax.typeof(leaf)):
            raise TrainingError(
                f"train.step: the parameter '{name}' is {describe(leaf)}, which has no gradient; keep it out of what "
                f"is trained, by trainable=fg.freeze({name!r}) for train.init, or make it part of model_state."
            )


def check_number(what: str, value: Any) -> None:
    """TrainingError unless it is one number."""
    if not isinstance(value, int | float | np.number) and (not isinstance(value, jax.Array) or value.shape != ()):
        raise TrainingError(f"{what} must be a number, got {printed(value)}.")


def _outline(state: Any) -> str:
    """An optimizer's state by the names of its parts: `(ScaleByAdamState, EmptyState)`."""
    name = type(state).__name__ if _is_named_tuple(state) else ""
    children = state.values() if isinstance(state, Mapping) else state if isinstance(state, tuple) else ()
    parts = [_outline(s) for s in children if any(map(_is_named_tuple, jax.tree.leaves(s, is_leaf=_is_named_tuple)))]
    return f"{name}({', '.join(parts)})" if parts or not name else name


def _is_named_tuple(x: Any) -> bool:
    return hasattr(x, "_fields") and not isinstance(x, optax.MaskedNode)


def _name(value: Any) -> str:
    return getattr(value, "__name__", type(value).__name__)
