"""Reads rows of several pictures into a store: each file decoded once, whole, at the size that the spec asks for.

Columns of each split: ``SPLIT.FIELD`` (ragged: the pixels [H * W, C] or ids [H * W] of a row), and of each side
``SPLIT.SIDEsize`` (height and width) and ``SPLIT.SIDEname``.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ganvas.data.building import NAMED, choose, progress, tolerate
from ganvas.data.geometry import Geometry, nearest
from ganvas.data.groups import Group, Row
from ganvas.data.maps import instances_of, labels_of, read_ids
from ganvas.data.pictures import Preparation, decode, quietly, read_halves
from ganvas.data.source import BadPicture, Encoded, Part, Scan
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
    read = partial(_read, group, Geometry.of(spec), 1 if spec.channels == "grey" else 3)
    fill(building, spec, group.where, chosen, total, read, alike=alike)
    building.found.update({"arrangement": says, "ignored": dict(group.ignored)})


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
                for done in _in_order(rows, read):
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
                    why = "; ".join(f"{file}: {reason}" for file, reason in bad[:3])
                    raise DataError(f"{where} has no picture that can be read in its split {split!r} ({why}).")
                counts.setdefault(split, {})[side] = written
    building.found.update(
        {
            "rows": counts,
            "pixels": pixels,
            "highest": highest,
            "sizes": dict(sizes.most_common(10)),
            "different_sizes": len(sizes),
            "modes": dict(modes.most_common()),
            "bad": {"count": len(bad), "of": total, "files": dict(bad[:NAMED])},
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
def _read(group: Group, geometry: Geometry, channels: int, row: Row) -> Gathered:
    """One row, in a thread. Raises DataError for a label id that no class can have."""
    first = next(iter(row.files.values()))
    done = Gathered(row.name, first, bad=row.lack)
    if row.lack:
        return done
    prepare = partial(geometry.preparation, channels=channels)
    files = {name: Encoded(path, f"{group.root}{path}") for name, path in row.files.items()}
    if group.halves:
        try:
            halves, size, mode = read_halves(files["A"], prepare)
        except BadPicture as error:
            done.bad = str(error)
            return done
        done.fields = {name: halves[half] for name, half in group.halves.items()}
        done.sizes, done.modes = {"A": size, "B": size}, [mode]
        return done
    return take(done, files, prepare, stretched=geometry.load_size is not None and "labels" not in files)


def take(
    done: Gathered, files: Mapping[str, Encoded], prepare: Callable[[Size], Preparation], *, stretched: bool = False
) -> Gathered:
    """Reads the files of a row's fields into it, or says in it why they cannot be. stretched: files may be of several
    sizes, as long as they are prepared to one."""
    for name, file in files.items():
        try:
            if name in MAPS:
                ids, mode = read_ids(file)
                size = ids.shape[1], ids.shape[0]
                ids = nearest(ids, prepare(size))
                done.fields[name] = labels_of(ids, file.name) if name == "labels" else instances_of(ids)
            else:
                done.fields[name], size, mode = decode(file, prepare)
        except BadPicture as error:
            done.bad = str(error) if file.name == done.file else f"{file.name}: {error}"
            return done
        own = next(iter(done.sizes.values()), size)
        if size != own and not stretched:
            remedy = "" if "labels" in files else ", which load_size=256 would stretch alike"
            done.bad = f"is {own[0]}x{own[1]}, and {file.name} is {size[0]}x{size[1]}{remedy}"
            return done
        done.sizes[name] = size
        done.modes.append(mode)
    return done


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
def _in_order(rows: Iterable[T], read: Callable[[T], Gathered]) -> Iterator[Gathered]:
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
