"""Arrays in NumPy's files, by their headers: bounded in what they take, and never unpickled."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ganvas.bounds import open_regular
from ganvas.data.archives import DAMAGE
from ganvas.errors import DataError

MOST_DEFLATED = 1100  # times its size that an .npz can unpack to at most
MOST_HEADER = 10_000  # bytes of a header, as NumPy itself allows
MOST_COLUMNS_FIRST = 1 << 27  # bytes of an array in an .npz that cannot be read row by row; sixteen times in an .npy
MOST_ARRAYS = 1000  # in an .npz
MOST_EXPANSION = 200  # times its own size that an .npz may unpack to, once that is over ...
MOST_FREE = 1 << 28  # ... so many bytes
BLOCK = 1 << 22  # bytes of rows that are read at a time


@dataclass(frozen=True)
class StoredArray:
    """The header of an array in a file, and how to get at its values."""

    path: Path
    name: str  # of the member of an .npz; empty for an .npy
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    columns_first: bool = False

    @property
    def where(self) -> str:
        return f"{self.path}: {self.name}" if self.name else str(self.path)

    @property
    def bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape)

    def blocks(self) -> Iterator[NDArray[Any]]:
        """The rows, a few megabytes at a time. Raises DataError where the file ends early or is damaged."""
        row = self.dtype.itemsize * math.prod(self.shape[1:])
        step = max(1, BLOCK // max(1, row))
        with ExitStack() as stack:
            file: IO[bytes] = stack.enter_context(open_regular(self.path))
            if self.name:
                archive = stack.enter_context(zipfile.ZipFile(file))
                file = stack.enter_context(archive.open(f"{self.name}.npy"))
            _header(file)
            if self.columns_first:  # there is no row to stream
                most = MOST_COLUMNS_FIRST * (1 if self.name else 16)
                if self.bytes > most:
                    raise DataError(
                        f"{self.where} lies in Fortran order and has over {most >> 20} MiB, which cannot be read row "
                        "by row: save numpy.ascontiguousarray of it."
                    )
                whole = np.frombuffer(_exactly(file, row * self.shape[0], self.where), self.dtype)
                yield whole.reshape(self.shape[::-1]).transpose()
                return
            for start in range(0, self.shape[0], step):
                n = min(step, self.shape[0] - start)
                yield np.frombuffer(_exactly(file, row * n, self.where), self.dtype).reshape(n, *self.shape[1:])

    def whole(self) -> NDArray[Any]:
        """All of it."""
        blocks = list(self.blocks())
        return np.concatenate(blocks) if blocks else np.empty(self.shape, self.dtype)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version}")
        size = 2 if version == (1, 0) else 4
        length = file.read(size)
        if (n := int.from_bytes(length, "little")) > MOST_HEADER:  # NumPy would read it before it looks
            raise ValueError(f"of {n:,} bytes")
        held = io.BytesIO(length + file.read(n))
        read: Callable[..., Any] = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(held)
    except Exception as error:  # the header is Python's own syntax, whose readers raise anything
        raise ValueError(f"its header: {str(error).partition(chr(10))[0]}") from error
    return shape, fortran, dtype


def _exactly(file: IO[bytes], n: int, where: str) -> bytes:
    try:
        data = file.read(n)
    except DAMAGE as error:
        raise DataError(f"{where} is damaged ({error}): get the file again.") from error
    if len(data) != n:
        raise _early(where)
    return data


def open_arrays(path: Path) -> dict[str, StoredArray]:
    """The headers of all arrays in an ``.npz`` or ``.npy`` (there named ``images``)."""
    try:
        size = path.stat().st_size
        if path.suffix.lower() == ".npy":
            with open_regular(path) as file:
                return {"images": _array(path, "", size, file)}
        arrays = {}
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            if len(infos) > MOST_ARRAYS:
                raise DataError(f"{path} has {len(infos):,} arrays: at most {MOST_ARRAYS:,} are read.")
            for info in infos:
                name = info.filename.removesuffix(".npy")
                if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # as NumPy writes them
                    raise DataError(f"{path}: {name} is packed by bzip2 or LZMA: write it by numpy.savez_compressed.")
                with archive.open(info) as member:
                    arrays[name] = _array(path, name, min(info.file_size, size * MOST_DEFLATED), member)
        if sum(array.bytes for array in arrays.values()) > max(MOST_FREE, MOST_EXPANSION * size):
            raise DataError(f"{path} unpacks to over {MOST_EXPANSION} times its size: it is refused as a bomb.")
        return arrays
    except (*DAMAGE, KeyError) as error:
        raise DataError(f"{path} does not read as a NumPy file ({error}): get or write the file again.") from error


def _array(path: Path, name: str, there: int, file: IO[bytes]) -> StoredArray:
    """The header of one array, in a file or member of so many bytes. Raises DataError, ValueError."""
    shape, fortran, dtype = _header(file)
    array = StoredArray(path, name, shape, dtype, fortran and len(shape) > 1)
    if array.dtype.hasobject:
        raise DataError(f"{path} holds Python objects in {name or 'its array'}, which are never unpickled.")
    if min(array.shape, default=0) < 0:
        raise ValueError(f"a shape of {list(array.shape)}")
    if array.bytes > there:
        raise _early(array.where)  # before anything of that size is made room for
    return array


def _early(where: str) -> DataError:
    return DataError(f"{where} ends early: get the file again.")
