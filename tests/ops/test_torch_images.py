"""Convolution and pooling against PyTorch."""

from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad import ops
from tests.ops.against_torch import F, Row, assert_agrees, normal, over


def channels_last(f: Callable[..., Any]) -> Callable[..., Any]:
    """A torch function of channels-first images, as one of channels-last images."""
    return lambda x, *rest, **kw: f(x.movedim(-1, 1), *rest, **kw).movedim(1, -1)


def convolve(f: Callable[..., Any], **attributes: Any) -> Callable[..., Any]:
    """A torch convolution, for our kernel `[*window, c / groups, f]`."""
    return lambda x, k, b: channels_last(f)(x, k.movedim((-1, -2), (0, 1)), b, **attributes)


def transpose(f: Callable[..., Any], groups: int = 1, **attributes: Any) -> Callable[..., Any]:
    """A torch transposed convolution, whose kernel is `[c, f / groups, *window]`."""

    def run(x, k, b):
        *window, c, n = k.shape
        turned = k.reshape(*window, c, groups, n // groups).movedim((-2, -3, -1), (0, 1, 2)).flatten(0, 1)
        return channels_last(f)(x, turned, b, groups=groups, **attributes)

    return run


IMAGE = normal(2, 7, 6, 4)
ROWS: list[Row] = [
    ("conv1d", lambda x, k, b: ops.conv1d(x, k, b, stride=2, padding=((2, 2),), dilation=2, groups=2),
     convolve(F.conv1d, stride=2, padding=2, dilation=2, groups=2), (normal(2, 9, 4), normal(3, 2, 6), normal(6))),
    ("conv2d", lambda x, k, b: ops.conv2d(x, k, b, stride=2, padding=((1, 1), (2, 2))),
     convolve(F.conv2d, stride=2, padding=(1, 2)), (IMAGE, normal(3, 2, 4, 4), normal(4))),
    ("conv2d same", ops.conv2d, convolve(F.conv2d, padding="same"), (IMAGE, normal(3, 3, 4, 3), normal(3))),
    ("conv2d pointwise", lambda x, k, b: ops.conv2d(x, k, b, stride=2), convolve(F.conv2d, stride=2),
     (IMAGE, normal(1, 1, 4, 3), normal(3))),
    ("conv2d depthwise", lambda x, k, b: ops.conv2d(x, k, b, groups=4, dilation=2, stride=(1, 2), padding="VALID"),
     convolve(F.conv2d, groups=4, dilation=2, stride=(1, 2)), (IMAGE, normal(3, 2, 1, 8), normal(8))),
    ("conv3d", lambda x, k, b: ops.conv3d(x, k, b, stride=(1, 2, 1), padding=((1, 1), (0, 0), (1, 1)), groups=2),
     convolve(F.conv3d, stride=(1, 2, 1), padding=(1, 0, 1), groups=2),
     (normal(2, 4, 5, 3, 2), normal(2, 3, 3, 1, 4), normal(4))),
    ("conv_transpose1d",
     lambda x, k, b: ops.conv_transpose1d(x, k, b, stride=3, padding=((1, 1),), output_padding=2, groups=2),
     transpose(F.conv_transpose1d, 2, stride=3, padding=1, output_padding=2),
     (normal(2, 5, 4), normal(3, 2, 6), normal(6))),
    ("conv_transpose2d",
     lambda x, k, b: ops.conv_transpose2d(x, k, b, stride=(2, 3), padding=((1, 1), (2, 2)), output_padding=(1, 0),
                                          dilation=(1, 2)),
     transpose(F.conv_transpose2d, stride=(2, 3), padding=(1, 2), output_padding=(1, 0), dilation=(1, 2)),
     (normal(2, 4, 3, 2), normal(3, 3, 2, 5), normal(5))),
    ("conv_transpose2d valid", lambda x, k, b: ops.conv_transpose2d(x, k, b, stride=2, padding="VALID", groups=2),
     transpose(F.conv_transpose2d, 2, stride=2), (normal(2, 4, 3, 2), normal(3, 2, 1, 4), normal(4))),
    ("conv_transpose3d", lambda x, k, b: ops.conv_transpose3d(x, k, b, stride=2, padding=((1, 1), (1, 1), (0, 0))),
     transpose(F.conv_transpose3d, stride=2, padding=(1, 1, 0)),
     (normal(1, 2, 3, 2, 2), normal(3, 3, 2, 2, 3), normal(3))),
    ("max_pool1d", lambda x: ops.max_pool1d(x, window=3, stride=2, padding=((1, 1),)),
     channels_last(lambda x: F.max_pool1d(x, 3, 2, 1)), (normal(2, 8, 3),)),
    ("max_pool2d", lambda x: ops.max_pool2d(x, window=3, stride=2, padding=((1, 1), (1, 1))),
     channels_last(lambda x: F.max_pool2d(x, 3, 2, 1)), (IMAGE,)),
    ("max_pool2d at ties", lambda x: ops.max_pool2d(x, window=2), channels_last(lambda x: F.max_pool2d(x, 2)),
     (np.ones((1, 4, 4, 1)),)),
    ("max_pool3d", lambda x: ops.max_pool3d(x, window=2), channels_last(lambda x: F.max_pool3d(x, 2)),
     (normal(2, 4, 5, 4, 2),)),
    ("avg_pool1d", lambda x: ops.avg_pool1d(x, window=3, padding=((1, 1),), count_padding=False),
     channels_last(lambda x: F.avg_pool1d(x, 3, 3, 1, count_include_pad=False)), (normal(2, 8, 3),)),
    ("avg_pool2d", lambda x: ops.avg_pool2d(x, window=3, stride=2, padding=((1, 1), (1, 1))),
     channels_last(lambda x: F.avg_pool2d(x, 3, 2, 1)), (IMAGE,)),
    ("avg_pool2d uncounted",
     lambda x: ops.avg_pool2d(x, window=3, stride=2, padding=((1, 1), (1, 1)), count_padding=False),
     channels_last(lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)), (IMAGE,)),
    ("avg_pool3d", lambda x: ops.avg_pool3d(x, window=2), channels_last(lambda x: F.avg_pool3d(x, 2)),
     (normal(2, 4, 5, 4, 2),)),
    ("global_max_pool", ops.global_max_pool, lambda x: F.adaptive_max_pool2d(x.movedim(-1, 1), 1)[..., 0, 0],
     (np.round(IMAGE),)),
    ("global_avg_pool", ops.global_avg_pool, lambda x: x.mean((1, 2)), (IMAGE,)),
]  # fmt: skip


@over(ROWS)
def test_agrees_with_torch(row: Row):
    assert_agrees(row)
