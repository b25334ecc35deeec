"""Cases of arithmetic."""

import numpy as np

from funcgrad import ops
from tests.ops.cases.case import KINKS, case, normal, positive, ties

for binary in (ops.add, ops.subtract, ops.multiply):
    case(binary, normal(3, 4), normal(3, 4))
    case(binary, normal(4), normal(2, 3, 4), label="rank")
    case(binary, normal(3, 1), normal(2, 1, 4), label="size1")
    case(binary, normal(0, 4), normal(1, 4), label="empty")
    case(binary, np.float64(1.5), normal(3), label="scalar")
case(ops.divide, normal(3, 4), positive(4))
case(ops.divide, normal(), positive(2, 1), label="scalar")
case(ops.divide, normal(3), np.array([1e-3, 1e3, -1.0]), label="wide")
case(ops.negative, normal(3, 4))
case(ops.power, positive(3, 4), exponent=2.5)
case(ops.power, normal(5), exponent=3, label="cube")
case(ops.power, np.array([0.0, 1.0, -2.0]), exponent=2, label="zero")
case(ops.power, np.array([0.0, 1.0, -2.0]), exponent=1, label="first")
case(ops.power, np.array([0.0, 1.0, -2.0]), exponent=0, label="zeroth")
case(ops.power, positive(3), exponent=-1, label="inverse")
case(ops.square, normal(3, 4))
case(ops.square, np.array([0.0, 1e-10, 1e10]), label="wide")
case(ops.exp, normal(3, 4))
case(ops.exp, np.array([-50.0, 0.0, 10.0]), label="wide", half=False)
case(ops.log, positive(3, 4))
case(ops.log, np.array([1e-30, 1e30]), label="wide")
case(ops.sqrt, positive(3, 4))
case(ops.sqrt, np.array([1e-30, 1e30]), label="wide")
case(ops.absolute, normal(3, 4))
case(ops.absolute, KINKS, label="kinks", smooth=False)
for choice in (ops.maximum, ops.minimum):
    case(choice, normal(3, 4), normal(3, 4))
    case(choice, ties(5, 1, 3), ties(4, 3), label="ties", smooth=False)
case(ops.clip, normal(3, 4), low=-0.5, high=0.7)
case(ops.clip, KINKS, low=-1.0, high=1.0, label="kinks", smooth=False)
case(ops.where, np.array([[True, False, True], [False, False, True]]), normal(2, 3), normal(2, 3))
case(ops.where, np.array([True, False, True]), normal(4, 1), normal(), label="broadcast")
case(ops.logaddexp, normal(3, 4), normal(3, 4))
case(ops.logaddexp, np.array([0.0, 800.0, -800.0, 1e4]), np.array([0.0, -800.0, -800.0, 1e4 - 1]), label="huge")
case(ops.logaddexp, normal(4), normal(3, 1), label="broadcast", slow=True)
