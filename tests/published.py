"""The Inception net of FID for tests: random weights in the layout of the published files, and its graph written out.

Nothing here reads the module under test: layers, sizes and pools are from the published graph.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

Shape = tuple[int, int, int, int]


def _block(name: str, inputs: int, **layers: tuple[int, int, int, int]) -> Iterator[tuple[str, Shape]]:
    """layers: channels out, channels in (0: the block's), kernel's rows and columns."""
    for layer, (outputs, own, rows, columns) in layers.items():
        yield f"{name}.{layer}", (outputs, own or inputs, rows, columns)


def layers() -> dict[str, Shape]:
    """Every convolution by its published name, with the shape of its kernel."""
    found: dict[str, Shape] = {
        "Conv2d_1a_3x3": (32, 3, 3, 3), "Conv2d_2a_3x3": (32, 32, 3, 3), "Conv2d_2b_3x3": (64, 32, 3, 3),
        "Conv2d_3b_1x1": (80, 64, 1, 1), "Conv2d_4a_3x3": (192, 80, 3, 3),
    }  # fmt: skip
    for name, inputs, pooled in (("5b", 192, 32), ("5c", 256, 64), ("5d", 288, 64)):
        found |= _block(
            f"Mixed_{name}", inputs, branch1x1=(64, 0, 1, 1),
            branch5x5_1=(48, 0, 1, 1), branch5x5_2=(64, 48, 5, 5),
            branch3x3dbl_1=(64, 0, 1, 1), branch3x3dbl_2=(96, 64, 3, 3), branch3x3dbl_3=(96, 96, 3, 3),
            branch_pool=(pooled, 0, 1, 1),
        )  # fmt: skip
    found |= _block(
        "Mixed_6a", 288, branch3x3=(384, 0, 3, 3),
        branch3x3dbl_1=(64, 0, 1, 1), branch3x3dbl_2=(96, 64, 3, 3), branch3x3dbl_3=(96, 96, 3, 3),
    )  # fmt: skip
    for name, c in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
        found |= _block(
            f"Mixed_{name}", 768, branch1x1=(192, 0, 1, 1),
            branch7x7_1=(c, 0, 1, 1), branch7x7_2=(c, c, 1, 7), branch7x7_3=(192, c, 7, 1),
            branch7x7dbl_1=(c, 0, 1, 1), branch7x7dbl_2=(c, c, 7, 1), branch7x7dbl_3=(c, c, 1, 7),
            branch7x7dbl_4=(c, c, 7, 1), branch7x7dbl_5=(192, c, 1, 7), branch_pool=(192, 0, 1, 1),
        )  # fmt: skip
    found |= _block(
        "Mixed_7a", 768, branch3x3_1=(192, 0, 1, 1), branch3x3_2=(320, 192, 3, 3),
        branch7x7x3_1=(192, 0, 1, 1), branch7x7x3_2=(192, 192, 1, 7), branch7x7x3_3=(192, 192, 7, 1),
        branch7x7x3_4=(192, 192, 3, 3),
    )  # fmt: skip
    for name, inputs in (("7b", 1280), ("7c", 2048)):
        found |= _block(
            f"Mixed_{name}", inputs, branch1x1=(320, 0, 1, 1),
            branch3x3_1=(384, 0, 1, 1), branch3x3_2a=(384, 384, 1, 3), branch3x3_2b=(384, 384, 3, 1),
            branch3x3dbl_1=(448, 0, 1, 1), branch3x3dbl_2=(384, 448, 3, 3),
            branch3x3dbl_3a=(384, 384, 1, 3), branch3x3dbl_3b=(384, 384, 3, 1), branch_pool=(192, 0, 1, 1),
        )  # fmt: skip
    return found


@functools.cache
def weights(*, counters: bool = False, seed: int = 0) -> dict[str, Tensor]:
    """A state dict as it is published, float32, of random weights that keep the scale of what goes through.

    counters: with ``num_batches_tracked``, as a file has that was saved from a module.
    """
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, Tensor] = {}
    for name, (outputs, inputs, rows, columns) in layers().items():
        scale = (2 / (inputs * rows * columns)) ** 0.5
        found[f"{name}.conv.weight"] = torch.randn(outputs, inputs, rows, columns, generator=generator) * scale
        gamma, beta, mean, variance = torch.rand(4, outputs, generator=generator)
        found[f"{name}.bn.weight"], found[f"{name}.bn.bias"] = gamma + 0.5, beta - 0.5
        found[f"{name}.bn.running_mean"], found[f"{name}.bn.running_var"] = mean - 0.5, variance + 0.5
        if counters:
            found[f"{name}.bn.num_batches_tracked"] = torch.tensor(0)
    found["fc.weight"] = torch.randn(1008, 2048, generator=generator) * 0.05
    found["fc.bias"] = torch.randn(1008, generator=generator)
    return found


def features(w: dict[str, Tensor], x: Tensor) -> Tensor:
    """The average pool [B, 2048] of prepared images [B, 3, H, W], written out, in the precision of ``w`` and ``x``."""

    def conv(name: str, x: Tensor, stride: int = 1, padding: int | tuple[int, int] | None = None) -> Tensor:
        kernel = w[f"{name}.conv.weight"]
        if padding is None:
            padding = (kernel.shape[2] // 2, kernel.shape[3] // 2) if stride == 1 else 0
        x = F.conv2d(x, kernel, None, stride, padding)
        bn = [w[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *bn, eps=0.001).clamp(min=0)

    def chain(block: str, x: Tensor, *names: str, last_stride: int = 1) -> Tensor:
        for name in names[:-1]:
            x = conv(f"{block}.{name}", x)
        return conv(f"{block}.{names[-1]}", x, last_stride)

    def average(x: Tensor) -> Tensor:
        """The mean of those of the 3x3 neighbours that are there."""
        ones = torch.ones_like(x[:1, :1])
        return 9 * F.avg_pool2d(x, 3, 1, 1) / (9 * F.avg_pool2d(ones, 3, 1, 1))

    def numbered(stem: str, count: int) -> list[str]:
        return [f"{stem}_{i}" for i in range(1, count + 1)]

    def fork(block: str, stem: str, x: Tensor) -> list[Tensor]:
        return [conv(f"{block}.{stem}{side}", x) for side in "ab"]

    x = conv("Conv2d_1a_3x3", x, 2)
    x = conv("Conv2d_2b_3x3", conv("Conv2d_2a_3x3", x, padding=0))
    x = F.max_pool2d(x, 3, 2)
    x = F.max_pool2d(conv("Conv2d_4a_3x3", conv("Conv2d_3b_1x1", x), padding=0), 3, 2)
    for block in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        branches = [
            chain(block, x, "branch1x1"),
            chain(block, x, *numbered("branch5x5", 2)),
            chain(block, x, *numbered("branch3x3dbl", 3)),
            chain(block, average(x), "branch_pool"),
        ]
        x = torch.cat(branches, 1)
    block = "Mixed_6a"
    branches = [
        chain(block, x, "branch3x3", last_stride=2),
        chain(block, x, *numbered("branch3x3dbl", 3), last_stride=2),
        F.max_pool2d(x, 3, 2),
    ]
    x = torch.cat(branches, 1)
    for block in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        branches = [
            chain(block, x, "branch1x1"),
            chain(block, x, *numbered("branch7x7", 3)),
            chain(block, x, *numbered("branch7x7dbl", 5)),
            chain(block, average(x), "branch_pool"),
        ]
        x = torch.cat(branches, 1)
    block = "Mixed_7a"
    branches = [
        chain(block, x, *numbered("branch3x3", 2), last_stride=2),
        chain(block, x, *numbered("branch7x7x3", 4), last_stride=2),
        F.max_pool2d(x, 3, 2),
    ]
    x = torch.cat(branches, 1)
    for block, pool in (("Mixed_7b", average), ("Mixed_7c", lambda x: F.max_pool2d(x, 3, 1, 1))):
        branches = [
            chain(block, x, "branch1x1"),
            *fork(block, "branch3x3_2", chain(block, x, "branch3x3_1")),
            *fork(block, "branch3x3dbl_3", chain(block, x, *numbered("branch3x3dbl", 2))),
            chain(block, pool(x), "branch_pool"),
        ]
        x = torch.cat(branches, 1)
    return x.mean((2, 3))
