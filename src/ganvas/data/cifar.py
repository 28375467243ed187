"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) in their binary form: records of labels and 32x32 pixels, plane by plane.

The publisher's other form is a Python pickle, which is never loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganvas.bounds import TooLarge, read_regular
from ganvas.data.archives import DAMAGE, Guard, damaged, walk_tar
from ganvas.data.source import Block, Part, Rows, Scan, Source, numbers, stamp
from ganvas.errors import DataError

PIXELS = 3 * 32 * 32
MOST_BYTES = 192 << 20  # of all files together, which really have 184 MB

Records = NDArray[np.uint8]  # [N, labels + PIXELS]


@dataclass(frozen=True)
class Form:
    """How one of the two sets lies in its files.

    labels: bytes before the pixels, the last of which is the class. names: the file of the classes' names, one a line.
    classes: how many there are. known: their names, where the file of them may be missing. pickled: what tells of the
    other form.
    """

    title: str
    archive: str
    folder: str  # within the archive
    splits: dict[str, tuple[str, ...]]
    names: str
    labels: int
    classes: int
    pickled: tuple[str, ...]
    known: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What the identity of a source begins with."""
        return self.title.lower().replace("-", "")

    @property
    def wanted(self) -> list[str]:
        """The files that have to be there."""
        return [name for names in self.splits.values() for name in names] + [self.names] * (not self.known)

    @property
    def record(self) -> int:
        """Bytes of a row."""
        return self.labels + PIXELS


CIFAR10 = Form(
    title="CIFAR-10",
    archive="cifar-10-binary.tar.gz",
    folder="cifar-10-batches-bin",
    splits={"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)},
    names="batches.meta.txt",
    labels=1,
    classes=10,
    pickled=("data_batch_1", "cifar-10-batches-py"),
    known=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)
CIFAR100 = Form(
    title="CIFAR-100",
    archive="cifar-100-binary.tar.gz",
    folder="cifar-100-binary",
    splits={"train": ("train.bin",), "test": ("test.bin",)},
    names="fine_label_names.txt",
    labels=2,  # the coarse one of 20, which is left alone, and the fine one
    classes=100,
    pickled=("cifar-100-python",),
)


def here(form: Form, path: Path) -> Source | None:
    """The set at a path: its archive, or a folder with that or with the binary files in it or in their own folder.

    None if there is nothing of the sort. Raises DataError where files are missing, or only the pickled form is there.
    """
    if path.name == form.archive and path.is_file():
        return _source(form, "archive of binary files", path, [path])
    for place in (path, path / form.folder):
        held = [name for names in form.splits.values() for name in names if (place / name).is_file()]
        sure = form.known or place.name == form.folder or (place / form.names).is_file()  # any file may be train.bin
        if held and sure:
            _refuse_missing(form, place, [name for name in form.wanted if not (place / name).is_file()])
            files = [place / name for name in dict.fromkeys([*form.wanted, form.names])]
            return _source(form, "folder of binary files", place, [file for file in files if file.is_file()])
    if (path / form.archive).is_file():
        return here(form, path / form.archive)
    if path.name in form.pickled or any((path / name).exists() for name in form.pickled):
        raise DataError(
            f"{path} holds {form.title} as Python pickles, which are never loaded: get the binary version "
            f"({form.archive})."
        )
    return None


def _refuse_missing(form: Form, place: Path, missing: list[str]) -> None:
    if missing:
        raise DataError(f"{place} holds {form.title} without {', '.join(missing)}: get the whole set.")


def _source(form: Form, layout: str, place: Path, files: list[Path]) -> Source:
    return Source(
        f"{form.title}, {layout}",
        [form.key, [stamp(path) for path in files]],
        lambda: _scan(form, place),
        where=str(place),
    )


def _scan(form: Form, place: Path) -> Scan:
    held = _from_folder(form, place) if place.is_dir() else _from_archive(form, place)
    _refuse_missing(form, place, [name for name in form.wanted if name not in held])
    names = tuple(held.pop(form.names, b"").decode("ascii", errors="replace").split())
    if len(names) != form.classes:
        if not form.known:
            raise DataError(
                f"{place}: {form.names} has {len(names)} names, not {form.classes}: it is damaged; get it again."
            )
        names = form.known
    parts = {}
    for split, files in form.splits.items():
        records = np.concatenate([_records(form, held.pop(name), place, name) for name in files])
        labels = records[:, form.labels - 1].astype(np.int64)
        parts[split] = Part(numbers(len(records)), _reader(records[:, form.labels :]), labels, (32, 32, 3))
    return Scan(parts, names)


def _from_folder(form: Form, place: Path) -> dict[str, bytes]:
    held: dict[str, bytes] = {}
    try:
        for name in dict.fromkeys([*form.wanted, form.names]):
            if (place / name).is_file():
                held[name] = read_regular(place / name, MOST_BYTES - sum(map(len, held.values())))
    except TooLarge:
        raise _too_large(form, place) from None
    return held


def _from_archive(form: Form, place: Path) -> dict[str, bytes]:
    wanted, guard = {*form.wanted, form.names}, Guard(place)
    held: dict[str, bytes] = {}
    for member, stream in walk_tar(place):
        parts = guard.parts(member.name, member.size)
        if parts and parts[-1] in wanted and member.isreg() and not member.issparse():
            if member.size + sum(map(len, held.values())) > MOST_BYTES:
                raise _too_large(form, place)
            try:
                stream.seek(member.offset_data)
                held[parts[-1]] = stream.read(member.size)
            except DAMAGE as error:
                raise damaged(place, error) from error
    return held


def _too_large(form: Form, place: Path) -> DataError:
    return DataError(f"{place} holds files of over {MOST_BYTES >> 20} MiB, more than {form.title} has: get it again.")


def _records(form: Form, data: bytes, place: Path, name: str) -> Records:
    if not data or len(data) % form.record:
        raise DataError(
            f"{place}: {name} has {len(data):,} bytes, no whole number of records of {form.record:,}: get it again."
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, form.record)
    if records[:, form.labels - 1].max() >= form.classes:
        raise DataError(
            f"{place}: {name} has labels over {form.classes - 1}: it is damaged, or not {form.title}; get it again."
        )
    return records


def _reader(pixels: Records) -> Callable[[Rows], Iterator[Block]]:
    def read(rows: Rows) -> Iterator[Block]:
        for start in range(0, len(rows), 1024):
            planes = pixels[rows[start : start + 1024]].reshape(-1, 3, 32, 32)
            yield planes.transpose(0, 2, 3, 1)

    return read
