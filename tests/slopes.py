"""A small set in the shape of CIFAR-10: 32x32 pictures of coloured slopes, in two splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

TRAIN, TEST = 200, 150


def write(folder: Path) -> Path:
    """``train.npz`` and ``test.npz`` in a new folder, the test split sorted by what it shows."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    for split, n in (("train", TRAIN), ("test", TEST)):
        labels = np.sort(generator.integers(0, 2, n))
        slope, level = generator.normal(size=(2, n, 3))
        level += 2 * labels[:, None] - 1  # one class is bright, the other dark
        waves = slope[:, :, None, None] * np.where(labels[:, None, None, None], x, y)
        images = (127.5 + 40 * (level[:, :, None, None] + waves)).clip(0, 255).astype(np.uint8)
        np.savez(folder / f"{split}.npz", images=images.transpose(0, 2, 3, 1), labels=labels)
    return folder
