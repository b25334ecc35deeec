"""Cases of what takes few values. Scales are powers of two, so that no quotient is rounded across a tie."""

import jax
import numpy as np

from funcgrad import ops
from tests.ops.cases.case import KINKS, case, normal

for step in (ops.heaviside, ops.binarize):
    case(step, normal(3, 4))
    case(step, KINKS, label="kinks")
case(ops.ternarize, normal(3, 4), np.array(0.5))
case(ops.ternarize, normal(4), np.array([[0.5], [0.0]]), label="broadcast")
case(ops.fake_quantize, normal(3, 4), np.array([[0.25], [0.5], [0.125]]), low=-4, high=3)
case(ops.fake_quantize, 9 * normal(3, 4), np.array(0.25), np.array([3]), low=-8, high=7, label="zero point")
case(ops.fake_quantize, KINKS, np.array(2.0), label="ties")
case(ops.stochastic_round, normal(6, 5), jax.random.key(3))
