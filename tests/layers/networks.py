"""Networks that several tests look at, by what they exercise."""

import jax.numpy as jnp

from funcgrad import ops
from funcgrad.layers import (
    Layer,
    avg_pool2d,
    chain,
    concatenate,
    conv2d,
    dag,
    dropout,
    flatten,
    initializer,
    layer_norm,
    linear,
    max_pool2d,
    node,
    parallel,
    parametric,
    pure,
    repeat,
    residual,
)


class running_mean(Layer):
    """A layer with state: counts what it has seen and subtracts its mean."""

    momentum: float = 0.5

    def init(self, key, x):
        return {}, {"mean": jnp.zeros(x.shape[-1:], x.dtype)}

    def apply(self, params, state, x, *, key=None, train=False):
        mean = state["mean"]
        if train:
            mean = self.momentum * mean + (1 - self.momentum) * jnp.mean(x, axis=0)
        return x - mean[None], {"mean": mean}


def shift(w, x):
    """A user's φ."""
    return x + w[None]


def start_shift(key, x):
    """How its parameter starts."""
    return jnp.ones(x.shape[-1:], x.dtype)


LECTURE = dag(
    "x0",
    x1=node(linear(4), "x0", params="w1"),
    x2=node(ops.add, "x0", "x1"),
    x3=node(chain(linear(4)), "x2", params="w2"),
    x4=node(linear(4), "x3", params="w1"),
)

# name: (network, shape of the input)
NETWORKS = {
    "mlp": (chain(linear(5), ops.relu, hidden=linear(4, use_bias=False, w_init="he_normal"), head=linear(2)), (3, 4)),
    "convolutional": (
        chain(
            conv2d(3, 3),
            ops.gelu,
            max_pool2d(2),
            conv2d(2, (1, 2), stride=2, padding="VALID"),
            avg_pool2d(1),
            flatten(),
        ),
        (2, 6, 6, 1),
    ),
    "branches": (chain(parallel(linear(3), ops.tanh, named=linear(2)), concatenate(), layer_norm(eps=1e-3)), (3, 4)),
    "residual": (residual(chain(linear(6), ops.tanh), shortcut=linear(6)), (3, 4)),
    "repeated": (repeat(residual(chain(layer_norm(), linear(4), jnp.tanh)), 3), (3, 4)),
    "random": (
        chain(linear(6), dropout(0.5), linear(6, w_init=initializer("normal", stddev=0.02)), dropout(0.25)),
        (3, 4),
    ),
    "shared": (LECTURE, (3, 4)),
    "own functions": (chain(parametric(shift, start_shift), pure(ops.leaky_relu, negative_slope=0.1)), (3, 4)),
    "stateful": (chain(linear(4), running_mean(), ops.relu, repeat(running_mean(0.25), 2)), (3, 4)),
}
