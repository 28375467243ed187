"""Images in NumPy's files: ``.npz``, ``.npy`` and folders of them, streamed so that no set has to fit into memory."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ganvas.data.archives import DAMAGE
from ganvas.data.folders import is_hidden
from ganvas.data.pictures import MOST_PIXELS
from ganvas.data.source import (
    LAYOUT,
    SPLITS,
    Block,
    LeftOut,
    Part,
    Pixels,
    Rows,
    Scan,
    Source,
    numbers,
    split_named,
    stamp,
)
from ganvas.errors import DataError, nearest

WANTED = "uint8 [N, H, W, C] or [N, H, W], or float [N, C, H, W] in [-1, 1], C being 1, 3 or 4"
SUFFIXES = (".npz", ".npy")
MOST_DEFLATED = 1100  # times its size that an .npz can unpack to at most
MOST_CLASSES = 100_000


@dataclass(frozen=True)
class _Array:
    """The header of an array in a file, and how to get at its values."""

    path: Path
    name: str  # of the member of an .npz; empty for an .npy
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def where(self) -> str:
        return f"{self.path}: {self.name}" if self.name else str(self.path)

    @property
    def bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape)

    def blocks(self) -> Iterator[NDArray[Any]]:
        """The rows, a few megabytes at a time. Raises DataError where the file ends early or is damaged."""
        row = self.dtype.itemsize * math.prod(self.shape[1:])
        step = max(1, (1 << 22) // max(1, row))
        with ExitStack() as stack:
            file = stack.enter_context(_opened(self.path, self.name))
            _, fortran, _ = _header(file)
            if fortran:  # columns first: there is no row to stream
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


def _opened(path: Path, member: str) -> IO[bytes]:
    return zipfile.ZipFile(path).open(f"{member}.npy") if member else path.open("rb")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version}")
        read: Callable[..., Any] = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
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


def _open(path: Path) -> dict[str, _Array]:
    """The headers of all arrays in an ``.npz`` or ``.npy`` (there named ``images``)."""
    try:
        size = path.stat().st_size
        sizes = {"": size}
        if path.suffix.lower() != ".npy":
            with zipfile.ZipFile(path) as archive:
                infos = archive.infolist()
            sizes = {i.filename.removesuffix(".npy"): min(i.file_size, size * MOST_DEFLATED) for i in infos}
        arrays = {}
        for name, there in sizes.items():
            with _opened(path, name) as file:
                shape, _, dtype = _header(file)
            array = _Array(path, name, shape, dtype)
            if array.dtype.hasobject:
                raise DataError(f"{path} holds Python objects in {name or 'its array'}, which are never unpickled.")
            if min(array.shape, default=0) < 0:
                raise ValueError(f"a shape of {list(array.shape)}")
            if array.bytes > there:
                raise _early(array.where)  # before anything of that size is made room for
            arrays[name or "images"] = array
        return arrays
    except (*DAMAGE, KeyError) as error:
        raise DataError(f"{path} does not read as a NumPy file ({error}): get or write the file again.") from error


def _early(where: str) -> DataError:
    return DataError(f"{where} ends early: get the file again.")


# ---- what the arrays must be -----------------------------------------------------------------------------------------
def _images(path: Path, arrays: dict[str, _Array]) -> tuple[_Array, tuple[int, int, int]]:
    """The array of images, and the shape of one as (H, W, C)."""
    if "images" not in arrays:
        hint = nearest("images", arrays) if arrays else "it is empty"
        raise DataError(f"{path} has no array named 'images': {hint}.")
    array = arrays["images"]
    shape, dtype = array.shape, array.dtype
    if dtype == np.uint8 and len(shape) == 3 and shape[2] not in (3, 4):  # those are [H, W, C], a single image
        shape = (*shape, 1)
    if len(shape) == 4 and dtype == np.uint8:
        h, w, c = shape[1:]
    elif len(shape) == 4 and dtype.kind == "f":
        c, h, w = shape[1:]
    else:
        raise DataError(f"{array.where} is {dtype} {list(shape)}: images are {WANTED}.")
    if c not in (1, 3, 4) or not 0 < h * w <= MOST_PIXELS:
        raise DataError(f"{array.where} is {dtype} {list(shape)}: images are {WANTED}.")
    if not shape[0]:
        raise DataError(f"{array.where} has no rows: {list(shape)}.")
    return array, (h, w, c)


def to_uint8(values: NDArray[np.floating], where: str) -> Pixels:
    """Floats [N, C, H, W] in [-1, 1] as uint8 [N, H, W, C]. Raises DataError for what is not finite or out of range."""
    if not np.isfinite(values).all():
        raise DataError(f"{where} holds values that are not finite (NaN or infinity): images are {WANTED}.")
    low, high = float(values.min()), float(values.max())
    if low < -1.001 or high > 1.001:
        raise DataError(f"{where} holds values from {low:.4g} to {high:.4g}: images are {WANTED}.")
    return np.rint((values.astype(np.float32) + 1) * 127.5).clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def _pixels(values: NDArray[Any], where: str) -> Pixels:
    """A block of images as uint8 [N, H, W, C]; those without a channel axis are grey."""
    if values.dtype.kind == "f":
        return to_uint8(values, where)
    return values if values.ndim == 4 else values[..., None]


def _labels(path: Path, arrays: dict[str, _Array], n: int) -> NDArray[np.int64] | None:
    array = arrays.get("labels")
    if array is None:
        return None
    if array.dtype.kind not in "iu" or array.shape not in ((n,), (n, 1)):
        raise DataError(f"{array.where} is {array.dtype} {list(array.shape)}: labels are whole numbers [{n}].")
    labels = array.whole().reshape(n).astype(np.int64)
    if n and (labels.min() < 0 or labels.max() >= MOST_CLASSES):
        raise DataError(f"{array.where} goes from {labels.min()} to {labels.max()}: labels count from 0.")
    return labels


def _class_names(path: Path, arrays: dict[str, _Array]) -> tuple[str, ...]:
    array = arrays.get("classes")
    if array is None:
        return ()
    if array.dtype.kind != "U" or not array.dtype.itemsize or len(array.shape) != 1:
        raise DataError(f"{array.where} is {array.dtype} {list(array.shape)}: the classes' names are strings [K].")
    names = tuple(str(name) for name in array.whole())
    if len(set(names)) < len(names):
        raise DataError(f"{array.where} has a name twice: every class needs one of its own.")
    return names


# ---- sources ---------------------------------------------------------------------------------------------------------
def _part(files: list[Path]) -> tuple[Part, tuple[str, ...]]:
    """One split out of one file, or out of several of the same shape end to end; and the classes' names, if given."""
    images: list[_Array] = []
    labels: list[NDArray[np.int64] | None] = []
    classes: tuple[str, ...] = ()
    shapes: list[tuple[int, int, int]] = []
    for path in files:
        arrays = _open(path)
        array, shape = _images(path, arrays)
        images.append(array)
        shapes.append(shape)
        if shape != shapes[0]:
            raise DataError(f"{path} has images of {list(shape)} (H, W, C), but {files[0]} of {list(shapes[0])}.")
        labels.append(_labels(path, arrays, array.shape[0]))
        classes = classes or _class_names(path, arrays)
    starts = np.cumsum([0, *(array.shape[0] for array in images)])

    def read(rows: Rows) -> Iterator[Block]:
        for array, first, end in zip(images, starts, starts[1:], strict=False):
            if not ((rows >= first) & (rows < end)).any():
                continue
            for values in array.blocks():
                wanted = rows[(rows >= first) & (rows < first + len(values))] - first
                first += len(values)
                if len(wanted):
                    yield _pixels(values[wanted], array.where)

    known = [part for part in labels if part is not None]
    all_labels = np.concatenate(known) if len(known) == len(files) else None
    return Part(numbers(int(starts[-1])), read, all_labels, shapes[0]), classes


def _source(layout: str, where: Path, files: dict[str, list[Path]]) -> Source:
    def scan() -> Scan:
        read = {split: _part(paths) for split, paths in files.items()}
        parts = {split: part for split, (part, _) in read.items()}
        k = max((int(part.labels.max()) + 1 for part in parts.values() if part.labels is not None), default=0)
        names = next((classes for _, classes in read.values() if classes), tuple(str(i) for i in range(k)))
        if len(names) < k:
            raise DataError(f"{where} names {len(names)} classes, but its labels go up to {k - 1}.")
        return Scan(parts, names if k else ())

    identity = {split: [stamp(path) for path in paths] for split, paths in files.items()}
    return Source(layout, ["arrays", LAYOUT, identity], scan, where=str(where))


def array_file(path: Path) -> Source:
    """An ``.npz`` with ``images`` and perhaps ``labels`` and ``classes`` (names), or an ``.npy`` of images."""
    return _source(f"{path.suffix[1:].lower()} array", path, {"train": [path]})


def files_in(folder: Path) -> list[Path]:
    """The array files that lie in a folder."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not is_hidden(p.name) and p.is_file())


def array_folder(folder: Path, files: list[Path]) -> Source:
    """A folder of such files: ``train``, ``test``, ... are splits; others are one set, end to end in order of name."""
    splits: dict[str, list[Path]] = {}
    for path in files:
        if split := split_named(path.stem):
            splits.setdefault(split, []).append(path)
    others = [path for path in files if split_named(path.stem) is None]
    if splits and (not others or {"train"} < set(splits)):
        in_order = {split: splits[split] for split in SPLITS if split in splits}
        left = LeftOut()
        for path in others:
            left.add("outside of the splits", path.name)
        return replace(_source("folder of arrays, a split each", folder, in_order), left_out=left.entries())
    return _source("folder of arrays", folder, {"train": sorted(files)})
