"""The store: typed columns, ragged or not, each one flat memory-mapped file; read by any number of processes.

    stores/DIGEST/manifest.json           columns (dtype, rows, shape, bytes, sha256) and what was found
                  train.image.bin         the values of all rows, end to end
                  train.name.bin          a ragged column: rows of different length, ...
                  train.name.offsets.bin  ... and where each begins (int64, rows + 1)

DIGEST is the content address: a hash of the source's listing and of how its rows are prepared.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ganvas.bounds import decode_python_json, read_regular
from ganvas.errors import DataError
from ganvas.files import atomic_folder, cache_folder

FORMAT = 1  # part of every content address: raise it when the files or the preparation of pictures change
MANIFEST = "manifest.json"
MOST_MANIFEST = 1 << 28  # bytes: it tells what was found, class by class
DTYPES = ("uint8", "int16", "uint16", "int32", "int64", "float32")

Array = NDArray[Any]


@dataclass(frozen=True)
class Layout:
    """How a column lies on disk. A row is [*shape], or [length, *shape] with its own length where ``ragged``."""

    dtype: str
    shape: tuple[int, ...]
    ragged: bool
    rows: int
    bytes: int
    sha256: str  # of the values, and of the offsets after them


class Column:
    """One column, memory-mapped: ``column[i]`` is a row, ``column.take(rows)`` stacks rows of a column of one shape."""

    def __init__(self, folder: Path, name: str, layout: Layout) -> None:
        self.layout = layout
        self.values = _map(folder / f"{name}.bin", np.dtype(layout.dtype)).reshape(-1, *layout.shape)
        self.offsets = _map(folder / f"{name}.offsets.bin", np.dtype(np.int64)) if layout.ragged else None

    def __len__(self) -> int:
        return self.layout.rows

    def __getitem__(self, row: int) -> Array:
        if self.offsets is None:
            return np.asarray(self.values[row])
        return np.asarray(self.values[self.offsets[row] : self.offsets[row + 1]])

    def take(self, rows: NDArray[np.integer]) -> Array:
        """A copy of those rows, [len(rows), *shape]; the column is not ragged."""
        if self.offsets is not None:
            raise TypeError("rows of a ragged column do not stack")
        return np.asarray(self.values[rows])


def _map(path: Path, dtype: np.dtype[Any]) -> Array:
    if path.stat().st_size == 0:  # an empty file cannot be mapped
        return np.empty(0, dtype)
    return np.asarray(np.memmap(path, dtype, mode="r"))


class Writer:
    """Appends to one column: blocks of rows of one shape, or lists of ragged rows."""

    def __init__(self, folder: Path, name: str, dtype: str, shape: Sequence[int], *, ragged: bool = False) -> None:
        if dtype not in DTYPES:
            raise TypeError(f"a column of {dtype}")
        self.dtype, self.shape, self.ragged = np.dtype(dtype), tuple(shape), ragged
        self.file = (folder / f"{name}.bin").open("wb")
        self.offsets_path = folder / f"{name}.offsets.bin"
        self.hash, self.bytes, self.rows, self.offsets = hashlib.sha256(), 0, 0, [0]

    def append(self, block: Array) -> None:
        """Adds rows [n, *shape] of a column that is not ragged."""
        if self.ragged:
            raise TypeError("ragged rows are appended as a list")
        self._write(block)
        self.rows += len(block)

    def append_rows(self, rows: Sequence[Array]) -> None:
        """Adds ragged rows, each [length, *shape]."""
        if not self.ragged:
            raise TypeError("rows of a list are for ragged columns")
        if rows:
            self._write(np.concatenate(rows))
        self.rows += len(rows)
        for row in rows:
            self.offsets.append(self.offsets[-1] + len(row))

    def _write(self, block: Array) -> None:
        if block.shape[1:] != self.shape or block.dtype != self.dtype:
            raise TypeError(f"{block.dtype} {block.shape} in a column of {self.dtype} {self.shape}")
        data = np.ascontiguousarray(block).tobytes() if not block.size else np.ascontiguousarray(block).data.cast("B")
        self.file.write(data)
        self.hash.update(data)
        self.bytes += block.nbytes

    def close(self) -> Layout:
        """Finishes the files."""
        self.file.close()
        if self.ragged:
            offsets = np.array(self.offsets, np.int64)
            self.hash.update(offsets.data)
            self.offsets_path.write_bytes(offsets.tobytes())
        return Layout(self.dtype.name, self.shape, self.ragged, self.rows, self.bytes, self.hash.hexdigest())


class Building:
    """A store being written: `column` opens a writer by name; the manifest is written when the block ends well."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: dict[str, Any] = {}
        self.writers: dict[str, Writer] = {}

    def column(self, name: str, dtype: str, shape: Sequence[int] = (), *, ragged: bool = False) -> Writer:
        """The writer of a column: a new one, or the one there is."""
        if name not in self.writers:
            self.writers[name] = Writer(self.folder, name, dtype, shape, ragged=ragged)
        return self.writers[name]

    def restart(self) -> None:
        """Drops every column: they are written anew."""
        for writer in self.writers.values():
            writer.close()
        self.writers.clear()

    def drop(self) -> None:
        """Drops every column and its files: none may be written after all."""
        self.restart()
        for path in self.folder.iterdir():
            path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        columns = {name: asdict(writer.close()) for name, writer in self.writers.items()}
        if kind is None:
            body = {"format": FORMAT, "columns": columns, "found": self.found}
            (self.folder / MANIFEST).write_text(json.dumps({**body, "sha256": digest(body)}, indent=1))


def digest(value: Any) -> str:
    """The SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class Store:
    """A finished store: ``columns`` by name, and what was ``found`` in the source.

    Raises OSError or ValueError if it is damaged: the manifest against its own digest and the size of every file, which
    is cheap, or with ``verify`` every byte.
    """

    def __init__(self, folder: Path, *, verify: bool = False) -> None:
        manifest = decode_python_json(read_regular(folder / MANIFEST, MOST_MANIFEST))
        if not isinstance(manifest, dict) or manifest.pop("sha256", None) != digest(manifest):
            raise ValueError(f"{folder / MANIFEST} is damaged")
        self.found: dict[str, Any] = manifest["found"]
        self.columns: dict[str, Column] = {}
        for name, entry in manifest["columns"].items():
            layout = Layout(**{**entry, "shape": tuple(entry["shape"])})
            sizes = {f"{name}.bin": layout.bytes}
            if layout.ragged:
                sizes[f"{name}.offsets.bin"] = 8 * (layout.rows + 1)
            for file, size in sizes.items():
                if (folder / file).stat().st_size != size:
                    raise ValueError(f"{folder / file} is damaged")
            if verify and _sha256(folder / file for file in sizes) != layout.sha256:
                raise ValueError(f"{folder / name}.bin is damaged")
            self.columns[name] = Column(folder, name, layout)

    def fingerprint(self, columns: Iterable[str], *more: Any) -> str:
        """A digest of those columns' contents: the same wherever and whenever they were read."""
        layouts = {name.partition(".")[2]: asdict(self.columns[name].layout) for name in columns}
        return digest([layouts, *more])


def _sha256(files: Iterable[Path]) -> str:
    """The digest of several files, end to end."""
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                total.update(block)
    return total.hexdigest()


def obtain(address: Any, build: Callable[[Building], None], *, verify: bool = False) -> Store:
    """The store of that content address (any JSON value); built first if it is not there or damaged.

    verify: reads every byte to know whether it is damaged, not only what is cheap to see. Of processes that ask at
    once, one builds and the others wait. Raises DataError where the cache cannot be written, and what ``build`` raises.
    """
    folder = cache_folder() / "stores" / digest([FORMAT, address])[:32]
    if store := _open(folder, verify):
        return store
    from filelock import FileLock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if store := _open(folder, verify):
                return store
            for left in folder.parent.glob(f".{folder.name}.*"):  # by a process that was killed: the lock is ours
                shutil.rmtree(left, ignore_errors=True)
            with atomic_folder(folder) as part, Building(part) as building:
                build(building)
            return Store(folder)
    except OSError as error:
        named = Path(str(error.filename or folder))  # a full disk names no file
        if not (named.is_relative_to(folder.parent) or folder.is_relative_to(named)):
            raise  # of the source
        raise DataError(
            f"The store in {folder.parent} cannot be written ({error.strerror or error}): make room, or set "
            "GANVAS_CACHE to another folder."
        ) from error


def _open(folder: Path, verify: bool) -> Store | None:
    try:
        return Store(folder, verify=verify)
    except (OSError, ValueError, KeyError, TypeError):
        return None
