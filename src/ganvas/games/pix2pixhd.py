"""pix2pixHD: photographs of label maps, coarse to fine."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganvas import weights
from ganvas.errors import UsageError
from ganvas.game import Clock, Player, Schedule, Term, Turn, frozen, minimise, wide
from ganvas.games import Count, Fraction, Part, Presets, Rate, Weight, register
from ganvas.games._translating import Translating, check_sides
from ganvas.losses import accuracy, lsgan
from ganvas.nets.isola import Norm
from ganvas.nets.maps import REGIONS, edges, one_hot, pooled
from ganvas.nets.perceptual import Kind, Perceptual
from ganvas.nets.styles import Styles, shown_styles
from ganvas.nets.wang import Encoder, GlobalGenerator, LocalEnhancer, MultiscaleCritic, head
from ganvas.optim import adam, during, epoch_decay
from ganvas.schema import Schema

FAVOURED: tuple[Kind, ...] = ("vgg19", "alex")  # for the perceptual loss, where the user says nothing


def favoured() -> Kind | None:
    """The first of them whose weights are at hand."""
    return next((kind for kind in FAVOURED if weights.at_hand(Perceptual.file(kind))), None)


@dataclass(frozen=True)
class Config:
    net: Literal["local", "global"] = "local"
    """local: G1 inside the local enhancer G2, trained coarse to fine; global: G1 alone, at full size."""
    width: Count = 64
    """Channels of G1's first convolution; G2's has half as many."""
    downs: Count = 4
    """Downsampling layers of G1."""
    blocks: Count = 9
    """Residual blocks of G1."""
    local_blocks: Count = 3
    """Residual blocks of G2."""
    norm: Norm = "instance"
    """Instance norm, or batch norm (translating normalizes each image by itself)."""
    encoder: bool | None = None
    """Whether an encoder E gives G the style of each instance (or class); None: yes where the data has label maps."""
    style_channels: Count = 3
    """Features per region that E gives."""
    encoder_width: Count = 16
    """Channels of E's first convolution."""
    encoder_downs: Count = 4
    """Downsampling layers of E."""
    scales: Annotated[int, msgspec.Meta(ge=1, le=3)] = 3
    """Number of discriminators, at full, half and quarter size; the full-size one joins once G2 trains."""
    critic_width: Count = 64
    """Channels of each discriminator's first convolution; they double with each layer, up to 512."""
    critic_layers: Count = 3
    """Downsampling layers of each discriminator, minus one."""
    perceptual: Literal["auto", "vgg19", "vgg16-12", "alex", "squeeze", "none"] = "auto"
    """Network whose features the perceptual loss compares, downloaded by ganvas fetch NAME; auto: vgg19 if its weights
    are there, else alex; none: no perceptual loss."""
    perceptual_weight: Weight = 10.0
    """Weight of the perceptual loss."""
    matching_weight: Weight = 10.0
    """Weight of the feature matching loss (features of the discriminators)."""
    coarse: Fraction = 2 / 3
    """Fraction of the run that trains G1 alone, at half size (for local)."""
    fixed: Fraction = 0.1
    """Fraction of the remaining steps that train G2 with G1 frozen (for local)."""
    joint: Literal["intended", "as-published"] = "intended"
    """What follows: G1 and G2 train together; as-published: G1 stays frozen, as in the released code since 2019."""
    lr: Rate = 2e-4
    """Learning rate of every network, before its decay."""
    beta1: Fraction = 0.5
    """Adam's beta1 (decay of the first moment)."""
    flat: Part = 0.5
    """Fraction of each stage (G1 alone; with G2) before the learning rate starts to decay."""

    def __post_init__(self) -> None:
        if self.net == "global" and self.joint != "intended":
            raise UsageError("joint is for the net local: leave it out with global.")
        if self.net == "local" and self.width % 2:
            raise UsageError(f"width must be even for the net local, whose G2 is half as wide, not {self.width}.")

    @staticmethod
    def upgraded(leaves: Mapping[str, Any]) -> dict[str, Any]:
        """The leaves of any version as today's: what is "auto" was null."""
        return {**leaves, **({"perceptual": "auto"} if leaves.get("perceptual", "") is None else {})}

    def resolved(self, recorded: Mapping[str, Any] | None) -> Config:
        """With the choices made that the user left open: what a run has ``recorded``, else what is at hand.

        Raises UsageError where it is open and nothing is at hand, MissingWeights and Damaged for the net that is named.
        """
        kind = self.perceptual if self.perceptual != "auto" else (recorded or {}).get("perceptual") or favoured()
        if kind is None:
            raise UsageError(
                "The perceptual loss of pix2pixhd needs a published net, and none is at hand: run `ganvas fetch vgg19` "
                "(575 MB) or `ganvas fetch alexnet` (244 MB), or train with --perceptual none."
            )
        if kind != "none":
            weights.find(Perceptual.file(kind))
        return dataclasses.replace(self, perceptual=kind)


# paper: 2048x1024; 200 epochs of 2,975 pictures for G1, then 100, of which 10 with G1 fixed. Its encoder is a choice.
PRESETS: Presets = {
    "small": {"width": 32, "downs": 3, "blocks": 4, "local_blocks": 2, "encoder_width":  8, "encoder_downs": 3,
              "scales": 2, "critic_width": 32, "steps":   2_000, "batch_size": 1, "coarse": 0.5},
    "paper": {"width": 64, "downs": 4, "blocks": 9, "local_blocks": 3, "encoder_width": 16, "encoder_downs": 4,
              "scales": 3, "critic_width": 64, "steps": 892_500, "batch_size": 1, "perceptual": "vgg19",
              "encoder": False},
    "tiny":  {"width":  4, "downs": 2, "blocks": 1, "local_blocks": 1, "encoder_width":  2, "encoder_downs": 1,
              "scales": 2, "critic_width":  2, "steps":      60, "batch_size": 4, "perceptual": "none",
              "critic_layers": 2, "coarse": 0.5, "fixed": 0.5},
}  # fmt: skip


@register(Config, PRESETS)
class Pix2PixHD(Translating):
    """A photograph of a label map, coarse to fine, or of a picture (Wang et al. 2018, 1711.11585).

    G sees the one-hot label map and, where there are instances, their edges (section 3.3); the encoder E tells it what
    each instance looks like (each class, where there are none), in features pooled over the region (section 3.4). The
    critics D see map, edges and picture, each at a scale of its own. G minimises, summed over the critics, (D - 1)^2;
    their distance of the features of real and fake; and that of a published net's. The critics minimise half of
    (D - 1)^2 of the real and D^2 of the fake. All move at once, from one forward pass. That is the released order, for
    there too everything is computed before G moves, and the critics learn on its fakes as they were.

    Three stages of the clock (section 3.2): G1 learns alone at half size, with last layers of its own, ``head``; then
    G2, at full size, with G1 fixed; then both. A stage starts with fresh optimisers, but for the critics in the third.
    G holds G1 as the released local enhancer does, without its last layers: the published G1 by itself is
    ``G.model.*`` with the three layers of ``head`` as the next of it (for nine blocks and four halvings, ``head.1`` is
    ``model.38``), and it fits G1 as long as the first stage lasts.

    Names in the released logs: G_GAN is ``fool``, G_GAN_Feat ``matching``, G_VGG ``perceptual``, D_real ``real``,
    D_fake ``fake``.
    """

    kinds: ClassVar[tuple[str, ...]] = ("labels", "paired")
    coarsely: Tensor
    head: nn.Module

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__()
        self.config = config
        self.labelled = "labels" in schema and "image" in schema
        if not self.labelled and not ("A" in schema and "B" in schema):
            raise UsageError("pix2pixhd learns from label maps with photographs, or from pairs; this data has neither.")
        if config.encoder and not self.labelled:
            raise UsageError("The encoder tells the styles of regions, and pairs have none: leave encoder out.")
        encodes = self.labelled if config.encoder is None else config.encoder
        self.bounded = self.labelled and "instances" in schema
        self.classes = len(schema.classes)
        self.local = config.net == "local"
        self.coarse_ends = config.coarse if self.local else 0.0
        self.fixed_ends = self.coarse_ends + (1 - self.coarse_ends) * config.fixed if self.local else 0.0
        halved = self.coarse_ends > 0
        self.multiple = 1 << max(config.downs + self.local, config.encoder_downs + halved if encodes else 0)
        self.least = 2 * self.multiple
        outputs, *sides = schema["image" if self.labelled else "B"]
        check_sides((sides[0], sides[1]), self.multiple)
        self.check_size(*sides)

        self.seen = seen = self.classes + self.bounded if self.labelled else schema["A"][0]
        inputs, width = seen + (config.style_channels if encodes else 0), config.width
        if self.local:
            self.G: GlobalGenerator | LocalEnhancer = LocalEnhancer(
                inputs, outputs, width // 2, config.downs, config.blocks, config.local_blocks, config.norm
            )
        else:
            self.G = GlobalGenerator(inputs, outputs, width, config.downs, config.blocks, config.norm)
        if halved:
            self.head = head(width, outputs)
        self.D = MultiscaleCritic(seen + outputs, config.critic_width, config.critic_layers, config.scales, config.norm)
        self.E: Encoder | None = None
        if encodes:
            self.E = Encoder(outputs, config.style_channels, config.encoder_width, config.encoder_downs, config.norm)
            self.styles = Styles(self.classes, config.style_channels)
        kind = config.perceptual
        if kind == "auto":  # a run has decided; what only translates never looks
            kind = favoured() or FAVOURED[0]
        self.perceptual = None if kind == "none" else Perceptual(kind)
        if self.perceptual is not None and (side := min(sides) >> halved) < self.perceptual.least:
            raise UsageError(
                f"The perceptual loss by {kind} needs pictures of {self.perceptual.least} pixels a side, and is shown "
                f"{side}{' while G1 learns at half size' if halved else ''}: use larger ones, or another perceptual."
            )
        self.register_buffer("coarsely", torch.zeros((), dtype=torch.bool))  # G1 is all that has learnt yet
        self.cast()

    def cast(self) -> None:
        """The players: of G one for each stage, of the critics one for each training."""
        config, E = self.config, () if self.E is None else (self.E,)
        recipe, decay = adam(config.lr, (config.beta1, 0.999)), epoch_decay(config.flat, shift=-1)
        if self.coarse_ends > 0:
            coarse = during(0, self.coarse_ends, decay)
            self.coarse = Player((self.G.model, self.head, *E), recipe, coarse)
            self.coarse_critic = Player((self.D,), recipe, coarse)
        fine = during(self.coarse_ends, 1, decay)
        fixes = self.fixed_ends > self.coarse_ends
        self.stays = fixes and config.joint == "as-published"
        if fixes and isinstance(self.G, LocalEnhancer):
            rate = stopped(self.fixed_ends, fine) if self.stays else fine
            self.enhancer = Player((self.G.model1_1, self.G.model1_2, *E), recipe, rate)
        if not self.stays:
            self.generator = Player((self.G, *E), recipe, fine)
        self.critic = Player((self.D,), recipe, fine)

    def round(self, **batch: Tensor) -> Iterator[Turn]:  # labels [B, H, W], instances, image [B, 3, H, W]; or A, B
        config, coarse = self.config, self.before(self.coarse_ends)
        fixed = self.stays or self.before(self.fixed_ends)
        if self.training:
            self.coarsely.fill_(coarse)
        x, y, regions = self.read(batch, half=coarse)
        G_x = x if self.E is None or regions is None else joined(x, pooled(self.E(y), regions))
        if coarse:
            player, critic, scales, fake = self.coarse, self.coarse_critic, max(1, config.scales - 1), self.alone(G_x)
        elif fixed:
            with frozen(self.G.model):
                player, critic, scales, fake = self.enhancer, self.critic, config.scales, self.G(G_x)
        else:
            player, critic, scales, fake = self.generator, self.critic, config.scales, self.G(G_x)

        seen_y, seen_fake = self.D(joined(x, y), scales), self.D(joined(x, fake), scales)
        scores_y, scores_fake = ([maps[-1] for maps in seen] for seen in (seen_y, seen_fake))
        self.note(**accuracy(flat(scores_y), flat(scores_fake), 0.5))
        terms: dict[str, Term] = {
            "fool": torch.stack([lsgan(score, 1) for score in scores_fake]).sum(),
            "matching": (config.matching_weight, matching(seen_y, seen_fake)),
        }
        if self.perceptual is not None:
            terms["perceptual"] = (config.perceptual_weight, self.perceptual(fake, y))
        yield (
            minimise(
                critic,
                real=(0.5, torch.stack([lsgan(score, 1) for score in scores_y]).sum()),
                fake=(0.5, torch.stack([lsgan(score, 0) for score in scores_fake]).sum()),
            ),
            minimise(player, **terms),  # the last, so that its graph is freed while its gradients, the largest, arise
        )

    def before(self, part: float) -> bool:
        """Whether the run has not yet come to that part of it."""
        return self.when(lambda clock: clock.step < round(part * clock.total_steps))

    def alone(self, x: Tensor) -> Tensor:
        """The picture that G1 makes by itself, of the size of its input."""
        picture: Tensor = self.head(self.G(x, alone=True))
        return picture

    def read(self, batch: Mapping[str, Tensor], *, half: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """What the critics see beside a picture, [B, C, H, W]; the picture; and the regions that have a style."""
        if not self.labelled:
            x, y = batch["A"], batch["B"]
            return (F.avg_pool2d(x, 2), F.avg_pool2d(y, 2), None) if half else (x, y, None)
        labels, instances, y = batch["labels"], batch.get("instances"), batch["image"]
        if half:
            labels, instances, y = decimated(labels), decimated(instances), F.avg_pool2d(y, 2)
        return self.shown(labels, instances), y, instances if self.bounded else labels

    def shown(self, labels: Tensor, instances: Tensor | None) -> Tensor:
        """Label maps, and edges where there are instances, as G and D see them."""
        dtype = next(self.parameters()).dtype
        maps = one_hot(labels, self.classes, dtype)
        return joined(maps, edges(instances, dtype)) if self.bounded and instances is not None else maps

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
        """G of label maps with a style, or of pictures. There is no dropout that ``as_published`` could leave on.

        As long as G1 is all that has learnt, it is G1's picture, enlarged.
        """
        self.fits(x, direction, instances, style)
        half = bool(self.coarsely)
        if not self.labelled:
            x = F.avg_pool2d(x, 2) if half else x
        else:
            if self.E is not None and style is None:
                style = self.styles.draw(x, x if instances is None else instances, chosen={}, seed=seed, first=first)
            if half:
                x, instances, style = decimated(x), decimated(instances), decimated(style)
            x = self.shown(x, instances)
            x = x if style is None else joined(x, style.to(x))
        if half:
            return F.interpolate(self.alone(x), scale_factor=2, mode="bilinear")
        picture: Tensor = self.G(x)
        return picture

    @torch.no_grad()
    def style_of(self, image: Tensor, labels: Tensor, instances: Tensor | None = None) -> Tensor:
        """The style of each region of pictures [B, 3, H, W], as E sees it: [B, F, H, W]. Raises UsageError as
        `translate` does."""
        self.fits(labels, None, instances)
        E = self.encoder()
        if image.shape[-2:] != labels.shape[-2:]:
            raise UsageError("A picture and its label map must be of one size.")
        regions = labels if instances is None else instances
        if bool(self.coarsely):  # then it has learnt at half size
            half: Tensor = pooled(E(F.avg_pool2d(image, 2)), decimated(regions))
            return F.interpolate(half, scale_factor=2, mode="nearest")
        return pooled(E(image), regions)

    @torch.no_grad()
    def draw_style(
        self,
        labels: Tensor,
        instances: Tensor | None = None,
        *,
        chosen: Mapping[int, int] | None = None,
        seed: int = 0,
        first: int = 0,
    ) -> Tensor:
        """A style for each region, [B, F, H, W], among those that `survey` found for its class; see `Styles.draw`."""
        self.fits(labels, None, instances)
        self.encoder()
        regions = labels if instances is None else instances
        return self.styles.draw(labels, regions, chosen=chosen or {}, seed=seed, first=first)

    @torch.no_grad()
    def survey(self, batches: Iterable[Mapping[str, Tensor]], n: int) -> None:
        """Finds the styles of each class, among the regions of up to n images that are large enough to show one."""
        if self.E is None:
            return
        seen: dict[int, list[Tensor]] = {}
        for batch in batches:
            labels, image = batch["labels"][:n], batch["image"][:n]
            instances = batch["instances"][:n] if self.bounded else None
            style = self.style_of(image, labels, instances)
            for label, row in shown_styles(style, labels, labels if instances is None else instances, self.classes):
                seen.setdefault(label, []).append(row)
            n -= len(labels)
            if n < 1:
                break
        self.styles.fit({label: torch.stack(rows) for label, rows in seen.items()})

    def encoder(self) -> Encoder:
        """E. Raises UsageError where there is none."""
        if self.E is None:
            raise UsageError("This run knows no styles: it was trained without an encoder.")
        return self.E

    def fits(self, x: Tensor, direction: str | None, instances: Tensor | None, style: Tensor | None = None) -> None:
        """Raises UsageError for what this game cannot translate."""
        self.check(x, direction, channels=self.seen, classes=self.classes if self.labelled else 0)
        if style is not None:
            self.encoder()
            if style.shape[1:] != (self.config.style_channels, *x.shape[-2:]):
                raise UsageError(f"A style has {self.config.style_channels} channels and the size of its label map.")
        if not self.bounded:
            if instances is not None:
                raise UsageError("This run learnt without instances: leave them out.")
            return
        if instances is None:
            raise UsageError("This run was trained with instance maps: give that of each label map.")
        if instances.shape != x.shape or not 0 <= int(instances.min()) <= int(instances.max()) < REGIONS:
            raise UsageError(f"An instance map has the size of its label map, and numbers from 0 to {REGIONS - 1}.")


def stopped(part: float, schedule: Schedule) -> Schedule:
    """``schedule`` up to that part of the run, and from there on the last that it was."""

    def held(clock: Clock) -> float:
        last = max(0, round(part * clock.total_steps) - 1)
        return schedule(dataclasses.replace(clock, step=min(clock.step, last)))

    return held


def matching(real: list[list[Tensor]], fake: list[list[Tensor]]) -> Tensor:
    """The distance of a critic's features, before its scores, of real and fake pictures: the mean over scales of the
    sum over layers of 4 / layers times the mean of |real - fake|; real ones are held constant.

    Equation 4, with the released weights: 1 for each of the usual four layers.
    """
    scales = []
    for ours, theirs in zip(fake, real, strict=True):
        layers = [(wide(a) - wide(b.detach())).abs().mean() for a, b in zip(ours[:-1], theirs[:-1], strict=True)]
        scales.append(torch.stack(layers).sum() * 4 / len(layers))
    return torch.stack(scales).mean()


def joined(*maps: Tensor) -> Tensor:
    """Maps side by side, [B, C, H, W], channels-last."""
    return torch.cat([one.contiguous(memory_format=torch.channels_last) for one in maps], 1)


def flat(scores: list[Tensor]) -> Tensor:
    return torch.cat([score.flatten() for score in scores])


def decimated(maps: Any) -> Any:
    """Every second pixel of every second row, as `nearest` has it; nothing of nothing."""
    return None if maps is None else maps[..., ::2, ::2]
