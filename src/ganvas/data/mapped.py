"""Files of a store, mapped into memory, and whether they are still what was written."""

from __future__ import annotations

import json
import mmap
import os
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganvas.cache import DAY_SECONDS

VERIFIED = "verified.json"
CLOCK_SECONDS = 0.05  # within which a file system may give two times of writing as one


class Mapped:
    """A file of a store, mapped. What the map gives is only as good as the file: `check` looks whether it has changed.

    Raises ValueError if it has not that size. (To touch a map beyond the end of its file kills the process.)
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], size: int) -> None:
        self.path, self.size = path, size
        self.handle = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.handle).atexit = False
        self.status = os.fstat(self.handle)
        if self.status.st_size != size:
            raise ValueError(f"{path} is damaged")
        self.written = self.status.st_mtime_ns
        self.array: NDArray[Any] = np.empty(0, dtype)
        if size:  # an empty file cannot be mapped
            self.array = np.frombuffer(mmap.mmap(self.handle, 0, access=mmap.ACCESS_READ), dtype)

    def has_changed(self) -> bool:
        """Whether the file was cut, or written to, since it was opened."""
        status = os.fstat(self.handle)
        return status.st_size != self.size or status.st_mtime_ns != self.written

    def accept(self) -> None:
        """Takes the file as it is now for the right one."""
        self.written = os.fstat(self.handle).st_mtime_ns

    def stamp(self) -> list[int]:
        """What changes whenever the file does; nobody can set the third, the time of change, at will."""
        return [self.status.st_size, self.status.st_mtime_ns, self.status.st_ctime_ns, self.status.st_ino]

    def blocks(self) -> Iterator[bytes]:
        """The contents, by reading: a file that has been cut ends early, and harms nobody."""
        at = 0
        while block := os.pread(self.handle, 1 << 22, at):
            yield block
            at += len(block)


def is_verified(folder: Path, stamps: Mapping[str, Sequence[int]], days: float) -> bool:
    """Whether these very files were all looked at within so many days.

    Its own time of writing is when they were. A file that was written just before may have been written again since,
    within one tick of the file system's clock.
    """
    try:
        looked = (folder / VERIFIED).stat().st_mtime_ns
        known = json.loads((folder / VERIFIED).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    last = max((max(written, changed) for _, written, changed, _ in stamps.values()), default=0)
    recent = abs(time.time() - looked / 1e9) < days * DAY_SECONDS
    return bool(known == stamps) and recent and looked - last > CLOCK_SECONDS * 1e9


def remember_verified(folder: Path, stamps: Mapping[str, Sequence[int]]) -> None:
    """Notes for `is_verified` that every byte was found right; a half-written note holds nothing."""
    with suppress(OSError):  # the cache may be read-only
        (folder / VERIFIED).write_text(json.dumps(stamps))
