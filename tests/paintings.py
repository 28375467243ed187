"""Folders of pictures for runs that translate, and games that translate them by plain arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from ganvas.game import Game, noise

SIDE = 32
COLOURS = np.array([[230, 20, 20], [20, 230, 20], [20, 20, 230]], np.uint8)  # of the classes 0, 1 and 2


def unpaired(folder: Path, **counts: int) -> str:
    """A folder of random pictures: so many of each of trainA, trainB, testA and testB, the Bs darker."""
    for number, (domain, count) in enumerate(counts.items()):
        random = np.random.default_rng(number)
        for i in range(count):
            pixels = random.integers(0, 120 if domain.endswith("B") else 256, (SIDE, SIDE, 3), np.uint8)
            _save(pixels, folder / domain / f"{i:03}.png")
    return f"unpaired:{folder}"


def paired(folder: Path, train: int = 3, test: int = 5) -> str:
    """A folder of random pictures A and their partners B."""
    random = np.random.default_rng(9)
    for split, count in (("train", train), ("test", test)):
        for i in range(count):
            for member in "AB":
                pixels = random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
                _save(pixels, folder / f"{split}{member}" / f"{i:03}.png")
    return f"paired:{folder}"


def street(seed: int) -> NDArray[np.uint8]:
    """A label map of blocks of three classes, and a void corner."""
    blocks = np.random.default_rng(seed).integers(0, 3, (SIDE // 8, SIDE // 8), np.uint8)
    ids = blocks.repeat(8, 0).repeat(8, 1)
    ids[:8, :8] = 255
    return ids


def painted(ids: NDArray[Any]) -> NDArray[np.uint8]:
    """A photograph of a map: each class in its colour, void in grey."""
    found: NDArray[np.uint8] = np.concatenate([COLOURS, np.full((1, 3), 128, np.uint8)])[np.minimum(ids, 3)]
    return found


def labels(folder: Path, train: int = 3, test: int = 4, instances: bool = False) -> str:
    """A folder of label maps and of photographs of them; instances are whose id is their block's number."""
    for split, count in (("train", train), ("test", test)):
        for i in range(count):
            ids = street(i if split == "train" else 100 + i)
            _save(ids, folder / f"{split}_label" / f"{i:03}.png")
            _save(painted(ids), folder / f"{split}_img" / f"{i:03}.png")
            if instances:
                blocks = np.arange(16, dtype=np.uint8).reshape(4, 4).repeat(8, 0).repeat(8, 1)
                _save(blocks, folder / f"{split}_inst" / f"{i:03}.png")
    return f"labels:{folder}"


def _save(pixels: NDArray[np.uint8], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


class Dimmer(Game):
    """A to B: halves the picture and adds noise of the row's own; B to A: gives it as it is."""

    directions: tuple[str, ...] = ("AtoB", "BtoA")
    noisy = 0.1

    def __init__(self) -> None:
        super().__init__()
        self.N = nn.Linear(1, 1)

    def translate(self, x: Tensor, *, direction: str | None = None, seed: int = 0, first: int = 0) -> Tensor:
        if direction == "BtoA":
            return x
        return x / 2 + self.noisy * noise(len(x), 1, seed=seed, first=first)[:, :, None, None]


class Painter(Dimmer):
    """Paints maps, each class in the colour of the class that it takes it for."""

    directions = ("AtoB",)

    def __init__(self, takes: Mapping[int, int] | None = None, bounded: bool = False) -> None:
        super().__init__()
        self.takes, self.bounded = dict(takes or {}), bounded
        self.instances: list[Tensor | None] = []

    def translate(
        self,
        x: Tensor,
        *,
        instances: Tensor | None = None,
        direction: str | None = None,
        seed: int = 0,
        first: int = 0,
    ) -> Tensor:
        self.instances.append(instances)
        ids = x.numpy().astype(int)
        ids = np.select([ids == c for c in self.takes], list(self.takes.values()), ids) if self.takes else ids
        return torch.from_numpy(painted(ids)).permute(0, 3, 1, 2).float() / 127.5 - 1
