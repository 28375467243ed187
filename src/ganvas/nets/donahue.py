"""The dense nets of BiGAN's own paper on permutation-invariant pictures (Donahue et al. 2017, 1605.09782, section 4.1).

Three layers each, of ``width`` units (1,024 there), with batch norm that neither scales nor shifts before the second
rectifier, and in G before the first too, as their released code has it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shape = tuple[int, ...]  # (channels, height, width)


class Dense(nn.Module):
    """[B, I] to [B, O]: dense, LReLU, dense, norm, LReLU, dense; ``normed`` puts a norm before the first LReLU too.

    slope: of the LReLU below 0.
    """

    def __init__(self, inputs: int, width: int, outputs: int, *, slope: float = 0.2, normed: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(inputs, width), nn.Linear(width, width), nn.Linear(width, outputs)])
        self.norms = nn.ModuleList([
            nn.BatchNorm1d(width, affine=False) if normed else nn.Identity(), nn.BatchNorm1d(width, affine=False)
        ])  # fmt: skip
        self.slope = slope
        for layer in self.layers:
            nn.init.normal_(layer.weight, 0, 0.02)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, h: Tensor) -> Tensor:
        for layer, norm in zip(self.layers, self.norms, strict=False):
            h = F.leaky_relu(norm(layer(h)), self.slope)
        return self.layers[-1](h)


class Head(nn.Module):
    """Image to [B, N]: as the encoder, a code."""

    def __init__(self, shape: Shape, width: int, outputs: int) -> None:
        super().__init__()
        self.dense = Dense(math.prod(shape), width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(x.flatten(1))


class Decoder(nn.Module):
    """Code [B, Z] to image [B, C, H, W] in [-1, 1]."""

    def __init__(self, shape: Shape, width: int, latent: int) -> None:
        super().__init__()
        self.shape = shape
        self.dense = Dense(latent, width, math.prod(shape), slope=0.0, normed=True)

    def forward(self, z: Tensor) -> Tensor:
        x: Tensor = self.dense(z)
        return torch.tanh(x).unflatten(1, self.shape)  # type: ignore[no-untyped-call]


class JointCritic(nn.Module):
    """Image and code to one logit [B]."""

    def __init__(self, shape: Shape, width: int, latent: int) -> None:
        super().__init__()
        self.dense = Dense(math.prod(shape) + latent, width, 1)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.dense(torch.cat([x.flatten(1), z], 1))[:, 0]
