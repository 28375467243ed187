"""Small originals of the named sets, written in each publisher's own format, and what they hold."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import lmdb
import numpy as np
import scipy.io
from drawing import encoded, noise, write
from numpy.typing import NDArray
from PIL import Image

N = 12  # records of a file

CIFAR10_FILES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
CIFAR10_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
FINE_CLASSES = [f"fine_{i:02d}" for i in range(100)]


@dataclass(frozen=True)
class Records:
    """CIFAR's files, and the row each record is."""

    folder: str
    archive: str
    names: str
    files: tuple[str, ...]
    classes: tuple[str, ...]
    coarse: bool

    @property
    def rows(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Images and labels of all files, end to end."""
        n = N * len(self.files)
        return noise(7, n, 32, 32, 3), np.arange(n) * 7 % len(self.classes)

    def write(self, root: Path) -> Path:
        """The folder of the files, in ``root``."""
        images, labels = self.rows
        files = {}
        for i, name in enumerate(self.files):
            rows = slice(i * N, (i + 1) * N)
            files[name] = binary(images[rows], labels[rows], coarse=self.coarse)
        names = {self.names: "\n".join([*self.classes, ""]).encode()}
        return write(root / self.folder, {**files, **names, "readme.html": b"<html>"})


CIFAR10 = Records(
    "cifar-10-batches-bin", "cifar-10-binary.tar.gz", "batches.meta.txt", tuple(CIFAR10_FILES), tuple(CIFAR10_CLASSES),
    coarse=False,
)  # fmt: skip
CIFAR100 = Records(
    "cifar-100-binary", "cifar-100-binary.tar.gz", "fine_label_names.txt", ("train.bin", "test.bin"),
    tuple(FINE_CLASSES), coarse=True,
)  # fmt: skip


def binary(images: NDArray[np.uint8], labels: NDArray[np.int64], *, coarse: bool = False) -> bytes:
    """Records as the publisher describes them: a label (after a coarse one), then 1024 bytes of red, of green, of blue,
    row by row."""
    records = []
    for image, label in zip(images, labels, strict=True):
        red, green, blue = (image[:, :, channel].tobytes() for channel in range(3))
        records.append(bytes([19 - label // 5] * coarse + [label]) + red + green + blue)
    return b"".join(records)


def svhn(root: Path, counts: dict[str, int], *, compressed: bool = True) -> dict[str, tuple[NDArray, NDArray]]:
    """SVHN's files with so many digits; the images [N, 32, 32, 3] and the digits [N] of each."""
    root.mkdir(parents=True, exist_ok=True)
    held = {}
    for seed, (split, n) in enumerate(counts.items()):
        images, digits = noise(seed, n, 32, 32, 3), np.arange(n) * 3 % 10
        y = np.where(digits == 0, 10, digits).astype(np.uint8)[:, None]
        variables = {"X": images.transpose(1, 2, 3, 0), "y": y}
        scipy.io.savemat(root / f"{split}_32x32.mat", variables, do_compression=compressed)
        held[split] = images, digits
    return held


def faces(n: int) -> dict[str, bytes]:
    """Files of CelebA: JPEGs of 178x218, each of a gradient of its own (so that JPEG keeps it nearly)."""
    y, x = np.mgrid[:218, :178]
    files = {}
    for i in range(n):
        pixels = np.stack([x + i, y, (x + y) // 2 + 3 * i], -1)
        files[f"{i + 1:06d}.jpg"] = encoded(pixels.clip(0, 255).astype(np.uint8), "JPEG", quality=95)
    return files


def zipped(path: Path, files: dict[str, bytes], folder: str = "img_align_celeba") -> Path:
    """The publisher's zip of those files."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{folder}/", b"")
        for name, content in files.items():
            archive.writestr(f"{folder}/{name}", content)
    return path


def bedrooms(n: int, seed: int = 0) -> dict[str, bytes]:
    """Keys and values of LSUN: WebPs, the shorter side 256 in the originals and less here, by hexadecimal keys."""
    random = np.random.default_rng(seed)
    values = {}
    for i in range(n):
        width, height = (40 + 3 * i, 32) if i % 2 else (32, 40 + i)
        pixels = Image.fromarray(random.integers(0, 256, (4, 5, 3), np.uint8)).resize((width, height))
        values[random.bytes(20).hex()] = encoded(pixels, "WEBP", quality=90)
    return values


def lmdb_of(folder: Path, values: dict[str, bytes]) -> Path:
    """An LMDB of those values; without a lock file, as for one that lies on a medium that cannot be written."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lmdb.open(str(folder), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key.encode(), value)
    (folder / "lock.mdb").unlink()
    return folder
