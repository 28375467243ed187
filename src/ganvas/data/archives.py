"""Pictures in a zip or tar, read where they lie: nothing is extracted, and nothing can be written outside."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from ganvas.data.folders import BLOCK, is_hidden, is_picture, scan_paths
from ganvas.data.pictures import MOST_BYTES
from ganvas.data.source import BadPicture, Block, Encoded, Rows, Scan, Source, stamp
from ganvas.errors import DataError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MOST_EXPANSION = 200  # times its own size that an archive may unpack to, once that is over a gigabyte
DAMAGE = (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, tarfile.TarError, zlib.error,
          lzma.LZMAError)  # fmt: skip


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive."""
    return path.name.lower().endswith(SUFFIXES)


def archive(path: Path) -> Source:
    """The pictures of a zip or tar. Raises DataError, when scanned, for one that is damaged, encrypted, unpacks out of
    all proportion, or has paths that lead out of it."""
    kind = "zip" if path.name.lower().endswith(".zip") else "tar"
    scan = _scan_zip if kind == "zip" else _scan_tar
    return Source(f"{kind} of pictures", [kind, stamp(path)], lambda: scan(path), where=str(path))


class _Members:
    """Takes down an archive's members as they are listed, and refuses what is dangerous."""

    def __init__(self, path: Path) -> None:
        self.path, self.names, self.ignored = path, list[str](), Counter[str]()
        self.bytes, self.packed = 0, path.stat().st_size

    def add(self, name: str, size: int) -> bool:
        """Whether the member is a picture to read."""
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if ".." in parts or (parts and (parts[0] == "/" or parts[0].endswith(":"))):
            raise DataError(f"{self.path} holds the path {name!r}, which leads out of the archive: it is refused.")
        self.bytes += size
        if self.bytes > max(1 << 30, MOST_EXPANSION * self.packed):
            raise DataError(f"{self.path} unpacks to over {MOST_EXPANSION} times its size: it is refused as a bomb.")
        if any(is_hidden(part) for part in parts):
            return False
        if not is_picture(name):
            self.ignored[PurePosixPath(name).suffix.lower() or name] += 1
            return False
        self.names.append(name)
        return True


def _scan_zip(path: Path) -> Scan:
    members, infos = _Members(path), list[zipfile.ZipInfo]()
    try:
        with zipfile.ZipFile(path) as file:
            for info in file.infolist():
                if not info.is_dir() and members.add(info.filename, info.file_size):
                    infos.append(info)
    except DAMAGE as error:
        raise _damaged(path, error) from error
    if any(info.flag_bits & 1 for info in infos):
        raise DataError(f"{path} is encrypted: unpack it and name the folder instead.")

    def read(rows: Rows) -> Iterator[Block]:
        with zipfile.ZipFile(path) as file:
            for start in range(0, len(rows), BLOCK):
                block: list[Encoded] = []
                for row in rows[start : start + BLOCK]:
                    try:
                        with file.open(infos[row]) as member:
                            block.append(Encoded(members.names[row], _bounded(member)))
                    except DAMAGE as error:
                        block.append(Encoded(members.names[row], BadPicture(str(error))))
                yield block

    return scan_paths(str(path), members.names, read, members.ignored)


def _scan_tar(path: Path) -> Scan:
    members, places = _Members(path), list[int]()  # of the pictures, by their number among all members
    try:
        with tarfile.open(path) as file:
            for place, info in enumerate(file):
                if info.isreg() and members.add(info.name, info.size):
                    places.append(place)
    except DAMAGE as error:
        raise _damaged(path, error) from error
    numbers = np.array(places)

    def read(rows: Rows) -> Iterator[Block]:
        """In one pass: a compressed tar can only be read from its beginning."""
        wanted = dict(zip(numbers[rows].tolist(), rows.tolist(), strict=True))
        block: list[Encoded] = []
        with tarfile.open(path) as file:
            for place, info in enumerate(file):
                if (row := wanted.pop(place, None)) is None:
                    continue
                member = file.extractfile(info)
                block.append(Encoded(members.names[row], _bounded(member) if member else BadPicture("not a file")))
                if len(block) == BLOCK or not wanted:
                    yield block
                    block = []
                if not wanted:
                    return

    return scan_paths(str(path), members.names, read, members.ignored)


def _bounded(file: IO[bytes]) -> bytes | BadPicture:
    data = file.read(MOST_BYTES + 1)
    return data if len(data) <= MOST_BYTES else BadPicture(f"over {MOST_BYTES >> 20} MiB")


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} does not read as an archive ({error or type(error).__name__}): get the file again.")
