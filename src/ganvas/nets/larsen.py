"""The nets of VAE/GAN's own paper (Larsen et al. 2016, 1512.09300, table 1): 5x5 convolutions, plain ReLUs, batch norm.

There images have 64x64 pixels, and every picture is halved three times. ``width`` is 64 there: the encoder's first
convolution has as many channels, the critic's half as many. Padding is 2 on every side.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganvas.errors import UsageError

Shape = tuple[int, ...]  # (channels, height, width)


def base(shape: Shape) -> tuple[int, int]:
    """Height and width of an image's smallest map. Raises UsageError for sizes that cannot be halved three times."""
    _, height, width = shape
    if min(height, width) < 16 or height % 8 or width % 8:
        raise UsageError(
            f"Images of {width}x{height} do not fit these nets: both sides must be multiples of 8 and have 16 pixels "
            "or more; ask for another ?size=, such as 64."
        )
    return height // 8, width // 8


def down(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 5, 2, padding=2, bias=False)


class Encoder(nn.Module):
    """Image [B, C, H, W] to the posterior: mu and log sigma, [B, Z]. Convolutions of w, 2w, 4w; dense 32w."""

    def __init__(self, shape: Shape, width: int, latent: int) -> None:
        super().__init__()
        h, w = base(shape)
        widths = [width, 2 * width, 4 * width]
        self.convs = nn.ModuleList(down(i, o) for i, o in zip([shape[0], *widths[:-1]], widths, strict=True))
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in widths)
        self.dense = nn.Linear(4 * width * h * w, 32 * width, bias=False)
        self.norm = nn.BatchNorm1d(32 * width)
        self.mu, self.log_sigma = nn.Linear(32 * width, latent), nn.Linear(32 * width, latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu_(norm(conv(x)))
        h = F.relu_(self.norm(self.dense(x.flatten(1))))
        return self.mu(h), self.log_sigma(h)


class Decoder(nn.Module):
    """Code [B, Z] to image [B, C, H, W] in [-1, 1]: dense 4w maps, transposed convolutions of 4w, 2w, w/2, one to C."""

    def __init__(self, shape: Shape, width: int, latent: int) -> None:
        super().__init__()
        self.base = (4 * width, *base(shape))
        widths = [4 * width, 4 * width, 2 * width, max(1, width // 2)]
        self.dense = nn.Linear(latent, self.base[0] * self.base[1] * self.base[2], bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in widths)
        self.convs = nn.ModuleList(
            nn.ConvTranspose2d(i, o, 5, 2, padding=2, output_padding=1, bias=False)
            for i, o in itertools.pairwise(widths)
        )
        self.out = nn.Conv2d(widths[-1], shape[0], 5, padding=2)

    def forward(self, z: Tensor) -> Tensor:
        h = F.relu_(self.norms[0](self.dense(z).unflatten(1, self.base)))
        for conv, norm in zip(self.convs, list(self.norms)[1:], strict=True):
            h = F.relu_(norm(conv(h)))
        return torch.tanh(self.out(h))


class FeatureCritic(nn.Module):
    """Image to a logit [B], and the third halving's map before its norm, flat [B, F], in which likeness is measured."""

    def __init__(self, shape: Shape, width: int) -> None:
        super().__init__()
        h, w = base(shape)
        widths = [max(1, width // 2), 2 * width, 4 * width, 4 * width]
        self.first = nn.Conv2d(shape[0], widths[0], 5, padding=2)
        self.convs = nn.ModuleList(down(i, o) for i, o in itertools.pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in widths[1:])
        self.dense = nn.Linear(4 * width * h * w, 8 * width, bias=False)
        self.norm = nn.BatchNorm1d(8 * width)
        self.score = nn.Linear(8 * width, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = features = F.relu_(self.first(x))
        for conv, norm in zip(self.convs, self.norms, strict=True):
            features = conv(h)
            h = F.relu_(norm(features))
        return self.score(F.relu_(self.norm(self.dense(h.flatten(1)))))[:, 0], features.flatten(1)
