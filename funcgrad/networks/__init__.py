"""Reference networks, their sizes as arguments, initialised as in their papers. Each is a layer like any other.

Images, channels last
    lenet        LeNet-5
    resnet       ResNet-18, 34, 50
    unet         a U-Net
    vit          a vision transformer

Sequences of tokens
    transformer_lm
                 a decoder-only transformer, as LLaMA's
    lstm_lm      stacked LSTMs

Features
    mlp          a multilayer perceptron

Of any network
    summary      a table: per layer its output, parameters, FLOPs, kept bytes
    Summary      what it returns
"""

from funcgrad.networks.convolutional import lenet as lenet
from funcgrad.networks.convolutional import resnet as resnet
from funcgrad.networks.convolutional import unet as unet
from funcgrad.networks.perceptrons import mlp as mlp
from funcgrad.networks.sequences import lstm_lm as lstm_lm
from funcgrad.networks.summaries import Summary as Summary
from funcgrad.networks.summaries import summary as summary
from funcgrad.networks.transformers import transformer_lm as transformer_lm
from funcgrad.networks.transformers import vit as vit
from funcgrad.surface import hide_modules as _hide_modules

__all__ = [
    "Summary",
    "lenet",
    "lstm_lm",
    "mlp",
    "resnet",
    "summary",
    "transformer_lm",
    "unet",
    "vit",
]

_hide_modules(__name__)
