"""Cases of pooling."""

import numpy as np

from funcgrad import ops
from tests.ops.cases.case import case, normal, ties

case(ops.max_pool1d, normal(2, 7, 2), window=3, stride=2, padding="SAME")
case(ops.avg_pool1d, normal(2, 7, 2), window=3, stride=2, padding="SAME", count_padding=False)
for pool in (ops.max_pool2d, ops.avg_pool2d):
    case(pool, normal(2, 6, 4, 3), window=2)
    case(pool, normal(2, 7, 5, 2), window=2, label="left-over")
    case(pool, normal(7, 8, 1), window=3, stride=2, padding="SAME", label="overlap")
    case(pool, normal(1, 6, 7, 2), window=(3, 2), stride=(1, 3), padding=((1, 0), (1, 1)), label="uneven", slow=True)
    case(pool, normal(2, 2, 5, 5, 1), window=2, stride=4, label="gaps", slow=True)
    case(pool, normal(0, 4, 4, 1), window=2, label="empty", slow=True)
    case(pool, normal(1, 3, 5, 1), window=4, stride=3, label="nothing-fits")
    case(pool, normal(1, 18, 17, 1), window=(17, 16), label="large")
case(ops.max_pool2d, ties(2, 6, 6, 2), window=3, stride=2, padding="SAME", label="ties", smooth=False)
case(ops.max_pool2d, np.zeros((1, 4, 4, 1)), window=2, label="all-equal", smooth=False)
case(ops.avg_pool2d, normal(2, 5, 5, 2), window=2, padding=((1, 0), (0, 2)), count_padding=False, label="uncounted")
case(ops.max_pool3d, normal(1, 4, 5, 4, 2), window=(2, 3, 2), stride=(2, 1, 2))
case(ops.avg_pool3d, normal(1, 4, 5, 4, 2), window=(2, 3, 2), stride=(2, 1, 2))
case(ops.global_max_pool, normal(2, 3, 4, 2))
case(ops.global_max_pool, ties(2, 2, 3, 4, 2), dims=3, label="ties", smooth=False)
case(ops.global_avg_pool, normal(2, 3, 4, 2))
case(ops.global_avg_pool, normal(5, 2), dims=1, label="no-batch", slow=True)
