"""Networks of images, channels last: LeNet, ResNet, U-Net."""

from collections.abc import Sequence
from typing import Any

import jax

from funcgrad import ops
from funcgrad.errors import GraphError
from funcgrad.layers import (
    Layer,
    avg_pool2d,
    batch_norm,
    chain,
    concatenate,
    conv2d,
    conv_transpose2d,
    flatten,
    global_avg_pool,
    initializer,
    linear,
    max_pool2d,
    parallel,
    repeat,
    residual,
)

_FAN_OUT = initializer("variance_scaling", scale=2.0, mode="fan_out", distribution="normal")
_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


def lenet(classes: int = 10) -> chain:
    """LeNet-5 for `x[..., 28, 28, 1] -> logits[..., classes]`, with 61,706 parameters for ten classes.

    The subsampling layers are plain averages and the second convolution reads all maps, as usual today.
    Source: LeCun et al. 1998.

    Args:
        classes: number of outputs.

    Returns:
        The network, a `chain`.

    Example:
        >>> params, _ = jax.eval_shape(fg.networks.lenet().init, jax.random.key(0), jnp.ones((1, 28, 28, 1)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(params))
        61706
    """
    return chain(
        *(conv2d(6, 5), ops.tanh, avg_pool2d(2), conv2d(16, 5, padding="VALID"), ops.tanh, avg_pool2d(2)),
        *(flatten(), linear(120), ops.tanh, linear(84), ops.tanh),
        head=linear(classes),
    )


def resnet(
    depth: int = 18, classes: int = 1000, *, width: int = 64, small_images: bool = False, scan: bool = False
) -> chain:
    """A residual network: `x[b, h, w, c] -> logits[b, classes]`, with batch statistics as state.

    For three channels and 1000 classes 11,689,512 parameters (18 layers), 21,797,672 (34) or 25,557,032 (50, of
    bottleneck blocks with the stride in the 3x3 convolution). Convolutions start normal with variance 2 / fan-out.
    Source: He et al. 2016 (CVPR), table 1.

    Args:
        depth: 18, 34 or 50.
        classes: number of outputs.
        width: channels of the first stage; each further one has twice as many.
        small_images: a 3x3 stem without pooling, for images of about 32x32 (section 4.2).
        scan: run the equal blocks of a stage through `repeat`, to trace and compile one instead of all.

    Returns:
        The network, a `chain` of `stem`, `stage1` to `stage4`, `pool` and `head`, called by `net.apply`.

    Raises:
        GraphError: there is no such depth.

    Example:
        >>> net = fg.networks.resnet(18, 10, width=8, small_images=True, scan=True)
        >>> params, state = jax.eval_shape(net.init, jax.random.key(0), jnp.ones((1, 32, 32, 3)))
        >>> net.output_spec(params, state, jnp.ones((1, 32, 32, 3))).shape
        (1, 10)
    """
    if depth not in _BLOCKS:
        raise GraphError(f"resnet: depth must be one of {', '.join(map(str, _BLOCKS))}, got {depth}.")
    make = _bottleneck if depth >= 50 else _basic
    stages: dict[str, Layer] = {}
    for i, n_blocks in enumerate(_BLOCKS[depth]):
        first = make(width * 2**i, stride=1 if i == 0 else 2, changes=i > 0 or make is _bottleneck)
        other = make(width * 2**i, stride=1, changes=False)
        stages[f"stage{i + 1}"] = chain(first, *_copies(other, n_blocks - 1, scan))
    return chain(stem=_stem(width, small_images), **stages, pool=global_avg_pool(), head=linear(classes))


def _copies(block: Layer, n: int, scan: bool) -> list[Layer]:
    return [repeat(block, n)] if scan else [block] * n


def _conv(features: int, window: int, stride: int = 1) -> conv2d:
    edge = window // 2
    return conv2d(
        features, window, stride=stride, padding=((edge, edge), (edge, edge)), use_bias=False, w_init=_FAN_OUT
    )


def _stem(width: int, small_images: bool) -> chain:
    if small_images:
        return chain(_conv(width, 3), batch_norm(), ops.relu)
    pool = max_pool2d(3, stride=2, padding=((1, 1), (1, 1)))
    return chain(_conv(width, 7, stride=2), batch_norm(), ops.relu, pool)


def _basic(width: int, stride: int, changes: bool) -> chain:
    body = chain(_conv(width, 3, stride), batch_norm(), ops.relu, _conv(width, 3), batch_norm())
    return chain(residual(body, _projection(width, stride) if changes else None), ops.relu)


def _bottleneck(width: int, stride: int, changes: bool) -> chain:
    body = chain(
        *(_conv(width, 1), batch_norm(), ops.relu),
        *(_conv(width, 3, stride), batch_norm(), ops.relu),
        *(_conv(4 * width, 1), batch_norm()),
    )
    return chain(residual(body, _projection(4 * width, stride) if changes else None), ops.relu)


def _projection(width: int, stride: int) -> chain:
    return chain(_conv(width, 1, stride), batch_norm())


def unet(outputs: int, *, widths: Sequence[int] = (64, 128, 256, 512, 1024)) -> chain:
    """A U-Net: `x[..., h, w, c] -> y[..., h, w, outputs]`; 31,030,658 parameters for one channel and two outputs.

    Convolutions pad to keep the size, so `h` and `w` must be divisible by `2^(len(widths) - 1)`. Weights start as
    He et al. 2015, the paper's choice too. Source: Ronneberger et al. 2015.

    Args:
        outputs: channels of the output.
        widths: channels of each level, from the finest to the coarsest.

    Returns:
        The network, a `chain` of `levels` and `head`.

    Raises:
        GraphError: there are no widths.

    Example:
        >>> net, x = fg.networks.unet(2, widths=(4, 8)), jnp.ones((1, 8, 8, 1))
        >>> params, state = jax.eval_shape(net.init, jax.random.key(0), x)
        >>> net.output_spec(params, state, x).shape
        (1, 8, 8, 2)
    """
    if not widths:
        raise GraphError(f"unet: widths must name at least one level, got {tuple(widths)}.")
    return chain(levels=_level(tuple(widths)), head=conv2d(outputs, 1))


def _level(widths: tuple[int, ...]) -> chain:
    """Two convolutions; where there is a coarser level, it is entered, joined to them, and convolved twice again."""
    before, after = _two_convolutions(widths[0]), _two_convolutions(widths[0])
    if len(widths) == 1:
        return before
    below = chain(
        pool=max_pool2d(2), level=_level(widths[1:]), up=conv_transpose2d(widths[0], 2, stride=2, w_init="he_normal")
    )
    return chain(down=before, split=parallel(skip=jax.nn.identity, below=below), join=concatenate(), up=after)


def _two_convolutions(width: int) -> chain:
    layers: list[Any] = [conv2d(width, 3, w_init="he_normal"), ops.relu]
    return chain(*layers, *layers)
