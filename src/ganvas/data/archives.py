"""Pictures in a zip or tar, read where they lie: nothing is extracted, and nothing can be written outside."""

from __future__ import annotations

import lzma
import os
import struct
import tarfile
import tempfile
import threading
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Generic, TypeVar

from ganvas.bounds import refuse_unless_regular
from ganvas.data.folders import BLOCK, HIDDEN_FOLDER, is_hidden, is_picture, no_image, scan_paths
from ganvas.data.layout import without_thumbnails
from ganvas.data.outputs import CONFIG, RUN
from ganvas.data.source import LAYOUT, BadPicture, Block, Encoded, LeftOut, Rows, Scan, Source, stamp
from ganvas.data.unpacking import bomb, is_packed, most_member, most_rows, most_unpacked, open_unpacked, too_many
from ganvas.data.unpacking import members as headers_of
from ganvas.errors import DataError
from ganvas.files import cache_folder

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MOST_PATH = 4096  # letters of a member's path ...
MOST_PATHS = 1 << 25  # ... and of those of all members, besides one for every byte of the archive
MOST_DEPTH = 64  # folders that one lies within
MOST_HELD = 1 << 24  # bytes after which a block of pictures is full
DAMAGE = (
    *(OSError, EOFError, RuntimeError, NotImplementedError, ValueError, OverflowError, MemoryError, struct.error),
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
)
Place = TypeVar("Place")


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive."""
    return path.name.lower().endswith(SUFFIXES)


def is_tar(path: Path) -> bool:
    """Whether the name is that of a tar."""
    return is_archive(path) and path.suffix.lower() != ".zip"


def archive(path: Path) -> Source:
    """The pictures of a zip or tar, in order of their paths, as in a folder. Raises DataError, when scanned, for one
    that is damaged, encrypted, unpacks out of all proportion, or has paths that lead out of it."""
    kind = "zip" if path.name.lower().endswith(".zip") else "tar"
    scan = _scan_zip if kind == "zip" else _scan_tar
    whole = path.name.lower().endswith((".zip", ".tar"))  # a compressed tar has to be read from its beginning
    listing = [(path.name, *stamp(path)[1:])] if whole else None
    return Source(
        f"{kind} of pictures", [kind, LAYOUT, stamp(path)], lambda: scan(path), where=str(path), listing=listing
    )


class Guard:
    """Refuses what is dangerous in an archive while its members are listed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = self.members = self.letters = 0
        self.packed = path.stat().st_size
        self.most_bytes, self.most_members = most_unpacked(self.packed), most_rows(self.packed)
        self.most_member = most_member(self.packed)

    def parts(self, name: str, size: int) -> tuple[str, ...]:
        """The parts of the next member's path; empty for what is none of the data. Raises DataError."""
        self.members, self.letters, self.bytes = self.members + 1, self.letters + len(name), self.bytes + size
        if self.members > self.most_members:
            raise too_many(self.path, self.packed, "members")
        if self.bytes > self.most_bytes:
            raise bomb(self.path)
        if len(name) > MOST_PATH or self.letters > MOST_PATHS + self.packed:
            raise DataError(
                f"{self.path} holds paths of over {MOST_PATH:,} letters, or of over {MOST_PATHS >> 20} MiB in all: it "
                "is refused as a bomb."
            )
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if ".." in parts or (parts and (parts[0] == "/" or parts[0].endswith(":"))):
            raise DataError(f"{self.path} holds the path {name!r}, which leads out of the archive: it is refused.")
        if len(parts) > MOST_DEPTH:
            raise DataError(f"{self.path} holds a path of over {MOST_DEPTH} folders: it is refused as a bomb.")
        return () if any(is_hidden(part) for part in parts) else parts


def hidden_folder(name: str) -> str | None:
    """The outermost hidden folder that a member's path lies in, with a slash at its end."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return next(("/".join(parts[: i + 1]) + "/" for i, part in enumerate(parts[:-1]) if is_hidden(part)), None)


class _Members(Generic[Place]):
    """Takes down an archive's pictures (path -> where it lies) as they are listed."""

    def __init__(self, path: Path) -> None:
        self.guard, self.pictures, self.ignored = Guard(path), dict[str, Place](), Counter[str]()
        self.left, self._configs, self._logs = LeftOut(), set[str](), set[str]()

    def add(self, name: str, size: int, place: Place | None) -> None:
        """The next member; ``place`` is None for what is no file. Of two with the same path the last one counts."""
        parts = self.guard.parts(name, size)
        if place is None:
            return
        if not parts:
            if is_picture(name) and (folder := hidden_folder(name)):
                self.left.add(HIDDEN_FOLDER, folder)
        elif is_picture(name):
            self.pictures["/".join(parts)] = place
        else:
            suffix = PurePosixPath(parts[-1]).suffix.lower()
            self.ignored[suffix or parts[-1]] += 1
            self.left.add(no_image(suffix), "/".join(parts))
            {CONFIG: self._configs, "stats.jsonl": self._logs}.get(parts[-1], set()).add("/".join(parts[:-1]))

    def in_order(self) -> tuple[list[str], list[Place]]:
        """The pictures' paths, sorted, and their places; without thumbnails and the runs of Ganvas."""
        names = sorted(self.pictures)
        names = [names[i] for i in without_thumbnails(names, self.left)]
        if runs := tuple(f"{folder}/" for folder in sorted(self._configs & self._logs) if folder):
            for name in [name for name in names if name.startswith(runs)]:
                self.left.add(RUN, next(run for run in runs if name.startswith(run)))
            names = [name for name in names if not name.startswith(runs)]
        return names, [self.pictures[name] for name in names]


def _scan_zip(path: Path) -> Scan:
    members = _Members[zipfile.ZipInfo](path)
    try:
        with open_zip(path) as file:
            for info in file.infolist():
                members.add(info.filename, info.file_size, None if info.filename.endswith("/") else info)
    except DAMAGE as error:
        raise damaged(path, error) from error
    names, infos = members.in_order()
    if any(info.flag_bits & 1 for info in infos):
        raise DataError(f"{path} is encrypted: unpack it and name the folder instead.")

    here = threading.local()  # every thread opens the zip once: to do so is to read its whole directory

    def read(rows: Rows) -> Iterator[Encoded]:
        if not hasattr(here, "file"):
            try:
                here.file = open_zip(path)
            except DAMAGE as error:
                raise damaged(path, error) from error
        for row in rows:
            try:
                yield Encoded(names[row], _from_zip(here.file, infos[row], members.guard.most_member))
            except DAMAGE as error:
                yield Encoded(names[row], BadPicture(str(error) or type(error).__name__))

    return scan_paths(str(path), names, lambda rows: blocks(read(rows)), members.ignored, members.left.entries())


def open_zip(path: Path) -> zipfile.ZipFile:
    """A zip. Raises OSError for what is no regular file, and what `zipfile` raises for what is damaged."""
    refuse_unless_regular(os.stat(path), path)
    return zipfile.ZipFile(path)


def _from_zip(file: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes | BadPicture:
    """The bytes of a member, if there are so many at most. Raises what is in `DAMAGE`."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # zipfile unpacks others without bounds
        return BadPicture("is packed in another way than by deflate: pack the zip again")
    with file.open(info) as member:
        return _bounded(member, info.file_size, most)


def _scan_tar(path: Path) -> Scan:
    members = _Members[tuple[int, int]](path)  # where the bytes begin, and how many there are
    for info, _ in walk_tar(path):
        plain = info.isreg() and not info.issparse()
        members.add(info.name, info.size, (info.offset_data, info.size) if plain else None)
    names, places = members.in_order()

    def read(rows: Rows) -> Iterator[Encoded]:
        return from_tar(path, [(names[row], *places[row]) for row in rows])

    return scan_paths(str(path), names, lambda rows: blocks(read(rows)), members.ignored, members.left.entries())


def walk_tar(path: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """The members of a tar, and its bytes (unpacked where it is compressed) to read from at their ``offset_data``.

    Raises DataError where it is damaged, to the checksums of what is compressed, or has headers beyond all measure.
    """
    try:
        with open_unpacked(path) as stream:
            for info in headers_of(path, stream):
                yield info, stream
    except DAMAGE as error:
        raise damaged(path, error) from error


def from_tar(path: Path, members: Sequence[tuple[str, int, int]]) -> Iterator[Encoded]:
    """Those members of a tar: each the name to give it, where its bytes begin, and how many there are.

    Raises DataError where it is damaged.
    """
    most = most_member(path.stat().st_size)
    try:
        with open_unpacked(path) as stream, _seekable(path, stream, members) as places:
            for name, offset, size in members:
                places.seek(offset)
                yield Encoded(name, _bounded(places, size, most))
    except DAMAGE as error:
        raise (error.reason if isinstance(error, _NoRoom) else damaged(path, error)) from error


class _NoRoom(OSError):  # noqa: N818 - a state of the disk
    """The cache cannot be written."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(*reason.args)
        self.reason = reason


@contextmanager
def _seekable(path: Path, stream: IO[bytes], members: Sequence[tuple[str, int, int]]) -> Iterator[IO[bytes]]:
    """The stream of a tar to read those members from, one after another.

    A compressed one is read from its beginning for every step back: where there are any, it is unpacked first as far as
    they go, into a file without a name in the cache. Raises _NoRoom where that cannot be written.
    """
    places = [(offset, size) for _, offset, size in members]
    if not is_packed(stream) or places == sorted(places):
        yield stream
        return
    left = max(offset + size for offset, size in places)
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        unpacked = tempfile.TemporaryFile(dir=cache_folder())  # noqa: SIM115 - closed below
    except OSError as error:
        raise _NoRoom(error) from error
    with unpacked:
        while left and (data := stream.read(min(left, 1 << 20))):
            left -= len(data)
            try:
                unpacked.write(data)
            except OSError as error:
                raise _NoRoom(error) from error
        yield unpacked


def blocks(pictures: Iterable[Encoded]) -> Iterator[Block]:
    """In blocks of as many pictures as a folder's, or fewer where they are large: several blocks are held at once."""
    block: list[Encoded] = []
    held = 0
    for picture in pictures:
        block.append(picture)
        held += len(picture.data) if isinstance(picture.data, bytes) else 0
        if len(block) == BLOCK or held >= MOST_HELD:
            yield block
            block, held = [], 0
    if block:
        yield block


def _bounded(file: IO[bytes], size: int, most: int) -> bytes | BadPicture:
    if size > most:
        return BadPicture(f"over {most >> 20} MiB")
    data = file.read(size)
    return data if len(data) == size else BadPicture("the archive ends early")


def damaged(path: Path, error: Exception) -> DataError:
    """What to raise for an archive that reading it fails for."""
    reason = getattr(error, "strerror", None) or str(error).partition("\n")[0].rstrip(":") or type(error).__name__
    return DataError(f"{path} does not read as an archive ({reason}): get the file again.")
