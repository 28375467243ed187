"""From images to feature vectors: the first rung of every distance between sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ganvas.metrics import images
from ganvas.nets.features import FeatureStack, digest, published


@dataclass(frozen=True)
class Extractor:
    """A frozen net that turns images into vectors, and everything a recipe says about it.

    A new feature space for `fd-*`, or a new distance over an old one, is an Extractor and no other change.
    """

    name: str
    net: nn.Module
    dims: int
    prepare: Callable[[Tensor], Tensor]
    """[B, C, H, W] at 8-bit levels in [-1, 1] -> what the net takes."""
    read: Callable[[nn.Module, Tensor], Tensor]
    """(net, prepared) -> [B, dims]."""
    recipe: Mapping[str, Any]

    def __call__(self, x: Tensor) -> Tensor:
        """Features [B, dims], float32 on the images' device, of images [B, 1 or 3, H, W] in [-1, 1]."""
        images.check(x, f"The extractor {self.name!r}")
        with images.measuring(x.device):
            x = self.prepare(images.levels(x)).contiguous(memory_format=torch.channels_last)
            return self.read(self.net.to(x.device), x)

    def describe(self, x: Tensor) -> dict[str, Any]:
        """The recipe of features of images like ``x``: sums of features may meet where this is the same."""
        prepared = self.prepare(x[:1])
        return {"extractor": self.name, **self.recipe, "size": list(prepared.shape[2:])}


def _last_map(net: nn.Module, x: Tensor) -> Tensor:
    """The spatial mean of the last map. [B, D]"""
    last: Tensor = net(x)[-1]
    return last.mean((2, 3))


def stack(kind: str, of: str) -> Extractor:
    """Features of a published net: its last map, averaged over space. Raises MissingWeights, Damaged."""
    return from_stack(published(kind), of)


def from_stack(net: FeatureStack, of: str) -> Extractor:
    """The last map of any feature stack, averaged over space. of: its name in words, for the recipe."""
    return Extractor(
        net.kind,
        net,
        net.channels[-1],
        images.resized,
        _last_map,
        {
            "features": f"{of}, spatial mean, {net.channels[-1]}-d",
            "sha256": digest(net.state_dict()),
            "input": "8-bit levels, LPIPS normalisation",
            "resize": f"{images.SMALLEST} bilinear half-pixel where the shorter side is under {images.SMALLEST}",
        },
    )


def alex() -> Extractor:
    """ReLU of AlexNet's last convolution, spatial mean, 256-d."""
    return stack("alex", "ReLU of AlexNet's last convolution")


def squeeze() -> Extractor:
    """SqueezeNet 1.1's last fire module, spatial mean, 512-d."""
    return stack("squeeze", "last fire module of SqueezeNet 1.1")
