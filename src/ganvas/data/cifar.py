"""CIFAR-10 (Krizhevsky 2009) in its binary form: records of a label and 32x32 pixels, plane by plane.

The publisher's other form is a Python pickle, which is never loaded.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganvas.data.archives import DAMAGE, damaged
from ganvas.data.source import Block, Part, Rows, Scan, Source, numbers, stamp
from ganvas.errors import DataError
from ganvas.files import cache_folder

SPLIT_FILES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
NAMES_FILE = "batches.meta.txt"
ARCHIVE = "cifar-10-binary.tar.gz"
RECORD = 1 + 3 * 32 * 32
MOST_BYTES = 1 << 27  # of one file, which really has 30 MB
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

Records = NDArray[np.uint8]  # [N, RECORD]


def fetched_folder() -> Path:
    """Where the set lies once it is fetched."""
    return cache_folder() / "datasets" / "cifar10"


def cifar10_here(folder: Path) -> Source | None:
    """The set in a folder: its binary files, in the folder or in ``cifar-10-batches-bin``, or the archive of them.

    None if there is nothing of the sort. Raises DataError where only the pickled form is there.
    """
    for place in (folder, folder / "cifar-10-batches-bin"):
        files = [place / name for names in SPLIT_FILES.values() for name in names]
        if any(path.is_file() for path in files):
            missing = [path.name for path in files if not path.is_file()]
            if missing:
                raise DataError(f"{place} holds CIFAR-10 without {', '.join(missing)}: get the whole set.")
            names = [place / NAMES_FILE] if (place / NAMES_FILE).is_file() else []
            return _source("folder of binary files", place, [*files, *names])
    if (folder / ARCHIVE).is_file():
        return cifar10_archive(folder / ARCHIVE)
    if (folder / "data_batch_1").is_file() or (folder / "cifar-10-batches-py").is_dir():
        raise DataError(
            f"{folder} holds CIFAR-10 as Python pickles, which are never loaded: get the binary version ({ARCHIVE})."
        )
    return None


def cifar10_archive(path: Path) -> Source:
    """The set in the publisher's archive."""
    return _source("archive of binary files", path, [path])


def cifar10() -> Source:
    """The set that was fetched. Raises DataError if it was not."""
    source = cifar10_here(fetched_folder())
    if source is None:
        raise DataError(
            "CIFAR-10 is not on this machine: run `ganvas fetch cifar10`, or name a folder with its binary files "
            f"({ARCHIVE})."
        )
    return source


def _source(layout: str, place: Path, files: list[Path]) -> Source:
    return Source(
        f"CIFAR-10, {layout}", ["cifar10", [stamp(path) for path in files]], lambda: _scan(place), where=str(place)
    )


def _scan(place: Path) -> Scan:
    held = _from_folder(place) if place.is_dir() else _from_archive(place)
    names = held.pop(NAMES_FILE, b"").decode("ascii", errors="replace").split()
    parts = {}
    for split, files in SPLIT_FILES.items():
        missing = [name for name in files if name not in held]
        if missing:
            raise DataError(f"{place} holds CIFAR-10 without {', '.join(missing)}: get the whole set.")
        records = np.concatenate([_records(held.pop(name), place, name) for name in files])
        parts[split] = Part(numbers(len(records)), _reader(records), records[:, 0].astype(np.int64), (32, 32, 3))
    return Scan(parts, tuple(names) if len(names) == len(CLASSES) else CLASSES)


def _from_folder(place: Path) -> dict[str, bytes]:
    names = [NAMES_FILE, *SPLIT_FILES["train"], *SPLIT_FILES["test"]]
    return {name: (place / name).read_bytes() for name in names if (place / name).is_file()}


def _from_archive(place: Path) -> dict[str, bytes]:
    wanted = {NAMES_FILE, *SPLIT_FILES["train"], *SPLIT_FILES["test"]}
    held = {}
    try:
        with tarfile.open(place) as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                if name in wanted and member.isreg() and (file := archive.extractfile(member)):
                    held[name] = file.read(MOST_BYTES)
    except DAMAGE as error:
        raise damaged(place, error) from error
    return held


def _records(data: bytes, place: Path, name: str) -> Records:
    if not data or len(data) % RECORD:
        raise DataError(
            f"{place}: {name} has {len(data):,} bytes, no whole number of records of {RECORD:,}: get it again."
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
    if records[:, 0].max() >= len(CLASSES):
        raise DataError(f"{place}: {name} has labels over 9: it is damaged, or not CIFAR-10; get it again.")
    return records


def _reader(records: Records) -> Callable[[Rows], Iterator[Block]]:
    def read(rows: Rows) -> Iterator[Block]:
        for start in range(0, len(rows), 1024):
            planes = records[rows[start : start + 1024], 1:].reshape(-1, 3, 32, 32)
            yield planes.transpose(0, 2, 3, 1)

    return read
