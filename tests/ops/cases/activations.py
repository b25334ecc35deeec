"""Cases of activations."""

import numpy as np

from funcgrad import ops
from tests.ops.cases.case import KINKS, WIDE, case, normal

for activation in (ops.relu, ops.leaky_relu, ops.elu, ops.sigmoid, ops.tanh, ops.softplus, ops.silu, ops.gelu):
    case(activation, normal(3, 4))
    case(activation, normal(), label="scalar")
    # elu's rule is right to a rounding of alpha, not of the tiny slope far left.
    if activation is ops.elu:
        case(activation, np.clip(WIDE, -8, None), label="left")
    else:
        case(activation, WIDE, label="wide")
    case(activation, KINKS, label="kinks", smooth=activation not in (ops.relu, ops.leaky_relu, ops.elu))
case(ops.leaky_relu, normal(5), negative_slope=0.3, label="steep")
case(ops.elu, normal(5), alpha=0.4, label="alpha")
case(ops.gelu, normal(3, 4), approximate=False, label="exact")
case(ops.gelu, WIDE, approximate=False, label="exact-wide")
