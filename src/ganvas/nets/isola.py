"""The nets of pix2pix (Isola et al. 2017, 1611.07004) and CycleGAN (Zhu et al. 2017, 1703.10593).

They are as the authors' PyTorch release has them, under its state-dict keys: its checkpoints load as they are.

Convolutions before an instance norm have a bias there, those before a batch norm none. Instance norm has no weights.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganvas.nets.initial import initialise

Norm = Literal["instance", "batch"]


class _Normalised(torch.autograd.Function):
    """By image, on a CPU, in full precision. Its batch norm adds up a channels-last map number by number, which leaves
    four digits of a large one; here the mean and the variance are exact to rounding, and so is the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        y = x - mean
        scale = y.square().mean((2, 3), keepdim=True).add_(eps).rsqrt_()
        ctx.save_for_backward(x, mean, scale)
        ctx.eps = eps
        return y.mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        rows = []
        for g, x, mean, scale in zip(*(t.chunk(len(t)) for t in (*gradients, *ctx.saved_tensors)), strict=True):
            statistics = (mean.flatten(), scale.flatten(), True, ctx.eps, [True, False, False])
            rows.append(torch.ops.aten.native_batch_norm_backward(g, x, None, None, None, *statistics)[0])
        return rows[0] if len(rows) == 1 else torch.cat(rows), None


class _Mirrored(torch.autograd.Function):
    """Padding by reflection. PyTorch's keeps its input for the backward pass, which needs its shape alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, n: int) -> Tensor:
        ctx.n, ctx.shape = n, x.shape
        return torch.ops.aten.reflection_pad2d(x, [n] * 4)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (g,) = gradients
        last = g.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        like = torch.empty(ctx.shape, dtype=g.dtype, device=g.device, memory_format=layout)
        return torch.ops.aten.reflection_pad2d_backward(g, like, [ctx.n] * 4), None


class Mirror(nn.Module):
    """Pads images by their reflection, n pixels on each side.

    Put before a ReLU in place rather than after it, it leaves no map to be kept but that which the next convolution
    keeps anyway: a third of a residual block's memory.
    """

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _Mirrored.apply(x, self.n)  # type: ignore[no-untyped-call]
        return y


def by_image(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *, eps: float = 1e-5) -> Tensor:
    """Each channel of each image normalised by its own mean and variance, in the layout of ``x`` [B, C, H, W].

    Not by PyTorch's instance norm: that makes every map contiguous, and at batch 1, given a channels-last gradient, its
    backward on the CPU is wrong (2.13). A batch norm over one image is the same, keeps the layout, and is faster.
    """
    if x.shape[2] * x.shape[3] == 1:
        raise ValueError("one pixel cannot be normalised by its own mean")
    if x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64):
        y: Tensor = _Normalised.apply(x, eps)  # type: ignore[no-untyped-call]
        return y if weight is None or bias is None else y * weight[:, None, None] + bias[:, None, None]
    rows = [F.batch_norm(row, None, None, weight, bias, training=True, eps=eps) for row in x.chunk(len(x))]
    return rows[0] if len(rows) == 1 else torch.cat(rows)


class InstanceNorm(nn.InstanceNorm2d):
    """Each image by its own statistics, without weights."""

    def forward(self, x: Tensor) -> Tensor:
        return by_image(x, eps=self.eps)


class ImageNorm(nn.BatchNorm2d):
    """Batch norm in training; elsewhere each image by its own statistics.

    The authors' test script leaves batch norm in training mode at batch 1, where it is an instance norm with weights:
    so a picture never depends on its neighbours in the batch.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return super().forward(x)
        return by_image(x, self.weight, self.bias, eps=self.eps)


class Levelled(nn.Conv2d):
    """A convolution before an instance norm, which takes every constant away: its bias is there for checkpoints alone.

    It is not added, and has no gradient: that would be rounding errors, of which Adam makes whole steps.
    """

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight, None)


class LevelledUp(nn.ConvTranspose2d):
    """The same, transposed."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        assert isinstance(self.padding, tuple)  # nn.Conv2d alone takes a word for it
        return F.conv_transpose2d(x, self.weight, None, self.stride, self.padding, self.output_padding)


def convolution(norm: Norm) -> type[nn.Conv2d]:
    """The convolution before that norm."""
    return Levelled if norm == "instance" else nn.Conv2d


def transposed(norm: Norm) -> type[nn.ConvTranspose2d]:
    """The same, transposed."""
    return LevelledUp if norm == "instance" else nn.ConvTranspose2d


def normalised(norm: Norm, channels: int) -> nn.Module:
    """The norm of that name over maps of so many channels."""
    return InstanceNorm(channels) if norm == "instance" else ImageNorm(channels)


class ThinConv2d(nn.Conv2d):
    """A convolution to few channels, without stride or padding.

    A CPU computes 16 channels at a time, whether it is asked for 3 or not. There, in full precision, each row of the
    kernel is a convolution with channels of its own, and the result is their sum, shifted: at least twice as fast.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        k, height = self.kernel_size[0], x.shape[2] - self.kernel_size[0] + 1
        rows = F.conv2d(x, self.weight.permute(2, 0, 1, 3).reshape(-1, self.in_channels, 1, self.kernel_size[1]))
        y = rows[:, : self.out_channels, :height]
        for i in range(1, k):
            y = y + rows[:, i * self.out_channels : (i + 1) * self.out_channels, i : i + height]
        return y if self.bias is None else y + self.bias[:, None, None]


class ResnetBlock(nn.Module):
    """x + f(x), with no ReLU after the sum; dropout, where there is any, shifts the second convolution's key.

    bias: whether its convolutions have one; None: before instance norm.
    """

    def __init__(self, channels: int, norm: Norm, dropout: bool = False, *, bias: bool | None = None) -> None:
        super().__init__()
        bias, relu = norm == "instance" if bias is None else bias, nn.ReLU(inplace=True)
        conv = convolution(norm)
        between = [relu, nn.Dropout(0.5), Mirror(1)] if dropout else [Mirror(1), relu]
        self.conv_block = nn.Sequential(
            Mirror(1), conv(channels, channels, 3, bias=bias), normalised(norm, channels), *between,
            conv(channels, channels, 3, bias=bias), normalised(norm, channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class ResnetGenerator(nn.Module):
    """Images [B, inputs, H, W] to [B, outputs, H, W] in [-1, 1]; sides are multiples of 4 (Johnson et al. 2016,
    1603.08155; 9 blocks for 256 px, 6 for 128 px: 1703.10593, section 7.2)."""

    multiple, least = 4, 8  # of the sides; below that the inner maps have one pixel, which no norm takes

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int = 64,
        blocks: int = 9,
        norm: Norm = "instance",
        dropout: bool = False,
    ) -> None:
        super().__init__()
        bias, conv, up = norm == "instance", convolution(norm), transposed(norm)
        layers: list[nn.Module] = [Mirror(3), conv(inputs, width, 7, bias=bias)]
        layers += [normalised(norm, width), nn.ReLU(inplace=True)]
        for c in (width, 2 * width):
            layers += [conv(c, 2 * c, 3, 2, 1, bias=bias), normalised(norm, 2 * c), nn.ReLU(inplace=True)]
        layers += [ResnetBlock(4 * width, norm, dropout) for _ in range(blocks)]
        for c in (4 * width, 2 * width):
            layers += [up(c, c // 2, 3, 2, 1, output_padding=1, bias=bias), normalised(norm, c // 2)]
            layers += [nn.ReLU(inplace=True)] if c == 4 * width else [Mirror(3), nn.ReLU(inplace=True)]
        layers += [ThinConv2d(width, outputs, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Level(nn.Module):
    """One level of a U-Net: down, what lies below, up; its input joins its output, but at the outermost."""

    def __init__(
        self,
        outer: int,
        inner: int,
        below: Level | None,
        norm: Norm,
        *,
        inputs: int | None = None,
        outermost: bool = False,
        dropout: bool = False,
    ) -> None:
        super().__init__()
        self.outermost, bias = outermost, norm == "instance"
        conv = nn.Conv2d if outermost or below is None else convolution(norm)  # where no norm follows the bias counts
        back = nn.ConvTranspose2d if outermost else transposed(norm)
        down = conv(outer if inputs is None else inputs, inner, 4, 2, 1, bias=bias)
        up = back(2 * inner if below else inner, outer, 4, 2, 1, bias=bias or outermost)
        if outermost:
            assert below is not None
            layers: list[nn.Module] = [down, below, nn.ReLU(inplace=True), up, nn.Tanh()]
        else:
            # in place: the input that joins the output below is rectified, too; the ReLU above makes that no difference
            layers = [nn.LeakyReLU(0.2, inplace=True), down, *([normalised(norm, inner), below] if below else [])]
            layers += [nn.ReLU(inplace=True), up, normalised(norm, outer), *([nn.Dropout(0.5)] if dropout else [])]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


class UNetGenerator(nn.Module):
    """Images [B, inputs, H, W] to [B, outputs, H, W] in [-1, 1]; sides are multiples of 2^downs (1611.07004, section
    6.1.1).

    Widths double a level, up to eight times the first; dropout is in the inner levels where they no longer do.
    """

    def __init__(
        self, inputs: int, outputs: int, width: int = 64, downs: int = 8, norm: Norm = "batch", dropout: bool = False
    ) -> None:  # fmt: skip
        super().__init__()
        self.multiple = self.least = 2**downs
        widths = [width * min(2**i, 8) for i in range(downs)]
        level: Level | None = None
        for outer, inner in reversed(list(pairwise(widths))):
            level = Level(outer, inner, level, norm, dropout=dropout and level is not None and outer == inner)
        self.model = Level(outputs, width, level, norm, inputs=inputs, outermost=True)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class PatchCritic(nn.Module):
    """Images [B, inputs, H, W] to scores [B, 1, h, w] of overlapping patches, of 70x70 pixels for 3 layers (1611.07004,
    section 6.1.2)."""

    def __init__(self, inputs: int, width: int = 64, layers: int = 3, norm: Norm = "instance") -> None:
        super().__init__()
        bias = norm == "instance"
        widths = [width * min(2**i, 8) for i in range(layers + 1)]
        model: list[nn.Module] = [nn.Conv2d(inputs, width, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        for i, (a, b) in enumerate(pairwise(widths), start=1):
            model += [convolution(norm)(a, b, 4, 2 if i < layers else 1, 1, bias=bias), normalised(norm, b)]
            model += [nn.LeakyReLU(0.2, inplace=True)]
        self.model = nn.Sequential(*model, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class ImagePool(nn.Module):
    """The last ``size`` fakes and older ones (Shrivastava et al. 2017, 1612.07828, section 2.3): until it is full it
    keeps what comes; then, by a coin, it gives an old image for the new one.

    Its images [size, *shape] are memory, saved with a checkpoint but no weights. Validation passes it by.
    """

    images: Tensor
    held: Tensor

    def __init__(self, size: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.zeros(size, *shape), persistent=False)
        self.register_buffer("held", torch.zeros((), dtype=torch.int64), persistent=False)

    @torch.no_grad()
    def forward(self, x: Tensor, coins: Tensor) -> Tensor:
        """Images [B, *shape] for images ``x`` [B, *shape]; coins: uniform in [0, 1), [B, 2]. Nothing leaves the
        device."""
        x = x.detach().to(self.images.dtype)
        if not self.size or not self.training:
            return x
        given = []
        for image, (swap, which) in zip(x, coins, strict=True):
            full = self.held >= self.size
            chosen = (which * self.size).long().clamp(max=self.size - 1)
            slot = torch.where(full, chosen, self.held).view(1)
            old = self.images.index_select(0, slot)[0]
            swaps = full & (swap > 0.5)
            given.append(torch.where(swaps, old, image))
            self.images.index_copy_(0, slot, torch.where(swaps | ~full, image, old)[None])
            self.held.add_((~full).long())
        return torch.stack(given)
