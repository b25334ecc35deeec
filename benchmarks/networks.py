"""Networks written twice: with funcgrad ops, and in plain JAX as an expert writes them. Same parameters, same loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from funcgrad import ops


@dataclass(frozen=True)
class Network:
    """A loss in two spellings, and the arguments to run it on."""

    name: str
    with_ops: Callable[..., jax.Array]
    plain: Callable[..., jax.Array]
    arguments: tuple[Any, ...]


def _normal(key: jax.Array, *shape: int) -> jax.Array:
    return jax.random.normal(key, shape) / jnp.sqrt(shape[-2] if len(shape) > 1 else 1)


def _keys() -> Any:
    return iter(jax.random.split(jax.random.key(0), 1000))


def _plain_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=-1).mean()


def _plain_layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + 1e-6) * scale + bias


def dag(batch: int = 64, width: int = 256) -> Network:
    """The lecture's graph with a skip connection and a shared parameter."""
    keys = _keys()
    params = {k: _normal(next(keys), width, width) for k in ("w1", "w2")} | {"out": _normal(next(keys), width, 10)}
    x, labels = _normal(next(keys), batch, width), jnp.arange(batch) % 10

    def with_ops(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
        x1 = ops.tanh(ops.linear(x, params["w1"]))
        x2 = ops.relu(ops.linear(x1 + x, params["w2"]))
        x3 = ops.relu(ops.linear(x1 + x2, params["w1"]))
        return ops.mean(ops.cross_entropy(ops.linear(x3, params["out"]), labels))

    def plain(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
        x1 = jnp.tanh(x @ params["w1"])
        x2 = jax.nn.relu((x1 + x) @ params["w2"])
        x3 = jax.nn.relu((x1 + x2) @ params["w1"])
        return _plain_cross_entropy(x3 @ params["out"], labels)

    return Network("dag", with_ops, plain, (params, x, labels))


def mlp(batch: int = 64, width: int = 256, depth: int = 64) -> Network:
    """A deep multilayer perceptron."""
    keys = _keys()
    params = [{"w": _normal(next(keys), width, width) * 1.4, "b": jnp.zeros(width)} for _ in range(depth)]
    x, labels = _normal(next(keys), batch, width), jnp.arange(batch) % 10

    def with_ops(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
        for p in params:
            x = ops.relu(ops.linear(x, p["w"], p["b"]))
        return ops.mean(ops.cross_entropy(x, labels))

    def plain(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
        for p in params:
            x = jax.nn.relu(x @ p["w"] + p["b"])
        return _plain_cross_entropy(x, labels)

    return Network("mlp", with_ops, plain, (params, x, labels))


def residual(batch: int = 64, width: int = 256, depth: int = 64) -> Network:
    """Blocks of layer norm, linear and GELU around a skip connection."""
    keys = _keys()
    params = [
        {"s": jnp.ones(width), "c": jnp.zeros(width), "w": _normal(next(keys), width, width), "b": jnp.zeros(width)}
        for _ in range(depth)
    ]
    x, labels = _normal(next(keys), batch, width), jnp.arange(batch) % 10

    def with_ops(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
        for p in params:
            x = x + ops.gelu(ops.linear(ops.layer_norm(x, p["s"], p["c"]), p["w"], p["b"]))
        return ops.mean(ops.cross_entropy(x, labels))

    def plain(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
        for p in params:
            x = x + jax.nn.gelu(_plain_layer_norm(x, p["s"], p["c"]) @ p["w"] + p["b"])
        return _plain_cross_entropy(x, labels)

    return Network("residual", with_ops, plain, (params, x, labels))


def convnet(batch: int = 32, size: int = 32, width: int = 32) -> Network:
    """Three convolutions with max pooling, two linear layers."""
    keys = _keys()
    kernels = [_normal(next(keys), 3, 3, i, o) / 3 for i, o in ((3, width), (width, 2 * width), (2 * width, 2 * width))]
    flat = 2 * width * (size // 8) ** 2
    params = {"k": kernels, "w": _normal(next(keys), flat, 128), "out": _normal(next(keys), 128, 10)}
    x, labels = _normal(next(keys), batch, size, size, 3), jnp.arange(batch) % 10

    def with_ops(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
        for k in params["k"]:
            x = ops.max_pool2d(ops.relu(ops.conv2d(x, k)), window=2)
        x = ops.relu(ops.linear(x.reshape(batch, -1), params["w"]))
        return ops.mean(ops.cross_entropy(ops.linear(x, params["out"]), labels))

    def plain(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
        for k in params["k"]:
            x = lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            x = lax.reduce_window(jax.nn.relu(x), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        x = jax.nn.relu(x.reshape(batch, -1) @ params["w"])
        return _plain_cross_entropy(x @ params["out"], labels)

    return Network("convnet", with_ops, plain, (params, x, labels))


ALL = (dag, mlp, residual, convnet)
QUICK = {"mlp": {"depth": 8}, "residual": {"depth": 8}, "convnet": {"size": 16, "width": 8}}
