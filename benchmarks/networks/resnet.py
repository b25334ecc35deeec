"""ResNet-18 for 32x32 images, with batch normalization and its running statistics. Source: He et al. 2016."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.networks.network import Draw, Network, plain_cross_entropy
from funcgrad import ops

EPS, MOMENTUM = 1e-5, 0.9


def resnet(batch: int = 32, size: int = 32, width: int = 32, blocks: tuple[int, ...] = (2, 2, 2, 2)) -> Network:
    """A 3x3 stem, stages of basic blocks of which each but the first halves the image, a mean, a linear layer."""
    draw = Draw()
    stages, channels = [], width
    for stage, n_blocks in enumerate(blocks):
        stages.append([])
        for i in range(n_blocks):
            incoming, channels = channels, width * 2**stage
            block = {"first": _conv(draw, 3, incoming, channels), "second": _conv(draw, 3, channels, channels)}
            if stage > 0 and i == 0:
                block["shortcut"] = _conv(draw, 1, incoming, channels)
            stages[-1].append(block)
    params = {
        "stem": _conv(draw, 3, 3, width),
        "stages": stages,
        "out": {"w": draw.weight(channels, 10), "b": jnp.zeros(10)},
    }
    state = {"stem": _statistics(params["stem"]), "stages": [[_of_block(b) for b in s] for s in stages]}
    images, labels = draw.normal(batch, size, size, 3), draw.integers(batch, below=10)
    return Network("resnet", with_ops, plain, params, (state, images, labels), has_state=True)


def _conv(draw: Draw, window: int, incoming: int, channels: int) -> dict[str, jax.Array]:
    """A convolution and the batch normalization after it."""
    kernel = draw.weight(window, window, incoming, channels, gain=1.4)
    return {"kernel": kernel, "scale": jnp.ones(channels), "bias": jnp.zeros(channels)}


def _statistics(conv: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {"mean": jnp.zeros_like(conv["bias"]), "variance": jnp.ones_like(conv["bias"])}


def _of_block(block: dict[str, Any]) -> dict[str, Any]:
    return {name: _statistics(conv) for name, conv in block.items()}


def _stride(stage: int, block: int) -> int:
    return 2 if stage > 0 and block == 0 else 1


def _running(state: dict[str, jax.Array], mean: jax.Array, variance: jax.Array) -> dict[str, jax.Array]:
    new = {"mean": mean, "variance": variance}
    return {k: MOMENTUM * state[k] + (1 - MOMENTUM) * lax.stop_gradient(new[k]) for k in new}


def _forward(params: Any, state: Any, x: jax.Array, conv: Any, relu: Any) -> tuple[jax.Array, Any]:
    """The wiring, given `conv(params, state, x, stride) -> (y, state)` with its normalization; features `[b,h,w,c]`."""
    x, stem = conv(params["stem"], state["stem"], x, 1)
    x, stages = relu(x), []
    for s, stage in enumerate(params["stages"]):
        stages.append([])
        for i, block in enumerate(stage):
            old, new, stride = state["stages"][s][i], {}, _stride(s, i)
            y, new["first"] = conv(block["first"], old["first"], x, stride)
            y, new["second"] = conv(block["second"], old["second"], relu(y), 1)
            if "shortcut" in block:
                x, new["shortcut"] = conv(block["shortcut"], old["shortcut"], x, stride)
            x = relu(x + y)
            stages[-1].append(new)
    return x, {"stem": stem, "stages": stages}


def with_ops(params: Any, state: Any, x: jax.Array, labels: jax.Array) -> tuple[jax.Array, Any]:
    x, state = _forward(params, state, x, _conv_with_ops, ops.relu)
    logits = ops.linear(ops.global_avg_pool(x), params["out"]["w"], params["out"]["b"])
    return ops.mean(ops.cross_entropy(logits, labels)), state


def _conv_with_ops(p: Any, state: Any, x: jax.Array, stride: int) -> tuple[jax.Array, Any]:
    pad = p["kernel"].shape[0] // 2
    x = ops.conv2d(x, p["kernel"], stride=stride, padding=((pad, pad), (pad, pad)))
    y, mean, variance = ops.batch_norm(x, p["scale"], p["bias"], eps=EPS)
    return y, _running(state, mean, variance)


def plain(params: Any, state: Any, x: jax.Array, labels: jax.Array) -> tuple[jax.Array, Any]:
    x, state = _forward(params, state, x, _plain_conv, jax.nn.relu)
    logits = x.mean((1, 2)) @ params["out"]["w"] + params["out"]["b"]
    return plain_cross_entropy(logits, labels), state


def _plain_conv(p: Any, state: Any, x: jax.Array, stride: int) -> tuple[jax.Array, Any]:
    pad = p["kernel"].shape[0] // 2
    x = lax.conv_general_dilated(
        x, p["kernel"], (stride, stride), ((pad, pad), (pad, pad)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    mean = x.mean((0, 1, 2))
    variance = jnp.square(x).mean((0, 1, 2)) - jnp.square(mean)  # one pass over x
    y = (x - mean) * (lax.rsqrt(variance + EPS) * p["scale"]) + p["bias"]
    return y, _running(state, mean, variance)
