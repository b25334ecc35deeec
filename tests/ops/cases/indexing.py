"""Cases of indexing, with repeated indices. An index outside reads NaN, whose tangent JAX calls NaN too: not smooth."""

import numpy as np

from funcgrad import ops
from tests.ops.cases.case import case, classes, normal

case(ops.embedding, normal(5, 3), np.array([[1, 4, 1], [0, 1, 4]]))
case(ops.embedding, normal(300, 2), np.array([-1, 5, 127], np.int8), label="outside", smooth=False)
case(ops.embedding, normal(5, 3), np.int32(2), label="one", slow=True)
case(ops.embedding, normal(5, 3), classes(5, 0), label="empty", slow=True)
case(ops.take, normal(3, 5, 2), np.array([[1, 4, 1], [0, 1, 4]]), axis=1)
case(ops.take, normal(4, 5), np.array([4, 5, -1, 4]), axis=-1, label="outside", smooth=False, slow=True)
case(ops.take_along_axis, normal(4, 5), classes(5, 4, 6), axis=1)
case(
    ops.take_along_axis,
    normal(4, 300),
    np.array([[5, -1, 127]], np.int8),
    axis=-1,
    label="outside",
    smooth=False,
    slow=True,
)
case(ops.scatter_add, normal(5, 2), np.array([[1, 4, 1], [0, 1, 4]]), normal(2, 3, 2))
case(ops.scatter_add, normal(5, 2), np.array([1, 5, -1, 1]), normal(4, 2), label="outside", slow=True)
