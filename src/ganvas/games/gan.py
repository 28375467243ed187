"""The first generative adversarial network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from ganvas.errors import UsageError
from ganvas.game import Player, Turn, frozen, minimise
from ganvas.games import Count, Fraction, Part, Presets, Rate, register
from ganvas.games._coded import Coded
from ganvas.losses import accuracy, bce, raw, saturating
from ganvas.nets import dcgan, mlp, table
from ganvas.optim import exponential_decay, keras_adam
from ganvas.schema import Schema


@dataclass(frozen=True)
class Config:
    loss: Literal["saturating", "non-saturating", "raw"] = "non-saturating"
    """What G minimises: E[ln(1 - d)], the minimax form; E[-ln d]; or minus the critic's bare logit (the AVAE table)."""
    updates: Literal["alternating", "simultaneous"] = "alternating"
    """Whether G answers the critic's new weights (Algorithm 1) or both move at once, from one forward pass."""
    critic_steps: Count = 1
    """Batches of the critic to one of G: the k of Algorithm 1; for alternating updates."""
    nets: Literal["auto", "mlp", "conv", "table"] = "auto"
    """Dense layers, small 4x4 convolutions, or the AVAE table's; auto: mlp for vectors, conv for images."""
    width: Count | None = None
    """Units of a dense layer, or channels of the first convolution; None: 128 for vectors, 32 for images."""
    latent: Count | None = None
    """Dimensions of z; None: as many as a vector has, 64 for images."""
    lr_generator: Rate = 2e-4
    """Learning rate of G, before its decay."""
    lr_critic: Rate = 2e-4
    """Learning rate of the critic, before its decay."""
    beta1: Fraction = 0.5
    """Adam's first moment."""
    lr_end: Part = 1.0
    """Final learning rates as a fraction of the initial ones (exponential decay; 1: none)."""
    ema: Fraction | None = None
    """Decay a step of the averaged G that samples are drawn from; None: G as it is."""

    def __post_init__(self) -> None:
        if self.updates == "simultaneous" and self.critic_steps > 1:
            raise UsageError("In simultaneous updates both move on every batch: leave critic_steps at 1.")


PRESETS: Presets = {
    "small":      {"lr_generator": 1e-3, "lr_critic": 1e-3, "beta1": 0.0, "lr_end": 0.02, "ema": 0.999,
                   "steps": 5_000, "batch_size": 128},
    "paper":      {"nets": "mlp", "width": 1_200, "latent": 100,
                   "steps": 100_000, "batch_size": 100},
    "avae-table": {"nets": "table", "width": 128, "latent": 100, "loss": "raw", "updates": "simultaneous",
                   "lr_end": 0.02, "steps": 50_000, "batch_size": 64},
    "tiny":       {"width": 4, "latent": 4, "lr_generator": 1e-3, "lr_critic": 1e-3,
                   "steps": 60, "batch_size": 16},
}  # fmt: skip


@register(Config, PRESETS)
class GAN(Coded):
    """Generator against discriminator (Goodfellow et al. 2014, 1406.2661).

    With d the sigmoid of its score, the critic D minimises E[-ln d(x) - ln(1 - d(G(z)))]. G minimises the other side of
    the same value, E[ln(1 - d(G(z)))] (equation 1), or E[-ln d(G(z))], whose gradient stays strong while D wins
    (section 3), or E[-s(G(z))] on the bare score s (Plumerault et al. 2020, 2012.11551). One round is one batch.
    Alternating updates are Algorithm 1, but that G answers on the noise that D has just seen.
    """

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__()
        self.config = config
        self.field = "vector" if "vector" in schema else "image"
        if self.field not in schema:
            raise UsageError("gan learns from vectors or images; this data has neither.")
        shape = schema[self.field]
        self.latent = config.latent or (64 if len(shape) == 3 else shape[0])
        self.G, self.D = _nets(config, shape, self.latent)
        betas, decay = (config.beta1, 0.999), exponential_decay(config.lr_end)
        self.generator = Player((self.G,), keras_adam(config.lr_generator, betas), decay, ema=config.ema)
        self.critic = Player((self.D,), keras_adam(config.lr_critic, betas), decay)

    def round(self, **batch: Tensor) -> Iterator[Turn]:  # image [B, C, H, W] in [-1, 1], or vector [B, D]
        x = batch[self.field]
        fake = self.G(self.normal(len(x), self.latent))
        if self.config.updates == "simultaneous":
            real_score, fake_score = self.D(x), self.D(fake)
            self.note(**accuracy(real_score, fake_score))
            yield (
                minimise(self.generator, fool=self.fool(fake_score)),
                minimise(self.critic, real=bce(real_score, 1), fake=bce(fake_score, 0)),
            )
        else:
            real_score, fake_score = self.D(x), self.D(fake.detach())
            self.note(**accuracy(real_score, fake_score))
            yield minimise(self.critic, real=bce(real_score, 1), fake=bce(fake_score, 0))
            if self.every(self.config.critic_steps):
                with frozen(self.D):
                    score = self.D(fake)
                yield minimise(self.generator, fool=self.fool(score))

    def fool(self, score: Tensor) -> Tensor:
        """G's loss, of the scores [B] of its fakes."""
        match self.config.loss:
            case "saturating":
                return saturating(score)
            case "non-saturating":
                return bce(score, 1)
            case "raw":
                return raw(score)


def _nets(config: Config, shape: tuple[int, ...], latent: int) -> tuple[nn.Module, nn.Module]:
    """G and D for rows of ``shape``."""
    picture = len(shape) == 3
    width = config.width or (32 if picture else 128)
    kind = config.nets if config.nets != "auto" else "conv" if picture else "mlp"
    if kind == "mlp":
        return mlp.Generator(shape, width, latent, squash=picture), mlp.Critic(shape, width)
    if not picture:
        raise UsageError(f"The nets {kind!r} are for images, and this data has vectors: use nets 'mlp'.")
    if kind == "table":
        return table.Decoder(shape, width, latent), table.Critic(shape, width)
    return dcgan.Generator(shape, width, latent), dcgan.Critic(shape, width)
