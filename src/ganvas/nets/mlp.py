"""Fully connected nets: for points of a mixture, and for small pictures as in the first GAN."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shape = tuple[int, ...]  # of one row: (D,) or (C, H, W)


class Trunk(nn.Module):
    """[B, D] to [B, F]: dense layers of equal width, each followed by a leaky ReLU (slope 0: a plain ReLU)."""

    def __init__(self, dims: int, width: int, depth: int, slope: float) -> None:
        super().__init__()
        layers = [nn.Linear(width if i else dims, width) for i in range(depth)]
        for layer in layers:  # biases stay uniform: were they zero, every kink would pass through the origin
            nn.init.kaiming_normal_(layer.weight, slope)
        self.layers = nn.ModuleList(layers)
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = F.leaky_relu_(layer(x), self.slope)
        return x


class Generator(nn.Module):
    """Noise [B, Z] to rows [B, *shape]: unbounded, or pixels in [-1, 1] by tanh."""

    def __init__(self, shape: Shape, width: int, latent: int, *, depth: int = 3, squash: bool = False) -> None:
        super().__init__()
        self.shape, self.squash = shape, squash
        self.trunk = Trunk(latent, width, depth, 0.0)
        self.out = nn.Linear(width, math.prod(shape))

    def forward(self, z: Tensor) -> Tensor:
        x = self.out(self.trunk(z)).unflatten(1, self.shape)
        return torch.tanh(x) if self.squash else x


class Critic(nn.Module):
    """Rows [B, *shape] to a score [B]."""

    def __init__(self, shape: Shape, width: int, *, depth: int = 3) -> None:
        super().__init__()
        self.trunk = Trunk(math.prod(shape), width, depth, 0.2)
        self.score = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.trunk(x.flatten(1)))[:, 0]
