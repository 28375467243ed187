"""pix2pix, CycleGAN and pix2pixHD as their authors' PyTorch code has them: the yardstick of `translation_step.py`, and
the tests'.

Written from a description of that code (junyanz/pytorch-CycleGAN-and-pix2pix at 00d5574, NVIDIA/pix2pixHD at 14b3b3c):
its layers, names in state dicts, weights at the start, losses, and the order in which an eager step does its work.
Contiguous fp32, one image at a time through every net, PyTorch's plain Adam. Imports nothing of ganvas.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BETAS = (0.5, 0.999)


def norm_of(norm: str, channels: int) -> nn.Module:
    """Instance norm has neither weights nor running statistics, and so no keys."""
    return nn.InstanceNorm2d(channels) if norm == "instance" else nn.BatchNorm2d(channels)


def initialise(net: nn.Module, *, zero_biases: bool = True) -> None:
    """Convolutions N(0, 0.02), BN's gamma N(1, 0.02) and beta 0. pix2pixHD leaves biases of convolutions alone."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0, 0.02)
            if zero_biases and module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.02)
            nn.init.zeros_(module.bias)


def thaw(nets: Sequence[nn.Module], on: bool) -> None:
    for net in nets:
        net.requires_grad_(on)


def gan_loss(score: Tensor, real: bool, kind: str = "lsgan") -> Tensor:
    target = torch.full((), float(real), dtype=score.dtype, device=score.device).expand_as(score)
    return F.mse_loss(score, target) if kind == "lsgan" else F.binary_cross_entropy_with_logits(score, target)


# ---- junyanz ---------------------------------------------------------------------------------------------------------
class ResidualBlock(nn.Module):
    """With dropout the second convolution moves from index 5 to 6."""

    def __init__(self, channels: int, norm: str, dropout: bool, bias: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3, bias=bias)]
        layers += [norm_of(norm, channels), nn.ReLU(True)]
        if dropout:
            layers.append(nn.Dropout(0.5))
        layers += [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3, bias=bias), norm_of(norm, channels)]
        self.conv_block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class ResnetGenerator(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, width: int = 64, blocks: int = 9, norm: str = "instance", dropout: bool = False
    ) -> None:
        super().__init__()
        bias = norm == "instance"
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(inputs, width, 7, bias=bias)]
        layers += [norm_of(norm, width), nn.ReLU(True)]
        for i in range(2):
            c = width << i
            layers += [nn.Conv2d(c, 2 * c, 3, 2, 1, bias=bias), norm_of(norm, 2 * c), nn.ReLU(True)]
        layers += [ResidualBlock(4 * width, norm, dropout, bias) for _ in range(blocks)]
        for i in (1, 0):
            c = width << i
            layers += [nn.ConvTranspose2d(2 * c, c, 3, 2, 1, 1, bias=bias), norm_of(norm, c), nn.ReLU(True)]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, outputs, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class UnetLevel(nn.Module):
    """One level of the U-Net around the next: down, the level within, up; its input is joined to what it returns.

    The leaky ReLU in place alters that input too; the ReLU of the level above makes the two alike.
    """

    def __init__(
        self, outer: int, inner: int, within: nn.Module | None, norm: str, *, ends: tuple[int, int] | None = None,
        dropout: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        bias = norm == "instance"
        self.outermost = ends is not None
        inputs, outputs = ends or (outer, outer)
        down = nn.Conv2d(inputs, inner, 4, 2, 1, bias=bias)
        joined = inner if within is None else 2 * inner
        up = nn.ConvTranspose2d(joined, outputs, 4, 2, 1, bias=bias or self.outermost)
        if self.outermost:
            assert within is not None
            layers = [down, within, nn.ReLU(True), up, nn.Tanh()]
        elif within is None:
            layers = [nn.LeakyReLU(0.2, True), down, nn.ReLU(True), up, norm_of(norm, outer)]
        else:
            layers = [nn.LeakyReLU(0.2, True), down, norm_of(norm, inner), within, nn.ReLU(True), up]
            layers.append(norm_of(norm, outer))
            if dropout:
                layers.append(nn.Dropout(0.5))
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


class UnetGenerator(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, width: int = 64, downs: int = 8, norm: str = "batch", dropout: bool = False
    ) -> None:
        super().__init__()
        level = UnetLevel(8 * width, 8 * width, None, norm)
        for _ in range(downs - 5):
            level = UnetLevel(8 * width, 8 * width, level, norm, dropout=dropout)
        for outer in (4 * width, 2 * width, width):
            level = UnetLevel(outer, 2 * outer, level, norm)
        self.model = UnetLevel(0, width, level, norm, ends=(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class PatchDiscriminator(nn.Module):
    def __init__(self, inputs: int, width: int = 64, layers: int = 3, norm: str = "instance") -> None:
        super().__init__()
        bias = norm == "instance"
        stack: list[nn.Module] = [nn.Conv2d(inputs, width, 4, 2, 1), nn.LeakyReLU(0.2, True)]
        for n in range(1, layers + 1):
            before, after = width * min(2 ** (n - 1), 8), width * min(2**n, 8)
            stack.append(nn.Conv2d(before, after, 4, 2 if n < layers else 1, 1, bias=bias))
            stack += [norm_of(norm, after), nn.LeakyReLU(0.2, True)]
        stack.append(nn.Conv2d(width * min(2**layers, 8), 1, 4, 1, 1))
        self.model = nn.Sequential(*stack)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class ImagePool:
    """Until it is full, keeps what comes and returns it; then, every other time, trades it for one that it keeps."""

    def __init__(self, size: int = 50, chance: random.Random | None = None) -> None:
        self.size, self.chance = size, chance or random.Random(0)
        self.images: list[Tensor] = []

    def query(self, images: Tensor) -> Tensor:
        if self.size == 0:
            return images
        out = []
        for image in images.detach().split(1):
            if len(self.images) < self.size:
                self.images.append(image)
                out.append(image)
            elif self.chance.uniform(0, 1) > 0.5:
                i = self.chance.randint(0, self.size - 1)
                out.append(self.images[i].clone())
                self.images[i] = image
            else:
                out.append(image)
        return torch.cat(out)


class CycleGAN:
    """The step of two generators and two critics; ``D_A`` judges pictures of B."""

    def __init__(
        self, G_A: nn.Module, G_B: nn.Module, D_A: nn.Module, D_B: nn.Module, *, cycle: float = 10.0,
        identity: float = 0.5, lr: float = 2e-4, pools: tuple[ImagePool, ImagePool] | None = None,
    ) -> None:  # fmt: skip
        self.G_A, self.G_B, self.D_A, self.D_B = G_A, G_B, D_A, D_B
        self.cycle, self.identity = cycle, identity
        self.pool_A, self.pool_B = pools or (ImagePool(), ImagePool())
        self.of_G = torch.optim.Adam([*G_A.parameters(), *G_B.parameters()], lr, BETAS)
        self.of_D = torch.optim.Adam([*D_A.parameters(), *D_B.parameters()], lr, BETAS)

    def step(self, A: Tensor, B: Tensor) -> dict[str, Tensor]:
        """Losses as the original logs them: with their weights, but each critic's by itself."""
        fake_B = self.G_A(A)
        rec_A = self.G_B(fake_B)
        fake_A = self.G_B(B)
        rec_B = self.G_A(fake_A)
        losses: dict[str, Tensor] = {}

        thaw([self.D_A, self.D_B], False)
        self.of_G.zero_grad()
        if self.identity > 0:
            losses["idt_A"] = F.l1_loss(self.G_A(B), B) * self.cycle * self.identity
            losses["idt_B"] = F.l1_loss(self.G_B(A), A) * self.cycle * self.identity
        losses["G_A"] = gan_loss(self.D_A(fake_B), True)
        losses["G_B"] = gan_loss(self.D_B(fake_A), True)
        losses["cycle_A"] = F.l1_loss(rec_A, A) * self.cycle
        losses["cycle_B"] = F.l1_loss(rec_B, B) * self.cycle
        sum(losses.values(), torch.zeros(())).backward()
        self.of_G.step()

        thaw([self.D_A, self.D_B], True)
        self.of_D.zero_grad()
        losses["D_A"] = self._critic(self.D_A, B, self.pool_B.query(fake_B))
        losses["D_B"] = self._critic(self.D_B, A, self.pool_A.query(fake_A))
        self.of_D.step()
        return {name: loss.detach() for name, loss in losses.items()}

    @staticmethod
    def _critic(D: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        loss = (gan_loss(D(real), True) + gan_loss(D(fake.detach()), False)) * 0.5
        loss.backward()
        return loss


class Pix2Pix:
    """The step of a generator and its conditional critic, who moves first."""

    def __init__(self, G: nn.Module, D: nn.Module, *, l1: float = 100.0, lr: float = 2e-4) -> None:
        self.G, self.D, self.l1 = G, D, l1
        self.of_G = torch.optim.Adam(G.parameters(), lr, BETAS)
        self.of_D = torch.optim.Adam(D.parameters(), lr, BETAS)

    def step(self, A: Tensor, B: Tensor) -> dict[str, Tensor]:
        fake = self.G(A)

        thaw([self.D], True)
        self.of_D.zero_grad()
        d_fake = gan_loss(self.D(torch.cat([A, fake], 1).detach()), False, "vanilla")
        d_real = gan_loss(self.D(torch.cat([A, B], 1)), True, "vanilla")
        ((d_fake + d_real) * 0.5).backward()
        self.of_D.step()

        thaw([self.D], False)
        self.of_G.zero_grad()
        fool = gan_loss(self.D(torch.cat([A, fake], 1)), True, "vanilla")
        apart = F.l1_loss(fake, B) * self.l1
        (fool + apart).backward()
        self.of_G.step()
        losses = {"D_fake": d_fake, "D_real": d_real, "G_GAN": fool, "G_L1": apart}
        return {name: loss.detach() for name, loss in losses.items()}


# ---- pix2pixHD -------------------------------------------------------------------------------------------------------
def halved(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)


def layer(conv: nn.Module, channels: int, norm: str) -> list[nn.Module]:
    return [conv, norm_of(norm, channels), nn.ReLU(True)]


class GlobalGenerator(nn.Module):
    def __init__(
        self, inputs: int, outputs: int = 3, width: int = 64, downs: int = 4, blocks: int = 9, norm: str = "instance"
    ) -> None:
        super().__init__()
        layers = [nn.ReflectionPad2d(3), *layer(nn.Conv2d(inputs, width, 7), width, norm)]
        for i in range(downs):
            layers += layer(nn.Conv2d(width << i, 2 * width << i, 3, 2, 1), 2 * width << i, norm)
        layers += [ResidualBlock(width << downs, norm, False, True) for _ in range(blocks)]
        for i in reversed(range(downs)):
            layers += layer(nn.ConvTranspose2d(2 * width << i, width << i, 3, 2, 1, 1), width << i, norm)
        self.model = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, outputs, 7), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class LocalEnhancer(nn.Module):
    """The global generator without its last three layers, on the halved input, within one enhancer or more."""

    def __init__(
        self, inputs: int, outputs: int = 3, width: int = 32, downs: int = 4, blocks: int = 9, enhancers: int = 1,
        local_blocks: int = 3, norm: str = "instance",
    ) -> None:  # fmt: skip
        super().__init__()
        self.enhancers = enhancers
        self.model = GlobalGenerator(inputs, outputs, width << enhancers, downs, blocks, norm).model[:-3]
        for n in range(1, enhancers + 1):
            c = width << enhancers - n
            first = [nn.ReflectionPad2d(3), *layer(nn.Conv2d(inputs, c, 7), c, norm)]
            first += layer(nn.Conv2d(c, 2 * c, 3, 2, 1), 2 * c, norm)
            second: list[nn.Module] = [ResidualBlock(2 * c, norm, False, True) for _ in range(local_blocks)]
            second += layer(nn.ConvTranspose2d(2 * c, c, 3, 2, 1, 1), c, norm)
            if n == enhancers:
                second += [nn.ReflectionPad2d(3), nn.Conv2d(c, outputs, 7), nn.Tanh()]
            self.add_module(f"model{n}_1", nn.Sequential(*first))
            self.add_module(f"model{n}_2", nn.Sequential(*second))

    def forward(self, x: Tensor) -> Tensor:
        pyramid = [x]
        for _ in range(self.enhancers):
            pyramid.append(halved(pyramid[-1]))
        out = self.model(pyramid.pop())
        for n in range(1, self.enhancers + 1):
            first, second = (self.get_submodule(f"model{n}_{half}") for half in (1, 2))
            out = second(first(pyramid.pop()) + out)
        return out


class Encoder(nn.Module):
    """Features of a picture, each the mean over its instance."""

    def __init__(self, outputs: int = 3, width: int = 16, downs: int = 4, inputs: int = 3, norm: str = "instance"):
        super().__init__()
        layers = [nn.ReflectionPad2d(3), *layer(nn.Conv2d(inputs, width, 7), width, norm)]
        for i in range(downs):
            layers += layer(nn.Conv2d(width << i, 2 * width << i, 3, 2, 1), 2 * width << i, norm)
        for i in reversed(range(downs)):
            layers += layer(nn.ConvTranspose2d(2 * width << i, width << i, 3, 2, 1, 1), width << i, norm)
        self.model = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, outputs, 7), nn.Tanh())

    def forward(self, x: Tensor, regions: Tensor) -> Tensor:
        return pooled(self.model(x), regions)


def pooled(features: Tensor, regions: Tensor) -> Tensor:
    """[B, F, H, W], each channel's mean over the pixels of one region of ``regions`` [B, H, W]: an id at a time."""
    out = features.clone()
    for i in regions.unique().tolist():
        for b in range(len(features)):
            rows, columns = (regions[b] == i).nonzero(as_tuple=True)
            if len(rows):
                out[b, :, rows, columns] = features[b, :, rows, columns].mean(1, keepdim=True)
    return out


class MultiscaleDiscriminator(nn.Module):
    """Critics of one kind, the finest under the highest number; each gives the outputs of all of its stages."""

    def __init__(self, inputs: int, width: int = 64, layers: int = 3, scales: int = 2, norm: str = "instance") -> None:
        super().__init__()
        self.scales, self.stages = scales, layers + 2
        widths = [width, *(min(width << n, 512) for n in range(1, layers + 1))]
        for i in range(scales):
            self.add_module(
                f"scale{i}_layer0", nn.Sequential(nn.Conv2d(inputs, width, 4, 2, 2), nn.LeakyReLU(0.2, True))
            )
            for n in range(1, layers + 1):
                conv = nn.Conv2d(widths[n - 1], widths[n], 4, 2 if n < layers else 1, 2)
                self.add_module(
                    f"scale{i}_layer{n}", nn.Sequential(conv, norm_of(norm, widths[n]), nn.LeakyReLU(0.2, True))
                )
            self.add_module(f"scale{i}_layer{layers + 1}", nn.Sequential(nn.Conv2d(widths[-1], 1, 4, 1, 2)))

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        results = []
        for i in reversed(range(self.scales)):
            outputs = [x]
            for n in range(self.stages):
                outputs.append(self.get_submodule(f"scale{i}_layer{n}")(outputs[-1]))
            results.append(outputs[1:])
            if i:
                x = halved(x)
        return results


class VGG19(nn.Module):
    """The features of VGG19 at relu1_1, 2_1, 3_1, 4_1 and 5_1, with torchvision's keys, read with no normalisation."""

    taps = (1, 6, 11, 20, 29)
    weights = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width, depth in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 1)):
            if layers:
                layers.append(nn.MaxPool2d(2, 2))
            for _ in range(depth):
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
                before = width
        self.features = nn.Sequential(*layers)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        out = []
        for i, module in enumerate(self.features):
            x = module(x)
            if i in self.taps:
                out.append(x)
        return out


def one_hot(labels: Tensor, classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """[B, C, H, W] of ids [B, H, W]."""
    b, h, w = labels.shape
    return torch.zeros(b, classes, h, w, dtype=dtype, device=labels.device).scatter_(1, labels.long()[:, None], 1.0)


def edges(instances: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """[B, 1, H, W]: 1 where one of the four neighbours belongs to another instance."""
    ids = instances[:, None]
    out = torch.zeros_like(ids, dtype=torch.bool)
    across, along = ids[..., 1:] != ids[..., :-1], ids[..., 1:, :] != ids[..., :-1, :]
    out[..., 1:] |= across
    out[..., :-1] |= across
    out[..., 1:, :] |= along
    out[..., :-1, :] |= along
    return out.to(dtype)


class Pix2PixHD:
    """One forward for everything, then a step of G (and E) and a step of D, each by its own backward.

    perceptual: maps of a picture, and the weight of each. trained: the names of G's weights that are optimised begin so
    (``model1`` while the coarse net is fixed).
    """

    def __init__(
        self, G: nn.Module, D: MultiscaleDiscriminator, E: Encoder | None = None, *, classes: int = 0,
        perceptual: Callable[[Tensor], Sequence[Tensor]] | None = None, weights: Sequence[float] = VGG19.weights,
        matching: float = 10.0, likeness: float = 10.0, lr: float = 2e-4, pool: ImagePool | None = None,
        trained: str = "",
    ) -> None:  # fmt: skip
        self.G, self.D, self.E, self.classes = G, D, E, classes
        self.perceptual, self.weights, self.matching, self.likeness = perceptual, weights, matching, likeness
        self.pool = pool or ImagePool(0)
        own = [p for name, p in G.named_parameters() if name.startswith(trained)]
        self.of_G = torch.optim.Adam([*own, *(E.parameters() if E is not None else ())], lr, BETAS)
        self.of_D = torch.optim.Adam(D.parameters(), lr, BETAS)

    def condition(self, labels: Tensor, instances: Tensor | None, dtype: torch.dtype) -> Tensor:
        """What G and D are told: one-hot labels (or a picture as it is) and, with instances, their edges."""
        told = one_hot(labels, self.classes, dtype) if self.classes else labels
        return told if instances is None else torch.cat([told, edges(instances, dtype)], 1)

    def step(self, labels: Tensor, instances: Tensor | None, image: Tensor) -> dict[str, Tensor]:
        losses = self.losses(labels, instances, image)
        d_loss = (losses["D_fake"] + losses["D_real"]) * 0.5
        g_loss = losses["G_GAN"] + losses["G_GAN_Feat"] + losses["G_VGG"]
        self.of_G.zero_grad()
        g_loss.backward()
        self.of_G.step()
        self.of_D.zero_grad()
        d_loss.backward()
        self.of_D.step()
        return {name: loss.detach() for name, loss in losses.items()}

    def losses(self, labels: Tensor, instances: Tensor | None, image: Tensor) -> dict[str, Tensor]:
        told = self.condition(labels, instances, image.dtype)
        given = told
        if self.E is not None:
            regions = labels if instances is None else instances
            given = torch.cat([told, self.E(image, regions)], 1)
        fake = self.G(given)

        of_pool = self.D(self.pool.query(torch.cat([told, fake.detach()], 1)))
        of_real = self.D(torch.cat([told, image.detach()], 1))
        of_fake = self.D(torch.cat([told, fake], 1))
        zero = torch.zeros((), dtype=image.dtype, device=image.device)
        losses = {
            "D_fake": self._gan(of_pool, False), "D_real": self._gan(of_real, True),
            "G_GAN": self._gan(of_fake, True), "G_GAN_Feat": zero, "G_VGG": zero,
        }  # fmt: skip
        for fakes, reals in zip(of_fake, of_real, strict=True):
            for a, b in zip(fakes[:-1], reals[:-1], strict=True):
                each = 4 / (self.D.stages - 1) / self.D.scales * self.matching
                losses["G_GAN_Feat"] = losses["G_GAN_Feat"] + each * F.l1_loss(a, b.detach())
        if self.perceptual is not None:
            a_maps, b_maps = self.perceptual(fake), self.perceptual(image)
            for weight, a, b in zip(self.weights, a_maps, b_maps, strict=True):
                losses["G_VGG"] = losses["G_VGG"] + self.likeness * weight * F.l1_loss(a, b.detach())
        return losses

    @staticmethod
    def _gan(results: list[list[Tensor]], real: bool) -> Tensor:
        return torch.stack([gan_loss(outputs[-1], real) for outputs in results]).sum()
