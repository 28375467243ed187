"""How far two pictures are apart in the features of a published net."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from ganvas.game import wide
from ganvas.nets.features import KINDS, FeatureStack, published

Kind = Literal["vgg19", "vgg16-12", "alex", "squeeze"]
STACKS: dict[Kind, str] = {"vgg19": "vgg19", "vgg16-12": "vgg-12", "alex": "alex", "squeeze": "squeeze"}
VGG19 = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)  # of relu1_1 to relu5_1 (Wang et al. 2018, 1711.11585; released code)


class Perceptual:
    """The weighted sum, over the maps of a published net, of the mean of |f(x) - f(y)|.

    ``vgg19``: maps, weights and bare inputs of pix2pixHD's release. The others: the maps of LPIPS, inputs normalised as
    there, all maps of the same weight, which together is 1.

    It is no module: a game holds it, and its weights are in no checkpoint, no player, no copy of the game. They are
    loaded at the first call, to where the images are, and in their dtype but at least fp32; that raises MissingWeights
    or Damaged.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        taps = KINDS[STACKS[kind]].taps
        self.least = KINDS[STACKS[kind]].least  # pixels of the shorter side, below which a map would be empty
        self.weights = VGG19 if kind == "vgg19" else (1 / len(taps),) * len(taps)
        self._net: FeatureStack | None = None

    @staticmethod
    def file(kind: Kind) -> str:
        """What its weights are called in `ganvas.weights`."""
        return KINDS[STACKS[kind]].weights

    def __deepcopy__(self, memo: dict[int, Any]) -> Perceptual:
        return self

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The distance of images x and y, [B, 3 or 1, H, W] in [-1, 1], a mean over the batch; y is held constant."""
        x, y = wide(x), wide(y)
        net = self._like(x)
        with torch.no_grad():
            targets = net(y)
        maps = zip(self.weights, net(x), targets, strict=True)
        return torch.stack([weight * (wide(a) - wide(b)).abs().mean() for weight, a, b in maps]).sum()

    def _like(self, x: Tensor) -> FeatureStack:
        """The net, where and as ``x`` is."""
        if self._net is None:
            self._net = published(STACKS[self.kind])
        weight = next(self._net.parameters())
        if (weight.device, weight.dtype) != (x.device, x.dtype):
            self._net.to(device=x.device, dtype=x.dtype)
        return self._net
