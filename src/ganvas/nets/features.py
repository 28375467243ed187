"""Feature nets of perceptual distances: AlexNet, SqueezeNet 1.1, VGG16 and VGG19, small definitions of ours.

Keys and layer numbers are those of torchvision's ``features``, so that its published weights load as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganvas import weights

# ImageNet's mean and deviation moved to [-1, 1] (Zhang et al. 2018, 1801.03924; released code v0.1)
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)


class Fire(nn.Module):
    """Squeeze to few channels, expand by 1x1 and 3x3 side by side (Iandola et al. 2016, 1602.07360, figure 1)."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return F.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))


def _alexnet() -> list[nn.Module]:
    """Krizhevsky 2014, 1404.5997, the one-column net, as torchvision has it."""
    return [
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
    ]  # fmt: skip


def _squeezenet() -> list[nn.Module]:
    """SqueezeNet 1.1 (its authors' release of 2016): pools early, and rounds sizes up."""

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return [
        nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), pool(),
        Fire(64, 16, 64), Fire(128, 16, 64), pool(),
        Fire(128, 32, 128), Fire(256, 32, 128), pool(),
        Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256),
    ]  # fmt: skip


def _vgg(deep: int) -> list[nn.Module]:
    """Simonyan & Zisserman 2015, 1409.1556, with ``deep`` convolutions in each of the last three blocks: 3 in
    configuration D, 4 in E."""
    layers: list[nn.Module] = []
    inputs = 3
    for width, depth in ((64, 2), (128, 2), (256, deep), (512, deep), (512, deep)):
        for _ in range(depth):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2, 2))
    return layers


def _vgg16() -> list[nn.Module]:
    return _vgg(3)


def _vgg19() -> list[nn.Module]:
    return _vgg(4)


class _Kind(NamedTuple):
    layers: Callable[[], list[nn.Module]]
    taps: tuple[int, ...]  # layers whose output is a feature map, those of LPIPS
    channels: tuple[int, ...]
    least: int  # pixels of the shorter side, below which a map would be empty
    weights: str
    bare: bool = False  # whether images go in as they are, in [-1, 1], with ImageNet's mean and deviation left alone


KINDS = {
    "alex": _Kind(_alexnet, (1, 4, 7, 9, 11), (64, 192, 384, 256, 256), 31, "alexnet"),
    "squeeze": _Kind(_squeezenet, (1, 4, 7, 9, 10, 11, 12), (64, 128, 256, 384, 384, 512, 512), 17, "squeezenet1_1"),
    "vgg": _Kind(_vgg16, (3, 8, 15, 22, 29), (64, 128, 256, 512, 512), 16, "vgg16"),
    "vgg-12": _Kind(_vgg16, (3, 8), (64, 128), 2, "vgg16-conv1-2"),
    # relu1_1 to relu5_1, as pix2pixHD's perceptual loss has them (Wang et al. 2018, 1711.11585; released code)
    "vgg19": _Kind(_vgg19, (1, 6, 11, 20, 29), (64, 128, 256, 512, 512), 16, "vgg19", bare=True),
}


class FeatureStack(nn.Module):
    """The convolutions of a published net up to its last tap; its maps are those of LPIPS, but for VGG19.

    kind: ``alex``, ``squeeze``, ``vgg``, ``vgg-12`` (the first two blocks of VGG16) or ``vgg19``. Weights are random:
    `published` gives the trained ones.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        layers, self.taps, self.channels, self.least, _, bare = KINDS[kind]
        self.features = nn.Sequential(*layers()[: self.taps[-1] + 1])
        shift, scale = ((0.0,) * 3, (1.0,) * 3) if bare else (SHIFT, SCALE)
        self.register_buffer("shift", torch.tensor(shift).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(scale).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Feature maps [B, channels[i], h_i, w_i] of images [B, 3 or 1, H, W] in [-1, 1], sides at least ``least``.

        Grey images stand for three equal channels.
        """
        x = (x - self.shift) / self.scale
        maps = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.taps:
                maps.append(x)
        return maps


def published(kind: str) -> FeatureStack:
    """The stack with its published weights, frozen, channels-last. Raises MissingWeights, Damaged."""
    tensors = weights.load(KINDS[kind].weights)
    with torch.random.fork_rng(devices=[]):  # initial weights, thrown away, must not move anyone's random numbers
        stack = FeatureStack(kind)
    with weights.fitting(KINDS[kind].weights):
        stack.load_state_dict({key: tensors[key] for key in stack.state_dict()})
    stack.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return stack.eval().requires_grad_(False)


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over tensors in the order of their names: name, dtype, shape and bytes of each. Names a net in recipes,
    whatever file its weights came in."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
