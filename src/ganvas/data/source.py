"""What every source of data gives: a cheap identity, and its splits as rows that can be read in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ganvas.errors import DataError

SPLITS = ("train", "test", "val")  # in the order shown
SYNONYMS = {  # a word of a folder's or a file's name, in lower case -> the split
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval"), "val"),
}
LAYOUT = "layout 2"  # of sources whose names tell splits, classes and keys; raise it when these rules change
WITHOUT_PARTNER = "without a partner"  # why a file of paired data is left out
NAMES_SHOWN = 5  # of what is left out for one reason

Rows = NDArray[np.int64]
Pixels = NDArray[np.uint8]  # [N, H, W, C]
Vectors = NDArray[np.float32]  # [N, D]


class BadPicture(Exception):  # noqa: N818 - a state of the file, named as people say it
    """A picture that cannot be read, and why; it is counted and skipped."""


@dataclass(frozen=True)
class Encoded:
    """A picture as a file holds it: its path, its bytes, or why there are none; its class, if that comes along."""

    name: str
    data: str | bytes | BadPicture
    label: int | None = None


Block = list[Encoded] | Pixels | Vectors


@dataclass(frozen=True)
class Part:
    """One split, as the source has it. ``read(rows)`` yields blocks of those rows, in their order.

    It is ascending where a set is read into the store. ``runs``: the first rows of what is read from its beginning, as
    row groups are, and therefore streamed as a whole; None where any row is read as soon as its neighbour.
    """

    names: Sequence[str]  # one a row, unique: what holdout and limit go by
    read: Callable[[Rows], Iterator[Block]]
    labels: NDArray[np.int64] | None = None
    shape: tuple[int, ...] | None = None  # of a row of arrays, (H, W, C) or (D,); None: encoded pictures
    runs: Rows | None = None


@dataclass(frozen=True)
class Scan:
    """All that a source holds."""

    parts: dict[str, Part]
    classes: tuple[str, ...] = ()
    found: dict[str, Any] = field(default_factory=dict)  # what else there is to say, as JSON


@dataclass(frozen=True)
class Source:
    """A place that data comes from, before anything costly is read.

    layout: what it is, in a few words. identity: a JSON value that changes when the source does. scan: lists what there
    is; called only when a store has to be built. size: of the prepared pictures where none is asked for. mixture: the
    name of the known density that the rows are drawn from. listing: name, size and time of writing of every file,
    where the source can be streamed. keys: of a data spec, which hold where the user's says nothing else.
    missing: a published split that is not there -> the sentence to say when it is asked for. left_out: what lies there
    now and is not read, besides what the scan says.
    """

    layout: str
    identity: Any
    scan: Callable[[], Scan]
    size: tuple[int, int] | None = None
    mixture: str | None = None
    where: str = ""  # as messages name it
    listing: Sequence[tuple[str, int, int | str | None]] | None = None
    keys: str = ""
    missing: Mapping[str, str] = field(default_factory=dict)
    left_out: Sequence[dict[str, Any]] = ()


class LeftOut:
    """Collects what a reader does not read: for each reason how many files, and the first names."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._names: dict[str, list[str]] = {}

    def add(self, reason: str, name: str, count: int = 1) -> None:
        """Count files under a reason; ``name`` is that of the file, or of the folder that holds them."""
        self._counts[reason] = self._counts.get(reason, 0) + count
        names = self._names.setdefault(reason, [])
        if len(names) < NAMES_SHOWN and (text := printable(name)) not in names:
            names.append(text)

    def entries(self) -> list[dict[str, Any]]:
        """Return JSON: ``{"reason", "count", "names"}`` for each reason, in the order in which they were met."""
        return [{"reason": why, "count": n, "names": self._names[why]} for why, n in self._counts.items()]


def printable(name: str) -> str:
    """A name for people: line breaks, control characters and bytes that are not UTF-8 are escaped."""
    return name if name.isprintable() else repr(name)[1:-1]


def split_named(word: str) -> str | None:
    """The split that a name stands for in any case (``Testing``: test), or None."""
    return SYNONYMS.get(word.lower())


def find_split(asked: str, splits: Iterable[str]) -> str:
    """The one of ``splits`` that is asked for, in any case and by any usual name; ``asked`` itself if there is none."""
    splits = list(splits)
    meant = split_named(asked)
    alike = [s for s in splits if s.lower() == asked.lower()] or [
        s for s in splits if meant and split_named(s) == meant
    ]
    return asked if asked in splits or not alike else alike[0]


def stamp(path: Path) -> list[Any]:
    """The identity of one file: where it lies, its size and when it was written."""
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


def numbers(n: int) -> list[str]:
    """Names for rows that have none."""
    return [f"{i:06d}" for i in range(n)]


class Named(Sequence[str]):
    """The names of n rows, each made when it is asked for."""

    def __init__(self, n: int, name: Callable[[int], str]) -> None:
        self._n, self._name = n, name

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self._name(i) for i in range(self._n)[row]]
        return self._name(range(self._n)[row])


def in_memory(values: NDArray[Any]) -> Callable[[Rows], Iterator[Block]]:
    """A `Part.read` over an array that is in memory."""

    def read(rows: Rows) -> Iterator[Block]:
        for i in range(0, len(rows), 256):
            yield values[rows[i : i + 256]]

    return read


def library(name: str, what: str) -> Any:
    """An optional library, imported when it is needed. Raises DataError where it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise DataError(f"{what} needs {package}: pip install 'ganvas[hub]'.") from None
