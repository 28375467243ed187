"""The store: typed columns, ragged or not, each one flat memory-mapped file; read by any number of processes.

    stores/DIGEST/manifest.json           columns (dtype, rows, shape, bytes, sha256), what was found, and of what it is
                  verified.json           the state of the files when every byte was last read and found right
                  train.image.bin         the values of all rows, end to end
                  train.name.bin          a ragged column: rows of different length, ...
                  train.name.offsets.bin  ... and where each begins (int64, rows + 1)

DIGEST is the content address: a hash of the source's listing and of how its rows are prepared.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ganvas import cache, locks
from ganvas.cache import MANIFEST
from ganvas.console import note
from ganvas.data.mapped import Mapped, is_verified, remember_verified
from ganvas.errors import DataError
from ganvas.files import atomic_folder, cache_folder, remove

FORMAT = 1  # part of every content address: raise it when the files or the preparation of pictures change
VERIFIED_DAYS, VERIFIED_DAYS_TRAINING = 7.0, 1.0  # for how long a look at every byte holds, where no file has changed
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
    """One column, memory-mapped: ``column[i]`` is a row, ``column.take(rows)`` stacks rows of a column of one shape.

    Raises ValueError if a file has not its size; whatever reads it raises DataError where the store has been changed by
    somebody else meanwhile.
    """

    def __init__(self, folder: Path, name: str, layout: Layout) -> None:
        self.layout = layout
        self._file = Mapped(folder / f"{name}.bin", np.dtype(layout.dtype), layout.bytes)
        self.files, self._offsets = [self._file], None
        self._values = self._file.array.reshape(-1, *layout.shape)
        if layout.ragged:
            self.files.append(Mapped(folder / f"{name}.offsets.bin", np.dtype(np.int64), 8 * (layout.rows + 1)))
            self._offsets = self.files[1].array

    def __len__(self) -> int:
        return self.layout.rows

    def __getitem__(self, row: int) -> Array:
        self._check()
        if self._offsets is None:
            return np.asarray(self._values[row])
        return np.asarray(self._values[self._offsets[row] : self._offsets[row + 1]])

    def take(self, rows: NDArray[np.integer]) -> Array:
        """A copy of those rows, [len(rows), *shape]; the column is not ragged."""
        self._refuse_ragged()
        self._check()
        return np.asarray(self._values[rows])

    def all(self) -> Array:
        """A copy of all rows, [rows, *shape]; the column is not ragged."""
        self._refuse_ragged()
        self._check()
        return self._values.copy()

    def is_whole(self) -> bool:
        """Whether every byte is as it was written."""
        total = hashlib.sha256()
        for file in self.files:
            for block in file.blocks():
                total.update(block)
        return total.hexdigest() == self.layout.sha256

    def _refuse_ragged(self) -> None:
        if self.layout.ragged:
            raise TypeError("rows of a ragged column do not stack")

    def _check(self) -> None:
        """Called before the map is touched: one look at each file, 0.6 us, for a batch."""
        for file in self.files:
            if file.has_changed():
                self._recheck()

    def _recheck(self) -> None:
        """Raises DataError unless the files were but touched."""
        for file in self.files:
            file.accept()
        if not self.is_whole():
            raise DataError(
                f"{self._file.path}, which keeps data that was read, was changed or cut short by another program while "
                "it was in use; run the same command again: it reads the data anew."
            )


class Writer:
    """Appends to one column: blocks of rows of one shape, or lists of ragged rows. Raises DataError where the disk
    refuses."""

    def __init__(self, folder: Path, name: str, dtype: str, shape: Sequence[int], *, ragged: bool = False) -> None:
        if dtype not in DTYPES:
            raise TypeError(f"a column of {dtype}")
        self.dtype, self.shape, self.ragged = np.dtype(dtype), tuple(shape), ragged
        with writing_store():
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
        with writing_store():
            self.file.write(data)
        self.hash.update(data)
        self.bytes += block.nbytes

    def close(self) -> Layout:
        """Finishes the files."""
        with writing_store():
            self.file.close()
            if self.ragged:
                offsets = np.array(self.offsets, np.int64)
                self.hash.update(offsets.data)
                self.offsets_path.write_bytes(offsets.tobytes())
        return Layout(self.dtype.name, self.shape, self.ragged, self.rows, self.bytes, self.hash.hexdigest())


@contextmanager
def writing_store() -> Iterator[None]:
    """Puts what the system says when it refuses to write a store into one sentence, wherever its data comes from."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"The cache in {cache_folder()} cannot be written ({error.strerror or error}): make room, or set "
            "GANVAS_CACHE to another folder."
        ) from error


class Building:
    """A store being written: `column` opens a writer by name; the manifest is written when the block ends well.

    place: that of the stores which this one takes the place of.
    """

    def __init__(self, folder: Path, place: str = "") -> None:
        self.folder = folder
        self.about = {"place": place}
        self.found: dict[str, Any] = {}
        self.writers: dict[str, Writer] = {}

    def describe(self, spec: str, source: str) -> None:
        """Notes the data spec that the store is built for, and the source, as a full path if it is one."""
        paths = [os.path.expanduser(part) for part in source.split(",")]
        if any(os.path.lexists(path) or set(path) & set("*?[{") for path in paths):
            source = ",".join(map(os.path.realpath, paths))
        self.about |= {"spec": spec, "source": source}

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
        if kind is not None:
            with suppress(DataError):  # of a full disk: what is raised already says more
                self.restart()
            return
        columns = {name: asdict(writer.close()) for name, writer in self.writers.items()}
        body = {"format": FORMAT, "columns": columns, "found": self.found, "about": self.about}
        with writing_store():
            (self.folder / MANIFEST).write_text(json.dumps({**body, "sha256": digest(body)}, indent=1))


def digest(value: Any) -> str:
    """The SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class Store:
    """A finished store: ``columns`` by name, and what was ``found`` in the source.

    verified_days: every byte is looked at, unless some process did within so many days and no file has changed since;
    None is for a store that this process has just written. While the store is open, it is marked as in use. Raises
    OSError or ValueError if it is damaged.
    """

    def __init__(self, folder: Path, *, verified_days: float | None = VERIFIED_DAYS) -> None:
        manifest = cache.read_manifest(folder)
        if manifest.pop("sha256", None) != digest(manifest):
            raise ValueError(f"{folder / MANIFEST} is damaged")
        handle = os.open(folder / MANIFEST, os.O_RDONLY)
        weakref.finalize(self, os.close, handle).atexit = False
        locks.share(handle)
        self.found: dict[str, Any] = manifest["found"]
        self.columns: dict[str, Column] = {}
        for name, entry in manifest["columns"].items():
            self.columns[name] = Column(folder, name, Layout(**{**entry, "shape": tuple(entry["shape"])}))
        self._verify(folder, verified_days)
        cache.mark_used(folder)

    def _verify(self, folder: Path, verified_days: float | None) -> None:
        stamps = {file.path.name: file.stamp() for column in self.columns.values() for file in column.files}
        if verified_days is not None:
            if is_verified(folder, stamps, verified_days):
                return
            for name, column in self.columns.items():
                if not column.is_whole():
                    raise ValueError(f"{folder / name}.bin is damaged")
        remember_verified(folder, stamps)

    def fingerprint(self, columns: Iterable[str], *more: Any) -> str:
        """A digest of those columns' contents: the same wherever and whenever they were read."""
        layouts = {name.partition(".")[2]: asdict(self.columns[name].layout) for name in columns}
        return digest([layouts, *more])


def place_of(address: Any) -> str:
    """What stays of a content address when files of its source come, go or are written again: a digest.

    In an address each file is [name, size, time of writing]. Files of a folder do not count; others do by their paths.
    """
    return digest(_without_files(address))


def _without_files(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_files(part) for name, part in value.items()}
    if not isinstance(value, list | tuple):
        return value
    if _is_file(value):
        return value[0]
    return [_without_files(part) for part in value if not (_is_file(part) and not part[0].startswith(os.sep))]


def _is_file(value: Any) -> bool:
    """Whether part of an address is a file: by its full path, or by its name in a folder."""
    return isinstance(value, list | tuple) and len(value) == 3 and isinstance(value[0], str) and type(value[1]) is int


# ---- built once ------------------------------------------------------------------------------------------------------
class OfSource(Exception):  # noqa: N818 - it only carries another
    """Carries what the system says of a source past those who write the store."""


def obtain(address: Any, build: Callable[[Building], None], *, verify: bool = False) -> Store:
    """The store of that content address (any JSON value); built first if it is not there or damaged.

    What was built before of the same `place_of` is removed. verify: every byte is looked at where that was a day ago,
    not a week. Of processes that ask at once, one builds and the others wait. Raises DataError where the cache cannot
    be written, and what ``build`` raises.
    """
    folder, place = _folder(address), place_of(address)
    if store := _open(folder, verify):
        return store
    try:
        with writing_store():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with locks.locked(cache.lock_of(folder)):
                if store := _open(folder, verify):
                    return store
                if folder.exists():
                    note(f"note: what the cache kept of {_spec_of(folder)} was damaged, and is read anew.")
                    remove(folder)
                cache.clean_up()
                for left in folder.parent.glob(f".{folder.name}.*.*"):  # by a process that was killed: the lock is ours
                    shutil.rmtree(left, ignore_errors=True)
                with atomic_folder(folder) as part:
                    fill_store(part, build, place)
                if (store := _open(folder, None)) is None:
                    raise DataError(f"{folder} was changed by another program as soon as it was written: run it again.")
                _supersede(folder, place)
                return store
    except OfSource as error:
        raise error.args[0] from None


def known(address: Any, *, verify: bool = False) -> Store | None:
    """The store of that content address, if it is there and undamaged."""
    return _open(_folder(address), verify)


def fill_store(folder: Path, build: Callable[[Building], None], place: str = "") -> None:
    """Writes a store into an empty folder. Raises OfSource for what the system says of its source, and DataError."""
    with Building(folder, place) as building:
        try:
            build(building)
        except OSError as error:
            raise OfSource(error) from error


def _supersede(folder: Path, place: str) -> None:
    """Removes the other stores of a place: files there have changed since."""
    for other in folder.parent.iterdir():
        with suppress(OSError, ValueError, KeyError, TypeError):
            if other != folder and cache.read_manifest(other)["about"]["place"] == place:
                cache.discard(other, even_in_use=True)


def _spec_of(folder: Path) -> str:
    """The data spec that a store was built for, as far as its manifest still tells."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(cache.read_manifest(folder)["about"]["spec"])
    return "the data"


def _folder(address: Any) -> Path:
    return cache.stores() / digest([FORMAT, address])[:32]


def _open(folder: Path, verify: bool | None) -> Store | None:
    """The store, if it is there and undamaged; None for ``verify``: it was just written."""
    days = None if verify is None else VERIFIED_DAYS_TRAINING if verify else VERIFIED_DAYS
    try:
        return Store(folder, verified_days=days)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
