"""Mixtures of Gaussians in the plane whose density is known exactly: what density estimation is judged on.

`ring8` and `grid25` are the usual ones of the GAN literature (Srivastava et al. 2017, VEEGAN, 1705.07761);
`spiral` is a chain of Gaussians along an Archimedean spiral, close enough to look like one curve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from ganvas.errors import UsageError, nearest


@dataclass(frozen=True, eq=False)
class Mixture:
    """K equally likely Gaussians in the plane, all with the covariance sigma^2 I."""

    centres: Tensor  # [K, 2] float64
    sigma: float

    def sample(self, n: int, seed: int) -> Tensor:
        """n independent points, float32 [n, 2] on the CPU."""
        generator = torch.Generator().manual_seed(seed)
        modes = torch.randint(len(self.centres), (n,), generator=generator)
        noise = torch.randn(n, 2, generator=generator, dtype=torch.float64)
        return (self.centres[modes] + self.sigma * noise).float()

    def log_density(self, points: Tensor) -> Tensor:
        """log p(x) in nats, float64 [N], at points [N, 2]."""
        x, centres = points.double(), self.centres.to(points.device)
        squares = (x[:, :1] - centres[:, 0]) ** 2 + (x[:, 1:] - centres[:, 1]) ** 2  # [N, K]
        scores = torch.logsumexp(-squares / (2 * self.sigma**2), 1)
        return scores - math.log(len(self.centres)) - math.log(2 * math.pi * self.sigma**2)


def _ring8() -> Mixture:
    angle = torch.arange(8, dtype=torch.float64) * (2 * math.pi / 8)
    return Mixture(2 * torch.stack([angle.cos(), angle.sin()], 1), 0.02)


def _grid25() -> Mixture:
    line = torch.arange(-2, 3, dtype=torch.float64) * 2
    return Mixture(torch.cartesian_prod(line, line), 0.05)


def _spiral() -> Mixture:
    turn = torch.linspace(0.02, 1, 100, dtype=torch.float64).sqrt()  # the root spaces the centres evenly on the curve
    angle = 4 * math.pi * turn
    return Mixture(2 * turn[:, None] * torch.stack([angle.cos(), angle.sin()], 1), 0.05)


MIXTURES: Final = {"ring8": _ring8(), "grid25": _grid25(), "spiral": _spiral()}


def mixture(name: str) -> Mixture:
    """The mixture of that name: ring8 (radius 2, sigma 0.02), grid25 (spacing 2, sigma 0.05) or spiral.

    Raises UsageError for another name.
    """
    if name not in MIXTURES:
        raise UsageError(f"There is no mixture {name!r}: {nearest(name, MIXTURES)}.")
    return MIXTURES[name]
