"""Packed files read within bounds: what is packed with gzip, bzip2 or xz unpacks a little at a time, and never to more
than its size allows; what a tar's headers say is counted before anything is made of it."""

from __future__ import annotations

import bz2
import io
import lzma
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from ganvas.bounds import open_regular
from ganvas.data.pictures import MOST_BYTES
from ganvas.errors import DataError

MOST_EXPANSION = 100  # times its own size that a file may unpack to, once that is over ...
MOST_FREE = 1 << 29  # ... so many bytes
MOST_FEW = 50_000  # members or rows that any file may hold, besides one for every ...
LEAST_BYTES = 128  # ... so many of its bytes
MOST_MEMBER = 1 << 26  # bytes of a member, if it is over ...
MEMBER_EXPANSION = 4  # ... so many times the whole file's size
MOST_HEADER = 1 << 18  # bytes of the headers of one member of a tar, its long name and extended headers among them ...
MOST_HEADERS = 1 << 24  # ... and of those of all members, besides ...
HEADERS_PER_BYTE = 6  # ... so many for every byte of the file
MOST_SHARED = 1000  # records of a tar's extended headers that are for all members
MOST_DICTIONARY = 1 << 27  # bytes that unpacking xz may take: xz -9 takes 65 MiB
CHUNK = 1 << 16  # bytes that are read and unpacked at a time


def most_unpacked(size: int) -> int:
    """To how many bytes a file of that size may unpack."""
    return max(MOST_FREE, MOST_EXPANSION * size)


def most_rows(size: int) -> int:
    """How many members or rows a file of that size may hold."""
    return MOST_FEW + size // LEAST_BYTES


def most_member(size: int) -> int:
    """How many bytes a member of a file of that size may have."""
    return min(MOST_BYTES, max(MOST_MEMBER, MEMBER_EXPANSION * size))


def bomb(path: Path | str) -> DataError:
    """What to raise for a file that unpacks to more than `most_unpacked`."""
    return DataError(
        f"{path} unpacks to over {MOST_EXPANSION} times its size, and over {MOST_FREE >> 20} MiB: it is refused as a "
        "bomb; if you trust it, unpack it and name the folder."
    )


def too_many(path: Path | str, size: int, what: str) -> DataError:
    """What to raise for a file that says that it holds more than `most_rows`."""
    return DataError(f"{path} holds over {most_rows(size):,} {what} in {size:,} bytes: it is refused as a bomb.")


# ---- what is packed as a whole ---------------------------------------------------------------------------------------
class _Gzip:
    """zlib's unpacker for gzip, its checksum verified, with the interface of those of bz2 and lzma."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)
        self._full = False

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not (self._zlib.unconsumed_tail or self._full)

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, most: int) -> bytes:
        tail = self._zlib.unconsumed_tail
        unpacked = self._zlib.decompress(tail + data if tail else data, most)
        self._full = len(unpacked) == most  # there may be more that needs no input
        return unpacked


Unpacker = Any  # _Gzip, bz2.BZ2Decompressor or lzma.LZMADecompressor

PACKERS: tuple[tuple[bytes, Callable[[], Unpacker]], ...] = (
    (b"\x1f\x8b", _Gzip),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\x00", lambda: lzma.LZMADecompressor(memlimit=MOST_DICTIONARY)),
)


def open_unpacked(path: Path) -> IO[bytes]:
    """The bytes of a file, unpacked where gzip, bzip2 or xz has packed it.

    Raises OSError for what is no regular file. To read from it raises DataError beyond `most_unpacked`, and for what is
    damaged EOFError and whatever zlib, bz2 and lzma raise.
    """
    file = open_regular(path)
    head = file.read(6)
    file.seek(0)
    for magic, packer in PACKERS:
        if head.startswith(magic):
            return io.BufferedReader(_Unpacked(path, file, magic, packer), CHUNK)
    return file


def is_packed(stream: IO[bytes]) -> bool:
    """Whether what `open_unpacked` gave unpacks a packed file, which cannot be read from any place at once."""
    return isinstance(stream, io.BufferedReader) and isinstance(stream.raw, _Unpacked)


class _Unpacked(io.RawIOBase):
    """What a packed file unpacks to, its streams end to end. To seek back is to unpack from the beginning."""

    def __init__(self, path: Path, file: IO[bytes], magic: bytes, packer: Callable[[], Unpacker]) -> None:
        self._path, self._file, self._magic, self._packer = path, file, magic, packer
        self._most = most_unpacked(os.fstat(file.fileno()).st_size)
        self._rewind()

    def _rewind(self) -> None:
        self._file.seek(0)
        self._unpacker: Unpacker | None = self._packer()
        self._held, self._at = b"", 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._next(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            raise io.UnsupportedOperation("where it ends is not known before it is unpacked")
        target = offset + (self._at if whence == io.SEEK_CUR else 0)
        if target < self._at:
            self._rewind()
        while self._at < target and self._next(min(CHUNK, target - self._at)):
            pass
        return self._at

    def _next(self, most: int) -> bytes:
        """Some of the next bytes; nothing at the end."""
        while self._unpacker is not None:
            if self._unpacker.eof:
                self._begin_next_stream(self._unpacker.unused_data)
                continue
            packed, self._held = self._held, b""
            if not packed and self._unpacker.needs_input and not (packed := self._file.read(CHUNK)):
                raise EOFError("it ends early")
            data: bytes = self._unpacker.decompress(packed, most)
            self._at += len(data)
            if self._at > self._most:
                raise bomb(self._path)
            if data:
                return data
        return b""

    def _begin_next_stream(self, rest: bytes) -> None:
        """Goes on with another stream, if one follows; zeros fill up tapes, and what is anything else is left alone, as
        gzip does."""
        rest = rest.lstrip(b"\x00")
        while len(rest) < len(self._magic) and (more := self._file.read(CHUNK)):
            rest = (rest + more).lstrip(b"\x00")
        self._held = rest
        self._unpacker = self._packer() if rest.startswith(self._magic) else None


# ---- tars ------------------------------------------------------------------------------------------------------------
class _Headers:
    """The bytes of a tar as `tarfile` reads its headers from them, which are counted."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self._path, self._stream = path, stream
        self._most = MOST_HEADERS + HEADERS_PER_BYTE * path.stat().st_size
        self.name = str(path)
        self.mode = "rb"
        self._all = self._own = 0

    def next(self) -> None:
        """Begins to count for the next member."""
        self._all, self._own = self._all + self._own, 0

    def read(self, n: int) -> bytes:
        self._own += n
        if self._own > MOST_HEADER or self._all + self._own > self._most:
            raise DataError(
                f"{self._path} has headers of over {MOST_HEADER >> 10} KiB for one member, or of over "
                f"{self._most >> 20} MiB in all: it is refused as a bomb."
            )
        return self._stream.read(n)

    def seek(self, place: int) -> int:
        return self._stream.seek(place)

    def tell(self) -> int:
        return self._stream.tell()


def members(path: Path, stream: IO[bytes]) -> Iterator[tarfile.TarInfo]:
    """The members of a tar whose unpacked bytes ``stream`` gives; nothing is kept of them.

    Raises DataError for headers beyond all measure, and what `tarfile` and the stream raise for what is damaged.
    """
    headers = _Headers(path, stream)
    file = tarfile.TarFile(str(path), fileobj=headers)  # type: ignore[arg-type]
    while (info := file.next()) is not None:
        file.members = []  # type: ignore[attr-defined]
        shared = file.pax_headers
        if len(shared) > MOST_SHARED or sum(len(key) + len(value) for key, value in shared.items()) > MOST_HEADER:
            raise DataError(f"{path} has over {MOST_SHARED:,} headers for all members: it is refused as a bomb.")
        yield info
        headers.next()
    stream.seek(file.offset)
    if any(stream.read(tarfile.BLOCKSIZE)):  # where tarfile stops without a word
        raise tarfile.ReadError("a header in the middle is damaged")
    while is_packed(stream) and stream.read(CHUNK):  # its checksum comes last
        pass
