"""Bidirectional GAN."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ganvas.errors import UsageError
from ganvas.game import Player, Turn, minimise
from ganvas.games import Count, Fraction, Part, Presets, Rate, Weight, register
from ganvas.games._coded import Coded
from ganvas.losses import accuracy, bce
from ganvas.nets import donahue, table
from ganvas.optim import exponential_decay, keras_adam
from ganvas.schema import Schema


@dataclass(frozen=True)
class Config:
    width: Count = 128
    """Channels of the first convolution; the deepest has eight times as many."""
    latent: Count = 100
    """Dimensions of z."""
    encoder_weight: Weight = 10.0
    """Weight of the encoder's loss against G's; Adam all but cancels it."""
    nets: Literal["table", "paper"] = "table"
    """The AVAE table's nets; or the dense ones of Donahue et al., for which width is 1,024."""
    prior: Literal["normal", "uniform"] = "normal"
    """What z is drawn from: N(0, I), or evenly from [-1, 1]."""
    weight_decay: Weight = 0.0
    """Weight decay (L2 added to the gradient)."""
    lr: Rate = 2e-4
    """Learning rate of every network, before its decay."""
    lr_flat: Fraction = 0.0
    """The first part of the run, in which it does not decay."""
    lr_end: Part = 0.02
    """Final learning rate as a fraction of the initial one (exponential decay)."""


PRESETS: Presets = {
    "small":      {"width":    16, "latent":  64, "lr": 5e-4, "lr_end": 0.1,  "steps":   1_500, "batch_size":  64},
    "paper":      {"width": 1_024, "latent":  50, "lr": 2e-4, "lr_end": 0.01, "steps": 187_500, "batch_size": 128,
                   "nets": "paper", "prior": "uniform", "weight_decay": 2.5e-5, "lr_flat": 0.5, "encoder_weight": 1.0},
    "avae-table": {"width":   128, "latent": 100, "lr": 2e-4, "lr_end": 0.02, "steps":  50_000, "batch_size":  64},
    "tiny":       {"width":     4, "latent":   4, "lr": 1e-3, "lr_end": 0.1,  "steps":      60, "batch_size":  16},
}  # fmt: skip


@register(Config, PRESETS)
class BiGAN(Coded):
    """A GAN with an encoder, judged by a critic on pairs (Donahue et al. 2017, 1605.09782).

    D tells pairs (x, E(x)) from pairs (G(z), z); E and G make them alike, both by the same loss, of which one part
    reaches each. Where D cannot tell, E inverts G (Theorem 2 there), though no loss compares x with G(E(x)). All three
    move at once, on the graphs of one forward pass; D calls the pairs of G real, as the AVAE table's code has it
    (Plumerault et al. 2020, 2012.11551), which makes no other difference. The preset ``paper`` is that of its
    permutation-invariant digits: dense nets, an even prior.
    """

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__()
        if "image" not in schema:
            raise UsageError("bigan learns from images; this data has none.")
        shape, width = schema["image"], config.width
        self.config, self.latent = config, config.latent
        nets = table if config.nets == "table" else donahue
        self.E = nets.Head(shape, width, config.latent)
        self.G = nets.Decoder(shape, width, config.latent)
        self.D = nets.JointCritic(shape, width, config.latent)
        self.even = config.prior == "uniform"
        recipe = keras_adam(config.lr, (0.5, 0.999), weight_decay=config.weight_decay)
        decay = exponential_decay(config.lr_end, config.lr_flat)
        self.encoder = Player((self.E,), recipe, decay)
        self.generator = Player((self.G,), recipe, decay)
        self.critic = Player((self.D,), recipe, decay)

    def round(self, image: Tensor) -> Iterator[Turn]:  # [B, C, H, W] in [-1, 1]
        n, Z = len(image), self.latent
        z = 2 * self.uniform(n, Z) - 1 if self.even else self.normal(n, Z)
        s_e, s_g = self.D(image, self.E(image)), self.D(self.G(z), z)
        self.note(**accuracy(s_g, s_e))
        yield (
            minimise(self.encoder, fool=(self.config.encoder_weight, bce(s_e, 1))),
            minimise(self.generator, fool=bce(s_g, 0)),
            minimise(self.critic, encoded=bce(s_e, 0), generated=bce(s_g, 1)),
        )

    # ---- verbs -------------------------------------------------------------------------------------------------------
    def prior(self, n: int, *, seed: int = 0, first: int = 0, truncation: float | None = None) -> Tensor:
        z = super().prior(n, seed=seed, first=first, truncation=truncation)
        return 2 * torch.special.ndtr(z) - 1 if self.even else z

    @torch.no_grad()
    def encode(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        return self.E(x)

    def reconstruct(self, x: Tensor, *, seed: int = 0, first: int = 0, label: Tensor | None = None) -> Tensor:
        return self.decode(self.encode(x))
