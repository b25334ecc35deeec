"""Networks that several tests look at, by what they exercise."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcgrad import layers, ops
from funcgrad.layers import (
    Layer,
    avg_pool2d,
    chain,
    concatenate,
    conv2d,
    dag,
    dropout,
    flatten,
    gru_cell,
    initializer,
    layer_norm,
    linear,
    lstm_cell,
    max_pool2d,
    multi_head_attention,
    node,
    parallel,
    parametric,
    pure,
    recurrent,
    repeat,
    residual,
)

KEY = jax.random.key(7)


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
    "images": (
        chain(
            layers.conv2d(4, 3, groups=2, dilation=2),
            layers.conv_transpose2d(2, 2, stride=2, padding=((0, 1), (1, 0)), output_padding=1, use_bias=False),
            layers.max_pool2d((2, 1)),
            layers.avg_pool2d(3, 2, "SAME", count_padding=False),
            parallel(layers.global_avg_pool(), layers.global_max_pool()),
            concatenate(),
        ),
        (2, 5, 6, 2),
    ),
    "sequences": (
        chain(layers.conv1d(4, 3), layers.max_pool1d(2), layers.conv_transpose1d(2, 3, 2), layers.avg_pool1d(2)),
        (2, 6, 2),
    ),
    "volumes": (
        chain(
            layers.conv3d(2, 2), layers.max_pool3d(2, 1), layers.conv_transpose3d(2, 2), layers.avg_pool3d((1, 2, 1))
        ),
        (1, 3, 4, 3, 1),
    ),
    "branches": (chain(parallel(linear(3), ops.tanh, named=linear(2)), concatenate(), layer_norm(eps=1e-3)), (3, 4)),
    "residual": (residual(chain(linear(6), ops.tanh), shortcut=linear(6)), (3, 4)),
    "repeated": (repeat(residual(chain(layer_norm(), linear(4), jnp.tanh)), 3), (3, 4)),
    "random": (
        chain(linear(6), dropout(0.5), linear(6, w_init=initializer("normal", stddev=0.02)), dropout(0.25)),
        (3, 4),
    ),
    "shared": (LECTURE, (3, 4)),
    "recurrent": (
        chain(
            parallel(recurrent(lstm_cell(2, forget_bias=1.0)), recurrent(gru_cell(3), reverse=True)),
            concatenate(),
        ),
        (2, 4, 3),
    ),
    "own functions": (chain(parametric(shift, start_shift), pure(ops.leaky_relu, negative_slope=0.1)), (3, 4)),
    "attention": (residual(multi_head_attention(2, kv_heads=1, causal=True, rotary=100.0)), (3, 4)),
    "stateful": (chain(linear(4), running_mean(), ops.relu, repeat(running_mean(0.25), 2)), (3, 4)),
    "normalized": (
        chain(
            layers.rms_norm(),
            layers.group_norm(2, use_bias=False),
            layers.batch_norm(),
            repeat(residual(chain(layers.batch_norm(0.5), linear(4), jnp.tanh, layers.drop_path(0.3))), 2),
        ),
        (3, 4),
    ),
}


@functools.cache
def start(name: str) -> tuple[Layer, Any, Any, jax.Array]:
    """A network with its parameters, its state and an input; made once."""
    net, shape = NETWORKS[name]
    x = np.random.default_rng(0).normal(size=shape)
    return net, *jax.jit(lambda: net.init(KEY, x))(), jnp.asarray(x)
