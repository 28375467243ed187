"""LPIPS v0.1: learned perceptual image patch similarity (Zhang et al. 2018, 1801.03924)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ganvas import weights
from ganvas.metrics import images
from ganvas.metrics.pairs import PairMetric
from ganvas.nets.features import FeatureStack, digest, published


class LPIPSNet(nn.Module):
    """A feature stack and one non-negative weight a channel.

    d(x, y) = sum over maps of the mean over positions of sum_c w_c (x_c / |x| - y_c / |y|)^2 (equation 1, with the
    weights inside the sum as in the released code).
    """

    def __init__(self, stack: FeatureStack, linear: list[Tensor]) -> None:
        """linear: [C_i] for each of the stack's maps."""
        super().__init__()
        self.stack = stack
        self.linear = nn.ParameterList(nn.Parameter(w, requires_grad=False) for w in linear)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Distances [B] of images [B, 1 or 3, H, W] in [-1, 1]."""
        total = x.new_zeros(len(x))
        for maps, w in zip(self.stack(torch.cat([x, y])), self.linear, strict=True):
            unit = maps / (maps.norm(dim=1, keepdim=True) + 1e-10)
            a, b = unit.chunk(2)
            total = total + ((a - b).square() * w.view(1, -1, 1, 1)).sum(1).mean((1, 2))
        return total


def trained(kind: str) -> LPIPSNet:
    """LPIPS over ``alex``, ``squeeze`` or ``vgg`` with the published weights. Raises MissingWeights, Damaged."""
    stack = published(kind)
    tensors = weights.load(f"lpips-{kind}")
    linear = [tensors[f"lin{i}.model.1.weight"].flatten() for i in range(len(stack.taps))]
    return LPIPSNet(stack, linear).eval()


class LPIPS(PairMetric):
    """LPIPS of pairs, mean over images; at the images' own size."""

    def __init__(self, name: str, net: LPIPSNet) -> None:
        super().__init__(name)
        self.net = net
        self._sha256 = digest(net.state_dict())

    def measure(self, x: Tensor, y: Tensor) -> Tensor:
        images.check(x, self.name, least=self.net.stack.least)
        with images.measuring(x.device):
            x, y = (image.float().contiguous(memory_format=torch.channels_last) for image in (x, y))
            distances: Tensor = self.net.to(x.device)(x, y)
            return distances[:, None]

    def recipe(self, shape: torch.Size) -> dict[str, Any]:
        return {
            "version": "0.1",
            "extractor": self.net.stack.kind,
            "sha256": self._sha256,
            "range": [-1, 1],
            "resize": "none",
            "mean": "images",
        }
