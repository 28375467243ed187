"""The Inception net of FID: the graph that Google published on 2015-12-05, not the one that torchvision has.

Szegedy et al. 2015, 1512.00567, with what sets the published graph apart: 1,008 classes and no auxiliary head; average
pools that leave the padding out of their divisor; a maximum pool in the last block, where the paper has an average; and
weights of its own. Layers have the names of torchvision, under which the weights circulate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganvas import weights

SIDE = 299  # pixels of the images that it takes
DIMS, CLASSES = 2048, 1008
EPSILON = 1e-3  # of the published batch norms


@dataclass(frozen=True)
class Layer:
    """A convolution: its channels, kernel and stride."""

    channels: int
    rows: int = 1
    columns: int = 1
    stride: int = 1


def _square(channels: int, side: int, stride: int = 1) -> Layer:
    return Layer(channels, side, side, stride)


Chain = Sequence[Layer | tuple[Layer, Layer]]  # two layers side by side are a fork


class Convolution(nn.Conv2d):
    """A convolution with its batch norm folded into it, then ReLU."""

    def __init__(self, inputs: int, layer: Layer, *, pad: bool = True) -> None:
        """pad: whether the size is kept (at stride 1)."""
        padding = (layer.rows // 2, layer.columns // 2) if pad and layer.stride == 1 else 0
        super().__init__(inputs, layer.channels, (layer.rows, layer.columns), layer.stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(super().forward(x))


class Block(nn.Module):
    """Chains of convolutions beside each other and beside a pool, their channels joined."""

    def __init__(self, inputs: int, chains: Mapping[str, Chain], pooled: int = 0, *, maximum: bool = False) -> None:
        """chains: by name; the layers of a chain that has several are NAME_1, NAME_2, ..., those of a fork NAME_2a and
        NAME_2b. pooled: channels of the 1x1 convolution after the pool; without, the block halves the size and the pool
        is a maximum. maximum: whether the pool is one all the same."""
        super().__init__()
        self.maximum, self.halves = maximum, not pooled
        self._chains: list[list[list[str]]] = []  # names of layers: by chain, by place, side by side
        self.channels = pooled or inputs
        for name, chain in chains.items():
            width = inputs
            self._chains.append([])
            for place, step in enumerate(chain, 1):
                stem = name if len(chain) == 1 else f"{name}_{place}"
                fork = {stem: step} if isinstance(step, Layer) else {stem + "a": step[0], stem + "b": step[1]}
                for key, layer in fork.items():
                    self.add_module(key, Convolution(width, layer))
                width = sum(layer.channels for layer in fork.values())
                self._chains[-1].append(list(fork))
            self.channels += width
        if pooled:
            self.branch_pool = Convolution(inputs, Layer(pooled))

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for chain in self._chains:
            y = x
            for names in chain:
                y = torch.cat([self.get_submodule(name)(y) for name in names], 1)
            outputs.append(y)
        return torch.cat([*outputs, self._pool(x)], 1)

    def _pool(self, x: Tensor) -> Tensor:
        if self.halves:
            return F.max_pool2d(x, 3, 2)
        if self.maximum:
            return self.branch_pool(F.max_pool2d(x, 3, 1, 1))
        return self.branch_pool(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))


def _figure_5(pooled: int) -> tuple[dict[str, Chain], int]:
    """The modules of 35 x 35 (figure 5 of the paper)."""
    chains: dict[str, Chain] = {
        "branch1x1": [Layer(64)],
        "branch5x5": [Layer(48), _square(64, 5)],
        "branch3x3dbl": [Layer(64), _square(96, 3), _square(96, 3)],
    }
    return chains, pooled


def _figure_6(width: int) -> tuple[dict[str, Chain], int]:
    """The modules of 17 x 17 (figure 6), with kernels of a row and of a column."""
    row, column = Layer(width, 1, 7), Layer(width, 7, 1)
    chains: dict[str, Chain] = {
        "branch1x1": [Layer(192)],
        "branch7x7": [Layer(width), row, Layer(192, 7, 1)],
        "branch7x7dbl": [Layer(width), column, row, column, Layer(192, 1, 7)],
    }
    return chains, 192


def _figure_7() -> tuple[dict[str, Chain], int]:
    """The modules of 8 x 8 (figure 7), whose chains end in forks."""
    fork = (Layer(384, 1, 3), Layer(384, 3, 1))
    chains: dict[str, Chain] = {
        "branch1x1": [Layer(320)],
        "branch3x3": [Layer(384), fork],
        "branch3x3dbl": [Layer(448), _square(384, 3), fork],
    }
    return chains, 192


_TO_17: dict[str, Chain] = {
    "branch3x3": [_square(384, 3, 2)],
    "branch3x3dbl": [Layer(64), _square(96, 3), _square(96, 3, 2)],
}
_TO_8: dict[str, Chain] = {
    "branch3x3": [Layer(192), _square(320, 3, 2)],
    "branch7x7x3": [Layer(192), Layer(192, 1, 7), Layer(192, 7, 1), _square(192, 3, 2)],
}


class Inception(nn.Module):
    """From images [B, 3, 299, 299], about in [-1, 1], to the mean of the last map, [B, 2048]. Weights are random:
    `folded` turns the published ones into a state dict.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, _square(32, 3, 2))
        self.Conv2d_2a_3x3 = Convolution(32, _square(32, 3), pad=False)
        self.Conv2d_2b_3x3 = Convolution(32, _square(64, 3))
        self.Conv2d_3b_1x1 = Convolution(64, Layer(80))
        self.Conv2d_4a_3x3 = Convolution(80, _square(192, 3), pad=False)
        self.Mixed_5b = Block(192, *_figure_5(32))
        self.Mixed_5c = Block(256, *_figure_5(64))
        self.Mixed_5d = Block(288, *_figure_5(64))
        self.Mixed_6a = Block(288, _TO_17)
        self.Mixed_6b = Block(768, *_figure_6(128))
        self.Mixed_6c = Block(768, *_figure_6(160))
        self.Mixed_6d = Block(768, *_figure_6(160))
        self.Mixed_6e = Block(768, *_figure_6(192))
        self.Mixed_7a = Block(768, _TO_8)
        self.Mixed_7b = Block(1280, *_figure_7())
        self.Mixed_7c = Block(2048, *_figure_7(), maximum=True)
        self.fc = nn.Linear(DIMS, CLASSES, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.Conv2d_1a_3x3, self.Conv2d_2a_3x3, self.Conv2d_2b_3x3):
            x = layer(x)
        x = F.max_pool2d(x, 3, 2)
        for layer in (self.Conv2d_3b_1x1, self.Conv2d_4a_3x3):
            x = layer(x)
        x = F.max_pool2d(x, 3, 2)
        for name, block in self.named_children():
            if name.startswith("Mixed"):
                x = block(x)
        return x.mean((2, 3))

    def logits(self, features: Tensor) -> Tensor:
        """Logits [B, 1008] of features [B, 2048], without the published bias, as the Inception Score takes them."""
        return self.fc(features)


def folded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors as the state of an `Inception`: each batch norm goes into the convolution before it, by a
    float64 computation.

    Raises KeyError where one is missing, naming it; shapes are not looked at.
    """
    state = {"fc.weight": tensors["fc.weight"]}
    for name in (key.removesuffix(".conv.weight") for key in tensors if key.endswith(".conv.weight")):
        kernel = tensors[f"{name}.conv.weight"]
        gamma, beta, mean, variance = (
            tensors[f"{name}.bn.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / (variance + EPSILON).sqrt()
        state[f"{name}.weight"] = (kernel.double() * scale[:, None, None, None]).to(kernel.dtype)
        state[f"{name}.bias"] = (beta - mean * scale).to(kernel.dtype)
    return state


def published() -> Inception:
    """The net with its published weights, frozen, channels-last. Raises MissingWeights, Damaged."""
    with torch.device("meta"):  # draws no random weights, to be thrown away
        net = Inception()
    with weights.fitting("inception"):
        net.load_state_dict(folded(weights.load("inception")), assign=True)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net.eval().requires_grad_(False)
