"""Arrays of numbers in MATLAB's files of version 5 (MathWorks, "MAT-File Format"), streamed: what is in memory does not
grow with the file."""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ganvas.bounds import open_regular
from ganvas.data.unpacking import bomb, most_unpacked
from ganvas.errors import DataError

HEADER = 128  # bytes before the first element
LITTLE = b"\x00\x01IM"  # its end: version 1.0, little-endian
NUMBERS = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
MATRIX, COMPRESSED = 14, 15  # types of the elements that hold variables
NUMERIC = range(6, 16)  # classes of matrices: double, single, int8, ... uint64
COMPLEX = 1 << 11  # a flag of matrices
LONGEST = 1 << 10  # bytes of a name
MOST_ELEMENTS = 1000  # variables and other elements of a file
CHUNK = 1 << 18


class _Damage(Exception):  # noqa: N818 - a state of the file
    """What is wrong with a file."""


class _Stream(Protocol):
    def read(self, n: int, /) -> bytes: ...


@dataclass(frozen=True)
class Variable:
    """An array of numbers in a file. Its values lie with the first index fastest."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    place: int  # where its element begins in the file, after the tag
    size: int  # bytes of that
    compressed: bool

    def blocks(self, most: int) -> Iterator[NDArray[Any]]:
        """All values in the order in which they lie, ``most`` at a time, the last block perhaps fewer.

        Raises DataError where the file is damaged.
        """
        with _reading(self.path) as file:
            stream, _, values = _begin(file, self.place, self.size, self.compressed)
            left = math.prod(self.shape)
            while left:
                n = min(most, left)
                yield np.frombuffer(_exactly(values, n * self.dtype.itemsize), self.dtype)
                left -= n
            if self.compressed:
                stream.read(8)  # padding, and a checksum that is verified on the way


def variables(path: Path) -> dict[str, Variable]:
    """The arrays of numbers in a file, by name, without their values. Raises DataError for a file that is none, is cut
    short, or unpacks out of all proportion."""
    found = {}
    with _reading(path) as file:
        end = file.seek(0, io.SEEK_END)
        file.seek(0)
        header = file.read(HEADER)
        if header.startswith(b"MATLAB 7.3"):
            raise _Damage("it is of version 7.3")
        if len(header) < HEADER or not header.endswith(LITTLE):
            raise _Damage("it does not begin like one")
        place, elements = HEADER, 0
        while place < end:
            elements += 1
            if elements > MOST_ELEMENTS:
                raise _Damage(f"it has over {MOST_ELEMENTS:,} elements")
            file.seek(place)
            kind, size = struct.unpack("<II", _exactly(file, 8))
            place += 8
            if place + size > end:
                raise _Damage("it ends early")
            if kind in (MATRIX, COMPRESSED):
                _, described, _ = _begin(file, place, size, kind == COMPRESSED)
                if described is not None:
                    name, shape, dtype = described
                    if dtype.itemsize * math.prod(shape) > most_unpacked(end):
                        raise bomb(path)
                    found[name] = Variable(path, name, shape, dtype, place, size, kind == COMPRESSED)
            place += size
    return found


@contextmanager
def _reading(path: Path) -> Iterator[IO[bytes]]:
    """The file; whatever is wrong with its content becomes one sentence."""
    with open_regular(path) as file:
        try:
            yield file
        except (_Damage, zlib.error) as error:
            raise DataError(f"{path} does not read as a MATLAB file of version 5 ({error}): get it again.") from error


Described = tuple[str, tuple[int, ...], np.dtype[Any]]


def _begin(file: IO[bytes], place: int, size: int, compressed: bool) -> tuple[_Stream, Described | None, _Stream]:
    """A matrix, read up to its values: its bytes, its name, shape and type (None if it has no real numbers), and the
    bytes of its values."""
    file.seek(place)
    stream: _Stream = _Inflated(file, size) if compressed else file
    if compressed and struct.unpack("<II", _exactly(stream, 8))[0] != MATRIX:
        raise _Damage("something else than a variable is compressed")
    flags, shape, name = (_field(stream) for _ in range(3))
    if len(flags) != 8 or len(shape) % 4:
        raise _Damage("a variable is not described as it should be")
    (flag, _) = struct.unpack("<II", flags)
    if flag & 0xFF not in NUMERIC or flag & COMPLEX:
        return stream, None, stream
    kind, length, values = _tag(stream)
    sides = tuple(np.frombuffer(shape, "<u4").tolist())
    fits = length <= size or compressed
    if kind not in NUMBERS or length != math.prod(sides) * np.dtype(NUMBERS[kind]).itemsize or not fits:
        raise _Damage("a variable has not the size that it says")
    return stream, (name.decode("latin-1"), sides, np.dtype(NUMBERS[kind])), values


def _field(stream: _Stream) -> bytes:
    """A small element, and what fills it up to a multiple of eight bytes."""
    _, size, data = _tag(stream)
    if size > LONGEST:
        raise _Damage("a variable is not described as it should be")
    return _exactly(data, size) if data is not stream else _exactly(stream, -(-size // 8) * 8)[:size]


def _tag(stream: _Stream) -> tuple[int, int, _Stream]:
    """Type and size of an element, and where its bytes are: in the tag itself if they are four at most."""
    tag = _exactly(stream, 8)
    kind, size = struct.unpack("<HH", tag[:4])
    if size:
        return kind, size, io.BytesIO(tag[4:])
    return *struct.unpack("<II", tag), stream


def _exactly(stream: _Stream, n: int) -> bytes:
    data = stream.read(n)
    if len(data) != n:
        raise _Damage("it ends early")
    return data


class _Inflated:
    """Reads what so many bytes of a file unpack to."""

    def __init__(self, file: IO[bytes], left: int) -> None:
        self.file, self.left, self.zlib = file, left, zlib.decompressobj()

    def read(self, n: int, /) -> bytes:
        """The next n bytes, or fewer at the end."""
        parts = []
        while n and not self.zlib.eof:
            packed = self.zlib.unconsumed_tail
            if not packed:
                packed = self.file.read(min(CHUNK, self.left))
                self.left -= len(packed)
            part = self.zlib.decompress(packed, n)
            if not part and not packed:
                raise _Damage("it ends early")
            parts.append(part)
            n -= len(part)
        return b"".join(parts)
