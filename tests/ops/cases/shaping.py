"""Cases of shaping."""

from funcgrad import ops
from tests.ops.cases.case import case, normal

case(ops.reshape, normal(2, 6), shape=(3, -1))
case(ops.reshape, normal(0, 4), shape=(2, 0), label="empty")
case(ops.transpose, normal(2, 3, 4), axes=(2, 0, 1))
case(ops.transpose, normal(2, 3), label="reverse")
case(ops.transpose, normal(2, 3, 4), axes=(-1, 0, -2), label="negative")
case(ops.broadcast_to, normal(3, 1), shape=(2, 3, 4))
case(ops.broadcast_to, normal(), shape=(0, 2), label="empty")
case(ops.concatenate, (normal(2, 3), normal(2, 1), normal(2, 0)), axis=1)
case(ops.concatenate, [normal(2, 3), normal(1, 3)], label="list", axis=-2)
case(ops.reshape, normal(8, 6), shape=(4, 2, 2, -1), label="batch")
