"""Layers and networks: frozen descriptions with pure `init` and `apply`; parameters live outside.

`params, state = net.init(key, x)`, then `net(params, x)`, or where there is state or noise
`net.apply(params, state, x, key=key, train=True)`.

Combinators
    chain        layers one after another
    repeat       copies of one layer, run by a scan
    parallel     layers side by side
    residual     a body added to its input
    dag, node    nodes that name what they read, and may share parameters
    recurrent    a cell along the time axis
    mixed, Policy
                 a network in mixed precision

Layers
    linear       x w + b
    conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d
                 convolutions, channels last
    max_pool1d, max_pool2d, max_pool3d, avg_pool1d, avg_pool2d, avg_pool3d
                 windows, reduced
    global_max_pool, global_avg_pool
                 whole images, reduced
    layer_norm, rms_norm, group_norm, batch_norm
                 normalization; batch_norm keeps state
    multi_head_attention
                 self- and cross-attention, grouped heads, rotary positions
    rnn_cell, gru_cell, lstm_cell
                 one step each, for recurrent
    leaky_integrate_and_fire
                 likewise, of spiking neurons
    embedding, unembed
                 a table of vectors, and logits by the same table
    patches, class_token, position_embedding, select
                 tokens of images
    dropout, drop_path
                 noise while training
    flatten, concatenate
                 shapes

Your own
    pure         a function as a layer; combinators do that by themselves
    parametric   a function of parameters as a layer
    Layer, Cell  what layers and cells are made of
    initializer  how parameters start

`eval(repr(net), vars(fg.layers)) == net` for every network made of these layers, funcgrad ops and JAX functions.
"""

import jax as jax  # so that a printed network can be read back

from funcgrad import ops as ops
from funcgrad.layers.affine import linear as linear
from funcgrad.layers.branching import parallel as parallel
from funcgrad.layers.branching import residual as residual
from funcgrad.layers.convolution import conv1d as conv1d
from funcgrad.layers.convolution import conv2d as conv2d
from funcgrad.layers.convolution import conv3d as conv3d
from funcgrad.layers.convolution import conv_transpose1d as conv_transpose1d
from funcgrad.layers.convolution import conv_transpose2d as conv_transpose2d
from funcgrad.layers.convolution import conv_transpose3d as conv_transpose3d
from funcgrad.layers.dags import dag as dag
from funcgrad.layers.dropping import drop_path as drop_path
from funcgrad.layers.dropping import dropout as dropout
from funcgrad.layers.functions import parametric as parametric
from funcgrad.layers.functions import pure as pure
from funcgrad.layers.heads import multi_head_attention as multi_head_attention
from funcgrad.layers.initialization import initializer as initializer
from funcgrad.layers.layer import Layer as Layer
from funcgrad.layers.nodes import node as node
from funcgrad.layers.normalization import batch_norm as batch_norm
from funcgrad.layers.normalization import group_norm as group_norm
from funcgrad.layers.normalization import layer_norm as layer_norm
from funcgrad.layers.normalization import rms_norm as rms_norm
from funcgrad.layers.pooling import avg_pool1d as avg_pool1d
from funcgrad.layers.pooling import avg_pool2d as avg_pool2d
from funcgrad.layers.pooling import avg_pool3d as avg_pool3d
from funcgrad.layers.pooling import global_avg_pool as global_avg_pool
from funcgrad.layers.pooling import global_max_pool as global_max_pool
from funcgrad.layers.pooling import max_pool1d as max_pool1d
from funcgrad.layers.pooling import max_pool2d as max_pool2d
from funcgrad.layers.pooling import max_pool3d as max_pool3d
from funcgrad.layers.precision import Policy as Policy
from funcgrad.layers.precision import mixed as mixed
from funcgrad.layers.recurrence import Cell as Cell
from funcgrad.layers.recurrence import gru_cell as gru_cell
from funcgrad.layers.recurrence import lstm_cell as lstm_cell
from funcgrad.layers.recurrence import recurrent as recurrent
from funcgrad.layers.recurrence import rnn_cell as rnn_cell
from funcgrad.layers.sequence import chain as chain
from funcgrad.layers.sequence import repeat as repeat
from funcgrad.layers.shaping import concatenate as concatenate
from funcgrad.layers.shaping import flatten as flatten
from funcgrad.layers.spiking import leaky_integrate_and_fire as leaky_integrate_and_fire
from funcgrad.layers.tables import embedding as embedding
from funcgrad.layers.tokens import class_token as class_token
from funcgrad.layers.tokens import patches as patches
from funcgrad.layers.tokens import position_embedding as position_embedding
from funcgrad.layers.tokens import select as select
from funcgrad.layers.tokens import unembed as unembed
from funcgrad.surface import hide_modules as _hide_modules

__all__ = [
    "Cell",
    "Layer",
    "Policy",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "chain",
    "class_token",
    "concatenate",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "dag",
    "drop_path",
    "dropout",
    "embedding",
    "flatten",
    "global_avg_pool",
    "global_max_pool",
    "group_norm",
    "gru_cell",
    "initializer",
    "layer_norm",
    "leaky_integrate_and_fire",
    "linear",
    "lstm_cell",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "mixed",
    "multi_head_attention",
    "node",
    "parallel",
    "parametric",
    "patches",
    "position_embedding",
    "pure",
    "recurrent",
    "repeat",
    "residual",
    "rms_norm",
    "rnn_cell",
    "select",
    "unembed",
]

_hide_modules(__name__)
