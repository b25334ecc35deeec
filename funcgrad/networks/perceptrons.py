"""Multilayer perceptrons."""

from collections.abc import Callable, Sequence
from typing import Any

from funcgrad import ops
from funcgrad.aliases import Array
from funcgrad.layers import chain, dropout, linear


def mlp(
    hidden: Sequence[int], outputs: int, *, activation: Callable[[Array], Array] = ops.relu, rate: float = 0.0
) -> chain:
    """A multilayer perceptron over the last axis: `x[..., n] -> y[..., outputs]`.

    Weights start as He et al. 2015 (normal, variance 2 / fan-in), biases at zero.

    Args:
        hidden: widths of the hidden layers.
        outputs: width of the last, linear layer.
        activation: after every hidden layer.
        rate: of the dropout after every activation.

    Returns:
        The network, a `chain`; its last layer is called `head`.

    Example:
        >>> net = fg.networks.mlp([64, 64], 10)
        >>> print(net)
        chain(
            linear(64, w_init='he_normal'),
            ops.relu,
            linear(64, w_init='he_normal'),
            ops.relu,
            head=linear(10),
        )
        >>> params, _ = jax.eval_shape(net.init, jax.random.key(0), jnp.ones((1, 20)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(params))
        6154
    """
    layers: list[Any] = []
    for width in hidden:
        layers += [linear(width, w_init="he_normal"), activation, *([dropout(rate)] if rate else [])]
    return chain(*layers, head=linear(outputs))
