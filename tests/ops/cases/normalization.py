"""Cases of normalization."""

import numpy as np

from funcgrad import ops
from tests.ops.cases.case import case, normal, positive

case(ops.layer_norm, normal(5, 8), normal(8), normal(8))
case(ops.layer_norm, normal(8), normal(8), normal(8), label="vector")
case(ops.layer_norm, normal(2, 3, 8) + 100, positive(8), normal(8), eps=1e-3, label="offset", half=False)
case(ops.layer_norm, np.ones((2, 4)), np.zeros(4), normal(4), label="constant")
case(ops.layer_norm, normal(3, 1), normal(1), normal(1), label="size1")
case(ops.layer_norm, normal(0, 4), normal(4), normal(4), label="empty")
