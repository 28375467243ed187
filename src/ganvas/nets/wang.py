"""The nets of pix2pixHD (Wang et al. 2018, 1711.11585), as the authors' release has them, under its state-dict keys.

Every convolution has a bias, whatever the norm; instance norm has no weights. Weights start at N(0, 0.02), biases as
PyTorch starts them.
"""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from ganvas.nets.isola import Mirror, Norm, ResnetBlock, ThinConv2d, convolution, normalised, transposed

WIDEST = 512  # channels of a critic's layer, at most


def start(net: nn.Module) -> None:
    """Convolutions N(0, 0.02) with PyTorch's biases; batch norm's gamma N(1, 0.02), beta 0."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.02)


def halved(x: Tensor) -> Tensor:
    """The next level of a pyramid: means of 3x3 at stride 2, of what lies inside the picture alone."""
    return F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)


def _normed(inputs: int, outputs: int, kernel: int, stride: int, padding: int, norm: Norm) -> list[nn.Module]:
    """A convolution and its norm."""
    return [convolution(norm)(inputs, outputs, kernel, stride, padding), normalised(norm, outputs)]


def _first(inputs: int, width: int, norm: Norm) -> list[nn.Module]:
    return [Mirror(3), *_normed(inputs, width, 7, 1, 0, norm), nn.ReLU(inplace=True)]


def _down(channels: int, norm: Norm) -> list[nn.Module]:
    return [*_normed(channels, 2 * channels, 3, 2, 1, norm), nn.ReLU(inplace=True)]


def _up(channels: int, norm: Norm) -> list[nn.Module]:
    up = transposed(norm)(channels, channels // 2, 3, 2, 1, output_padding=1)
    return [up, normalised(norm, channels // 2), nn.ReLU(inplace=True)]


def _last(width: int, outputs: int) -> list[nn.Module]:
    return [Mirror(3), ThinConv2d(width, outputs, 7), nn.Tanh()]


def head(width: int, outputs: int) -> nn.Sequential:
    """G1's last layers by themselves, from its features [B, width, H, W] to pictures: what a `LocalEnhancer` leaves
    out."""
    net = nn.Sequential(*_last(width, outputs))
    start(net)
    return net


class GlobalGenerator(nn.Module):
    """G1: maps [B, inputs, H, W] to pictures [B, outputs, H, W] in [-1, 1]; sides are multiples of 2^downs."""

    def __init__(
        self, inputs: int, outputs: int = 3, width: int = 64, downs: int = 4, blocks: int = 9, norm: Norm = "instance"
    ) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(downs + 1)]
        layers = _first(inputs, width, norm)
        for channels in widths[:-1]:
            layers += _down(channels, norm)
        layers += [ResnetBlock(widths[-1], norm, bias=True) for _ in range(blocks)]
        for channels in reversed(widths[1:]):
            layers += _up(channels, norm)
        self.model = nn.Sequential(*layers, *_last(width, outputs))
        start(self)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.model(x)
        return y


class LocalEnhancer(nn.Module):
    """G2 around G1: maps [B, inputs, H, W] to pictures [B, outputs, H, W]; sides are multiples of 2^(downs + 1).

    G1 (``model``), twice as wide and without its last layers, sees the maps at half size; its features are added to
    those of G2's first half (``model1_1``), and G2's second half (``model1_2``) makes the picture of the sum. With
    ``alone`` it is G1's features [B, 2 width, H, W] of maps at its own size.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int = 3,
        width: int = 32,
        downs: int = 4,
        blocks: int = 9,
        local_blocks: int = 3,
        norm: Norm = "instance",
    ) -> None:
        super().__init__()
        self.model = GlobalGenerator(inputs, outputs, 2 * width, downs, blocks, norm).model[:-3]
        self.model1_1 = nn.Sequential(*_first(inputs, width, norm), *_down(width, norm))
        self.model1_2 = nn.Sequential(
            *(ResnetBlock(2 * width, norm, bias=True) for _ in range(local_blocks)),
            *_up(2 * width, norm),
            *_last(width, outputs),
        )
        start(self.model1_1)
        start(self.model1_2)

    def forward(self, x: Tensor, alone: bool = False) -> Tensor:
        if alone:
            features: Tensor = self.model(x)
            return features
        y: Tensor = self.model1_2(self.model1_1(x) + self.model(halved(x)))
        return y


class Encoder(GlobalGenerator):
    """E: pictures [B, inputs, H, W] to features [B, outputs, H, W] in [-1, 1], before they are pooled by region: a G1
    without residual blocks."""

    def __init__(
        self, inputs: int = 3, outputs: int = 3, width: int = 16, downs: int = 4, norm: Norm = "instance"
    ) -> None:
        super().__init__(inputs, outputs, width, downs, 0, norm)


class MultiscaleCritic(nn.Module):
    """D: the same patch critic, each with its own weights, at full size and at halves of it.

    ``scale{i}`` counts from the coarsest: the last sees its input as it is, each one before it half of what the next
    sees. 4x4 kernels padded by 2 on all sides.
    """

    def __init__(
        self, inputs: int, width: int = 64, layers: int = 3, scales: int = 3, norm: Norm = "instance"
    ) -> None:  # fmt: skip
        super().__init__()
        self.scales = scales
        widths = [min(width * 2**i, WIDEST) if i else width for i in range(layers + 1)]
        for i in range(scales):
            stack: list[list[nn.Module]] = [[nn.Conv2d(inputs, width, 4, 2, 2)]]
            for j, (a, b) in enumerate(pairwise(widths), start=1):
                stack.append(_normed(a, b, 4, 2 if j < layers else 1, 2, norm))
            stack.append([nn.Conv2d(widths[-1], 1, 4, 1, 2)])
            for j, parts in enumerate(stack):
                active = [nn.LeakyReLU(0.2, inplace=True)] if j <= layers else []
                self.add_module(f"scale{i}_layer{j}", nn.Sequential(*parts, *active))
        self.depth = layers + 2
        start(self)

    def forward(self, x: Tensor, scales: int | None = None) -> list[list[Tensor]]:
        """For each scale, the finest first, the maps after each layer of [B, inputs, H, W]: features [B, c, h, w], and
        last the scores [B, 1, h, w].

        scales: only so many, the coarsest; the finest of them sees ``x`` as it is.
        """
        scales = self.scales if scales is None else scales
        found = []
        for i in reversed(range(scales)):
            maps, h = [], x
            for j in range(self.depth):
                h = self.get_submodule(f"scale{i}_layer{j}")(h)
                maps.append(h)
            found.append(maps)
            if i:
                x = halved(x)
        return found
