"""The convolutional GAN, with what has since been found to steady it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ganvas.errors import UsageError
from ganvas.game import Player, Turn, frozen, minimise
from ganvas.games import Count, Fraction, Presets, Rate, Weight, register
from ganvas.games._coded import Coded
from ganvas.losses import accuracy, bce, gradient_penalty, hinge, lsgan, raw
from ganvas.nets.dcgan import Critic, Generator
from ganvas.optim import adam
from ganvas.schema import Schema

BETWEEN = {"bce": 0.0, "lsgan": 0.5, "hinge": 0.0}  # the score between real and fake; a Wasserstein critic has none
LAZY = 16  # R1 in one round of 16, at 16 times its weight (Karras et al. 2020, 1912.04958, section 3.1)


@dataclass(frozen=True)
class Config:
    width: Count = 64
    """Channels of the first convolution; they double a stage, up to eight times as many."""
    latent: Count = 100
    """Dimensions of z."""
    loss: Literal["bce", "lsgan", "hinge", "wgan-gp"] = "bce"
    """Cross-entropy (non-saturating for G), least squares, hinge, or Wasserstein distance with a gradient penalty."""
    label_smoothing: Fraction = 0.0
    """What is taken off the critic's target for real images; for bce."""
    gradient_penalty: Weight = 10.0
    """Weight of the gradient penalty; for wgan-gp."""
    r1: Weight = 0.0
    """gamma of the R1 penalty on real images, played every 16 rounds; 0: none."""
    spectral_norm: bool = False
    """Whether every layer of the critic is divided by its largest singular value."""
    batch_norm_critic: bool | None = None
    """Batch norm in the critic; None: where there is no wgan-gp, no R1 and no spectral norm."""
    conditional: bool = False
    """Whether G and the critic are told the class."""
    critic_steps: Count | None = None
    """Batches of the critic to one of G; None: 5 for wgan-gp, else 1."""
    lr_generator: Rate = 2e-4
    """Learning rate of G."""
    lr_critic: Rate = 2e-4
    """Learning rate of the critic."""
    beta1: Fraction = 0.5
    """Adam's first moment."""
    beta2: Fraction = 0.999
    """Adam's second moment."""
    ema: Fraction | None = 0.999
    """Decay a step of the averaged G that samples are drawn from; None: G as it is."""

    def __post_init__(self) -> None:
        if self.label_smoothing and self.loss != "bce":
            raise UsageError(f"label_smoothing is for the loss bce: leave it at 0 with {self.loss}.")
        if self.gradient_penalty != Config.gradient_penalty and self.loss != "wgan-gp":
            raise UsageError(f"gradient_penalty is for the loss wgan-gp: leave it out with {self.loss}.")
        if self.penalised and self.batch_norm_critic:
            raise UsageError(
                "A critic whose slope is penalised (wgan-gp, r1) cannot have batch norm, which mixes the images of a "
                "batch: leave batch_norm_critic out."
            )

    @property
    def penalised(self) -> bool:
        """Whether the critic's slope is penalised image by image, which batch norm would blur."""
        return self.loss == "wgan-gp" or self.r1 > 0

    @property
    def critic_normed(self) -> bool:
        """Whether the critic has batch norm."""
        automatic = not self.penalised and not self.spectral_norm
        return automatic if self.batch_norm_critic is None else self.batch_norm_critic

    @property
    def critic_turns(self) -> int:
        """Batches of the critic to one of G."""
        return (5 if self.loss == "wgan-gp" else 1) if self.critic_steps is None else self.critic_steps


PRESETS: Presets = {
    "small": {"width":  32, "latent":  64, "lr_generator": 4e-4, "lr_critic": 4e-4, "steps":  2_000, "batch_size": 64},
    "paper": {"width": 128, "latent": 100, "ema": None,                            "steps": 100_000, "batch_size": 128},
    "tiny":  {"width":   4, "latent":   4, "lr_generator": 1e-3, "lr_critic": 1e-3, "steps":     60, "batch_size": 16},
}  # fmt: skip


@register(Config, PRESETS)
class DCGAN(Coded):
    """Deep convolutional GAN (Radford et al. 2016, 1511.06434).

    Alternating updates as Algorithm 1 of Goodfellow et al. 2014 (1406.2661), with its non-saturating loss. One round is
    one batch: the critic moves on each, G on every ``critic_steps``-th, on the noise that the critic has just seen.
    Real and fake images pass the critic apart, each with its own batch statistics. Since then: least squares (Mao et
    al. 2017, 1611.04076), hinge (Lim & Ye 2017, 1705.02894), WGAN-GP (Gulrajani et al. 2017, 1704.00028), R1 (Mescheder
    et al. 2018, 1801.04406), spectral norm (Miyato et al. 2018, 1802.05957), two learning rates (Heusel et al. 2017,
    1706.08500), label smoothing (Salimans et al. 2016, 1606.03498).
    """

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__()
        if "image" not in schema:
            raise UsageError("dcgan learns from images; this data has none.")
        if config.conditional and ("label" not in schema or not schema.classes):
            raise UsageError("dcgan can be conditional only on data with classes; this data has none.")
        self.config, self.latent = config, config.latent
        self.classes = len(schema.classes) if config.conditional else 0
        shape = schema["image"]
        self.G = Generator(shape, config.width, config.latent, classes=self.classes)
        self.D = Critic(
            shape,
            config.width,
            classes=self.classes,
            batch_norm=config.critic_normed,
            spectral_norm=config.spectral_norm,
        )
        betas = (config.beta1, config.beta2)
        self.generator = Player((self.G,), adam(config.lr_generator, betas), ema=config.ema)
        self.critic = Player((self.D,), adam(config.lr_critic, betas))

    def round(self, image: Tensor, label: Tensor | None = None) -> Iterator[Turn]:  # [B, C, H, W] in [-1, 1], [B]
        config, n = self.config, len(image)
        label = label if self.classes else None
        fake = self.G(self.normal(n, self.latent), label)
        real_score, fake_score = self.D(image, label), self.D(fake.detach(), label)
        if config.loss in BETWEEN:
            self.note(**accuracy(real_score, fake_score, BETWEEN[config.loss]))
        terms = self.judge(real_score, fake_score)
        if config.loss == "wgan-gp":
            part = self.uniform(n, 1, 1, 1)
            between = part * image + (1 - part) * fake.detach()
            slope = gradient_penalty(lambda x: self.D(x, label), between, centre=1.0)
            yield minimise(self.critic, **terms, gradient_penalty=(config.gradient_penalty, slope))
        else:
            yield minimise(self.critic, **terms)

        if config.r1 and self.every(LAZY):
            slope = gradient_penalty(lambda x: self.D(x, label), image, centre=0.0)
            yield minimise(self.critic, r1=(LAZY * config.r1 / 2, slope))

        if self.every(config.critic_turns):
            with frozen(self.D):
                score = self.D(fake, label)
            yield minimise(self.generator, fool=self.fool(score))

    def judge(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """The critic's losses, of its scores [B] of real and of fake images."""
        match self.config.loss:
            case "bce":
                return {"real": bce(real, 1 - self.config.label_smoothing), "fake": bce(fake, 0)}
            case "lsgan":
                return {"real": lsgan(real, 1), "fake": lsgan(fake, 0)}
            case "hinge":
                return {"real": hinge(real, 1), "fake": hinge(fake, -1)}
            case "wgan-gp":
                return {"real": raw(real), "fake": -raw(fake)}

    def fool(self, score: Tensor) -> Tensor:
        """G's loss, of the scores [B] of its fakes."""
        match self.config.loss:
            case "bce":
                return bce(score, 1)
            case "lsgan":
                return lsgan(score, 1)
            case "hinge" | "wgan-gp":
                return raw(score)

    # ---- verbs -------------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def decode(self, z: Tensor, *, seed: int = 0, first: int = 0, label: int | None = None) -> Tensor:
        """G(z), or G(z, label); without a label, row i is of class i modulo the number of classes."""
        if not self.classes:
            return super().decode(z, label=label)
        if label is not None and not 0 <= label < self.classes:
            raise UsageError(f"There is no class {label}: classes go from 0 to {self.classes - 1}.")
        rows = torch.arange(first, first + len(z), device=z.device)
        x: Tensor = self.G(z, rows % self.classes if label is None else torch.full_like(rows, label))
        return x
