"""Pictures in files: a folder at any depth, a single file, and how paths tell splits and classes."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ganvas.data.pictures import SUFFIXES
from ganvas.data.source import SPLITS, Block, Encoded, Part, Rows, Scan, Source, stamp
from ganvas.errors import DataError

BLOCK = 64
SHARDS = (".parquet", ".tar")  # suffixes of files that may hold pictures together


@dataclass(frozen=True)
class Listing:
    """The pictures under a folder: path within it, size, time of writing; what else lies there, by suffix; and which
    of it may be shards."""

    files: list[tuple[str, int, int]]
    ignored: Counter[str]
    shards: list[str]


def listing(root: Path) -> Listing:
    """Walks a folder in order of name, links included (each real folder once), hidden files and folders left out."""
    files: list[tuple[str, int, int]] = []
    ignored: Counter[str] = Counter()
    shards: list[str] = []
    seen: set[str] = set()
    waiting = [(str(root), "")]
    while waiting:
        folder, prefix = waiting.pop()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        with os.scandir(folder) as entries:
            in_order = sorted(entries, key=lambda entry: entry.name)
        folders = []
        for entry in in_order:
            name = prefix + entry.name
            if is_hidden(entry.name):
                continue
            if entry.is_dir():
                folders.append((entry.path, f"{name}/"))
            elif is_picture(name):
                try:
                    status = entry.stat()
                except OSError:  # a link that leads nowhere: it will be named among the unreadable
                    files.append((name, -1, -1))
                    continue
                if stat.S_ISREG(status.st_mode):  # to open a pipe would wait for ever
                    files.append((name, status.st_size, status.st_mtime_ns))
            else:
                suffix = os.path.splitext(name)[1].lower()
                ignored[suffix or entry.name] += 1
                if suffix in SHARDS and entry.is_file():
                    shards.append(name)
        waiting.extend(reversed(folders))
    return Listing(sorted(files), ignored, shards)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of the data: ``.DS_Store``, ``._photo.jpg``, ``__MACOSX``."""
    return name.startswith(".") or name == "__MACOSX"


def is_picture(name: str) -> bool:
    """Whether a name's suffix is one of pictures."""
    return name.lower().endswith(SUFFIXES)


def arrange(names: Sequence[str]) -> tuple[dict[str, Rows], list[str | None]]:
    """What paths (with slashes) say: split -> rows, and the class of every row, or None.

    Folders that hold everything are skipped. Top folders named train, test, val(id(ation)) are splits; folders are
    classes where there are several and all pictures lie exactly one level down.
    """
    paths = [name.split("/") for name in names]
    while len({path[0] for path in paths}) == 1 and len(paths[0]) > 1 and paths[0][0] not in SPLITS:
        paths = [path[1:] for path in paths]
    splits = {"train": np.arange(len(paths))}
    if all(path[0] in SPLITS and len(path) > 1 for path in paths):
        tops = np.array([path[0] for path in paths])
        splits = {split: np.flatnonzero(tops == split) for split in SPLITS if split in tops}
        paths = [path[1:] for path in paths]
    folders = [path[0] if len(path) == 2 else None for path in paths]
    if None in folders or len(set(folders)) < 2:
        folders = [None] * len(paths)
    return splits, folders


def scan_paths(
    where: str, names: Sequence[str], read_all: Callable[[Rows], Iterator[Block]], ignored: Counter[str]
) -> Scan:
    """The parts of a source whose pictures have paths. ``read_all(rows)`` reads rows of ``names``."""
    if not names:
        others = ", ".join(f"{count} {suffix}" for suffix, count in ignored.most_common(5))
        raise DataError(
            f"{where} holds no picture{f' (but {others})' if others else ''}: pictures end in {' '.join(SUFFIXES)}."
        )
    splits, folders = arrange(names)
    classes = sorted({folder for folder in folders if folder is not None})
    index = {name: i for i, name in enumerate(classes)}
    parts = {}
    for split, rows in splits.items():
        labels = np.array([index[folders[row] or ""] for row in rows], np.int64) if classes else None
        parts[split] = Part([names[row] for row in rows], partial(_within, read_all, rows), labels)
    says = [f"splits {', '.join(splits)}"] if len(splits) > 1 else []
    says += [f"{len(classes)} classes by folder"] if classes else []
    return Scan(parts, tuple(classes), {"arrangement": says, "ignored": dict(ignored.most_common(20))})


def _within(read_all: Callable[[Rows], Iterator[Block]], mine: Rows, rows: Rows) -> Iterator[Block]:
    return read_all(mine[rows])


def folder(root: Path, found: Listing) -> Source:
    """The pictures of a folder at any depth."""
    names = [name for name, _, _ in found.files]
    prefix = os.path.join(root, "")

    def read(rows: Rows) -> Iterator[Block]:
        for start in range(0, len(rows), BLOCK):
            yield [Encoded(names[row], prefix + names[row]) for row in rows[start : start + BLOCK]]

    return Source(
        layout="folder of pictures",
        identity=["folder", str(root.resolve()), found.files],
        scan=lambda: scan_paths(str(root), names, read, found.ignored),
        where=str(root),
        listing=found.files,
    )


def single(path: Path) -> Source:
    """One picture."""

    def read(rows: Rows) -> Iterator[Block]:
        yield [Encoded(path.name, str(path)) for _ in rows]

    return Source(
        "picture", ["picture", stamp(path)], lambda: Scan({"train": Part([path.name], read)}), where=str(path)
    )
