"""Losses that `step` can use, made from networks."""

from collections.abc import Callable, Mapping
from typing import Any

from funcgrad.aliases import Array, PyTree
from funcgrad.errors import TrainingError, describe_tree
from funcgrad.layers import Layer

LossFunction = Callable[[PyTree, PyTree, Any, Array], tuple[Array, tuple[PyTree, Mapping[str, Array]]]]
"""`(params, model_state, batch, key) -> (loss, (model_state, metrics))`."""


def supervised(net: Layer, objective: Callable[..., Any]) -> LossFunction:
    """A loss for batches `(inputs, targets)`: what `step` takes, from a network and what is to be said of its output.

    The network runs with `train=True` and the step's key, and its state is handed on.

    Args:
        net: a network; a tuple of inputs becomes its several inputs.
        objective: `objective(output, targets) -> loss`, or `-> (loss, metrics)` with metrics by name; the loss is
            a mean over the batch.

    Returns:
        `loss(params, model_state, batch, key) -> (loss, (model_state, metrics))`.

    Raises:
        TrainingError: `net` is no network of ours; from a step, the batch is no pair.

    Example:
        >>> def objective(logits, labels):
        ...     right = jnp.mean(logits.argmax(-1) == labels)
        ...     return fg.ops.mean(fg.ops.cross_entropy(logits, labels)), {"right": right}
        >>> net, batch = fg.layers.linear(3), (jnp.ones((2, 4)), jnp.array([0, 1]))
        >>> params, state = net.init(jax.random.key(0), batch[0])
        >>> loss, (state, metrics) = fg.train.supervised(net, objective)(params, state, batch, jax.random.key(1))
        >>> loss.shape, list(metrics)
        ((), ['right'])
    """
    if not isinstance(net, Layer):
        raise TrainingError(
            f"train.supervised: net must be made of fg.layers, got {getattr(net, '__name__', type(net).__name__)}; "
            f"write (model, model_state, batch, key) -> (loss, (model_state, metrics)) yourself."
        )

    def loss(params: PyTree, model_state: PyTree, batch: Any, key: Array) -> tuple[Array, tuple[PyTree, Any]]:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise TrainingError(
                f"train.supervised: a batch must be (inputs, targets), got {describe_tree(batch)}; make it a pair, or "
                f"write a loss function of your own."
            )
        inputs, targets = batch
        several = inputs if isinstance(inputs, tuple) else (inputs,)
        output, model_state = net.apply(params, model_state, *several, key=key, train=True)
        result = objective(output, targets)
        value, metrics = result if isinstance(result, tuple) else (result, {})
        return value, (model_state, metrics)

    return loss
