"""Unpaired image-to-image translation by cycle consistency."""

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
from ganvas.losses import accuracy, l1, lsgan
from ganvas.nets.isola import ImagePool, PatchCritic
from ganvas.optim import adam, epoch_decay
from ganvas.schema import Schema


@dataclass(frozen=True)
class Config:
    net: Literal["resnet", "unet"] = "resnet"
    """The generators: residual blocks between two halvings, or a U-Net."""
    width: Count = 64
    """Channels of the generators' first convolution."""
    critic_width: Count = 64
    """Channels of the critics' first convolution."""
    blocks: Count = 9
    """Residual blocks; for resnet."""
    downs: Count | None = None
    """Levels of the U-Net; for unet; None: as many as the pictures' sides can be halved, from 2 to 8."""
    critic_layers: Count = 3
    """Stride-2 layers in each critic: 3 judge patches of 70x70 pixels."""
    norm: Literal["instance", "batch"] = "instance"
    """Each image by its own statistics, or by those of its batch."""
    dropout: bool = False
    """Dropout in the generators."""
    cycle: Weight = 10.0
    """Weight of the cycle loss."""
    identity: Weight = 0.5
    """Weight of the identity loss, in units of the cycle's; 0: none, and A and B may differ in channels."""
    pool: int = 50
    """Size of the image pool (history of generated images shown to the critics); 0 disables it."""
    lr: Rate = 2e-4
    """Learning rate of all nets."""
    beta1: Fraction = 0.5
    """Adam's first moment."""
    decay: Literal["intended", "as-published"] = "intended"
    """Linear decay over the second half of the run. as-published reaches 0 one epoch early, as in the released code, so
    the last epoch does not train."""

    def __post_init__(self) -> None:
        if not 0 <= self.pool <= 10_000:
            raise UsageError(f"pool of cyclegan must be a whole number from 0 to 10,000, not {self.pool!r}.")


PRESETS: Presets = {
    "small": {"width": 32, "critic_width": 32, "blocks": 6, "steps":     8_000, "batch_size": 1},
    "paper": {                                              "steps":   200_000, "batch_size": 1},
    "tiny":  {"width":  4, "critic_width":  4, "blocks": 1, "steps":        20, "batch_size": 2, "pool": 3},
}  # fmt: skip


@register(Config, PRESETS)
class CycleGAN(Translating):
    """Cycle-consistent adversarial networks (Zhu et al. 2017, 1703.10593).

    G_A maps A to B and G_B maps B to A; D_A judges pictures of B and D_B pictures of A, as the released code names
    them. Equation 3 with least squares for the adversarial losses (section 4), the identity loss of section 5.2, and a
    pool of 50 fakes. As in the released code the generators move first, then the critics, on the fakes made before.
    Each generator translates one picture and keeps another in one pass: with instance norm, rows do not meet.
    """

    kinds: ClassVar[tuple[str, ...]] = ("unpaired", "paired")
    directions = ("AtoB", "BtoA")

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__()
        if not {"A", "B"} <= schema.fields.keys():
            raise UsageError("cyclegan learns from two sets of pictures, A and B, as in trainA/ and trainB/.")
        (a, *_), (b, *_) = schema["A"], schema["B"]
        if schema["A"][1:] != schema["B"][1:]:
            raise UsageError(
                f"cyclegan needs A and B of one size, not {schema['A'][1:]} and {schema['B'][1:]}: ?size=."
            )
        if config.identity and a != b:
            raise UsageError("The identity loss compares A with B, which differ in channels here: --identity 0.")
        _, *sides = schema["A"]
        check_patches((sides[0], sides[1]), config.critic_layers)
        self.config = config
        self.G_A = generator(config, a, b, (sides[0], sides[1]))
        self.G_B = generator(config, b, a, (sides[0], sides[1]))
        self.D_A = PatchCritic(b, config.critic_width, config.critic_layers, config.norm)
        self.D_B = PatchCritic(a, config.critic_width, config.critic_layers, config.norm)
        self.pool_A = ImagePool(config.pool, schema["B"])  # fakes that D_A judges
        self.pool_B = ImagePool(config.pool, schema["A"])
        self.multiple, self.least = self.G_A.multiple, self.G_A.least
        self.check_size(sides[0], sides[1])
        move = adam(config.lr, (config.beta1, 0.999))
        schedule = epoch_decay(shift=1 if config.decay == "as-published" else 0, longer=1)
        self.generators = Player((self.G_A, self.G_B), move, schedule)
        self.critics = Player((self.D_A, self.D_B), move, schedule)

    def round(self, A: Tensor, B: Tensor) -> Iterator[Turn]:  # [N, C, H, W] in [-1, 1], of either domain
        config = self.config
        keep = config.identity * config.cycle
        if keep and config.norm == "instance":
            fake_B, same_B = self.G_A(torch.cat([A, B])).chunk(2)
            fake_A, same_A, back_A = self.G_B(torch.cat([B, A, fake_B])).chunk(3)
        else:
            fake_B, fake_A = self.G_A(A), self.G_B(B)
            back_A = self.G_B(fake_B)
            same_A, same_B = (self.G_B(A), self.G_A(B)) if keep else (A, B)
        back_B = self.G_A(fake_A)
        with frozen(self.D_A, self.D_B):
            fool_A, fool_B = lsgan(self.D_A(fake_B), 1), lsgan(self.D_B(fake_A), 1)
        terms = {"fool_A": fool_A, "fool_B": fool_B}
        cycle = {"cycle_A": (config.cycle, l1(back_A, A)), "cycle_B": (config.cycle, l1(back_B, B))}
        identity = {"identity_A": (keep, l1(same_B, B)), "identity_B": (keep, l1(same_A, A))} if keep else {}
        yield minimise(self.generators, **terms, **cycle, **identity)

        old_B = self.pool_A(fake_B, self.uniform(len(A), 2))
        old_A = self.pool_B(fake_A, self.uniform(len(B), 2))
        real_A, real_B, judged_A, judged_B = self.D_A(B), self.D_B(A), self.D_A(old_B), self.D_B(old_A)
        self.note(**accuracy(torch.cat([real_A, real_B]), torch.cat([judged_A, judged_B]), between=0.5))
        yield minimise(
            self.critics,
            real_A=(0.5, lsgan(real_A, 1)),
            fake_A=(0.5, lsgan(judged_A, 0)),
            real_B=(0.5, lsgan(real_B, 1)),
            fake_B=(0.5, lsgan(judged_B, 0)),
        )

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
        """G_A(x) from A to B, or G_B(x) from B to A."""
        plain(instances, style)
        net = self.G_B if direction == "BtoA" else self.G_A
        self.check(x, direction, channels=next(net.parameters()).shape[1])
        return through(net, x, as_published=as_published, seed=seed, first=first)
