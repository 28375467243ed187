"""Reads rows of several pictures into a store: each file decoded once, whole, at the size that the spec asks for.

Columns of each split: ``SPLIT.FIELD`` (ragged: the pixels [H * W, C] or ids [H * W] of a row), and of each side
``SPLIT.SIDEsize`` (height and width) and ``SPLIT.SIDEname``.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganvas.data.building import NAMED, choose, progress, tolerate
from ganvas.data.geometry import Geometry, nearest
from ganvas.data.groups import Group, Row
from ganvas.data.maps import VOID, instances_of, labels_of, read_ids
from ganvas.data.pictures import decode, quietly, read_halves
from ganvas.data.source import BadPicture, Encoded, Part, Scan
from ganvas.data.spec import Size, Spec
from ganvas.data.store import Building
from ganvas.errors import DataError

AT_ONCE = 8  # rows that a thread reads in one go
MAPS = {"labels": "uint8", "instances": "uint16"}  # the columns of fields that are no pictures

Array = NDArray[Any]


@dataclass
class _Read:
    """A row, read: its fields, and what the files held."""

    row: Row
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
    chosen = _chosen(group, spec)
    read = partial(_read, group, Geometry.of(spec), 1 if spec.channels == "grey" else 3)
    total = sum(len(rows) for sides in chosen.values() for rows in sides.values())
    bad: list[tuple[str, str]] = []
    sizes: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    counts: dict[str, Any] = {}
    pixels: dict[str, list[int]] = {}  # of each label id, by split
    highest: dict[str, list[Any]] = {}
    smallest: Size | None = None
    with progress(total, group.where) as bar, quietly():
        for split, sides in chosen.items():
            for side, rows in sides.items():
                written = 0
                for done in _in_order(rows, read):
                    bar.update(1)
                    if done.bad:
                        bad.append((_shown(group, done.row), done.bad))
                        tolerate(group.where, len(bad), total, bad[:3], spec)
                        continue
                    own = next(iter(done.sizes.values()))
                    smallest = smallest or own
                    if alike and own != smallest:
                        raise Unlike
                    sizes.update(f"{w}x{h}" for w, h in list(done.sizes.values())[:1])
                    modes.update(done.modes)
                    _append(building, split, side, done)
                    written += 1
                    if "labels" in done.fields:
                        _count(done, split, pixels, highest)
                if not written:
                    why = "; ".join(f"{file}: {reason}" for file, reason in bad[:3])
                    raise DataError(f"{group.where} has no row that can be read in its split {split!r} ({why}).")
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
            "arrangement": list(group.arrangement),
            "ignored": dict(group.ignored),
        }
    )


def _chosen(group: Group, spec: Spec) -> dict[str, dict[str, list[Row]]]:
    """The rows of each split and side to be, as holdout and limit say: by the names of rows."""
    chosen: dict[str, dict[str, list[Row]]] = {}
    for side in next(iter(group.rows.values())):
        parts = {split: sides[side] for split, sides in group.rows.items()}
        scan = Scan({split: Part([row.name for row in rows], _nothing) for split, rows in parts.items()})
        for split, (part, rows) in choose(scan, spec).items():
            chosen.setdefault(split, {})[side] = [parts[part][row] for row in rows.tolist()]
    return chosen


def _nothing(rows: Any) -> Iterator[Any]:
    return iter(())


def _shown(group: Group, row: Row) -> str:
    """A row as messages name it: its first file."""
    return next(iter(row.files.values()), row.name)


def _count(done: _Read, split: str, pixels: dict[str, list[int]], highest: dict[str, list[Any]]) -> None:
    """Counts the pixels of each id, and keeps the highest and its file."""
    counted = np.bincount(done.fields["labels"].ravel(), minlength=256)
    pixels[split] = (np.array(pixels.get(split, [0] * 256)) + counted).tolist()
    top = int(np.flatnonzero(counted[:VOID])[-1])
    if top > highest.get(split, [-1])[0]:
        highest[split] = [top, done.row.files["labels"]]


# ---- one row ---------------------------------------------------------------------------------------------------------
def _read(group: Group, geometry: Geometry, channels: int, row: Row) -> _Read:
    """One row, in a thread. Raises DataError for a label id that no class can have."""
    done = _Read(row)
    if row.lack:
        done.bad = row.lack
        return done
    prepare = partial(geometry.preparation, channels=channels)
    try:
        if group.halves:
            halves, size, mode = read_halves(_encoded(group, row.files["A"]), prepare)
            done.fields = {f: halves[half] for f, half in group.halves.items()}
            done.sizes, done.modes = {"A": size, "B": size}, [mode]
            return done
        for name, path in row.files.items():
            file = _encoded(group, path)
            if name in MAPS:
                ids, mode = read_ids(file)
                size = ids.shape[1], ids.shape[0]
                done.fields[name] = _map(name, nearest(ids, prepare(size)), path)
            else:
                done.fields[name], size, mode = decode(file, prepare)
            done.sizes[name] = size
            done.modes.append(mode)
    except BadPicture as error:
        first = next(iter(row.files.values()))
        done.bad = str(error) if path == first else f"{path}: {error}"
        return done
    done.bad = _unequal(done, row, stretched=geometry.load_size is not None and "labels" not in row.files)
    return done


def _map(name: str, ids: NDArray[np.int64], path: str) -> Array:
    return labels_of(ids, path) if name == "labels" else instances_of(ids)


def _encoded(group: Group, path: str) -> Encoded:
    return Encoded(path, f"{group.root}{path}")


def _unequal(done: _Read, row: Row, *, stretched: bool) -> str:
    """Why the members of a row do not fit upon each other, or nothing."""
    own, *_ = done.sizes.values()
    for name, size in done.sizes.items():
        if size != own and not stretched:
            return f"is {own[0]}x{own[1]}, and {row.files[name]} is {size[0]}x{size[1]}"
    return ""


def _append(building: Building, split: str, side: str, done: _Read) -> None:
    height, width = next(iter(done.fields.values())).shape[:2]
    for name, values in done.fields.items():
        shape = values.shape[2:]
        column = building.column(f"{split}.{name}", values.dtype.name, shape, ragged=True)
        column.append_rows([values.reshape(-1, *shape)])
    building.column(f"{split}.{side}size", "int32", (2,)).append(np.array([[height, width]], np.int32))
    shown = np.frombuffer(done.row.name.encode(errors="surrogateescape"), np.uint8)
    building.column(f"{split}.{side}name", "uint8", ragged=True).append_rows([shown])


# ---- all rows --------------------------------------------------------------------------------------------------------
def _in_order(rows: Sequence[Row], read: Callable[[Row], _Read]) -> Iterator[_Read]:
    """Rows read on every core, in their order; so many at a time are in memory, however many there are."""
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    waiting: deque[Future[list[_Read]]] = deque()
    with ThreadPoolExecutor(workers, "decode") as pool:
        try:
            for start in range(0, len(rows), AT_ONCE):
                waiting.append(pool.submit(_several, rows[start : start + AT_ONCE], read))
                if len(waiting) > workers + 1:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _several(rows: Sequence[Row], read: Callable[[Row], _Read]) -> list[_Read]:
    return [read(row) for row in rows]
