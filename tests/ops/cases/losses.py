"""Cases of softmax and losses."""

import numpy as np

from funcgrad import ops
from tests.ops.cases.case import case, classes, normal

for normalizer in (ops.softmax, ops.log_softmax):
    case(normalizer, normal(3, 5))
    case(normalizer, normal(3, 5), axis=0, label="axis0")
    case(normalizer, np.array([[0.0, 800.0, -800.0], [1e4, 1e4, 1e4]]), label="huge")
    case(normalizer, normal(2, 1), label="size1")
case(ops.cross_entropy, normal(4, 5), classes(5, 4))
case(ops.cross_entropy, normal(5), np.int32(2), label="vector")
case(ops.cross_entropy, normal(2, 3, 4), classes(4, 2, 3).astype(np.int8), label="tokens")
case(ops.cross_entropy, normal(0, 4), classes(4, 0), label="empty")
case(ops.cross_entropy, np.array([[0.0, 900.0], [-900.0, 900.0]]), np.array([0, 1]), label="huge")
case(ops.cross_entropy, normal(3, 300), np.array([299, 0, 256]), label="many")
case(ops.squared_error, normal(3, 4), normal(3, 4))
case(ops.squared_error, normal(4), normal(3, 4), label="rank")
