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
case(ops.layer_norm, normal(2, 3, 4), label="plain", slow=True)
case(ops.rms_norm, normal(5, 8), normal(8))
case(ops.rms_norm, normal(2, 3, 4), label="plain", slow=True)
case(ops.rms_norm, np.zeros((2, 4)), normal(4), label="zero")
case(ops.rms_norm, normal(0, 4), normal(4), label="empty", slow=True)
case(ops.group_norm, normal(2, 3, 2, 4), normal(4), normal(4), groups=2)
case(ops.group_norm, normal(3, 4), label="no-space", groups=1, slow=True)
case(ops.group_norm, normal(2, 5, 3) + 100, positive(3), groups=3, eps=1e-3, label="instance", half=False)
case(ops.group_norm, normal(2, 0, 4), normal(4), normal(4), groups=2, label="empty", slow=True)
case(ops.batch_norm, normal(2, 3, 2, 4), normal(4), normal(4))
case(ops.batch_norm, normal(6, 3) + 100, eps=1e-3, label="offset", half=False)
case(ops.batch_norm, np.ones((3, 2)), normal(2), normal(2), label="constant", slow=True)
case(ops.batch_norm, normal(0, 2), normal(2), normal(2), label="empty", slow=True)
case(ops.batch_norm_inference, normal(2, 3, 4), normal(4), positive(4), normal(4), normal(4))
case(ops.batch_norm_inference, normal(3), normal(3), np.array([0.0, 1.0, 1e6]), label="vector", slow=True)
