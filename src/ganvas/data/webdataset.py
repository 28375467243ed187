"""WebDataset shards: tars of samples, members of one key lying together: ``KEY.jpg`` and ``KEY.cls`` or ``KEY.json``.

What lies where is written down once, in a store of its own: to list a tar, all of it has to be walked through.
"""

from __future__ import annotations

import itertools
import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ganvas.data.archives import DAMAGE, Guard, blocks, from_tar, hidden_folder, walk_tar
from ganvas.data.arrays import MOST_CLASSES
from ganvas.data.folders import HIDDEN_FOLDER, is_picture
from ganvas.data.shards import Shard, by_split
from ganvas.data.source import LAYOUT, Block, Encoded, LeftOut, Named, Part, Rows, Scan, Source
from ganvas.data.store import Building, Column, Store, obtain
from ganvas.errors import DataError

RUN = 128  # samples that are streamed one after another
AT_ONCE = 1 << 16  # samples whose places are looked up at a time
LABEL_KEYS = ("label", "cls", "class")  # of a sample's JSON
MOST_LABEL = 1 << 20  # bytes of a .cls or .json
MEMBER = re.compile(
    r"[A-Za-z_][A-Za-z_-]*[0-9]{0,2}"
)  # a word before a suffix that names a sample's member: seg, mask2
PEEK = 16  # members that tell whether a tar is a shard
COMPRESSED = (".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz")


def is_shard(path: Path) -> bool:
    """Whether a tar's first members are a picture and its class, ``KEY.cls``. False for one that is damaged, or
    dangerous."""
    suffixes: dict[str, set[str]] = {}
    guard = Guard(path)
    try:
        for info, _ in itertools.islice(walk_tar(path), PEEK):
            key, suffix = _parted(guard.parts(info.name, info.size) or ("",))
            suffixes.setdefault(key, set()).add("picture" if is_picture(info.name) else suffix)
    except DataError:
        return False
    return any({"picture", ".cls"} <= found for found in suffixes.values())


def webdataset(shards: Sequence[Shard], identity: Any, where: str) -> Source:
    """The samples of WebDataset shards, in order of the shards; splits as their names tell."""
    compressed = any(shard.name.lower().endswith(COMPRESSED) for shard in shards)
    address = ["webdataset", LAYOUT, [shard.name for shard in shards], identity]

    return Source(
        layout=f"WebDataset, {len(shards)} shard{'s' if len(shards) > 1 else ''}",
        identity=address,
        scan=lambda: _scan(shards, obtain(["index", address], partial(_index, shards, where)), where),
        where=where,
        listing=None if compressed else [(shard.name, shard.size, shard.written) for shard in shards],
    )


# ---- what lies where -------------------------------------------------------------------------------------------------
@dataclass
class _Sample:
    """What a shard holds of one key. picture: its name, where its bytes begin, and how many there are; of several, such
    as ``.jpg`` and ``.seg.png``, the first of the fewest suffixes. others: the names of its other pictures."""

    key: str
    picture: tuple[str, int, int] | None = None
    suffixes: int = 99
    labels: dict[str, int] = field(default_factory=dict)  # by the suffix of the member that says it
    others: list[str] = field(default_factory=list)

    @property
    def label(self) -> int | None:
        return self.labels.get(".cls", self.labels.get(".json"))


def _parted(parts: Sequence[str]) -> tuple[str, str]:
    """A member's key, and the rest of its file's name: the last suffix, and words before it that name one of several
    members of a sample (``.seg.png``). Other points belong to the key: ``frame.0001``, ``cat.7``, ``v1.5``."""
    stem, *rest = parts[-1].split(".")
    first = max(0, len(rest) - 1)  # of what is no part of the key
    while first > 0 and MEMBER.fullmatch(rest[first - 1]):
        first -= 1
    key = ".".join([stem, *rest[:first]])
    return "/".join([*parts[:-1], key]), "".join(f".{part}" for part in rest[first:]).lower()


def _samples(shard: Shard, left: LeftOut) -> Iterator[_Sample]:
    """The samples of a shard. Raises DataError for one that is damaged or dangerous, and for a label that is none."""
    guard, sample = Guard(Path(shard.path)), _Sample("")
    for info, stream in walk_tar(Path(shard.path)):
        parts = guard.parts(info.name, info.size)
        if not info.isreg() or info.issparse():
            continue
        if not parts:
            if is_picture(info.name) and (folder := hidden_folder(info.name)):
                left.add(HIDDEN_FOLDER, f"{shard.name}/{folder}")
            continue
        key, suffix = _parted(parts)
        if sample.key != key:
            if sample.key:
                yield sample
            sample = _Sample(key)
        if is_picture(suffix):
            place = (key + suffix, info.offset_data, info.size)
            if suffix.count(".") < sample.suffixes:
                sample.others += [sample.picture[0]] if sample.picture else []
                sample.picture, sample.suffixes = place, suffix.count(".")
            else:
                sample.others.append(place[0])
        elif suffix in (".cls", ".json") and (label := _label(shard, info, suffix, stream)) is not None:
            sample.labels[suffix] = label
    if sample.key:
        yield sample


def _label(shard: Shard, info: tarfile.TarInfo, suffix: str, stream: IO[bytes]) -> int | None:
    """The class that a ``.cls`` says, or a ``.json`` if it says one: which may say anything else."""
    try:
        if info.size > MOST_LABEL:
            raise ValueError(f"{info.size:,} bytes")
        stream.seek(info.offset_data)
        said = json.loads(stream.read(info.size))
    except (*DAMAGE, RecursionError) as error:
        if suffix == ".json" and isinstance(error, ValueError | RecursionError):
            return None
        raise _no_label(shard, info, error) from error
    if suffix == ".json":
        numbers = [said[key] for key in LABEL_KEYS if type(said.get(key)) is int] if isinstance(said, dict) else []
        if not numbers:
            return None
        said = numbers[0]
    if type(said) is not int or not 0 <= said < MOST_CLASSES:
        raise _no_label(shard, info, repr(str(said)[:40]))
    return said


def _no_label(shard: Shard, info: tarfile.TarInfo, reason: object) -> DataError:
    return DataError(
        f"{shard.path}: {info.name} is no label ({reason}): write a whole number from 0 to {MOST_CLASSES - 1}."
    )


def _index(shards: Sequence[Shard], where: str, building: Building) -> None:
    """Writes down the samples: ``SPLIT.name``, ``.place`` (shard, where the bytes begin, how many) and ``.label``."""
    building.describe(f"{where} (where its samples lie)", where)
    number = {shard.name: i for i, shard in enumerate(shards)}
    left, unlabelled, classes = LeftOut(), set(), 0
    for split, members in by_split(shards).items():
        for shard in members:
            names, places, labels = [], [], []
            for sample in _samples(shard, left):
                for other in sample.others:
                    left.add("another image of a sample", f"{shard.name}/{other}")
                if sample.picture is None:
                    left.add("a sample without an image", f"{shard.name}/{sample.key}")
                    continue
                name, *place = sample.picture
                names.append(np.frombuffer(f"{shard.name}/{name}".encode(errors="surrogateescape"), np.uint8))
                places.append([number[shard.name], *place])
                labels.append(-1 if sample.label is None else sample.label)
            building.column(f"{split}.name", "uint8", ragged=True).append_rows(names)
            building.column(f"{split}.place", "int64", (3,)).append(np.array(places, np.int64).reshape(-1, 3))
            building.column(f"{split}.label", "int64").append(np.array(labels, np.int64))
            classes = max(classes, 1 + max(labels, default=-1))
            unlabelled |= {split} if -1 in labels else set()
    building.found.update({"classes": classes, "unlabelled": sorted(unlabelled), "left_out": left.entries()})


# ---- the samples -----------------------------------------------------------------------------------------------------
def _scan(shards: Sequence[Shard], store: Store, where: str) -> Scan:
    classes, unlabelled = store.found["classes"], store.found["unlabelled"]
    labelled = classes and not unlabelled
    parts = {}
    for column in store.columns:
        split, _, field_name = column.rpartition(".")
        if field_name == "name" and len(store.columns[column]):
            names = Named(len(store.columns[column]), partial(_name, store.columns[column]))
            places, labels = store.columns[f"{split}.place"], store.columns[f"{split}.label"].all()
            parts[split] = Part(
                names, partial(_read, shards, names, places), labels if labelled else None, runs=_runs(places.all())
            )
    if not parts:
        raise DataError(f"{where} holds no sample with a picture.")
    says = [f"splits {', '.join(parts)}"] if len(parts) > 1 else []
    says += [f"{classes} classes by .cls or .json"] if labelled else []
    says += [f"no labels: {', '.join(unlabelled)} has samples without one"] if classes and unlabelled else []
    left = store.found["left_out"]
    return Scan(parts, tuple(map(str, range(classes))) if labelled else (), {"arrangement": says, "left_out": left})


def _name(column: Column, row: int) -> str:
    return bytes(column[row]).decode(errors="surrogateescape")


def _runs(places: NDArray[np.int64]) -> Rows:
    """The first rows of stretches of at most `RUN` samples of one shard."""
    bounds = np.array([0, *(np.flatnonzero(np.diff(places[:, 0])) + 1), len(places)])
    return np.concatenate([np.arange(first, last, RUN) for first, last in itertools.pairwise(bounds)])


def _read(shards: Sequence[Shard], names: Sequence[str], places: Column, rows: Rows) -> Iterator[Block]:
    return blocks(_pictures(shards, names, places, rows))


def _pictures(shards: Sequence[Shard], names: Sequence[str], places: Column, rows: Rows) -> Iterator[Encoded]:
    for start in range(0, len(rows), AT_ONCE):
        some = rows[start : start + AT_ONCE]
        taken = places.take(some)
        for stretch in np.split(np.arange(len(some)), np.flatnonzero(np.diff(taken[:, 0])) + 1):
            members = [(names[some[i]], int(taken[i, 1]), int(taken[i, 2])) for i in stretch]
            yield from from_tar(Path(shards[taken[stretch[0], 0]].path), members)
