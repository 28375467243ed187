"""The nets of DCGAN (Radford et al. 2016, 1511.06434): 4x4 convolutions at stride 2, no pooling, no hidden dense layer.

A picture is halved as often as both sides allow, until the shorter has 4 to 31 pixels; widths double a stage, up to
eight times the first unless ``widest`` says otherwise. With batch norm no layer has a bias, as in the published DCGAN
of pytorch/examples, so that trained nets can be written in its format; without batch norm all but the projection have
one.
Kernels of 4 and normal noise are those of the authors' Torch code; the Theano code behind the paper has kernels of 5,
which a stride of 2 does not divide, and uniform noise.
With classes, G gets an embedding beside z, and the critic scores by projection (Miyato & Koyama 2018, 1802.05637).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as normalise

from ganvas.errors import UsageError
from ganvas.nets.initial import initialise

Shape = tuple[int, ...]  # (channels, height, width)
WIDEST = 8  # times the first width that a stage has at most


def stages(shape: Shape) -> int:
    """How often images of ``shape`` are halved. Raises UsageError for sizes that these nets cannot halve far enough."""
    _, height, width = shape
    short = min(height, width)
    halvings = [(short // 4).bit_length() - 1, *((side & -side).bit_length() - 1 for side in (height, width))]
    if min(halvings) < 2 or short >> min(halvings) > 31:
        raise UsageError(
            f"Images of {width}x{height} do not fit these nets: the shorter side must have 16 pixels or more, and both "
            "be multiples of 4, of 8 where it has 128 or more, of 16 from 256 on, and so forth; ask for another "
            "?size=, such as 32 or 64."
        )
    return min(halvings)


def widths(shape: Shape, width: int, widest: int = WIDEST) -> list[int]:
    """Channels after each halving: width, 2 width, 4 width, and so on up to ``widest`` times width."""
    return [width * min(2**i, widest) for i in range(stages(shape))]


def norm(channels: int, on: bool) -> nn.Module:
    return nn.BatchNorm2d(channels) if on else nn.Identity()


class Generator(nn.Module):
    """Noise [B, Z], and classes [B] if there are any, to images [B, C, H, W] in [-1, 1]."""

    def __init__(
        self,
        shape: Shape,
        width: int,
        latent: int,
        *,
        classes: int = 0,
        batch_norm: bool = True,
        widest: int = WIDEST,
    ) -> None:
        super().__init__()
        down = widths(shape, width, widest)
        channels, height, breadth = shape
        self.base = (height >> len(down), breadth >> len(down), down[-1])
        self.embed = nn.Embedding(classes, latent) if classes else None  # N(0, 1), as z
        self.dense = nn.Linear(
            2 * latent if classes else latent, self.base[0] * self.base[1] * self.base[2], bias=not batch_norm
        )
        self.norms = nn.ModuleList(norm(n, batch_norm) for n in reversed(down))
        outs = [*reversed(down[:-1]), channels]
        self.convs = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 4, 2, 1, bias=not batch_norm) for a, b in zip(reversed(down), outs, strict=True)
        )
        initialise(self)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        if self.embed is not None:
            z = torch.cat([z, self.embed(label)], 1)
        h = self.dense(z).unflatten(1, self.base).permute(0, 3, 1, 2)  # channels-last as it is
        for norm, conv in zip(self.norms, self.convs, strict=True):
            h = conv(F.relu_(norm(h)))
        return torch.tanh(h)


class Critic(nn.Module):
    """Images [B, C, H, W], and classes [B] if there are any, to a score [B].

    With classes the score gains <embedding of the class, features summed over positions> (1802.05637, equation 3).
    """

    def __init__(
        self,
        shape: Shape,
        width: int,
        *,
        classes: int = 0,
        batch_norm: bool = True,
        spectral_norm: bool = False,
        widest: int = WIDEST,
    ) -> None:
        super().__init__()
        outs = widths(shape, width, widest)
        channels, height, breadth = shape
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 4, 2, 1, bias=not batch_norm) for a, b in zip([channels, *outs[:-1]], outs, strict=True)
        )
        self.norms = nn.ModuleList(norm(n, batch_norm and i > 0) for i, n in enumerate(outs))
        self.score = nn.Linear(outs[-1] * (height >> len(outs)) * (breadth >> len(outs)), 1, bias=not batch_norm)
        self.project = nn.Embedding(classes, outs[-1]) if classes else None
        initialise(self)
        if self.project is not None:
            nn.init.normal_(self.project.weight, 0, 0.02)
        if spectral_norm:  # Miyato et al. 2018, 1802.05957: every layer
            for layer in [*self.convs, self.score, *([self.project] if self.project is not None else [])]:
                normalise(layer)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        h = x
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = F.leaky_relu_(norm(conv(h)), 0.2)
        score: Tensor = self.score(h.permute(0, 2, 3, 1).flatten(1))[:, 0]  # no copy: maps are channels-last
        if self.project is not None:
            score = score + (self.project(label) * h.sum((2, 3))).sum(1)
        return score
