"""VAE/GAN: an autoencoder beyond pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ganvas.errors import UsageError
from ganvas.game import Player, Turn, minimise
from ganvas.games import Count, Part, Presets, Rate, Weight, register
from ganvas.games._coded import Inferred
from ganvas.losses import accuracy, bce, kl_normal, raw, saturating, squared_error
from ganvas.nets import larsen, table
from ganvas.optim import exponential_decay, keras_adam, rmsprop
from ganvas.schema import Schema


@dataclass(frozen=True)
class Config:
    width: Count = 128
    """Channels of the first convolution; the deepest has eight times as many."""
    latent: Count = 100
    """Dimensions of z."""
    beta: Weight = 10.0
    """Weight of the KL term; in the AVAE table 10 for CIFAR, 4 for bedrooms, 5 for CelebA, 20 for SVHN."""
    likeness: Weight = 0.01
    """Weight of the likelihood of features against fooling the critic, in the decoder's loss (gamma in the paper)."""
    loss: Literal["raw", "saturating"] = "raw"
    """What fools the critic: minus its bare logit (the AVAE table), or E[ln(1 - d)], the value that it climbs."""
    nets: Literal["table", "paper"] = "table"
    """The AVAE table's nets, whose posterior shares one sigma; or those of Larsen et al., for which width is 64."""
    optimiser: Literal["adam", "rmsprop"] = "adam"
    """Adam as Keras has it, or RMSProp."""
    lr: Rate = 2e-4
    """Learning rate of every network, before its decay."""
    lr_end: Part = 0.02
    """Final learning rate as a fraction of the initial one (exponential decay)."""


PRESETS: Presets = {
    "small":      {"width":  16, "latent":  64, "lr": 5e-4, "lr_end": 0.1,  "steps":  1_000, "batch_size": 64},
    "paper":      {"width":  64, "latent": 128, "lr": 3e-4, "lr_end": 1.0,  "steps": 62_500, "batch_size": 64,
                   "nets": "paper", "loss": "saturating", "optimiser": "rmsprop", "beta": 1.0, "likeness": 1e-6},
    "avae-table": {"width": 128, "latent": 100, "lr": 2e-4, "lr_end": 0.02, "steps": 50_000, "batch_size": 64},
    "tiny":       {"width":   2, "latent":   4, "lr": 1e-3, "lr_end": 0.1,  "steps":     60, "batch_size": 16},
}  # fmt: skip


@register(Config, PRESETS)
class VAEGAN(Inferred):
    """A VAE whose likelihood lives in a critic's features (Larsen et al. 2016, 1512.09300).

    The error of a reconstruction is measured on a feature map f of the critic D, p(f(x)|z) = N(f(G(z)), I); D learns to
    tell images x from reconstructions x_r = G(z), z ~ q(z|x), and from samples x_p = G(z_p), z_p ~ N(0, I). Three
    players move at once on the graphs of one forward pass (Algorithm 1 there): E by the bound, the decoder G by its
    likelihood and by fooling D, and D by nothing but telling apart. The preset ``paper`` has their nets, weights and
    optimiser; the others are as in the AVAE table (Plumerault et al. 2020, 2012.11551).
    """

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__()
        if "image" not in schema:
            raise UsageError("vaegan learns from images; this data has none.")
        shape, width = schema["image"], config.width
        self.config, self.latent = config, config.latent
        nets = table if config.nets == "table" else larsen
        self.E = nets.Encoder(shape, width, config.latent)
        self.G = nets.Decoder(shape, width, config.latent)
        self.D = nets.FeatureCritic(shape, width)
        self.fool = raw if config.loss == "raw" else saturating
        recipe = keras_adam(config.lr, (0.5, 0.999)) if config.optimiser == "adam" else rmsprop(config.lr)
        decay = exponential_decay(config.lr_end)
        self.encoder = Player((self.E,), recipe, decay)
        self.decoder = Player((self.G,), recipe, decay)
        self.critic = Player((self.D,), recipe, decay)

    def round(self, image: Tensor) -> Iterator[Turn]:  # [B, C, H, W] in [-1, 1]
        n, Z = len(image), self.latent
        mu, log_sigma = self.E(image)
        x_r = self.G(mu + log_sigma.exp() * self.normal(n, Z))  # reparameterisation
        x_p = self.G(self.normal(n, Z))

        (s_x, f_x), (s_r, f_r), (s_p, _) = self.D(image), self.D(x_r), self.D(x_p)
        nll = squared_error(f_x, f_r).mean()  # sigma of the likelihood is 1
        self.note(**accuracy(s_x, torch.cat([s_r, s_p])))
        yield (
            minimise(self.encoder, likeness=nll, kl=(self.config.beta, kl_normal(mu, log_sigma).mean())),
            minimise(
                self.decoder,
                likeness=(self.config.likeness, nll),
                fool_reconstructed=self.fool(s_r),
                fool_sampled=self.fool(s_p),
            ),
            minimise(self.critic, real=bce(s_x, 1), reconstructed=bce(s_r, 0), sampled=bce(s_p, 0)),
        )
