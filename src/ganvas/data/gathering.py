"""Reads rows of several pictures into a store: each file decoded once, whole, at the size that the spec asks for.

Columns of each split: ``SPLIT.FIELD`` (ragged: the pixels [H * W, C] or ids [H * W] of a row), and of each side
``SPLIT.SIDEsize`` (height and width) and ``SPLIT.SIDEname``.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ganvas.data.building import NAMED, choose, decoding_of, extremes, in_threads, progress, ranged, told, tolerate
from ganvas.data.colors import Decoding, RangeUnknown, Remarks
from ganvas.data.geometry import Geometry
from ganvas.data.groups import Group, Row
from ganvas.data.maps import instances_of, labels_of, mask_values, read_ids
from ganvas.data.pictures import Preparation, decode, quietly, read_halves
from ganvas.data.source import WITHOUT_PARTNER, BadPicture, Encoded, LeftOut, Part, Scan, printable
from ganvas.data.spec import Size, Spec
from ganvas.data.store import Building
from ganvas.errors import DataError
from ganvas.ops.maps import VOID

AT_ONCE = 4  # rows that a thread reads in one go
MAPS = {"labels": "uint8", "instances": "uint16"}  # the columns of fields that are no pictures

Array = NDArray[Any]
T = TypeVar("T")


@dataclass
class Gathered:
    """A row, read: its name, the file that messages name, its fields, and what the files held."""

    name: str
    file: str
    fields: dict[str, Array] = field(default_factory=dict)
    sizes: dict[str, Size] = field(default_factory=dict)  # of the files, upright
    modes: list[str] = field(default_factory=list)
    bad: str = ""


class Unlike(Exception):  # noqa: N818 - not an error: the pictures are prepared otherwise
    """Pictures are not all of one size, and nothing was said of how they should be."""


def gather(group: Group, spec: Spec, building: Building, *, alike: bool) -> None:
    """Writes the columns of every split, and what was found.

    alike: raises `Unlike` at the first picture of another size. Raises DataError where there is nothing to read, too
    much that cannot be read, or a label id that no class can have.
    """
    rows, says = group.complete()
    chosen = pick(rows, spec)
    total = sum(len(rows) for sides in chosen.values() for rows in sides.values())
    reading, notes = decoding_of(spec), list[str]()
    masks = _are_masks(group, spec, chosen, reading)
    while True:
        read = partial(_read, group, Geometry.of(spec), 1 if spec.channels == "grey" else 3, reading, masks)
        try:
            fill(building, spec, group.where, chosen, total, read, alike=alike)
            break
        except RangeUnknown:  # only then all pictures are looked at first
            pictures = (file for row in _all(chosen) if not row.lack for file in _pictures(group, row))
            reading, said = ranged(pictures, reading, group.where)
            reading, notes = replace(reading, remarks=Remarks()), [said] if said else []
            building.restart()
    left = LeftOut()
    for row in (row for sides in rows.values() for one in sides.values() for row in one if row.lack):
        left.add(WITHOUT_PARTNER, row.name)
    building.found.update({"arrangement": says, "left_out": left.entries()})
    if masks:
        building.found["void"] = "none"
        notes.append(
            "label maps hold 0 and 255 alone and are read as masks of the classes 0 and 1; void=255 would read 255 as "
            "void, of no class"
        )
    else:
        notes += _sparse(building.found["pixels"])
    told(building.found, spec, reading, notes)


def _all(chosen: Mapping[str, Mapping[str, Iterable[T]]]) -> Iterator[T]:
    """The rows of every split and side."""
    return (row for sides in chosen.values() for rows in sides.values() for row in rows)


def _pictures(group: Group, row: Row) -> Iterator[Encoded]:
    """The files of a row that are no maps."""
    return (Encoded(path, f"{group.root}{path}") for name, path in row.files.items() if name not in MAPS)


def _are_masks(group: Group, spec: Spec, chosen: Mapping[str, Mapping[str, list[Row]]], reading: Decoding) -> bool:
    """Whether label maps are read as masks of the classes 0 and 1: where that is asked for, or where 0 and 255 are all
    that the maps hold. The first map with another id ends the search."""
    if group.kind != "labels" or no_class_of(spec) == "255":
        return False
    if spec.void == "none":
        return True

    def held(row: Row) -> tuple[bool, bool]:
        try:
            return mask_values(Encoded(row.files["labels"], f"{group.root}{row.files['labels']}"), reading.most)
        except BadPicture:
            return True, False  # it will be named

    any_void = False
    with quietly():
        for mask, void in in_threads((row for row in _all(chosen) if not row.lack), held):
            if not mask:
                return False
            any_void |= void
    return any_void


def no_class_of(spec: Spec) -> str:
    """What 255 is where 0 and 255 are all that label maps hold: "none" (class 1), or "255" (void)."""
    return spec.void or ("none" if spec.classes in (None, 2) else "255")


def _sparse(pixels: Mapping[str, list[int]]) -> list[str]:
    """A sentence where few of the ids up to the highest are there at all, as in maps that hold gray levels."""
    there = np.flatnonzero(np.sum(list(pixels.values()), 0)[:VOID]) if pixels else np.empty(0, np.int64)
    if not len(there) or there[-1] < 32 or len(there) > 16 or 8 * len(there) > there[-1]:
        return []
    some = ", ".join(str(value) for value in there.tolist())
    return [
        f"label maps hold the ids {some}, which makes {there[-1] + 1} classes: if they are gray levels, number the "
        "classes from 0"
    ]


def fill(
    building: Building,
    spec: Spec,
    where: str,
    chosen: Mapping[str, Mapping[str, Iterable[T]]],
    total: int,
    read: Callable[[T], Gathered],
    *,
    alike: bool = False,
) -> None:
    """Writes what ``read`` makes of the rows of each split and side, and counts: `gather`, whatever rows are."""
    building.describe(str(spec), where)
    bad: list[tuple[str, str]] = []
    sizes: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    counts: dict[str, dict[str, int]] = {}
    pixels: dict[str, list[int]] = {}  # of each label id, by split
    highest: dict[str, list[Any]] = {}  # label id and its file, by split
    first: Size | None = None
    with progress(total, where) as bar, quietly():
        for split, sides in chosen.items():
            for side, rows in sides.items():
                written = 0
                for done in in_order(rows, read):
                    bar.update(1)
                    if done.bad:
                        bad.append((done.file, done.bad))
                        tolerate(where, len(bad), total, bad[:3], spec)
                        continue
                    own = next(iter(done.sizes.values()))
                    first = first or own
                    if alike and own != first:
                        raise Unlike
                    sizes[f"{own[0]}x{own[1]}"] += 1
                    modes.update(done.modes)
                    _append(building, split, side, done)
                    written += 1
                    if "labels" in done.fields:
                        _count(done, split, pixels, highest)
                if not written:
                    why = "; ".join(f"{printable(file)}: {reason}" for file, reason in bad[:3])
                    raise DataError(f"{where} has no picture that can be read in its split {split!r} ({why}).")
                counts.setdefault(split, {})[side] = written
    building.found.update(
        {
            "rows": counts,
            "pixels": pixels,
            "highest": highest,
            "sizes": dict(sizes.most_common(10)),
            "different_sizes": len(sizes),
            "extremes": extremes(sizes),
            "modes": dict(modes.most_common()),
            "bad": {"count": len(bad), "of": total, "files": {printable(file): reason for file, reason in bad[:NAMED]}},
        }
    )


def pick(rows: Mapping[str, Mapping[str, list[Row]]], spec: Spec) -> dict[str, dict[str, list[Row]]]:
    """The rows of each split and side to be, as holdout and limit say: by the names of rows."""
    chosen: dict[str, dict[str, list[Row]]] = {}
    for side in next(iter(rows.values())):
        parts = {split: sides[side] for split, sides in rows.items()}
        scan = Scan({split: Part([row.name for row in part], _nothing) for split, part in parts.items()})
        for split, (name, numbers) in choose(scan, spec).items():
            chosen.setdefault(split, {})[side] = [parts[name][number] for number in numbers.tolist()]
    return chosen


def _nothing(rows: Any) -> Iterator[Any]:
    return iter(())


def _count(done: Gathered, split: str, pixels: dict[str, list[int]], highest: dict[str, list[Any]]) -> None:
    """Counts the pixels of each id, and keeps the highest and its file."""
    counted = np.bincount(done.fields["labels"].ravel(), minlength=256)
    pixels[split] = (np.array(pixels.get(split, [0] * 256)) + counted).tolist()
    top = int(np.flatnonzero(counted[:VOID])[-1])
    if top > highest.get(split, [-1])[0]:
        highest[split] = [top, done.file]


# ---- one row ---------------------------------------------------------------------------------------------------------
def _read(group: Group, geometry: Geometry, channels: int, reading: Decoding, masks: bool, row: Row) -> Gathered:
    """One row, in a thread. Raises DataError for a label id that no class can have."""
    first = next(iter(row.files.values()))
    done = Gathered(row.name, first, bad=row.lack)
    if row.lack:
        return done
    prepare = partial(geometry.preparation, channels=channels)
    files = {name: Encoded(path, f"{group.root}{path}") for name, path in row.files.items()}
    if group.halves:
        try:
            halves, size, mode = read_halves(files["A"], prepare, reading)
        except BadPicture as error:
            done.bad = str(error)
            return done
        done.fields = {name: halves[half] for name, half in group.halves.items()}
        done.sizes, done.modes = {"A": size, "B": size}, [mode]
        return done
    return take(done, files, prepare, reading, scaled=geometry != Geometry(), masks=masks)


def take(
    done: Gathered,
    files: Mapping[str, Encoded],
    prepare: Callable[[Size], Preparation],
    reading: Decoding | None = None,
    *,
    scaled: bool = False,
    masks: bool = False,
) -> Gathered:
    """Reads the files of a row's fields into it, or says in it why they cannot be. scaled: a size was asked for, and
    files of several sizes are brought to it. masks: label maps hold 0 and 255 for the classes 0 and 1."""
    reading = reading or Decoding()
    first: list[tuple[Size, Preparation]] = []  # what the others have to fit
    sizes: list[Size] = []

    def fitted(size: Size, name: str) -> Preparation:
        sizes.append(size)
        made = prepare(size)
        if not first:
            first.append((size, made))
        own, mine = first[0]
        if size == own:
            return mine
        if not scaled:
            remedy = f"load_size={own[0]}" if own[0] == own[1] else f"load_size={own[0]}x{own[1]}"
            raise _Unlike(
                f"is {own[0]}x{own[1]}, and {name} is {size[0]}x{size[1]}, which {remedy} would stretch alike"
            )
        if made.crop != "none" or made.size != mine.size:  # stretched to a size of its own, or cut by its own shape
            if abs(own[0] * size[1] - own[1] * size[0]) > max(*own, *size):
                raise _Unlike(
                    f"is {own[0]}x{own[1]}, and {name} is {size[0]}x{size[1]}, of another shape, which load_size would "
                    "stretch alike"
                )
            return replace(made, size=mine.size)
        return made

    for name, file in files.items():
        try:
            if name in MAPS:
                ids, mode = read_ids(file, reading.most, partial(fitted, name=file.name))
                size = sizes[-1]
                done.fields[name] = labels_of(ids, file.name, masks=masks) if name == "labels" else instances_of(ids)
            else:
                done.fields[name], size, mode = decode(file, partial(fitted, name=file.name), reading)
        except _Unlike as error:
            done.bad = str(error)
            return done
        except BadPicture as error:
            done.bad = str(error) if file.name == done.file else f"{file.name}: {error}"
            return done
        done.sizes[name] = size
        done.modes.append(mode)
    return done


class _Unlike(BadPicture):
    """A file of another size than the first of its row."""


def _append(building: Building, split: str, side: str, done: Gathered) -> None:
    height, width = next(iter(done.fields.values())).shape[:2]
    for name, values in done.fields.items():
        shape = values.shape[2:]
        column = building.column(f"{split}.{name}", values.dtype.name, shape, ragged=True)
        column.append_rows([values.reshape(-1, *shape)])
    building.column(f"{split}.{side}size", "int32", (2,)).append(np.array([[height, width]], np.int32))
    shown = np.frombuffer(done.name.encode(errors="surrogateescape"), np.uint8)
    building.column(f"{split}.{side}name", "uint8", ragged=True).append_rows([shown])


# ---- all rows --------------------------------------------------------------------------------------------------------
def in_order(rows: Iterable[T], read: Callable[[T], Gathered]) -> Iterator[Gathered]:
    """Rows read on every core, in their order; so many at a time are in memory, however many there are."""
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    waiting: deque[Future[list[Gathered]]] = deque()
    coming = iter(rows)
    with ThreadPoolExecutor(workers, "decode") as pool:
        try:
            while some := list(islice(coming, AT_ONCE)):
                waiting.append(pool.submit(lambda some: [read(row) for row in some], some))
                if len(waiting) > workers + 1:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
