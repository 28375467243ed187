"""Data that comes with the package's own dependencies, or out of a formula: nothing to download, nothing to unpack."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from ganvas.data.source import Block, Part, Pixels, Rows, Scan, Source, in_memory, numbers
from ganvas.ops.mixtures import mixture
from ganvas.streams import Purpose, stream

PHOTOGRAPHS = ("astronaut", "cat", "coffee", "rocket", "hubble_deep_field", "stereo_motorcycle")
CROPS = {"train": 4096, "test": 512}
POINTS = {"train": 50_000, "test": 10_000}


def digits() -> Source:
    """1,797 handwritten digits of 8x8 pixels (Alpaydin & Kaynak, UCI, by way of scikit-learn), shown at 32x32 in grey.

    360 of them are the test split.
    """

    def scan() -> Scan:
        from sklearn.datasets import load_digits

        loaded = load_digits()
        images = np.rint(loaded.images * (255 / 16)).astype(np.uint8)[..., None]  # [N, 8, 8, 1], were 0..16
        labels = loaded.target.astype(np.int64)
        order = np.random.PCG64(stream(0, 0, Purpose.SPLIT)).random_raw(len(images)).argsort(kind="stable")
        names = np.array(numbers(len(images)))
        parts = {}
        for split, rows in (("train", np.sort(order[360:])), ("test", np.sort(order[:360]))):
            parts[split] = Part(names[rows].tolist(), in_memory(images[rows]), labels[rows], (8, 8, 1))
        return Scan(parts, tuple("0123456789"))

    return Source("embedded digits", ["digits", 1], scan, size=(32, 32), where="digits")


def photos(size: tuple[int, int] | None) -> Source:
    """Random square crops of scikit-image's colour photographs, of random scale: 4,096 from the left three quarters of
    each for training, 512 from the right quarter for testing."""
    width, height = size or (64, 64)

    def scan() -> Scan:
        from skimage import data

        loaded = [getattr(data, name)() for name in PHOTOGRAPHS]
        photographs = [image[0] if isinstance(image, tuple) else image for image in loaded]  # a stereo pair's left
        parts = {}
        for index, (split, n) in enumerate(CROPS.items()):
            regions = [Image.fromarray(_region(pixels, split)) for pixels in photographs]
            parts[split] = Part(numbers(n), _crops(regions, index, width, height), shape=(height, width, 3))
        return Scan(parts, found={"photographs": list(PHOTOGRAPHS)})

    return Source("embedded photographs", ["photos", 1], scan, size=(width, height), where="photos")


def _region(pixels: Pixels, split: str) -> Pixels:
    cut = pixels.shape[1] * 3 // 4
    return pixels[:, :cut] if split == "train" else pixels[:, cut:]


def _crops(regions: list[Image.Image], index: int, width: int, height: int) -> Callable[[Rows], Iterator[Block]]:
    """Crop i is drawn from a stream of its own, so that any rows can be read in any order."""

    def crop(i: int) -> Pixels:
        random = np.random.default_rng(stream(0, i, Purpose.SOURCE, index))
        region = regions[random.integers(len(regions))]
        largest = min(region.width / width, region.height / height)
        scale = min(1.0, largest) ** (1 - (u := random.random())) * largest**u  # log-uniform from 1 to what fits
        w, h = min(width * scale, region.width), min(height * scale, region.height)  # min: against rounding
        left, top = random.random() * (region.width - w), random.random() * (region.height - h)
        box = (left, top, min(left + w, region.width), min(top + h, region.height))
        return np.asarray(region.resize((width, height), Image.Resampling.BICUBIC, box))

    def read(rows: Rows) -> Iterator[Block]:
        for start in range(0, len(rows), 64):
            yield np.stack([crop(int(i)) for i in rows[start : start + 64]])

    return read


def points(name: str) -> Source:
    """Seeded points of a mixture whose density is known: 50,000 for training, 10,000 for testing.

    Raises UsageError for a name that is none.
    """
    known = mixture(name)

    def scan() -> Scan:
        parts = {}
        for index, (split, n) in enumerate(POINTS.items()):
            values = known.sample(n, stream(0, 0, Purpose.SOURCE, index)).numpy()
            parts[split] = Part(numbers(n), in_memory(values), shape=values.shape[1:])
        return Scan(parts)

    return Source(f"mixture {name}", ["mixture", name, 1], scan, mixture=name, where=f"mixture:{name}")
