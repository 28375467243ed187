"""Adversarial Variational Auto Encoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ganvas.errors import UsageError
from ganvas.game import Player, Turn, minimise, noise
from ganvas.games import Count, Part, Presets, Rate, Weight, register
from ganvas.games._coded import Inferred
from ganvas.losses import accuracy, bce, kl_normal, latent_nll, latent_precision, raw, squared_error
from ganvas.nets.table import Critic, Decoder, Encoder
from ganvas.optim import exponential_decay, keras_adam
from ganvas.schema import Schema
from ganvas.streams import Purpose


@dataclass(frozen=True)
class Config:
    width: Count = 128
    """Channels of the first convolution; the deepest has eight times as many."""
    latent: Count = 100
    """Dimensions of z, and of xi."""
    latent_loss: Literal["nll", "precision"] = "nll"
    """What ties G to the encoder: -ln q(z | G(z, xi)), or a distance weighed by its precision (as released)."""
    xi: bool = True
    """Whether G takes extra noise for what z cannot hold."""
    latent_weight: Weight | None = None
    """Weight of the latent loss; none: 1 for nll and 64 for precision (the released sum over a batch of 64)."""
    beta: Weight = 1.0
    """Weight of the KL term."""
    lr: Rate = 2e-4
    """Learning rate of every network, before its decay."""
    lr_end: Part = 0.02
    """Final learning rate as a fraction of the initial one (exponential decay)."""


# small: at a latent weight of 1 a narrow G tells E its code in noise, and the critic has won within a hundred steps.
PRESETS: Presets = {
    "small":      {"width":  16, "latent":  64, "lr": 5e-4, "lr_end": 0.1,  "steps":  1_000, "batch_size": 64,
                   "latent_weight": 0.1},
    "paper":      {"width": 128, "latent": 100, "lr": 2e-4, "lr_end": 0.02, "steps": 50_000, "batch_size": 64},
    "avae-table": {"width": 128, "latent": 100, "lr": 2e-4, "lr_end": 0.02, "steps": 50_000, "batch_size": 64},
    "tiny":       {"width":   2, "latent":   4, "lr": 1e-3, "lr_end": 0.1,  "steps":     60, "batch_size": 16},
}  # fmt: skip


@register(Config, PRESETS)
class AVAE(Inferred):
    """A VAE and a GAN tied by a latent loss (Plumerault et al. 2020, 2012.11551).

    The encoder E and the decoder learn only from the ELBO; the generator G learns from the critic D and from the latent
    loss L_Z, so no reconstruction loss ever reaches G. All move at once. With ``nll`` L_Z is read as the table's L_Z^a,
    with ``precision`` as its L_Z^b; the split between the two is a reading of ours.
    """

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__()
        if "image" not in schema:
            raise UsageError("avae learns from images; this data has none.")
        shape, width, Z = schema["image"], config.width, config.latent
        self.config, self.latent = config, Z
        self.E = Encoder(shape, width, Z)
        self.decoder = Decoder(shape, width, Z)
        self.G = Decoder(shape, width, 2 * Z if config.xi else Z)
        self.D = Critic(shape, width)
        recipe, decay = keras_adam(config.lr, (0.5, 0.999)), exponential_decay(config.lr_end)
        # One player for E and decoder: beta reaches E alone, so their two losses are one sum, and Adam is per weight.
        self.autoencoder = Player((self.E, self.decoder), recipe, decay)
        self.generator = Player((self.G,), recipe, decay)
        self.critic = Player((self.D,), recipe, decay)
        self.latent_loss = {"nll": latent_nll, "precision": latent_precision}[config.latent_loss]
        self.latent_weight = {"nll": 1.0, "precision": 64.0}[config.latent_loss]
        if config.latent_weight is not None:
            self.latent_weight = config.latent_weight

    def round(self, image: Tensor) -> Iterator[Turn]:  # [B, C, H, W] in [-1, 1]
        n, Z = len(image), self.latent
        mu, log_sigma = self.E(image)
        z = mu + log_sigma.exp() * self.normal(n, Z)  # reparameterisation
        reconstruction = squared_error(image, self.decoder(z))  # [B], sigma of the likelihood is 1

        z_prior = self.normal(n, Z)
        fake = self.G(torch.cat([z_prior, self.normal(n, Z)], 1) if self.config.xi else z_prior)
        latent = self.latent_loss(z_prior, self.E(fake)[0], log_sigma)

        real_score, fake_score = self.D(image), self.D(fake)
        self.note(**accuracy(real_score, fake_score))
        yield (
            minimise(
                self.autoencoder,
                reconstruction=reconstruction.mean(),
                kl=(self.config.beta, kl_normal(mu, log_sigma).mean()),
            ),
            minimise(self.generator, fool=raw(fake_score), latent=(self.latent_weight, latent.mean())),
            minimise(self.critic, real=bce(real_score, 1), fake=bce(fake_score, 0)),
        )

    # ---- verbs -------------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def decode(self, z: Tensor, *, seed: int = 0, first: int = 0, label: int | None = None) -> Tensor:
        """G(z, xi), xi from the seed."""
        if not self.config.xi:
            return super().decode(z, label=label)
        self.refuse(label)
        xi = noise(len(z), self.latent, seed=seed, first=first, purpose=Purpose.POSTERIOR)
        return self.G(torch.cat([z, xi.to(z)], 1))
