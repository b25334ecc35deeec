"""Cases of reductions."""

from funcgrad import ops
from tests.ops.cases.case import case, normal, ties

for reduction in (ops.sum, ops.mean, ops.max):
    case(reduction, normal(3, 4), axis=-1)
    case(reduction, normal(2, 3, 4), label="all")
    case(reduction, normal(2, 3, 4), axis=(0, -1), keepdims=True, label="axes")
    case(reduction, normal(), label="scalar")
case(ops.sum, normal(0, 3), axis=0, label="empty")
case(ops.max, ties(4, 5), axis=0, label="ties", smooth=False)
case(ops.max, ties(3, 4, 5), axis=(0, 2), label="ties-axes", smooth=False)
