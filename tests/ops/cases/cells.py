"""Cases of recurrent networks. Weights are small: where a gate saturates, what is left of its slope is a rounding."""

import numpy as np

from funcgrad import ops
from tests.ops.cases.case import case, normal


def weights(*shape: int) -> np.ndarray:
    return normal(*shape) / 3


case(ops.rnn_cell, normal(2, 3), weights(2, 4), weights(3, 4), weights(4, 4), weights(4))
case(ops.gru_cell, normal(2, 3), weights(2, 4), weights(3, 12), weights(4, 12), weights(12), weights(4))
case(ops.lstm_cell, normal(2, 3), weights(2, 4), weights(2, 4), weights(3, 16), weights(4, 16), weights(16))
case(ops.rnn, normal(2, 3, 2), weights(2, 3), weights(2, 3), weights(3, 3), weights(3))
case(ops.rnn, normal(0, 2), normal(3), normal(2, 3), normal(3, 3), normal(3), label="no-steps")
case(ops.gru, normal(2, 3, 2), weights(2, 3), weights(2, 9), weights(3, 9), weights(9), weights(3), reverse=True)
case(ops.gru, normal(5, 2), normal(3), normal(2, 9) * 30, normal(3, 9), normal(9), normal(3), label="saturated",
     half=False)  # fmt: skip
case(ops.lstm, normal(2, 3, 2), weights(2, 3), weights(2, 3), weights(2, 12), weights(3, 12), weights(12))
case(ops.lstm, normal(1, 2), normal(1), normal(1), normal(2, 4), normal(1, 4), normal(4), reverse=True,
     label="size1", slow=True)  # fmt: skip
case(ops.lstm, normal(0, 3, 2), normal(0, 3), normal(0, 3), normal(2, 12), normal(3, 12), normal(12), label="empty",
     slow=True)  # fmt: skip
