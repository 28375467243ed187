"""Paired image-to-image translation: a U-Net, L1, and a critic of patches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ganvas.errors import UsageError
from ganvas.game import Player, Turn, frozen, minimise
from ganvas.games import Count, Fraction, Presets, Rate, Weight, register
from ganvas.games._translating import Translating, check_patches, generator, plain, through
from ganvas.losses import accuracy, bce, l1
from ganvas.nets.isola import PatchCritic
from ganvas.nets.maps import one_hot
from ganvas.optim import adam, epoch_decay
from ganvas.schema import Schema


@dataclass(frozen=True)
class Config:
    net: Literal["resnet", "unet"] = "unet"
    """Generator: a U-Net, or residual blocks between two downsampling and two upsampling layers."""
    direction: Literal["AtoB", "BtoA"] = "AtoB"
    """Which image of a pair is the input; label maps always are."""
    width: Count = 64
    """Channels of the generator's first convolution."""
    critic_width: Count = 64
    """Channels of the discriminator's first convolution."""
    blocks: Count = 9
    """Number of residual blocks (for resnet)."""
    downs: Count | None = None
    """Levels of the U-Net (for unet); None: as many as the image sides can be halved, from 2 to 8."""
    critic_layers: Count = 3
    """Downsampling layers of the discriminator; 3 give a receptive field of 70x70 pixels."""
    norm: Literal["instance", "batch"] = "batch"
    """Batch norm (published with batch size 1) or instance norm; translating normalizes each image by itself."""
    dropout: bool = True
    """Dropout in the generator during training; it is the generator's only noise."""
    l1: Weight = 100.0
    """Weight of the L1 distance from the target."""
    adversarial: Weight = 1.0
    """Weight of the adversarial loss; 0: the L1 loss alone, without a discriminator."""
    lr: Rate = 2e-4
    """Learning rate of both nets."""
    beta1: Fraction = 0.5
    """Adam's beta1 (decay of the first moment)."""
    decay: Literal["intended", "as-published"] = "intended"
    """Linear decay over the second half of the run. as-published reaches 0 one epoch early, as in the released code, so
    that the last epoch does not train."""

    def __post_init__(self) -> None:
        if not self.l1 and not self.adversarial:
            raise UsageError("With l1 0 and adversarial 0 pix2pix has nothing to learn by.")


PRESETS: Presets = {
    "small": {"width": 32, "critic_width": 32,               "steps":   4_000, "batch_size": 1},
    "paper": {                                               "steps": 200_000, "batch_size": 1},
    "tiny":  {"width":  4, "critic_width":  4, "downs":   4, "steps":      20, "batch_size": 2},
}  # fmt: skip


@register(Config, PRESETS)
class Pix2Pix(Translating):
    """Conditional adversarial networks for image-to-image translation (Isola et al. 2017, 1611.07004).

    Equation 4: the conditional GAN's loss, non-saturating for G, and 100 times the L1 distance. As in the released code
    the critic moves first, its loss halved. Noise is dropout alone (section 3.2); verbs leave it off and normalise each
    picture by its own statistics, as training at batch 1 does. The input is a picture, or a label map one-hot.
    """

    kinds: ClassVar[tuple[str, ...]] = ("paired", "labels")

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__()
        self.config, self.classes = config, len(schema.classes) if "labels" in schema else 0
        if self.classes:
            if config.direction != "AtoB":
                raise UsageError("pix2pix translates label maps to pictures, not back: leave direction out.")
            inputs, target = self.classes, schema["image"]
        elif {"A", "B"} <= schema.fields.keys():
            source, target = (schema[side] for side in (config.direction[0], config.direction[-1]))
            inputs = source[0]
        else:
            raise UsageError("pix2pix learns from pairs of pictures, or from label maps and their pictures.")
        outputs, *sides = target
        self.directions = (config.direction,)
        self.G = generator(config, inputs, outputs, (sides[0], sides[1]))
        self.multiple, self.least = self.G.multiple, self.G.least
        self.check_size(sides[0], sides[1])
        move = adam(config.lr, (config.beta1, 0.999))
        schedule = epoch_decay(shift=1 if config.decay == "as-published" else 0, longer=1)
        self.generator = Player((self.G,), move, schedule)
        if config.adversarial:
            check_patches((sides[0], sides[1]), config.critic_layers)
            self.D = PatchCritic(inputs + outputs, config.critic_width, config.critic_layers, config.norm)
            self.critic = Player((self.D,), move, schedule)

    def round(
        self,
        A: Tensor | None = None,  # [N, C, H, W] in [-1, 1], with B
        B: Tensor | None = None,
        labels: Tensor | None = None,  # uint8 [N, H, W], with image [N, 3, H, W]
        image: Tensor | None = None,
    ) -> Iterator[Turn]:
        config = self.config
        x, y = (labels, image) if self.classes else (A, B) if config.direction == "AtoB" else (B, A)
        assert x is not None
        assert y is not None
        x = self.condition(x)
        fake = self.G(x)
        if config.adversarial:
            real, judged = self.D(torch.cat([x, y], 1)), self.D(torch.cat([x, fake.detach()], 1))
            self.note(**accuracy(real, judged))
            yield minimise(self.critic, real=(0.5, bce(real, 1)), fake=(0.5, bce(judged, 0)))

        terms = {"l1": (config.l1, l1(fake, y))} if config.l1 else {}
        if config.adversarial:
            with frozen(self.D):
                terms["fool"] = (config.adversarial, bce(self.D(torch.cat([x, fake], 1)), 1))
        yield minimise(self.generator, **terms)

    def condition(self, x: Tensor) -> Tensor:
        """What G is given: the picture as it is, or a label map one-hot, [N, C, H, W]."""
        return one_hot(x, self.classes, next(self.parameters()).dtype) if self.classes else x

    # ---- verbs -------------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def translate(
        self,
        x: Tensor,
        *,
        instances: Tensor | None = None,
        style: Tensor | None = None,
        direction: str | None = None,
        as_published: bool = False,
        seed: int = 0,
        first: int = 0,
    ) -> Tensor:
        """G(x), in the direction that it was trained for. Of label maps with instances G sees the labels alone."""
        plain(None if self.classes else instances, style)
        self.check(x, direction, channels=next(self.G.parameters()).shape[1], classes=self.classes)
        return through(self.G, self.condition(x), as_published=as_published, seed=seed, first=first)
