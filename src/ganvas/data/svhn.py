"""SVHN's cropped digits (Netzer et al. 2011), a MATLAB file a split: X uint8 [32, 32, 3, N], y [N, 1], 10 for zero."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganvas.data import matlab
from ganvas.data.source import Block, Part, Rows, Scan, Source, numbers, stamp
from ganvas.data.unpacking import most_rows, too_many
from ganvas.errors import DataError

FILES = {split: f"{split}_32x32.mat" for split in ("train", "test", "extra")}
EXTRA = "extra"  # 531,131 easier digits; 1.3 GB that many leave away
SHAPE = (32, 32, 3)
PIXELS = 32 * 32 * 3
BLOCK = 1024


def here(path: Path) -> Source | None:
    """The set in a folder. None if no file of it is there; raises DataError where one is missing, but for ``extra``."""
    if path.name in FILES.values() and path.is_file():
        raise DataError(f"{path} is one of the files of SVHN: name the folder that they lie in.")
    files = {split: path / name for split, name in FILES.items()}
    held = {split: file for split, file in files.items() if file.is_file()}
    if not held:
        return None
    missing = {
        split: f"{path} holds SVHN without {file.name}: `ganvas fetch svhn --dest {path}` gets it."
        for split, file in files.items()
        if split not in held
    }
    for split, sentence in missing.items():
        if split != EXTRA:
            raise DataError(sentence)
    identity = ["svhn", [stamp(file) for file in held.values()]]
    return Source("SVHN, cropped digits", identity, lambda: _scan(held), where=str(path), missing=missing)


def _scan(files: dict[str, Path]) -> Scan:
    return Scan({split: _part(path) for split, path in files.items()}, tuple("0123456789"))


def _part(path: Path) -> Part:
    held = matlab.variables(path)
    x, y = held.get("X"), held.get("y")
    n = x.shape[-1] if x and len(x.shape) == 4 else 0
    if not (x and y and n and x.shape == (*SHAPE, n) and x.dtype == np.uint8 and y.shape in ((n, 1), (1, n))):
        has = ", ".join(f"{v.name} {v.dtype} {list(v.shape)}" for v in held.values()) or "no numbers"
        raise DataError(f"{path} has {has}, not X uint8 [32, 32, 3, N] and y [N, 1]: get SVHN's cropped digits.")
    if n > most_rows(path.stat().st_size):
        raise too_many(path, path.stat().st_size, "rows")
    labels = np.concatenate(list(y.blocks(1 << 20)))
    if not np.isin(labels, np.arange(1, 11)).all():
        raise DataError(f"{path} has labels y outside 1 to 10: it is damaged, or not SVHN; get it again.")
    return Part(numbers(n), _reader(x), labels.astype(np.int64) % 10, SHAPE)


def _reader(x: matlab.Variable) -> Callable[[Rows], Iterator[Block]]:
    def read(rows: Rows) -> Iterator[Block]:
        start = 0
        for block in x.blocks(BLOCK * PIXELS):
            pixels: NDArray[np.uint8] = block.reshape(-1, 3, 32, 32).transpose(0, 3, 2, 1)  # columns came first
            first, last = np.searchsorted(rows, (start, start + len(pixels)))
            if first < last:
                yield pixels[rows[first:last] - start]
            if last == len(rows) and start + len(pixels) < x.shape[-1]:
                return
            start += len(pixels)

    return read
