"""Cases of images."""

import numpy as np

from funcgrad import ops
from tests.ops.cases.case import case, normal, ties

case(ops.conv2d, normal(2, 7, 6, 3), normal(3, 3, 3, 4), normal(4))
case(ops.conv2d, normal(2, 7, 8, 2), normal(3, 2, 2, 3), stride=(2, 3), label="stride")
case(ops.conv2d, normal(2, 8, 7, 2), normal(3, 3, 2, 3), stride=2, padding="VALID", label="left-over")
case(ops.conv2d, normal(6, 5, 2), normal(2, 3, 2, 1), padding=((2, 0), (1, 3)), label="no-batch")
case(ops.conv2d, normal(2, 2, 5, 5, 1), normal(1, 1, 1, 2), normal(2), stride=3, label="leading")
case(ops.conv2d, normal(1, 4, 4, 1), normal(4, 4, 1, 1), padding="VALID", label="whole")
case(ops.conv2d, normal(0, 4, 4, 1), normal(3, 3, 1, 2), normal(2), label="empty")
for pool in (ops.max_pool2d, ops.avg_pool2d):
    case(pool, normal(2, 6, 4, 3), window=2)
    case(pool, normal(2, 7, 5, 2), window=2, label="left-over")
    case(pool, normal(7, 8, 1), window=3, stride=2, padding="SAME", label="overlap")
    case(pool, normal(1, 6, 7, 2), window=(3, 2), stride=(1, 3), padding=((1, 0), (1, 1)), label="uneven")
    case(pool, normal(2, 2, 5, 5, 1), window=2, stride=4, label="gaps")
    case(pool, normal(0, 4, 4, 1), window=2, label="empty")
    case(pool, normal(1, 17, 16, 1), window=(17, 16), label="global")
case(ops.max_pool2d, ties(2, 6, 6, 2), window=3, stride=2, padding="SAME", label="ties", smooth=False)
case(ops.max_pool2d, np.zeros((1, 4, 4, 1)), window=2, label="all-equal", smooth=False)
