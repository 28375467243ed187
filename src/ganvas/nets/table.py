"""The 5x5 nets of the AVAE table (Plumerault et al. 2020, released code): TensorFlow's SAME padding without a copy.

At stride 2 TensorFlow pads 1 before and 2 after, which PyTorch can only do by copying every map. Turn the picture by
180 degrees, and SAME is exactly ``padding=2``, and for a transposed convolution ``padding=2, output_padding=1``. So
these nets live in a turned world and turn only the picture at their edge: a kernel here is a kernel there flipped in
both directions, and the rows of a dense layer, which count positions in the order h, w, c, are reversed in h and w.

``s`` is the third stride: 1, or 2 where the shorter side has 64 pixels or more.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganvas.errors import UsageError
from ganvas.nets.initial import initialise

Shape = tuple[int, ...]  # (channels, height, width)


def strides(shape: Shape) -> tuple[int, int, int, int]:
    """The strides of the four convolutions for images of ``shape``. Raises UsageError for sizes they cannot halve."""
    _, height, width = shape
    s = 2 if min(height, width) >= 64 else 1
    if min(height, width) < 16 or height % (8 * s) or width % (8 * s):
        raise UsageError(
            f"Images of {width}x{height} do not fit these nets: the shorter side must have 16 pixels or more, and both "
            "be multiples of 8, or of 16 where it has 64 or more; ask for another ?size=, such as 32 or 64."
        )
    return 2, 2, s, 2


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """As Keras has it by default but for the momentum: 0.9 there is 0.1 here."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.1)


class Stack(nn.Module):
    """Image [B, C, H, W] to features [B, F], counted h, w, c: conv ch, 2ch, 4ch, 8ch; batch norm after the first."""

    def __init__(self, shape: Shape, width: int) -> None:
        super().__init__()
        steps, (channels, height, breadth) = strides(shape), shape
        widths = [width, 2 * width, 4 * width, 8 * width]
        ins = [channels, *widths]
        self.convs = nn.ModuleList(
            nn.Conv2d(ins[i], widths[i], 5, steps[i], padding=2, bias=i == 0) for i in range(len(widths))
        )
        self.norms = nn.ModuleList(batch_norm(n) for n in widths[1:])
        times = 8 * steps[2]
        self.features = 8 * width * (height // times) * (breadth // times)

    def forward(self, x: Tensor) -> Tensor:
        return flat(self.maps(x)[-1])

    def maps(self, x: Tensor) -> list[Tensor]:
        """The four feature maps, [B, ch ... 8ch, h, w], turned by 180 degrees."""
        maps = [F.leaky_relu_(self.convs[0](x.flip(2, 3)), 0.2)]
        for conv, norm in zip(list(self.convs)[1:], self.norms, strict=True):
            maps.append(F.leaky_relu_(norm(conv(maps[-1])), 0.2))
        return maps


def flat(h: Tensor) -> Tensor:
    """Maps [B, C, H, W] as rows counted h, w, c; no copy, for maps are channels-last."""
    return h.permute(0, 2, 3, 1).flatten(1)


class Head(nn.Module):
    """Image to [B, N]: the stack and a dense layer."""

    def __init__(self, shape: Shape, width: int, outputs: int) -> None:
        super().__init__()
        self.stack = Stack(shape, width)
        self.dense = nn.Linear(self.stack.features, outputs)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.stack(x))


class Critic(Head):
    """Image to a logit [B]."""

    def __init__(self, shape: Shape, width: int) -> None:
        super().__init__(shape, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, 0]


class FeatureCritic(nn.Module):
    """Image to a logit [B] and the features [B, F] in which VAE/GAN measures likeness.

    Those are the last map; of pictures with a shorter side of 64 pixels or more the third, over the root of 2.
    """

    def __init__(self, shape: Shape, width: int) -> None:
        super().__init__()
        self.stack = Stack(shape, width)
        self.dense = nn.Linear(self.stack.features, 1)
        self.large = strides(shape)[2] == 2
        initialise(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.stack.maps(x)
        last = flat(maps[-1])
        return self.dense(last)[:, 0], flat(maps[2]) / math.sqrt(2) if self.large else last


class JointCritic(nn.Module):
    """Image and code [B, Z] to one logit [B]: a net for each (8ch), and dense layers for both (16ch, 16ch, 1)."""

    def __init__(self, shape: Shape, width: int, latent: int) -> None:
        super().__init__()
        n = 8 * width
        self.x = Head(shape, width, n)
        self.z = nn.ModuleList([nn.Linear(latent, n), nn.Linear(n, n), nn.Linear(n, n)])
        self.both = nn.ModuleList([nn.Linear(2 * n, 2 * n), nn.Linear(2 * n, 2 * n), nn.Linear(2 * n, 1)])
        initialise(self)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return dense(self.both, torch.cat([self.x(x), dense(self.z, z)], 1))[:, 0]


def dense(layers: nn.ModuleList, h: Tensor) -> Tensor:
    """Dense layers with leaky ReLUs between them."""
    for i, layer in enumerate(layers):
        h = layer(F.leaky_relu_(h, 0.2) if i else h)
    return h


class Encoder(nn.Module):
    """Image to the posterior: mu [B, Z] and log sigma, one vector [Z] for all images or, ``per_image``, [B, Z]."""

    def __init__(self, shape: Shape, width: int, latent: int, *, per_image: bool = False) -> None:
        super().__init__()
        self.stack = Stack(shape, width)
        self.mu = nn.Linear(self.stack.features, latent)
        self.spread = nn.Linear(self.stack.features, latent, bias=False) if per_image else None
        self.log_sigma = nn.Parameter(torch.zeros(latent))
        initialise(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.stack(x)
        return self.mu(h), self.log_sigma if self.spread is None else self.log_sigma + self.spread(h)


class Decoder(nn.Module):
    """Code [B, Z] to image [B, C, H, W]: dense 8ch, transposed conv 4ch, 2ch, ch, C; in [-1, 1] by tanh, or logits."""

    def __init__(self, shape: Shape, width: int, latent: int, *, squash: bool = True) -> None:
        super().__init__()
        steps, (channels, height, breadth) = strides(shape), shape
        times = 8 * steps[2]
        widths = [8 * width, 4 * width, 2 * width, width, channels]
        self.base = (height // times, breadth // times, 8 * width)
        self.squash = squash
        self.dense = nn.Linear(latent, self.base[0] * self.base[1] * self.base[2], bias=False)
        self.norms = nn.ModuleList(batch_norm(n) for n in widths[:-1])
        self.convs = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 5, step, padding=2, output_padding=step - 1, bias=last)
            for a, b, step, last in zip(
                widths[:-1], widths[1:], (2, steps[2], 2, 2), (False, False, False, True), strict=True
            )
        )
        initialise(self)

    def forward(self, z: Tensor) -> Tensor:
        h = self.dense(z).unflatten(1, self.base).permute(0, 3, 1, 2)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            h = conv(F.relu_(norm(h)))
        return (torch.tanh(h) if self.squash else h).flip(2, 3)
