"""Pictures in files: a folder at any depth, and a single file."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ganvas.data.layout import Arrangement, arrange, is_hidden, without_thumbnails
from ganvas.data.outputs import RUN, is_run, without_outputs
from ganvas.data.pictures import SUFFIXES
from ganvas.data.source import LAYOUT, Block, Encoded, LeftOut, Part, Rows, Scan, Source, stamp
from ganvas.errors import DataError

__all__ = ["BLOCK", "SHARDS", "Arrangement", "Listing", "arrange", "folder", "is_hidden", "is_picture", "listing",
           "scan_paths", "single"]  # fmt: skip

BLOCK = 64
SHARDS = (".parquet", ".tar")  # suffixes of files that may hold pictures together
MOST_SUFFIXES = 20  # of other files that are told apart
MOST_WALKED = 200  # hidden folders that are looked through for images that somebody may miss
HIDDEN_FOLDER, SPECIAL, SEEN = "in a hidden folder", "not a regular file", "a link to a folder that is read already"
UNREADABLE, NO_IMAGE = "a folder that cannot be read", "not an image file"


@dataclass(frozen=True)
class Listing:
    """The pictures under a folder: path within it, size, time of writing; what else lies there, by suffix; which of it
    may be shards; and what is left out, as JSON (see `LeftOut`)."""

    files: list[tuple[str, int, int]]
    ignored: Counter[str]
    shards: list[str]
    left_out: list[dict[str, Any]] = field(default_factory=list)


def listing(root: Path) -> Listing:
    """Walks a folder in order of name, links included (each real folder once).

    Left out are hidden files and folders, those of network storage and tools, thumbnails, and what Ganvas has written.
    Nothing but regular files is ever opened. Raises OSError where ``root`` itself cannot be read.
    """
    files: list[tuple[str, int, int]] = []
    others, left, hidden = dict[str, list[str]](), LeftOut(), list[tuple[str, str]]()
    shards: list[str] = []
    seen: set[str] = set()
    top = os.path.realpath(root)
    waiting = [(str(root), "")]
    while waiting:
        folder, prefix = waiting.pop()
        real = os.path.realpath(folder)
        if real in seen or (prefix and _is_within(top, real)):
            left.add(SEEN, prefix)
            continue
        seen.add(real)
        try:
            with os.scandir(folder) as entries:
                in_order = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            if not prefix:
                raise
            left.add(UNREADABLE, prefix)
            continue
        if prefix and is_run(folder, {entry.name for entry in in_order}):
            left.add(RUN, prefix)
            continue
        folders = []
        for entry in in_order:
            name = prefix + entry.name
            try:
                is_dir = entry.is_dir()
            except OSError:  # a link to itself, or to what may not be seen
                is_dir = False
            pictured = not is_dir and is_picture(name)
            if entry.name[0] == "." or (not pictured and is_hidden(entry.name)):
                if is_dir:
                    hidden.append((entry.path, f"{name}/"))
            elif is_dir:
                folders.append((entry.path, f"{name}/"))
            elif pictured:
                try:
                    status = entry.stat()
                except OSError:  # a link that leads nowhere: it will be named among the unreadable
                    files.append((name, -1, -1))
                    continue
                if stat.S_ISREG(status.st_mode):  # to open a pipe would wait for ever
                    files.append((name, status.st_size, status.st_mtime_ns))
                else:
                    left.add(SPECIAL, name)
            else:
                suffix = os.path.splitext(name)[1].lower()
                others.setdefault(suffix or entry.name, []).append(name)
                if suffix in SHARDS and entry.is_file():
                    shards.append(name)
        waiting.extend(reversed(folders))
    _count_hidden(hidden, left)
    files.sort()
    kept = without_thumbnails([name for name, _, _ in files], left)
    files = without_outputs(str(root), files if len(kept) == len(files) else [files[i] for i in kept], left)
    counts = Counter({suffix: len(names) for suffix, names in others.items()})
    for suffix, _ in counts.most_common(MOST_SUFFIXES):
        for name in others[suffix]:
            left.add(no_image(suffix), name)
    return Listing(files, counts, shards, left.entries())


def no_image(suffix: str) -> str:
    """Why a file of that suffix is left out."""
    return f"{NO_IMAGE} ({suffix})" if suffix.startswith(".") else NO_IMAGE


def without(left_out: Sequence[dict[str, Any]], read: Sequence[str]) -> list[dict[str, Any]]:
    """What is left out of a listing when those of its files are read that are no images: shards, arrays."""
    reasons = Counter(no_image(os.path.splitext(name)[1].lower()) for name in read)
    rest = [{**one, "count": one["count"] - reasons[one["reason"]]} for one in left_out]
    rest = [{**one, "names": [name for name in one["names"] if name not in read]} for one in rest]
    return [one for one in rest if one["count"] > 0]


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or leads to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or to what may not be seen
        return False


def _is_within(path: str, folder: str) -> bool:
    """Whether ``path`` lies in ``folder`` or is it."""
    return path == folder or path.startswith(os.path.join(folder, ""))


def _count_hidden(folders: list[tuple[str, str]], left: LeftOut) -> None:
    """Records hidden folders that hold images. So many are walked at most: a NAS keeps one for each image."""
    waiting = [(path, name) for path, name in reversed(folders)]
    for _ in range(MOST_WALKED):
        if not waiting:
            return
        path, name = waiting.pop()
        try:
            with os.scandir(path) as entries:
                within = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in within:
            if entry.is_dir(follow_symlinks=False):
                waiting.append((entry.path, name))
            elif is_picture(entry.name):
                left.add(HIDDEN_FOLDER, name)
    if waiting:
        left.add(f"{HIDDEN_FOLDER}, not looked through", waiting[0][1], len(waiting))


def is_picture(name: str) -> bool:
    """Whether a name's suffix is one of pictures."""
    return name.lower().endswith(SUFFIXES)


def scan_paths(
    where: str,
    names: Sequence[str],
    read_all: Callable[[Rows], Iterator[Block]],
    ignored: Counter[str],
    left_out: Sequence[dict[str, Any]] = (),
) -> Scan:
    """The parts of a source whose pictures have paths. ``read_all(rows)`` reads rows of ``names``. ignored: other
    files, by suffix. left_out: what the scan is to tell besides."""
    if not names:
        raise DataError(f"{where} holds no picture{_instead(ignored, left_out)}: pictures end in {' '.join(SUFFIXES)}.")
    found = arrange(names)
    classes = sorted({folder for folder in found.folders if folder is not None})
    index = {name: i for i, name in enumerate(classes)}
    parts = {}
    for split, rows in found.splits.items():
        labels = None
        if all(found.folders[row] is not None for row in rows):
            labels = np.array([index[found.folders[row] or ""] for row in rows], np.int64)
        parts[split] = Part([names[row] for row in rows], partial(_within, read_all, rows), labels)
    says = [f"splits {', '.join(found.splits)}"] if len(found.splits) > 1 else []
    says += [f"{len(classes)} classes by folder"] if classes else []
    left = [*left_out, *found.left_out]
    return Scan(parts, tuple(classes), {"arrangement": says, "left_out": left, "notes": found.notes})


def _instead(ignored: Counter[str], left_out: Sequence[dict[str, Any]]) -> str:
    """What a place without pictures holds, in brackets."""
    others = [f"{count} {suffix}" for suffix, count in ignored.most_common(5)]
    others += [f"{one['names'][0]}, {one['reason']}" for one in left_out if not one["reason"].startswith(NO_IMAGE)]
    return f" (but {', '.join(others)})" if others else ""


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
        identity=["folder", LAYOUT, str(root.resolve()), found.files],
        scan=lambda: scan_paths(str(root), names, read, found.ignored, () if names else found.left_out),
        where=str(root),
        listing=found.files,
        left_out=found.left_out,
    )


def single(path: Path) -> Source:
    """One picture."""

    def read(rows: Rows) -> Iterator[Block]:
        yield [Encoded(path.name, str(path)) for _ in rows]

    return Source(
        "picture", ["picture", stamp(path)], lambda: Scan({"train": Part([path.name], read)}), where=str(path)
    )
