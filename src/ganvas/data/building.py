"""Reads a source into a store: chooses the rows, prepares the pictures on every core, writes the columns."""

from __future__ import annotations

import hashlib
import math
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from ganvas.console import on_terminal
from ganvas.data.colors import Decoding, RangeUnknown, Remarks, extrema, is_deep
from ganvas.data.pictures import MOST_PIXELS, Preparation, SizesDiffer, decode, opened, prepare, quietly, upright_size
from ganvas.data.ranges import SIXTEEN_BITS, Extrema, decide, sentence
from ganvas.data.source import BadPicture, Block, Encoded, Part, Pixels, Rows, Scan, Source, Vectors, printable
from ganvas.data.spec import Size, Spec
from ganvas.data.store import Building
from ganvas.errors import DataError

SIDE = 64  # of pictures that are not all alike
LARGEST_KEPT = 256  # pixels a side up to which pictures that are all alike stay as they are
QUICK = 1.5e-4  # seconds a picture up to which one thread is faster than many
MOST_AT_ONCE = 1 << 24  # bytes of prepared pixels that a thread works on: a block of large pictures is cut
NAMED = 100  # bad files that are listed; all are counted

T = TypeVar("T")
U = TypeVar("U")


@dataclass
class _Done:
    """A block, prepared."""

    values: Pixels | Vectors
    kept: list[int] = field(default_factory=list)  # which of the block's rows are in `values`
    sizes: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    bad: list[tuple[str, str]] = field(default_factory=list)


def build(source: Source, spec: Spec, building: Building, *, natural: bool = False) -> None:
    """Writes the columns ``SPLIT.image`` (or ``.vector``), ``.label`` and ``.name`` of every split, and what was found.

    natural: pictures that are all alike keep their size, however large.
    Raises DataError where there is nothing to read, or too much that cannot be read.
    """
    building.describe(str(spec), source.where)
    scan = source.scan()
    chosen = choose(scan, spec)
    prepared = preparation(source, scan, spec, natural)
    reading, notes = decoding_of(spec), list[str]()
    while True:
        try:
            _fill(source, scan, chosen, prepared, spec, building, reading)
        except SizesDiffer:
            prepared = replace(prepared, size=(SIDE, SIDE), keep=False)
        except RangeUnknown:  # only then all images are looked at first
            rows = ((scan.parts[name], rows) for name, rows in chosen.values())
            pictures = (
                one for part, mine in rows for block in part.read(mine) if isinstance(block, list) for one in block
            )
            reading, said = ranged(pictures, reading, source.where)
            notes = [said] if said else []
        else:
            break
        building.restart()
        reading = replace(reading, remarks=Remarks())
    told(building.found, spec, reading, notes)


def decoding_of(spec: Spec) -> Decoding:
    """How a spec reads files: its range, and how large images may be."""
    return Decoding(spec.range, spec.max_pixels or MOST_PIXELS)


def ranged(pictures: Iterable[Encoded], reading: Decoding, where: str) -> tuple[Decoding, str]:
    """The reading with the range that the numbers of all those images are in, and a sentence on it, if there
    are any. Images of 8 bits are passed over by their headers. Raises DataError where the numbers do not tell."""
    seen = Extrema()

    def numbers(picture: Encoded) -> Extrema:
        try:
            with opened(picture, reading.most) as image:
                return extrema(image) if is_deep(image) else Extrema()
        except BadPicture:  # it will be named
            return Extrema()

    with quietly():
        for one in in_threads(pictures, numbers):
            seen.merge(one)
    chosen = decide(seen, where)
    return replace(reading, range=chosen), sentence(chosen, seen, "images of more than 8 bits") if seen else ""


def told(found: dict[str, Any], spec: Spec, reading: Decoding, notes: list[str]) -> None:
    """Puts into ``found`` what there is to say of the values that were read: ``notes``, ``range`` (as the key takes it)
    and ``range_by`` (format, values or spec), where any image or array has more than 8 bits."""
    remarks = reading.remarks
    notes = [*notes, *remarks.sentences()]
    if remarks.ranged:
        found |= {"range": str(reading.range), "range_by": "values" if spec.range is None else "spec"}
    elif remarks.deep:
        found |= {"range": str(SIXTEEN_BITS), "range_by": "format"}
    elif spec.range is not None and "range" not in found:
        notes.append(f"range={spec.range} changes nothing: all images have 8 bits a channel")
    if notes:
        found["notes"] = [*found.get("notes", []), *notes]


# ---- which rows ------------------------------------------------------------------------------------------------------
def choose(scan: Scan, spec: Spec) -> dict[str, tuple[str, Rows]]:
    """The rows of each split to be: split -> (the source's part, rows of it), as holdout and limit say.

    Both go by a hash of the row's name, so that a file stays in its split when others come or go.
    """
    chosen = {split: (split, np.arange(len(part.names))) for split, part in scan.parts.items()}
    if spec.holdout is not None and "train" in chosen and "test" not in chosen:
        lots = _lots("holdout", scan.parts["train"])
        if len(lots) < 2:
            raise DataError("A set of one row has nothing to hold out: leave holdout away.")
        held_out = lots < spec.holdout
        held_out[lots.argmin()], held_out[lots.argmax()] = True, False  # at least one on either side
        parts = {"train": ("train", np.flatnonzero(~held_out)), "test": ("train", np.flatnonzero(held_out))}
        chosen = {**parts, **{split: rows for split, rows in chosen.items() if split != "train"}}
    if spec.limit is not None:
        for split, (part, rows) in chosen.items():
            lots = _lots("limit", scan.parts[part])[rows]
            chosen[split] = part, np.sort(rows[lots.argsort(kind="stable")[: spec.limit]])
    return chosen


def _lots(salt: str, part: Part) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A number in [0, 1) for each row, by its name."""
    key = salt.encode()
    digests = b"".join(hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8, key=key).digest()
                       for name in part.names)  # fmt: skip
    return np.frombuffer(digests, ">u8") / 2.0**64


# ---- how they are prepared -------------------------------------------------------------------------------------------
def preparation(source: Source, scan: Scan, spec: Spec, natural: bool) -> Preparation:
    """What is done to each picture, as the spec says, or as the source has it where the spec says nothing."""
    shapes = {part.shape for part in scan.parts.values()}
    arrays = None not in shapes
    channels = {"rgb": 3, "grey": 1}.get(spec.channels or "", 0)
    channels = channels or (1 if arrays and all(shape and shape[-1] == 1 for shape in shapes) else 3)
    prepared = partial(Preparation, crop=spec.crop or "centre", resize=spec.resize or "bicubic", channels=channels)
    size = spec.size or (spec.crop if isinstance(spec.crop, tuple) else source.size)
    if size is not None:
        return prepared(size)
    if arrays:
        own = {(shape[1], shape[0]) for shape in shapes if shape and len(shape) == 3}
        return prepared(own.pop() if len(own) == 1 else (SIDE, SIDE))
    first = next(first_sizes(scan, spec.max_pixels), (SIDE, SIDE))
    if natural or max(first) <= LARGEST_KEPT:
        return prepared(first, keep=True)
    return prepared((SIDE, SIDE))


def first_sizes(scan: Scan, most: int | None = None) -> Iterator[Size]:
    """The sizes of the pictures that can be read, from the first on. most: pixels that one may have."""
    for part in scan.parts.values():
        for block in part.read(np.arange(len(part.names))):
            for picture in block if isinstance(block, list) else []:
                try:
                    with quietly(), opened(picture, most or MOST_PIXELS) as image:
                        size = upright_size(image)
                except BadPicture:
                    continue
                yield size


def _prepared(block: Block, preparation: Preparation, reading: Decoding) -> _Done:
    """One block, in a thread."""
    if not isinstance(block, list):
        return _prepared_array(block, preparation)
    width, height = preparation.size
    pixels = np.empty((len(block), height, width, preparation.channels), np.uint8)
    done = _Done(pixels)
    for i, picture in enumerate(block):
        try:
            pixels[len(done.kept)], size, mode = decode(picture, preparation, reading)
        except BadPicture as error:
            done.bad.append((picture.name, str(error)))
            continue
        done.kept.append(i)
        done.sizes[f"{size[0]}x{size[1]}"] += 1
        done.modes[mode] += 1
    done.values = pixels[: len(done.kept)]
    return done


def _prepared_array(block: Pixels | Vectors, preparation: Preparation) -> _Done:
    kept = list(range(len(block)))
    if block.ndim == 2:
        return _Done(block, kept)
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[block.shape[3]]
    done = _Done(block, kept, Counter({f"{block.shape[2]}x{block.shape[1]}": len(block)}), Counter({mode: len(block)}))
    width, height = preparation.size
    if block.shape[1:] != (height, width, preparation.channels) or not isinstance(preparation.crop, str):
        flat = block[..., 0] if mode == "L" else block
        done.values = np.stack([prepare(Image.fromarray(pixels), preparation) for pixels in flat])
    return done


# ---- the columns -----------------------------------------------------------------------------------------------------
def _fill(
    source: Source,
    scan: Scan,
    chosen: dict[str, tuple[str, Rows]],
    preparation: Preparation,
    spec: Spec,
    building: Building,
    reading: Decoding,
) -> None:
    total = sum(len(rows) for _, rows in chosen.values())
    sizes: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    bad: list[tuple[str, str]] = []
    counts: dict[str, dict[str, int]] = {}
    with progress(total, source.where) as bar, quietly():
        for split, (name, rows) in chosen.items():
            part = scan.parts[name]
            kept = [rows[:0]]
            seen = 0
            for n, done in _in_order(
                _cut(part.read(rows), preparation), partial(_prepared, preparation=preparation, reading=reading)
            ):
                field_name = "image" if done.values.ndim == 4 else "vector"
                column = building.column(f"{split}.{field_name}", done.values.dtype.name, done.values.shape[1:])
                column.append(done.values)
                kept.append(rows[seen : seen + n][done.kept])
                seen += n
                sizes.update(done.sizes)
                modes.update(done.modes)
                bad.extend(done.bad)
                tolerate(source.where, len(bad), total, bad[:3], spec)
                bar.update(n)
            present = np.concatenate(kept)
            if not len(present):
                why = "; ".join(f"{printable(file)}: {reason}" for file, reason in bad[:3])
                raise DataError(f"{source.where} has no picture that can be read in its split {split!r} ({why}).")
            names = building.column(f"{split}.name", "uint8", ragged=True)
            for some in np.array_split(present, len(present) // 4096 + 1):  # there may be millions
                names.append_rows(
                    [np.frombuffer(part.names[i].encode(errors="surrogateescape"), np.uint8) for i in some]
                )
            if part.labels is not None:
                building.column(f"{split}.label", "int64").append(part.labels[present])
                counted = np.bincount(part.labels[present], minlength=len(scan.classes))
                counts[split] = dict(zip(scan.classes, counted.tolist(), strict=True))
    building.found.update(
        {
            "classes": counts,
            "sizes": dict(sizes.most_common(10)),
            "different_sizes": len(sizes),
            "extremes": extremes(sizes),
            "modes": dict(modes.most_common()),
            "bad": {"count": len(bad), "of": total, "files": {printable(file): reason for file, reason in bad[:NAMED]}},
            **scan.found,
        }
    )


def extremes(sizes: Iterable[str]) -> list[str]:
    """The smallest and the largest of sizes such as ``640x480``, by their pixels; none of none."""
    in_order = sorted(sizes, key=lambda size: (math.prod(map(int, size.split("x"))), size))
    return [in_order[0], in_order[-1]] if in_order else []


def tolerate(where: str, bad: int, total: int, named: list[tuple[str, str]], spec: Spec) -> None:
    """Raises DataError if more pictures are unreadable than the spec allows."""
    few = min(1, math.ceil(spec.max_bad))  # one, even of a small set, unless none was asked for
    if bad <= (0 if spec.strict else max(few, math.floor(spec.max_bad * total + 1e-9))):
        return
    names = "; ".join(f"{printable(name)}: {reason}" for name, reason in named[:3])
    enough = next((percent for percent in (5, 10, 25) if percent * total >= 100 * bad), None)
    limit, remedy = f", over max-bad={100 * spec.max_bad:g}%", f", or raise it, as in ?max-bad={enough}%"
    if spec.strict:
        limit, remedy = "", ", or leave out strict=true"
    elif enough is None:  # so many that something else is wrong
        remedy = ""
    unread = f"{bad} or more of {total} pictures in {where} cannot be read{limit} ({names})"
    raise DataError(f"{unread}: mend or remove them{remedy}.")


def _cut(blocks: Iterator[Block], preparation: Preparation) -> Iterator[Block]:
    width, height = preparation.size
    most = max(1, MOST_AT_ONCE // (width * height * preparation.channels))
    for block in blocks:
        if isinstance(block, list):
            yield from (block[start : start + most] for start in range(0, len(block), most))
        else:
            yield block


def _in_order(blocks: Iterator[Block], work: Callable[[Block], _Done]) -> Iterator[tuple[int, _Done]]:
    """Prepares blocks on every core; yields how many rows each had, and the result, in the order of the blocks.

    Tiny pictures stay in this thread: others would only fight it for the interpreter's lock.
    """
    workers = _workers()
    pace = math.inf  # seconds a picture, in the quickest block so far: the first one also warms up
    for number, block in enumerate(blocks):
        began = time.perf_counter()
        done = work(block)
        pace = min(pace, (time.perf_counter() - began) / len(block))
        yield len(block), done
        if workers > 1 and number and pace > QUICK:
            break
    else:
        return
    waiting: deque[tuple[int, Future[_Done]]] = deque()
    with ThreadPoolExecutor(workers, "decode") as pool:
        try:
            for block in blocks:
                waiting.append((len(block), pool.submit(work, block)))
                if len(waiting) > 2 * workers:  # so much is in memory, whatever the size of the set
                    n, future = waiting.popleft()
                    yield n, future.result()
            for n, future in waiting:
                yield n, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _workers() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(items: Iterable[T], work: Callable[[T], U]) -> Iterator[U]:
    """What ``work`` makes of the items, in their order, on every core; few at a time are in memory."""
    waiting: deque[Future[U]] = deque()
    with ThreadPoolExecutor(_workers(), "decode") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 4 * _workers():
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def progress(total: int, where: str) -> Any:
    """A bar on a terminal's stderr, silent elsewhere."""
    from tqdm import tqdm

    return tqdm(total=total, desc=f"reading {where}", unit=" rows", file=sys.stderr, leave=False, delay=0.5,
                disable=not on_terminal())  # fmt: skip
