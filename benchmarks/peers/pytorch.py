"""The networks in PyTorch: eager modules, images channels first. Only their step is measured."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.networks.blocks import ROTARY_BASE
from benchmarks.networks.network import Network
from benchmarks.networks.resnet import EPS, MOMENTUM
from benchmarks.networks.transformer import HEAD
from benchmarks.networks.vit import PATCH
from benchmarks.peers.peer import Peer


def step(params: list[torch.Tensor], model: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> Any:
    """The loss and its gradient, eagerly."""
    logits = model(x)
    loss = functional.cross_entropy(logits.flatten(0, -2), labels.flatten())
    return loss.detach(), torch.autograd.grad(loss, params)


def _peer(model: nn.Module, convert: Callable[[Any], list[Any]], network: Network) -> Peer:
    """Of a model in training mode; `convert` lists arrays in the order of the model's parameters."""
    x, labels = network.batch[-2:]
    inputs = _tensor(x.transpose(0, 3, 1, 2) if x.ndim == 4 else x)
    arrays = [_tensor(array) for array in convert(network.params)]
    parameters = list(model.to(arrays[0].dtype).parameters())
    with torch.no_grad():
        for parameter, array in zip(parameters, arrays, strict=True):
            parameter.copy_(array)
    return Peer(step, convert, (parameters, model.train(), inputs.contiguous(), _tensor(labels).long()))


def _tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(array))


def _linear(p: Any) -> list[Any]:
    return [p["w"].T, p["b"]]


def _kernel(kernel: Any) -> Any:
    return kernel.transpose(3, 2, 0, 1)


class Dag(nn.Module):
    """A shared layer is a layer called twice."""

    def __init__(self, width: int):
        super().__init__()
        self.w1 = nn.Linear(width, width, bias=False)
        self.w2 = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, 10, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x1 = torch.tanh(self.w1(x))
        x2 = functional.relu(self.w2(x1 + x))
        return self.out(functional.relu(self.w1(x1 + x2)))


def dag(network: Network) -> Peer:
    model = Dag(network.params["w1"].shape[0])
    return _peer(model, lambda p: [p["w1"].T, p["w2"].T, p["out"].T], network)


def mlp(network: Network) -> Peer:
    width = len(network.params[0]["b"])
    model = nn.Sequential(*(layer for _ in network.params for layer in (nn.Linear(width, width), nn.ReLU())))
    return _peer(model, lambda params: [leaf for p in params for leaf in _linear(p)], network)


class ResidualBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.linear = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + functional.gelu(self.linear(self.norm(x)), approximate="tanh")


def residual(network: Network) -> Peer:
    model = nn.Sequential(*(ResidualBlock(len(p["b"])) for p in network.params))
    return _peer(model, lambda params: [leaf for p in params for leaf in (p["s"], p["c"], *_linear(p))], network)


def convnet(network: Network) -> Peer:
    width, flat = network.params["kernels"][0].shape[-1], network.params["w"].shape[0]
    side = network.batch[0].shape[1] // 8
    layers = []
    for i, o in ((3, width), (width, 2 * width), (2 * width, 2 * width)):
        layers += [nn.Conv2d(i, o, 3, padding=1, bias=False), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Flatten(), nn.Linear(flat, 128, bias=False), nn.ReLU(), nn.Linear(128, 10, bias=False)]

    def convert(p: Any) -> list[Any]:
        hidden = p["w"].reshape(side, side, 2 * width, 128).transpose(3, 2, 0, 1).reshape(128, -1)
        return [*map(_kernel, p["kernels"]), hidden, p["out"].T]

    return _peer(nn.Sequential(*layers), convert, network)


def _conv_norm(incoming: int, channels: int, window: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(incoming, channels, window, stride, window // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels, eps=EPS, momentum=1 - MOMENTUM))


class BasicBlock(nn.Module):
    def __init__(self, incoming: int, channels: int, stride: int):
        super().__init__()
        self.first = _conv_norm(incoming, channels, 3, stride)
        self.second = _conv_norm(channels, channels, 3, 1)
        self.shortcut = _conv_norm(incoming, channels, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second(functional.relu(self.first(x), inplace=True))
        return functional.relu(y + self.shortcut(x), inplace=True)


def resnet(network: Network) -> Peer:
    channels = width = len(network.params["stem"]["bias"])
    layers: list[nn.Module] = [_conv_norm(3, width, 3, 1), nn.ReLU(inplace=True)]
    for stage, blocks in enumerate(network.params["stages"]):
        for i in range(len(blocks)):
            incoming, channels = channels, width * 2**stage
            layers.append(BasicBlock(incoming, channels, 2 if stage and not i else 1))
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)]

    def convert(params: Any) -> list[Any]:
        order = ("first", "second", "shortcut")
        blocks = [b for stage in params["stages"] for b in stage]
        convs = [params["stem"], *(b[n] for b in blocks for n in order if n in b)]
        return [leaf for p in convs for leaf in (_kernel(p["kernel"]), p["scale"], p["bias"])] + _linear(params["out"])

    return _peer(nn.Sequential(*layers), convert, network)


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, length: int, causal: bool):
        super().__init__()
        self.causal = causal
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        half = HEAD // 2
        angles = torch.outer(torch.arange(length), ROTARY_BASE ** (-torch.arange(half) / half))
        self.register_buffer("cos", torch.cos(angles))
        self.register_buffer("sin", torch.sin(angles))

    def rotate(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, dim=-1)
        return torch.cat([a * self.cos - b * self.sin, b * self.cos + a * self.sin], dim=-1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, -1, HEAD).permute(2, 0, 3, 1, 4)
        if self.causal:
            q, k = self.rotate(q), self.rotate(k)
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.out(attended.transpose(1, 2).reshape(n, t, d))
        return x + self.down(functional.gelu(self.up(self.norm2(x)), approximate="tanh"))


def _norm(p: Any) -> list[Any]:
    return [p["scale"], p["bias"]]


def _block(p: Any) -> list[Any]:
    attention = [p["qkv"].T, p["out"].T]
    return [*_norm(p["norm1"]), *attention, *_norm(p["norm2"]), *_linear(p["up"]), *_linear(p["down"])]


class Transformer(nn.Module):
    def __init__(self, vocabulary: int, width: int, depth: int, length: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.blocks = nn.Sequential(*(Block(width, length, causal=True) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return functional.linear(self.norm(self.blocks(self.embedding(tokens))), self.embedding.weight)


def transformer(network: Network) -> Peer:
    def convert(p: Any) -> list[Any]:
        return [p["embedding"], *(leaf for b in p["blocks"] for leaf in _block(b)), *_norm(p["norm"])]

    vocabulary, width = network.params["embedding"].shape
    depth, length = len(network.params["blocks"]), network.batch[0].shape[1]
    return _peer(Transformer(vocabulary, width, depth, length), convert, network)


class ViT(nn.Module):
    def __init__(self, patches: int, width: int, depth: int):
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(patches, width))
        self.patch = nn.Conv2d(3, width, PATCH, PATCH)
        self.blocks = nn.Sequential(*(Block(width, patches, causal=False) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.out = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2) + self.positions
        return self.out(self.norm(self.blocks(x)).mean(1))


def vit(network: Network) -> Peer:
    def convert(p: Any) -> list[Any]:
        blocks = [leaf for b in p["blocks"] for leaf in _block(b)]
        patch = [_kernel(p["patch"]["kernel"]), p["patch"]["b"]]
        return [p["positions"], *patch, *blocks, *_norm(p["norm"]), *_linear(p["out"])]

    patches, width = network.params["positions"].shape
    return _peer(ViT(patches, width, len(network.params["blocks"])), convert, network)
