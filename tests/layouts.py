"""The published state dicts, key by key with their shapes, from descriptions of the authors' nets: not from ours."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path

import torch
from torch import Tensor

Shape = tuple[int, ...]
Shapes = dict[str, Shape]


def norm(key: str, channels: int, kind: str) -> Shapes:
    """Of a batch norm; an instance norm has nothing."""
    names = ("weight", "bias", "running_mean", "running_var")
    batch = {f"{key}.{name}": (channels,) for name in names} | {f"{key}.num_batches_tracked": ()}
    return batch if kind == "batch" else {}


def conv(key: str, out: int, into: int, kernel: int, bias: bool = True) -> Shapes:
    return {f"{key}.weight": (out, into, kernel, kernel)} | ({f"{key}.bias": (out,)} if bias else {})


def up(key: str, into: int, out: int, kernel: int, bias: bool = True) -> Shapes:
    """A transposed convolution, whose weights have their inputs first."""
    return {f"{key}.weight": (into, out, kernel, kernel)} | ({f"{key}.bias": (out,)} if bias else {})


# ---- CycleGAN and pix2pix --------------------------------------------------------------------------------------------
# A bias where the norm is instance, and always in the first and last of a critic and the last of a generator.
def resnet(inputs: int = 3, outputs: int = 3, ngf: int = 64, blocks: int = 9, kind: str = "instance",
           dropout: bool = False) -> Shapes:  # fmt: skip
    bias = kind == "instance"
    found = conv("model.1", ngf, inputs, 7, bias) | norm("model.2", ngf, kind)
    found |= conv("model.4", 2 * ngf, ngf, 3, bias) | norm("model.5", 2 * ngf, kind)
    found |= conv("model.7", 4 * ngf, 2 * ngf, 3, bias) | norm("model.8", 4 * ngf, kind)
    for i in range(10, 10 + blocks):
        block, second = f"model.{i}.conv_block", 6 if dropout else 5
        found |= conv(f"{block}.1", 4 * ngf, 4 * ngf, 3, bias) | norm(f"{block}.2", 4 * ngf, kind)
        found |= conv(f"{block}.{second}", 4 * ngf, 4 * ngf, 3, bias) | norm(f"{block}.{second + 1}", 4 * ngf, kind)
    i = 10 + blocks
    found |= up(f"model.{i}", 4 * ngf, 2 * ngf, 3, bias) | norm(f"model.{i + 1}", 2 * ngf, kind)
    found |= up(f"model.{i + 3}", 2 * ngf, ngf, 3, bias) | norm(f"model.{i + 4}", ngf, kind)
    return found | conv(f"model.{i + 7}", outputs, ngf, 7)


def unet(inputs: int = 3, outputs: int = 3, ngf: int = 64, downs: int = 8, kind: str = "batch") -> Shapes:
    bias = kind == "instance"
    widths = [ngf, 2 * ngf, 4 * ngf] + [8 * ngf] * (downs - 3)

    def below(prefix: str, level: int) -> Shapes:
        outer, inner = widths[level - 1], widths[level]
        found = conv(f"{prefix}.1", inner, outer, 4, bias)
        if level == downs - 1:
            return found | up(f"{prefix}.3", inner, outer, 4, bias) | norm(f"{prefix}.4", outer, kind)
        found |= norm(f"{prefix}.2", inner, kind) | below(f"{prefix}.3.model", level + 1)
        return found | up(f"{prefix}.5", 2 * inner, outer, 4, bias) | norm(f"{prefix}.6", outer, kind)

    found = conv("model.model.0", ngf, inputs, 4, bias) | below("model.model.1.model", 1)
    return found | up("model.model.3", 2 * ngf, outputs, 4)


def patches(inputs: int = 3, ndf: int = 64, layers: int = 3, kind: str = "instance") -> Shapes:
    found, i, before = conv("model.0", ndf, inputs, 4), 2, ndf
    for n in range(1, layers + 1):
        after = ndf * min(2**n, 8)
        found |= conv(f"model.{i}", after, before, 4, kind == "instance") | norm(f"model.{i + 1}", after, kind)
        i, before = i + 3, after
    return found | conv(f"model.{i}", 1, before, 4)


def pixels(inputs: int = 3, ndf: int = 64, kind: str = "batch") -> Shapes:
    found = conv("net.0", ndf, inputs, 1) | conv("net.2", 2 * ndf, ndf, 1, kind == "instance")
    return found | norm("net.3", 2 * ndf, kind) | conv("net.5", 1, 2 * ndf, 1, kind == "instance")


# ---- pix2pixHD: every convolution has a bias -------------------------------------------------------------------------
def block(key: str, channels: int, kind: str) -> Shapes:
    found = conv(f"{key}.conv_block.1", channels, channels, 3) | norm(f"{key}.conv_block.2", channels, kind)
    return found | conv(f"{key}.conv_block.5", channels, channels, 3) | norm(f"{key}.conv_block.6", channels, kind)


def features(inputs: int, ngf: int, downs: int, blocks: int, kind: str) -> Shapes:
    """The global generator but for its last three layers."""
    found = conv("model.1", ngf, inputs, 7) | norm("model.2", ngf, kind)
    for i in range(downs):
        found |= conv(f"model.{4 + 3 * i}", ngf << i + 1, ngf << i, 3) | norm(f"model.{5 + 3 * i}", ngf << i + 1, kind)
    for i in range(blocks):
        found |= block(f"model.{4 + 3 * downs + i}", ngf << downs, kind)
    at = 4 + 3 * downs + blocks
    for i in range(downs):
        out = ngf << downs - i - 1
        found |= up(f"model.{at + 3 * i}", 2 * out, out, 3) | norm(f"model.{at + 3 * i + 1}", out, kind)
    return found


def coarse(inputs: int = 36, outputs: int = 3, ngf: int = 64, downs: int = 4, blocks: int = 9,
           kind: str = "instance") -> Shapes:  # fmt: skip
    last = 4 + 3 * downs + blocks + 3 * downs + 1
    return features(inputs, ngf, downs, blocks, kind) | conv(f"model.{last}", outputs, ngf, 7)


def local(inputs: int = 36, outputs: int = 3, ngf: int = 32, downs: int = 4, blocks: int = 9, local_blocks: int = 3,
          kind: str = "instance") -> Shapes:  # fmt: skip
    found = features(inputs, 2 * ngf, downs, blocks, kind)
    found |= conv("model1_1.1", ngf, inputs, 7) | norm("model1_1.2", ngf, kind)
    found |= conv("model1_1.4", 2 * ngf, ngf, 3) | norm("model1_1.5", 2 * ngf, kind)
    for i in range(local_blocks):
        found |= block(f"model1_2.{i}", 2 * ngf, kind)
    n = local_blocks
    found |= up(f"model1_2.{n}", 2 * ngf, ngf, 3) | norm(f"model1_2.{n + 1}", ngf, kind)
    return found | conv(f"model1_2.{n + 4}", outputs, ngf, 7)


def encoder(outputs: int = 3, nef: int = 16, downs: int = 4, inputs: int = 3, kind: str = "instance") -> Shapes:
    return coarse(inputs, outputs, nef, downs, 0, kind)


def scales(inputs: int = 39, ndf: int = 64, layers: int = 3, count: int = 1, kind: str = "instance",
           matching: bool = True) -> Shapes:  # fmt: skip
    """With feature matching a layer by itself; without it all in one: convolutions at 0, 2, 5, ..., norms at 3, 6."""
    found: Shapes = {}
    for i in range(count):
        before = inputs
        for j in range(layers + 2):
            after = 1 if j > layers else min(ndf << j, 512)
            place = 3 * j - 1 if j else 0
            found |= conv(f"scale{i}_layer{j}.0" if matching else f"layer{i}.{place}", after, before, 4)
            if 0 < j <= layers:
                found |= norm(f"scale{i}_layer{j}.1" if matching else f"layer{i}.{place + 1}", after, kind)
            before = after
    return found


# ---- files -----------------------------------------------------------------------------------------------------------
def counted(shapes: Shapes) -> int:
    """Parameters: all but the statistics of batch norms."""
    return sum(prod(shape) for key, shape in shapes.items() if "running" not in key and "num_batches" not in key)


def filled(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """A state dict of those keys, as if trained: large enough for every layer to matter."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for key, shape in shapes.items():
        normal = torch.randn(shape, generator=generator)
        if key.endswith("num_batches_tracked"):
            found[key] = torch.tensor(31)
        elif key.endswith("running_var") or (key.endswith("weight") and len(shape) == 1):
            found[key] = 1 + 0.2 * normal.clamp(-2, 2)
        else:
            found[key] = normal * (0.3 if len(shape) == 1 else prod(shape[1:]) ** -0.5)
    return found


def save(path: Path, shapes: Shapes, seed: int = 0) -> Path:
    torch.save(filled(shapes, seed), path)
    return path


def statistics(key: str, channels: int) -> dict[str, Tensor]:
    """What instance norm kept in files of the time before torch 0.4."""
    return {f"{key}.running_mean": torch.zeros(channels), f"{key}.running_var": torch.ones(channels)}


def convolutions(shapes: Shapes) -> Iterator[tuple[str, int]]:
    """Each convolution's key, and how many maps it gives: its outputs, of a transposed one too (its bias tells)."""
    for key, shape in shapes.items():
        if key.endswith(".bias") and f"{key[:-5]}.weight" in shapes:
            yield key.removesuffix(".bias"), shape[0]
