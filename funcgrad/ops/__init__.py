"""Ops with registered rules, by mathematical family. Each is an ordinary function of JAX arrays.

Arithmetic, entry by entry; arguments broadcast
    add, subtract, multiply, divide, negative, absolute
    power, square, sqrt, exp, log, logaddexp
    maximum, minimum, clip, where

Activations
    relu, leaky_relu, relu6, elu, celu, selu
                 rectifiers; each says which value its kink takes
    hard_tanh, hard_sigmoid, hard_silu, sparse_plus, sparse_sigmoid
                 piecewise doubles of the smooth ones
    sigmoid, log_sigmoid, tanh, soft_sign, softplus, squareplus, silu, mish, gelu
                 smooth
    glu, swiglu  one half of the features decides how much of the other passes

Products and sums
    linear, matmul, einsum, einstein_sum
    sum, mean, max
    softmax, log_softmax, logsumexp

Shapes and indices
    reshape, transpose, broadcast_to, concatenate
    embedding, take, take_along_axis, scatter_add

Images, channels last
    conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d
    max_pool1d, max_pool2d, max_pool3d, avg_pool1d, avg_pool2d, avg_pool3d
    global_max_pool, global_avg_pool

Normalization and noise
    layer_norm, rms_norm, group_norm
    batch_norm, batch_norm_inference
    dropout, drop_path

Few values, flat almost everywhere; fg.rulesets says what passes
    heaviside, binarize, ternarize
                 spikes and signs
    fake_quantize, stochastic_round
                 rounding to a grid

Sequences
    attention    softmax-weighted sums; grouped heads, masks, blocks
    rotary       positions as rotations of queries and keys
    rnn_cell, gru_cell, lstm_cell
                 one step
    rnn, gru, lstm
                 all steps

Losses, one number per example or entry
    cross_entropy, soft_cross_entropy, binary_cross_entropy
    squared_error, absolute_error, huber

`fg.ops.tanh.rules` has the rules of an op; docs/rules.md says how to write one.
"""

from funcgrad.ops import equations as equations
from funcgrad.ops import examples as _examples  # what fg.check checks them on
from funcgrad.ops.activations import gelu as gelu
from funcgrad.ops.activations import log_sigmoid as log_sigmoid
from funcgrad.ops.activations import mish as mish
from funcgrad.ops.activations import sigmoid as sigmoid
from funcgrad.ops.activations import silu as silu
from funcgrad.ops.activations import soft_sign as soft_sign
from funcgrad.ops.activations import softplus as softplus
from funcgrad.ops.activations import squareplus as squareplus
from funcgrad.ops.activations import tanh as tanh
from funcgrad.ops.arithmetic import absolute as absolute
from funcgrad.ops.arithmetic import add as add
from funcgrad.ops.arithmetic import clip as clip
from funcgrad.ops.arithmetic import divide as divide
from funcgrad.ops.arithmetic import exp as exp
from funcgrad.ops.arithmetic import log as log
from funcgrad.ops.arithmetic import logaddexp as logaddexp
from funcgrad.ops.arithmetic import maximum as maximum
from funcgrad.ops.arithmetic import minimum as minimum
from funcgrad.ops.arithmetic import multiply as multiply
from funcgrad.ops.arithmetic import negative as negative
from funcgrad.ops.arithmetic import power as power
from funcgrad.ops.arithmetic import sqrt as sqrt
from funcgrad.ops.arithmetic import square as square
from funcgrad.ops.arithmetic import subtract as subtract
from funcgrad.ops.arithmetic import where as where
from funcgrad.ops.batch_normalization import batch_norm as batch_norm
from funcgrad.ops.batch_normalization import batch_norm_inference as batch_norm_inference
from funcgrad.ops.cells import gru as gru
from funcgrad.ops.cells import gru_cell as gru_cell
from funcgrad.ops.cells import lstm as lstm
from funcgrad.ops.cells import lstm_cell as lstm_cell
from funcgrad.ops.cells import rnn as rnn
from funcgrad.ops.cells import rnn_cell as rnn_cell
from funcgrad.ops.convolution import conv1d as conv1d
from funcgrad.ops.convolution import conv2d as conv2d
from funcgrad.ops.convolution import conv3d as conv3d
from funcgrad.ops.dot_product_attention import attention as attention
from funcgrad.ops.exponentials import log_softmax as log_softmax
from funcgrad.ops.exponentials import logsumexp as logsumexp
from funcgrad.ops.exponentials import softmax as softmax
from funcgrad.ops.gating import glu as glu
from funcgrad.ops.gating import swiglu as swiglu
from funcgrad.ops.indexing import embedding as embedding
from funcgrad.ops.indexing import scatter_add as scatter_add
from funcgrad.ops.indexing import take as take
from funcgrad.ops.indexing import take_along_axis as take_along_axis
from funcgrad.ops.losses import absolute_error as absolute_error
from funcgrad.ops.losses import binary_cross_entropy as binary_cross_entropy
from funcgrad.ops.losses import cross_entropy as cross_entropy
from funcgrad.ops.losses import huber as huber
from funcgrad.ops.losses import soft_cross_entropy as soft_cross_entropy
from funcgrad.ops.losses import squared_error as squared_error
from funcgrad.ops.noise import drop_path as drop_path
from funcgrad.ops.noise import dropout as dropout
from funcgrad.ops.normalization import group_norm as group_norm
from funcgrad.ops.normalization import layer_norm as layer_norm
from funcgrad.ops.normalization import rms_norm as rms_norm
from funcgrad.ops.pooling import avg_pool1d as avg_pool1d
from funcgrad.ops.pooling import avg_pool2d as avg_pool2d
from funcgrad.ops.pooling import avg_pool3d as avg_pool3d
from funcgrad.ops.pooling import global_avg_pool as global_avg_pool
from funcgrad.ops.pooling import global_max_pool as global_max_pool
from funcgrad.ops.pooling import max_pool1d as max_pool1d
from funcgrad.ops.pooling import max_pool2d as max_pool2d
from funcgrad.ops.pooling import max_pool3d as max_pool3d
from funcgrad.ops.positions import rotary as rotary
from funcgrad.ops.products import linear as linear
from funcgrad.ops.products import matmul as matmul
from funcgrad.ops.quantization import binarize as binarize
from funcgrad.ops.quantization import fake_quantize as fake_quantize
from funcgrad.ops.quantization import heaviside as heaviside
from funcgrad.ops.quantization import stochastic_round as stochastic_round
from funcgrad.ops.quantization import ternarize as ternarize
from funcgrad.ops.rectifiers import celu as celu
from funcgrad.ops.rectifiers import elu as elu
from funcgrad.ops.rectifiers import hard_sigmoid as hard_sigmoid
from funcgrad.ops.rectifiers import hard_silu as hard_silu
from funcgrad.ops.rectifiers import hard_tanh as hard_tanh
from funcgrad.ops.rectifiers import leaky_relu as leaky_relu
from funcgrad.ops.rectifiers import relu as relu
from funcgrad.ops.rectifiers import relu6 as relu6
from funcgrad.ops.rectifiers import selu as selu
from funcgrad.ops.rectifiers import sparse_plus as sparse_plus
from funcgrad.ops.rectifiers import sparse_sigmoid as sparse_sigmoid
from funcgrad.ops.reductions import max as max
from funcgrad.ops.reductions import mean as mean
from funcgrad.ops.reductions import sum as sum
from funcgrad.ops.shaping import broadcast_to as broadcast_to
from funcgrad.ops.shaping import concatenate as concatenate
from funcgrad.ops.shaping import reshape as reshape
from funcgrad.ops.shaping import transpose as transpose
from funcgrad.ops.summation import einstein_sum as einstein_sum
from funcgrad.ops.summation import einsum as einsum
from funcgrad.ops.transposed import conv_transpose1d as conv_transpose1d
from funcgrad.ops.transposed import conv_transpose2d as conv_transpose2d
from funcgrad.ops.transposed import conv_transpose3d as conv_transpose3d
from funcgrad.surface import hide_modules as _hide_modules

__all__ = [
    "absolute",
    "absolute_error",
    "add",
    "attention",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "batch_norm_inference",
    "binarize",
    "binary_cross_entropy",
    "broadcast_to",
    "celu",
    "clip",
    "concatenate",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cross_entropy",
    "divide",
    "drop_path",
    "dropout",
    "einstein_sum",
    "einsum",
    "elu",
    "embedding",
    "exp",
    "fake_quantize",
    "gelu",
    "global_avg_pool",
    "global_max_pool",
    "glu",
    "group_norm",
    "gru",
    "gru_cell",
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "heaviside",
    "huber",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log",
    "log_sigmoid",
    "log_softmax",
    "logaddexp",
    "logsumexp",
    "lstm",
    "lstm_cell",
    "matmul",
    "max",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "maximum",
    "mean",
    "minimum",
    "mish",
    "multiply",
    "negative",
    "power",
    "relu",
    "relu6",
    "reshape",
    "rms_norm",
    "rnn",
    "rnn_cell",
    "rotary",
    "scatter_add",
    "selu",
    "sigmoid",
    "silu",
    "soft_cross_entropy",
    "soft_sign",
    "softmax",
    "softplus",
    "sparse_plus",
    "sparse_sigmoid",
    "sqrt",
    "square",
    "squared_error",
    "squareplus",
    "stochastic_round",
    "subtract",
    "sum",
    "swiglu",
    "take",
    "take_along_axis",
    "tanh",
    "ternarize",
    "transpose",
    "where",
]

_hide_modules(__name__)
