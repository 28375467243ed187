"""Tiny runs that translate, and the pictures and maps that they learnt from, made and trained when first asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganvas.run import Run
from ganvas.training import train

SIDE = 32
SETTINGS: dict[str, dict[str, Any]] = {
    "cyclegan": {"system": "cyclegan", "data": "sets"},
    "pix2pix": {"system": "pix2pix", "data": "sets", "direction": "BtoA", "net": "resnet", "blocks": 1},
    "maps": {"system": "pix2pix", "data": "scenes?classes=5"},
    "styles": {"system": "pix2pixhd", "data": "scenes?classes=5"},
}


class Translators:
    """Runs of two steps by name: ``cyclegan``; ``pix2pix``, from B to A; ``maps``, pix2pix from label maps without
    instances; ``styles``, pix2pixhd with instances and an encoder. ``base`` holds their data."""

    def __init__(self, base: Path) -> None:
        self.base = base
        base.mkdir(parents=True, exist_ok=True)

    def __call__(self, name: str) -> Path:
        """The run folder."""
        folder = self.base / name
        if not Run.exists(folder):
            settings = dict(SETTINGS[name])
            data = self.sets() if settings["data"] == "sets" else self.scenes(instances=name == "styles")
            query = settings.pop("data").partition("?")[2]
            train(settings.pop("system"), data=f"{data}?{query}" if query else str(data), out=folder, preset="tiny",
                  steps=2, checkpoint_every=2, batch_size=2, device="cpu", quiet=True, **settings)  # fmt: skip
        return folder

    def data(self, kinds: tuple[str, ...]) -> str:
        """A data spec for a system that prefers such kinds, the first of them."""
        return f"{kinds[0]}:{self.scenes(instances=True) if kinds[0] == 'labels' else self.sets()}"

    def sets(self) -> Path:
        """trainA, trainB: three pictures of 32x32 each."""
        folder = self.base / "sets"
        for member in "AB":
            for i in range(3):
                save(folder / f"train{member}" / f"{i}.png", noise(i + 10 * ord(member)))
        return folder

    def scenes(self, *, instances: bool) -> Path:
        """train_label, train_img and perhaps train_inst: three scenes of 32x32."""
        folder = self.base / ("scenes" if instances else "plain")
        for i in range(3):
            labels, objects = scene(i)
            save(folder / "train_label" / f"{i}.png", labels)
            save(folder / "train_img" / f"{i}.png", noise(i))
            if instances:
                save(folder / "train_inst" / f"{i}.png", objects)
        return folder


def noise(seed: int, height: int = SIDE, width: int = SIDE) -> NDArray[np.uint8]:
    """A random picture [H, W, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def scene(i: int = 0, height: int = SIDE, width: int = SIDE) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """A label map: class 0 over class 1, a void strip at its right, and two objects of class 3 on them; and an instance
    map in which these are 3000 and 3001.
    """
    labels = np.zeros((height, width), np.uint8)
    labels[height // 2 :] = 1
    labels[:, -2:] = 255
    objects = labels.astype(np.uint16)
    for k in range(2):
        box = (
            slice(height // 4, height // 2 + 2 + i),
            slice(width // 8 + k * width // 2, width // 8 + k * width // 2 + 6),
        )
        labels[box], objects[box] = 3, 3000 + k
    return labels, objects


def save(path: Path, pixels: NDArray[Any]) -> Path:
    """Writes a picture or a map; 16 bits where it has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path
