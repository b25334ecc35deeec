"""The networks that are measured, and their small sizes for `--quick`."""

from benchmarks.networks.convnet import convnet
from benchmarks.networks.dag import dag
from benchmarks.networks.mlp import mlp
from benchmarks.networks.network import Network as Network
from benchmarks.networks.residual import residual
from benchmarks.networks.resnet import resnet
from benchmarks.networks.transformer import transformer
from benchmarks.networks.vit import vit

ALL = {make.__name__: make for make in (dag, mlp, residual, convnet, resnet, transformer, vit)}
QUICK = {
    "dag": {},
    "mlp": {"depth": 4},
    "residual": {"depth": 4},
    "convnet": {"size": 16, "width": 8},
    "resnet": {"size": 16, "width": 8, "batch": 8, "blocks": (1, 1)},
    "transformer": {"batch": 2, "length": 32, "width": 64, "depth": 1, "vocabulary": 100},
    "vit": {"batch": 2, "width": 64, "depth": 1},
}
