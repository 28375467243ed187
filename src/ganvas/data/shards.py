"""Shards: the numbered files that large sets are kept in, how a pattern names them, and how their names tell splits."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ganvas.data.layout import is_hidden
from ganvas.data.source import SPLITS, split_named
from ganvas.errors import DataError

MAGIC = re.compile(r"[*\[]|\{[0-9]+\.\.[0-9]+\}")
RANGE = re.compile(r"\{([0-9]+)\.\.([0-9]+)\}")
NUMBERED = re.compile(r"(.+?)-[0-9]{3,}-of-[0-9]{3,}")  # as `datasets` names what it writes
MOST_FILES = 1_000_000


@dataclass(frozen=True)
class Shard:
    """A file: where to open it, its name within the source (with slashes), and its size in bytes.

    written: when, in nanoseconds, or what a far file system tells its versions by. system: the fsspec file system that
    opens it; None for a file of this machine.
    """

    path: str
    name: str
    size: int
    written: int | str | None = None
    system: Any = None

    def opened(self) -> Any:
        """What pyarrow reads it from."""
        return self.path if self.system is None else self.system.open(self.path, "rb")


def is_pattern(text: str) -> bool:
    """Whether a source is a pattern: ``*``, ``[...]`` or a range in braces."""
    return MAGIC.search(text) is not None


def matching(pattern: str) -> list[Shard]:
    """The files that a pattern names, in order of name: ``*``, ``?``, ``[...]``, ``**`` and ``{000..119}``.

    Raises DataError where there are none, or not every one of a range.
    """
    whole, shown = os.path.expanduser(pattern), _shown(pattern)
    found: set[str] = set()
    for part in _ranged(whole, shown):
        matches = glob.glob(part, recursive=True) if glob.has_magic(part) else [part] * os.path.isfile(part)
        matches = [match for match in matches if os.path.isfile(match)]
        if not matches:
            missing = f": there is no {_shown(part)}" if part != whole else ""
            raise DataError(f"{shown} matches no file{missing}; check the pattern.")
        found.update(matches)
    fixed = whole[: match.start()] if (match := MAGIC.search(whole)) else whole
    literal = {"..", *whole.split("/")}
    shards = [
        shard
        for shard in local(found, os.path.dirname(fixed) or ".")
        if not any(is_hidden(part) and part not in literal for part in shard.name.split("/"))
    ]
    if not shards:
        raise DataError(f"{shown} matches hidden files alone; name them without a wildcard.")
    return shards


def _shown(text: str) -> str:
    """A pattern as a sentence can hold it."""
    return text if text.isprintable() else repr(text)


def _ranged(text: str, pattern: str) -> list[str]:
    """Ranges in braces written out; numbers are as wide as they are given."""
    if not (match := RANGE.search(text)):
        return [text]
    first, last = int(match[1]), int(match[2])
    if last < first:
        raise DataError(f"{pattern} has a range that ends before it begins: {match[0]}.")
    rest = _ranged(text[match.end() :], pattern)
    if (last - first + 1) * len(rest) > MOST_FILES:
        raise DataError(f"{pattern} names over {MOST_FILES:,} files; name fewer.")
    width = len(match[1])
    return [f"{text[: match.start()]}{i:0{width}d}{end}" for i in range(first, last + 1) for end in rest]


def local(paths: Iterable[str | Path], root: str | Path) -> list[Shard]:
    """Files of this machine as shards, in order of their names within ``root``. Raises OSError."""
    shards = []
    for path in paths:
        name = os.path.relpath(path, root).replace(os.sep, "/")
        status = os.stat(path)
        shards.append(Shard(str(path), name, status.st_size, status.st_mtime_ns))
    return sorted(shards, key=lambda shard: shard.name)


def is_numbered(shard: Shard) -> bool:
    """Whether a file's name ends in a number of several digits."""
    return re.search(r"[0-9]{3,}$", PurePosixPath(shard.name).stem) is not None


def by_split(shards: Sequence[Shard]) -> dict[str, list[Shard]]:
    """The shards of each split, in the order in which splits are shown; all of them ``train`` where no name tells any.

    ``NAME-00000-of-00005`` is of the split NAME; else a word of its name, or a folder, names it. Where names tell
    train and another split, shards of no split are left out: `strays`.
    """
    told = _told(shards)
    if not any(told):
        return {"train": list(shards)}
    splits: dict[str, list[Shard]] = {}
    for split, shard in zip(told, shards, strict=True):
        if split is not None:
            splits.setdefault(split, []).append(shard)
    return {split: splits[split] for split in [*(s for s in SPLITS if s in splits), *splits]}


def strays(shards: Sequence[Shard]) -> list[Shard]:
    """The shards that belong to no split, where others tell that they belong to train and to another one."""
    told = _told(shards)
    return [shard for split, shard in zip(told, shards, strict=True) if split is None] if any(told) else []


def _told(shards: Sequence[Shard]) -> list[str | None]:
    """The split that each shard's name tells, or None for all of them where names tell no splits."""
    told = [_split(shard.name) for shard in shards]
    known = {split for split in told if split is not None}
    every = None not in told and (len(known) > 1 or bool(known & set(SPLITS)))
    return told if every or {"train"} < known & set(SPLITS) else [None] * len(told)


def _split(name: str) -> str | None:
    *folders, file = name.split("/")
    stem = PurePosixPath(file).stem
    words = re.split(r"[^A-Za-z0-9]+", stem)
    numbered = NUMBERED.fullmatch(stem)
    for word in (*words, *reversed(folders)):
        if split := split_named(word):
            return split
    return numbered[1] if numbered and re.fullmatch(r"[A-Za-z0-9_-]+", numbered[1]) else None
