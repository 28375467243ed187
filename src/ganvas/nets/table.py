"""The 5x5 nets of the AVAE table (Plumerault et al. 2020, released code): TensorFlow's SAME padding without a copy.

At stride 2 TensorFlow pads 1 before and 2 after, which PyTorch can only do by copying every map. Turn the picture by
180 degrees, and SAME is exactly ``padding=2``, and for a transposed convolution ``padding=2, output_padding=1``. So
these nets live in a turned world and turn only the picture at their edge: a kernel here is a kernel there flipped in
both directions, and the rows of a dense layer, which count positions in the order h, w, c, are reversed in h and w.

``s`` is the third stride: 1, or 2 where the shorter side has 64 pixels or more.
"""

from __future__ import annotations

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
        h = F.leaky_relu_(self.convs[0](x.flip(2, 3)), 0.2)
        for conv, norm in zip(list(self.convs)[1:], self.norms, strict=True):
            h = F.leaky_relu_(norm(conv(h)), 0.2)
        return h.permute(0, 2, 3, 1).flatten(1)  # no copy: maps are channels-last


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
