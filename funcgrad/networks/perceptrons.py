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
    """
    layers: list[Any] = []
    for width in hidden:
        layers += [linear(width, w_init="he_normal"), activation, *([dropout(rate)] if rate else [])]
    return chain(*layers, head=linear(outputs))
