"""The autoencoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ganvas.errors import UsageError
from ganvas.game import Game, Player, Turn, minimise
from ganvas.games import Count, Fraction, Presets, Rate, register
from ganvas.losses import absolute_error
from ganvas.nets.table import Decoder, Head
from ganvas.optim import adam
from ganvas.schema import Schema


@dataclass(frozen=True)
class Config:
    width: Count = 32
    """Channels of the first convolution; the deepest has eight times as many."""
    latent: Count = 64
    """Dimensions of the code z."""
    lr: Rate = 1e-3
    """Learning rate."""
    ema: Fraction = 0.999
    """Decay a step of the averaged weights, which the verbs use."""


PRESETS: Presets = {
    "small": {"width": 16, "latent": 64, "steps": 2_000, "batch_size": 64},
    "tiny":  {"width":  2, "latent":  4, "steps":    60, "batch_size": 16},
}  # fmt: skip


@register(Config, PRESETS)
class Autoencoder(Game):
    """z = f(x), x_hat = g(z), and the loss |x - g(f(x))|_1.

    A code of few dimensions that the picture must pass through (Hinton & Salakhutdinov 2006, Science 313, 504-507),
    with an absolute error: a sum over pixels and channels, a mean over images.
    """

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__()
        if "image" not in schema:
            raise UsageError("autoencoder learns from images; this data has none.")
        self.config = config
        self.f = Head(schema["image"], config.width, config.latent)
        self.g = Decoder(schema["image"], config.width, config.latent)
        self.autoencoder = Player((self.f, self.g), adam(config.lr, (0.9, 0.999)), ema=config.ema)

    def round(self, image: Tensor) -> Iterator[Turn]:  # [B, C, H, W] in [-1, 1]
        yield minimise(self.autoencoder, l1=absolute_error(image, self.g(self.f(image))).mean())

    # ---- verbs -------------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def encode(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        return self.f(x)

    @torch.no_grad()
    def decode(self, z: Tensor, *, seed: int = 0, first: int = 0, label: int | None = None) -> Tensor:
        if label is not None:
            raise UsageError("An autoencoder knows no classes: leave the class out.")
        return self.g(z)

    def reconstruct(self, x: Tensor, *, seed: int = 0, first: int = 0, label: Tensor | None = None) -> Tensor:
        return self.decode(self.encode(x))
