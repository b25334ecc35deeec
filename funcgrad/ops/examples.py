"""An ordinary example of each op that declared shapes alone do not describe, so that `fg.check(fg.ops.softmax)` runs.

They are arrays of numpy's, a random key's two numbers included: importing funcgrad starts no backend.
"""

import numpy as np

from funcgrad.ops.arithmetic import clip, log, power, sqrt
from funcgrad.ops.batch_normalization import batch_norm, batch_norm_inference
from funcgrad.ops.cells import gru, gru_cell, lstm, lstm_cell, rnn, rnn_cell
from funcgrad.ops.convolution import conv1d, conv2d, conv3d
from funcgrad.ops.dot_product_attention import attention
from funcgrad.ops.exponentials import log_softmax, logsumexp, softmax
from funcgrad.ops.gating import glu
from funcgrad.ops.indexing import embedding, scatter_add, take, take_along_axis
from funcgrad.ops.losses import cross_entropy
from funcgrad.ops.noise import drop_path, dropout
from funcgrad.ops.normalization import group_norm, layer_norm, rms_norm
from funcgrad.ops.pooling import (
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    global_avg_pool,
    global_max_pool,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)
from funcgrad.ops.positions import rotary
from funcgrad.ops.products import matmul
from funcgrad.ops.quantization import fake_quantize, stochastic_round
from funcgrad.ops.reductions import max, mean, sum
from funcgrad.ops.shaping import broadcast_to, concatenate, reshape, transpose
from funcgrad.ops.summation import einstein_sum
from funcgrad.ops.transposed import conv_transpose1d, conv_transpose2d, conv_transpose3d

_rng = np.random.default_rng(3)


def _normal(*shape: int) -> np.ndarray:
    return _rng.normal(size=shape)


def _positive(*shape: int) -> np.ndarray:
    return _rng.uniform(0.5, 2.0, size=shape)


def _small(*shape: int) -> np.ndarray:
    """Weights of which several products do not saturate a gate."""
    return 0.5 * _rng.normal(size=shape)


_KEY = np.array([0, 3], np.uint32)
_IDS = np.array([[1, 4, 1], [0, 1, 4]])

log.example(_positive(2, 3))
sqrt.example(_positive(2, 3))
power.example(_positive(2, 3), exponent=3)
clip.example(_normal(3, 4), low=-0.5, high=0.7)

for _reduction in (sum, mean, max):
    _reduction.example(_normal(2, 3, 4), axis=(0, -1), keepdims=True)
for _normalizer in (softmax, log_softmax):
    _normalizer.example(_normal(3, 5))
logsumexp.example(_normal(3, 5), axis=-1)
glu.example(_normal(3, 4))

layer_norm.example(_normal(5, 8), _normal(8), _normal(8))
rms_norm.example(_normal(5, 8), _normal(8))
group_norm.example(_normal(2, 3, 2, 4), _normal(4), _normal(4), groups=2)
batch_norm.example(_normal(2, 3, 2, 4), _normal(4), _normal(4))
batch_norm_inference.example(_normal(2, 3, 4), _normal(4), _positive(4), _normal(4), _normal(4))

matmul.example(_normal(2, 3, 4), _normal(4, 5))
einstein_sum.example(_normal(3, 4), _normal(4, 5), subscripts="ij,jk->ki")

conv1d.example(_normal(2, 7, 4), _normal(3, 2, 6), _normal(6), stride=2, dilation=2, groups=2)
conv2d.example(_normal(2, 7, 6, 3), _normal(3, 3, 3, 4), _normal(4))
conv3d.example(_normal(1, 4, 5, 3, 2), _normal(2, 3, 1, 2, 3), _normal(3), stride=(1, 2, 1))
conv_transpose1d.example(_normal(2, 4, 2), _normal(3, 2, 3), _normal(3), stride=2)
conv_transpose2d.example(_normal(2, 4, 3, 2), _normal(3, 2, 2, 3), _normal(3), stride=(2, 3))
conv_transpose3d.example(_normal(1, 2, 3, 2, 2), _normal(2, 1, 3, 2, 2), _normal(2), stride=(2, 1, 2))

for _pool in (max_pool1d, avg_pool1d):
    _pool.example(_normal(2, 7, 2), window=3, stride=2, padding="SAME")
for _pool in (max_pool2d, avg_pool2d):
    _pool.example(_normal(2, 6, 4, 3), window=2)
for _pool in (max_pool3d, avg_pool3d):
    _pool.example(_normal(1, 4, 3, 4, 2), window=(2, 1, 2))
for _pool in (global_max_pool, global_avg_pool):
    _pool.example(_normal(2, 3, 4, 5))

reshape.example(_normal(2, 6), shape=(3, 4))
transpose.example(_normal(2, 3, 4), axes=(2, 0, 1))
broadcast_to.example(_normal(3, 1), shape=(2, 3, 4))
concatenate.example((_normal(2, 3), _normal(2, 1)), axis=1)

embedding.example(_normal(5, 3), _IDS)
take.example(_normal(3, 5, 2), _IDS, axis=1)
take_along_axis.example(_normal(2, 5), _IDS, axis=1)
scatter_add.example(_normal(5, 2), _IDS, _normal(2, 3, 2))
cross_entropy.example(_normal(2, 3, 5), _IDS)

dropout.example(_normal(6, 5), _KEY, rate=0.4)
drop_path.example(_normal(6, 5), _KEY, rate=0.4)

fake_quantize.example(_normal(3, 4), np.array([[0.25], [0.5], [0.125]]), low=-4, high=3)
stochastic_round.example(_normal(3, 4), _KEY)

attention.example(_normal(2, 4, 2, 3), _normal(2, 5, 2, 3), _normal(2, 5, 2, 3), _normal(2, 4, 5), causal=True)
rotary.example(_normal(2, 5, 2, 6), np.arange(5) * 7)

rnn_cell.example(_normal(2, 3), _small(2, 4), _small(3, 4), _small(4, 4), _small(4))
gru_cell.example(_normal(2, 3), _small(2, 4), _small(3, 12), _small(4, 12), _small(12), _small(4))
lstm_cell.example(_normal(2, 3), _small(2, 4), _small(2, 4), _small(3, 16), _small(4, 16), _small(16))
rnn.example(_normal(2, 3, 2), _small(2, 3), _small(2, 3), _small(3, 3), _small(3))
gru.example(_normal(2, 3, 2), _small(2, 3), _small(2, 9), _small(3, 9), _small(9), _small(3))
lstm.example(_normal(2, 3, 2), _small(2, 3), _small(2, 3), _small(2, 12), _small(3, 12), _small(12))
