"""Variational Auto-Encoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ganvas.errors import UsageError
from ganvas.game import Player, Turn, minimise, noise
from ganvas.games import Count, Part, Presets, Rate, Weight, register
from ganvas.games._coded import Coded
from ganvas.losses import bernoulli_nll, bits_per_dim, gaussian_nll, kl_normal
from ganvas.nets.table import Decoder, Encoder
from ganvas.optim import exponential_decay, keras_adam
from ganvas.schema import Schema
from ganvas.streams import Purpose


@dataclass(frozen=True)
class Config:
    width: Count = 128
    """Channels of the first convolution; the deepest has eight times as many."""
    latent: Count = 100
    """Dimensions of z."""
    likelihood: Literal["gaussian", "bernoulli"] = "gaussian"
    """p(x|z): a Gaussian of variance 1 on pixels in [-1, 1], or a Bernoulli on grey levels read as probabilities."""
    sigma: Literal["shared", "per-image"] = "per-image"
    """Whether the posterior's sigma is one vector for all images (as in the AVAE table) or a function of the image."""
    beta: Weight = 1.0
    """Weight of the KL term; 1 is the ELBO."""
    conditional: bool = False
    """Whether encoder and decoder are told the class."""
    lr: Rate = 2e-4
    """Learning rate, before its decay."""
    lr_end: Part = 0.02
    """Final learning rate as a fraction of the initial one (exponential decay)."""


PRESETS: Presets = {
    "small":      {"width":  16, "latent":  64, "lr": 1e-3, "lr_end": 0.1,  "steps":  2_000, "batch_size": 64},
    "avae-table": {"width": 128, "latent": 100, "lr": 2e-4, "lr_end": 0.02, "steps": 50_000, "batch_size": 64,
                   "sigma": "shared"},
    "tiny":       {"width":   2, "latent":   4, "lr": 1e-3, "lr_end": 0.1,  "steps":     60, "batch_size": 16},
}  # fmt: skip


@register(Config, PRESETS)
class VAE(Coded):
    """ELBO and reparameterisation (Kingma & Welling 2014, 1312.6114, equations 3 and 10; 2019, 1906.02691).

    Encoder q(z|x) = N(mu(x), sigma^2) and decoder p(x|z) ascend the evidence lower bound
    E_q[ln p(x|z)] - KL(q(z|x) || N(0, I)), one z a row.
    """

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__()
        if "image" not in schema:
            raise UsageError("vae learns from images; this data has none.")
        if config.conditional and not schema.classes:
            raise UsageError("--conditional needs classes, and this data has none: leave it out.")
        self.config, self.latent = config, config.latent
        self.classes = len(schema.classes) if config.conditional else 0
        channels, height, width = shape = schema["image"]
        self.E = Encoder(
            (channels + self.classes, height, width), config.width, config.latent, per_image=config.sigma == "per-image"
        )
        self.D = Decoder(
            shape, config.width, config.latent + self.classes, squash=config.likelihood == "gaussian"
        )  # mean, or logits
        # One player: beta reaches E alone, so the two nets' losses are one sum, and Adam is per weight.
        self.autoencoder = Player(
            (self.E, self.D), keras_adam(config.lr, (0.5, 0.999)), exponential_decay(config.lr_end)
        )

    def round(self, image: Tensor, label: Tensor | None = None) -> Iterator[Turn]:  # [B, C, H, W] in [-1, 1], [B]
        reconstruction, kl = self._bound(image, self.normal(len(image), self.latent), label)
        self.note(elbo=-(reconstruction + kl).mean())
        yield minimise(self.autoencoder, reconstruction=reconstruction.mean(), kl=(self.config.beta, kl.mean()))

    def _bound(self, x: Tensor, eps: Tensor, label: Tensor | None) -> tuple[Tensor, Tensor]:
        """-ln p(x|z) at z = mu + sigma eps, and KL(q || prior), both in nats, [B]."""
        mu, log_sigma = self._posterior(x, label)
        h = self.D(self._told(mu + log_sigma.exp() * eps, label))
        nll = gaussian_nll(x, h) if self.config.likelihood == "gaussian" else bernoulli_nll((x + 1) / 2, h)
        return nll, kl_normal(mu, log_sigma)

    def _posterior(self, x: Tensor, label: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.classes:
            planes = self._one_hot(label)[:, :, None, None].expand(-1, -1, *x.shape[2:])
            x = torch.cat([x, planes.to(x)], 1)
        return self.E(x)

    def _told(self, z: Tensor, label: Tensor | None) -> Tensor:
        return torch.cat([z, self._one_hot(label).to(z)], 1) if self.classes else z

    def _one_hot(self, label: Tensor | None) -> Tensor:
        if label is None:
            raise UsageError("This vae is conditional and needs the classes of its images, which this data has not.")
        return F.one_hot(label, self.classes)

    # ---- verbs -------------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def decode(self, z: Tensor, *, seed: int = 0, first: int = 0, label: int | None = None) -> Tensor:
        """The mean of p(x|z). A conditional game takes ``label``, else row i class ``first + i`` modulo K."""
        if label is not None and not 0 <= label < self.classes:
            known = f"classes 0 to {self.classes - 1}" if self.classes else "no classes"
            raise UsageError(f"There is no class {label}: this vae knows {known}.")
        classes = None
        if self.classes:
            rows = torch.arange(first, first + len(z), device=z.device) % self.classes
            classes = rows if label is None else torch.full_like(rows, label)
        return self._mean(z, classes)

    def _mean(self, z: Tensor, label: Tensor | None) -> Tensor:
        h = self.D(self._told(z, label))
        return h if self.config.likelihood == "gaussian" else 2 * torch.sigmoid(h) - 1

    @torch.no_grad()
    def posterior(self, x: Tensor, *, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._posterior(x, label)

    def encode(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        return self.posterior(x, label=label)[0]

    @torch.no_grad()
    def reconstruct(self, x: Tensor, *, seed: int = 0, first: int = 0, label: Tensor | None = None) -> Tensor:
        return self._mean(self.encode(x, label=label), label)

    @torch.no_grad()
    def elbo(self, x: Tensor, *, seed: int = 0, first: int = 0, label: Tensor | None = None) -> dict[str, Tensor]:
        n, dims = len(x), x[0].numel()
        eps = noise(n, self.latent, seed=seed, first=first, purpose=Purpose.POSTERIOR).to(x)
        if self.config.likelihood == "gaussian":
            levels = noise(n, dims, seed=seed, first=first, purpose=Purpose.DEQUANTISE).to(x)
            x = x + (torch.special.ndtr(levels).view(x.shape) - 0.5) / 127.5  # uniform within each grey level
        reconstruction, kl = self._bound(x, eps, label)
        parts = {"elbo": -(reconstruction + kl), "reconstruction": reconstruction, "kl": kl}
        if self.config.likelihood == "gaussian":
            parts["bits_per_dim"] = bits_per_dim(parts["elbo"], dims)
        return parts
