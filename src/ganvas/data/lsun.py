"""LSUN's bedrooms (Yu et al. 2015): an LMDB a split, from keys to the bytes of pictures."""

from __future__ import annotations

import os
import weakref
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

from ganvas.data.archives import blocks
from ganvas.data.pictures import MOST_BYTES
from ganvas.data.source import BadPicture, Block, Encoded, Named, Part, Rows, Scan, Source, library, stamp
from ganvas.errors import DataError

FOLDERS = {"train": "bedroom_train_lmdb", "test": "bedroom_val_lmdb"}  # the publisher's own test split has no bedrooms
PACKED = [f"{folder}.zip" for folder in FOLDERS.values()]
FILE = "data.mdb"
PUBLISHER = "http://dl.yf.io/lsun/scenes"
KEYS = "size=64&crop=none&resize=bilinear"


def here(path: Path) -> Source | None:
    """The set in a folder that has the folders of both splits, or at one of these. None if there is nothing such.

    Raises DataError where one is missing, or still packed.
    """
    if path.name in FOLDERS.values() or (path.name in PACKED and path.is_file()):
        path = path.parent
    files = {split: path / folder / FILE for split, folder in FOLDERS.items()}
    absent = [file.parent.name for file in files.values() if not file.is_file()]
    if packed := [name for name in PACKED if (path / name).is_file() and name.removesuffix(".zip") in absent]:
        raise DataError(f"{path} holds {' and '.join(packed)}: unzip there first, since an LMDB is read where it lies.")
    if len(absent) == len(files):
        return None
    if absent:
        raise DataError(
            f"{path} holds LSUN's bedrooms without {absent[0]}/{FILE}: get {PUBLISHER}/{absent[0]}.zip and unzip it "
            "there."
        )
    identity = ["lsun-bedroom", [stamp(file) for file in files.values()]]
    listing = [(f"{file.parent.name}/{FILE}", *stamp(file)[1:]) for file in files.values()]
    return Source("LSUN bedroom, LMDBs", identity, lambda: _scan(files), where=str(path), listing=listing, keys=KEYS)


def _scan(files: dict[str, Path]) -> Scan:
    parts = {split: _part(file) for split, file in files.items()}
    return Scan(parts, found={"arrangement": ["test is the publisher's val"]})


def _part(file: Path) -> Part:
    database = _database(file)
    text, ends = bytearray(), array("q", [0])  # there are three million keys: no strings of their own
    for key in database.all_keys():
        text += key
        ends.append(len(text))
    if not text:
        raise DataError(f"{file} holds no picture: get it again.")
    names = Named(len(ends) - 1, lambda row: text[ends[row] : ends[row + 1]].decode(errors="surrogateescape"))
    return Part(names, _reader(database, names))


def _reader(database: _Database, names: Named) -> Callable[[Rows], Iterator[Block]]:
    def pictures(rows: Rows) -> Iterator[Encoded]:
        for row in rows:
            name = names[row]
            yield Encoded(name, database.value(name.encode(errors="surrogateescape")))

    return lambda rows: blocks(pictures(rows))


class _Database:
    """An LMDB that is only read: nothing is written beside it, and nothing locked.

    Raises DataError for a file that is none, or is cut short (to read beyond its end would end the process).
    """

    def __init__(self, file: Path) -> None:
        self.file, self.lmdb = file, library("lmdb", f"An LMDB ({file})")
        try:
            self.environment = self.lmdb.open(
                str(file.parent), readonly=True, lock=False, create=False, readahead=False
            )
            pages, page = self.environment.info()["last_pgno"] + 1, self.environment.stat()["psize"]
        except self.lmdb.Error as error:
            raise self.damaged(error) from error
        if (size := file.stat().st_size) < pages * page:
            self.environment.close()
            raise self.damaged(f"it has {size:,} of its {pages * page:,} bytes")

    def all_keys(self) -> Iterator[bytes]:
        """All keys, in order."""
        try:
            with self.environment.begin() as transaction:
                yield from transaction.cursor().iternext(keys=True, values=False)
        except self.lmdb.Error as error:
            raise self.damaged(error) from error

    def value(self, key: bytes) -> bytes | BadPicture:
        """What a key stands for."""
        try:
            with self.environment.begin(buffers=True) as transaction:
                value = transaction.get(key, default=b"")
                return bytes(value) if len(value) <= MOST_BYTES else BadPicture(f"over {MOST_BYTES >> 20} MiB")
        except self.lmdb.Error as error:
            return BadPicture(str(error))

    def damaged(self, reason: object) -> DataError:
        return DataError(f"{self.file} does not read as an LMDB ({reason}): get it again.")


_OPEN: weakref.WeakValueDictionary[tuple[object, ...], _Database] = weakref.WeakValueDictionary()


def _database(file: Path) -> _Database:
    """The database, opened once however many read it: a process may not open it twice. One that was written anew in its
    place is another."""
    status = file.stat()
    place = (os.path.realpath(file), status.st_ino, status.st_mtime_ns)
    database = _OPEN.get(place)
    if database is None:
        database = _OPEN[place] = _Database(file)
    return database
