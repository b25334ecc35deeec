"""Cases of softmax and losses."""

import numpy as np

from funcgrad import ops
from tests.ops.cases.case import WIDE, case, classes, normal, positive

for normalizer in (ops.softmax, ops.log_softmax):
    case(normalizer, normal(3, 5))
    case(normalizer, normal(3, 5), axis=0, label="axis0")
    case(normalizer, np.array([[0.0, 800.0, -800.0], [1e4, 1e4, 1e4]]), label="huge")
    case(normalizer, normal(2, 1), label="size1")
case(ops.logsumexp, normal(3, 5), axis=-1)
case(ops.logsumexp, normal(2, 3, 4), axis=(0, -1), keepdims=True, label="axes")
case(ops.logsumexp, normal(2, 3), label="all", slow=True)
case(ops.logsumexp, np.array([[0.0, 800.0, -800.0], [1e4, 1e4, 1e4 - 3]]), axis=1, label="huge")
case(ops.logsumexp, normal(), label="scalar", slow=True)
case(ops.cross_entropy, normal(4, 5), classes(5, 4))
case(ops.cross_entropy, normal(5), np.int32(2), label="vector")
case(ops.cross_entropy, normal(2, 3, 4), classes(4, 2, 3).astype(np.int8), label="tokens")
case(ops.cross_entropy, normal(0, 4), classes(4, 0), label="empty")
case(ops.cross_entropy, np.array([[0.0, 900.0], [-900.0, 900.0]]), np.array([0, 1]), label="huge")
case(ops.cross_entropy, normal(3, 300), np.array([299, 0, 256]), label="many")
case(ops.cross_entropy, normal(4, 5), classes(5, 4), smoothing=0.1, label="smoothed")
case(ops.cross_entropy, normal(3, 4), np.array([0, -1, 4]), label="no-class", smooth=False)
case(ops.soft_cross_entropy, normal(4, 5), positive(4, 5))
case(ops.soft_cross_entropy, np.array([[0.0, 900.0], [-900.0, 900.0]]), np.array([[1.0, 0], [0, 1]]), label="huge")
case(ops.soft_cross_entropy, normal(5), normal(5), label="vector", slow=True)
case(ops.binary_cross_entropy, normal(3, 4), positive(3, 4) / 2)
case(ops.binary_cross_entropy, WIDE, np.array([0.0, 1.0, 0.3, 1.0, 0.0, 0.7, 1.0, 0.0]), label="wide")
case(ops.binary_cross_entropy, np.zeros(3), normal(2, 1), label="zero")
for error in (ops.squared_error, ops.absolute_error, ops.huber):
    case(error, normal(3, 4), normal(3, 4))
    case(error, normal(4), normal(3, 4), label="rank")
case(ops.absolute_error, np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 1.0]), label="ties", smooth=False)
case(ops.huber, np.array([-1e15, -0.5, 0.0, 0.5, 1e15]), np.zeros(5), delta=0.5, label="wide", smooth=False)
