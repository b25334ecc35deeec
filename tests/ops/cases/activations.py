"""Cases of activations."""

import numpy as np

from funcgrad import ops
from tests.ops.cases.case import KINKS, WIDE, case, normal

SMOOTH = (ops.sigmoid, ops.log_sigmoid, ops.tanh, ops.softplus, ops.squareplus, ops.silu, ops.mish, ops.gelu)
# The rules of these are right to a rounding of the largest slope, not of the tiny slope far left.
BOUNDED = (ops.elu, ops.celu, ops.selu)
PIECEWISE = (
    *(ops.relu, ops.leaky_relu, ops.relu6, ops.hard_tanh, ops.hard_sigmoid, ops.hard_silu, ops.soft_sign),
    *(ops.sparse_plus, ops.sparse_sigmoid),
)

for activation in (*SMOOTH, *BOUNDED, *PIECEWISE):
    # Half precision leaves few digits of 1 - |tanh|: small arguments.
    case(activation, normal(3, 4) / (4 if activation is ops.tanh else 1))
    case(activation, normal(), label="scalar", slow=True)
    wide = np.clip(WIDE, -8, None) if activation in BOUNDED else WIDE
    case(activation, wide, label="left" if activation in BOUNDED else "wide")
    case(activation, KINKS, label="kinks", smooth=activation in SMOOTH)
case(ops.leaky_relu, normal(5), negative_slope=0.3, label="steep")
case(ops.elu, normal(5), alpha=0.4, label="alpha")
case(ops.celu, normal(5), alpha=0.4, label="alpha")
case(ops.squareplus, normal(5), b=0.5, label="b")
case(ops.gelu, normal(3, 4), approximate=False, label="exact")
case(ops.gelu, WIDE, approximate=False, label="exact-wide")
for hard in (ops.hard_sigmoid, ops.hard_silu):
    case(hard, 3 * KINKS, label="ends", smooth=False)
case(ops.relu6, 3 * KINKS, label="end", smooth=False)
case(ops.glu, normal(3, 6))
case(ops.glu, normal(4, 3), axis=0, label="axis")
case(ops.glu, normal(0, 4), label="empty", slow=True)
case(ops.swiglu, normal(3, 4), normal(3, 4))
case(ops.swiglu, normal(4), normal(3, 1), label="broadcast")
case(ops.swiglu, WIDE, normal(8), label="wide")
