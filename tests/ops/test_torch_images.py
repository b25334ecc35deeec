"""Convolution and pooling against PyTorch."""

from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad import ops
from tests.ops.against_torch import F, Row, assert_agrees, normal, over


def images_last(f: Callable[..., Any]) -> Callable[..., Any]:
    """A torch function of channels-first images, as one of channels-last images."""
    return lambda x, *rest, **kw: f(x.permute(0, 3, 1, 2), *rest, **kw).permute(0, 2, 3, 1)


def torch_conv(x, kernel, b, stride, padding):
    return images_last(F.conv2d)(x, kernel.permute(3, 2, 0, 1), b, stride=stride, padding=padding)


ROWS: list[Row] = [
    ("conv2d", lambda x, k, b: ops.conv2d(x, k, b, stride=2, padding=((1, 1), (2, 2))),
     lambda x, k, b: torch_conv(x, k, b, 2, (1, 2)), (normal(2, 7, 6, 3), normal(3, 2, 3, 4), normal(4))),
    ("conv2d same", lambda x, k, b: ops.conv2d(x, k, b), lambda x, k, b: torch_conv(x, k, b, 1, "same"),
     (normal(2, 5, 6, 3), normal(3, 3, 3, 4), normal(4))),
    ("max_pool2d", lambda x: ops.max_pool2d(x, window=3, stride=2, padding=((1, 1), (1, 1))),
     images_last(lambda x: F.max_pool2d(x, 3, 2, 1)), (normal(2, 7, 6, 3),)),
    ("max_pool2d at ties", lambda x: ops.max_pool2d(x, window=2), images_last(lambda x: F.max_pool2d(x, 2)),
     (np.ones((1, 4, 4, 1)),)),
    ("avg_pool2d", lambda x: ops.avg_pool2d(x, window=3, stride=2, padding=((1, 1), (1, 1))),
     images_last(lambda x: F.avg_pool2d(x, 3, 2, 1)), (normal(2, 7, 6, 3),)),
]  # fmt: skip


@over(ROWS)
def test_agrees_with_torch(row: Row):
    assert_agrees(row)
