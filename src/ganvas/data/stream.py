"""Streamed sets: larger than the disk, read from their files again each time and never written into the store.

An epoch takes the runs of rows that are read as a whole (row groups of Parquet, stretches of a tar, single files) in an
order of chance, joins them end to end and cuts them into windows; the rows of a window are shuffled. All of it is a
pure function of (seed, step), so that a run that resumes replays to its place without reading what came before.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property, lru_cache
from itertools import islice
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ganvas.console import note
from ganvas.data.archives import DAMAGE
from ganvas.data.building import LARGEST_KEPT, SIDE, choose, decoding_of, extremes, first_sizes, preparation, tolerate
from ganvas.data.colors import Decoding
from ganvas.data.dataset import Arrays, Dataset
from ganvas.data.dataset import Rows as AnyRows
from ganvas.data.pictures import Preparation, decode, hushed
from ganvas.data.source import BadPicture, Encoded, Rows, Scan, Source, printable
from ganvas.data.spec import Spec
from ganvas.data.store import digest
from ganvas.errors import DataError
from ganvas.schema import Schema
from ganvas.streams import Purpose, permutation

# Part of the order of every streamed set: never changed, for runs must resume.
WINDOW_BYTES = 1 << 27  # of encoded pictures in a window, by the mean of the whole set
WINDOW_ROWS = (16, 8192)

PEEKED = 64  # pictures whose sizes stand for all
PLACES = 8  # of a large set, on a sheet of it
STRETCH = 16  # pictures that a thread decodes at a time
AHEAD = 4  # batches that are prepared ahead for each thread that decodes, ...
MOST_AHEAD = 1 << 26  # ... and the bytes of pixels that all of them may have
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
THREADS = max(1, CORES // 2)  # that decode: the others train
STREAMS = (
    "a folder, zip or plain tar of pictures, Parquet files, uncompressed WebDataset shards, LSUN's LMDBs and sets of "
    "the Hub kept as Parquet"
)


# ---- the order -------------------------------------------------------------------------------------------------------
class Shuffle:
    """The order of a streamed set's rows, cut into batches: nothing is dropped, and a batch may span epochs.

    starts: the first row of every run, ascending from 0 (None: every row is one). n: rows in all. window: how many rows
    are shuffled together.
    """

    def __init__(self, starts: Rows | None, n: int, window: int, batch_size: int, seed: int) -> None:
        self.starts, self.n, self.batch_size, self.seed = starts, n, batch_size, seed
        self.size = min(window, n)
        self.per_epoch = -(-n // self.size)  # windows
        self._epoch, self.window = lru_cache(maxsize=2)(self._places_of), lru_cache(maxsize=4)(self._window)

    def rows(self, step: int) -> Rows:
        """The rows [batch_size] of that step's batch."""
        parts = []
        for number, taken in self.pieces(step):
            rows, order = self.window(number)
            parts.append(rows[order[taken]])
        return np.concatenate(parts)

    def pieces(self, step: int) -> Iterator[tuple[int, slice]]:
        """The windows of that step's batch, counted over all epochs, and what it takes of each."""
        place, end = step * self.batch_size, (step + 1) * self.batch_size
        while place < end:
            epoch, position = divmod(place, self.n)
            number, first = divmod(position, self.size)
            taken = min(end - place, self.length(number) - first)
            yield epoch * self.per_epoch + number, slice(first, first + taken)
            place += taken

    def length(self, number: int) -> int:
        """Rows in a window."""
        return min(self.size, self.n - number % self.per_epoch * self.size)

    def given(self, number: int, end: int | None) -> int:
        """How many of a window's rows, in the order in which they are given, the steps before ``end`` take."""
        epoch, within = divmod(number, self.per_epoch)
        length, first = self.length(number), epoch * self.n + within * self.size
        return length if end is None else max(0, min(length, end * self.batch_size - first))

    def _window(self, number: int) -> tuple[Rows, Rows]:
        """The rows of a window in the order in which they are read, and the order in which they are given."""
        epoch, within = divmod(number, self.per_epoch)
        places = np.arange(within * self.size, within * self.size + self.length(number))
        order, begins = self._epoch(epoch)
        if self.starts is None:
            rows = order[places]
        else:
            run = begins.searchsorted(places, "right") - 1
            rows = self.starts[order[run]] + places - begins[run]
        return rows, permutation(len(rows), self.seed, epoch, Purpose.ORDER, within + 1)

    def _places_of(self, epoch: int) -> tuple[Rows, Rows]:
        """The epoch's runs in their order, and the places at which they begin."""
        if self.starts is None:
            return permutation(self.n, self.seed, epoch, Purpose.ORDER), np.empty(0, np.int64)
        order = permutation(len(self.starts), self.seed, epoch, Purpose.ORDER)
        lengths = np.diff(self.starts, append=self.n)[order]
        return order, np.cumsum(lengths) - lengths


# ---- the set ---------------------------------------------------------------------------------------------------------
class _Bad:
    """The pictures that could not be read so far. The first is told; one too many is an error."""

    def __init__(self, where: str, total: int, spec: Spec) -> None:
        self.where, self.total, self.spec = where, total, spec
        self.found: dict[str, str] = {}
        self._lock = threading.Lock()

    def meet(self, name: str, reason: str) -> None:
        """One of them. Raises DataError where there are more than the spec allows."""
        with self._lock:
            if not self.found:
                note(
                    f"note: {name} cannot be read ({reason}); another picture takes its place, as for any more of them."
                )
            self.found[name] = reason
            tolerate(self.where, len(self.found), self.total, list(self.found.items())[:3], self.spec)


@dataclass(frozen=True)
class _Shared:
    """What the splits of a streamed set share. chosen: which rows of which part; None for all of them. said: what was
    noted of its order."""

    source: Source
    scan: Scan
    chosen: Mapping[str, tuple[str, Rows | None]]
    preparation: Preparation
    reading: Decoding
    bad: _Bad
    said: list[str] = field(default_factory=list)

    @cached_property
    def held(self) -> int:
        """How many rows are read in `WINDOW_BYTES`, by the mean."""
        mean = sum(size for _, size, _ in self.source.listing or ()) / max(1, self.bad.total)
        return int(WINDOW_BYTES / max(1, mean))

    @property
    def window(self) -> int:
        """How many rows are shuffled together."""
        return int(np.clip(self.held, *WINDOW_ROWS))

    @cached_property
    def sizes(self) -> Counter[str]:
        """The sizes of the first pictures."""
        return Counter(
            f"{width}x{height}" for width, height in islice(first_sizes(self.scan, self.reading.most), PEEKED)
        )


def streamed(source: Source, spec: Spec, *, natural: bool = False) -> Streamed:
    """A source, to be streamed. natural: pictures that are all alike keep their size, however large.

    Where no size is asked for, the first pictures tell it. Raises DataError for a source that cannot be streamed.
    """
    if source.listing is None:
        raise DataError(
            f"{source.where} ({source.layout}) cannot be streamed, as {STREAMS} can: leave stream=true away."
        )
    scan = source.scan()
    size = spec.size or (spec.crop if isinstance(spec.crop, tuple) else source.size)
    if size is None:
        first = list(islice(first_sizes(scan, spec.max_pixels), PEEKED))
        if not first:
            raise DataError(f"{source.where} has no picture that can be read.")
        size = first[0] if len(set(first)) == 1 and (natural or max(first[0]) <= LARGEST_KEPT) else (SIDE, SIDE)
    chosen: Mapping[str, tuple[str, Rows | None]] = {split: (split, None) for split in scan.parts}
    if spec.holdout is not None or spec.limit is not None:
        chosen = choose(scan, spec)
    prepared = preparation(source, scan, replace(spec, size=size), natural)
    bad = _Bad(source.where, sum(len(part.names) for part in scan.parts.values()), spec)
    return Streamed(spec, _Shared(source, scan, chosen, prepared, decoding_of(spec), bad))


class Streamed(Dataset):
    """One split of a set whose rows are read from its files each time.

    A picture that cannot be read gives its place to the next of its batch that can. ``fingerprint`` is of the files,
    not of what they hold: two parts with a point between, of which the second alone is of when they were written.
    """

    def __init__(self, spec: Spec, shared: _Shared) -> None:
        parts = shared.scan.parts
        counts = {
            split: len(parts[part].names if rows is None else rows) for split, (part, rows) in shared.chosen.items()
        }
        self._about(spec, "images", counts)
        self._shared = shared
        name, self._chosen = shared.chosen[self.split]
        self._part = parts[name]
        width, height = shared.preparation.size
        with_rows = all(part.labels is None for part in parts.values())  # labels come when the rows are read
        classes = shared.scan.classes if with_rows or self._part.labels is not None else ()
        label: dict[str, tuple[int, ...]] = {"label": ()} if classes else {}
        self.schema = Schema({"image": (shared.preparation.channels, height, width), **label}, classes)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the listing (names, sizes, rows) and of what is made of it, the same wherever the files lie; and
        one of the times at which they were written, which a copy may lose."""
        shared, spec = self._shared, self._spec
        rows = {name: len(part.names) for name, part in shared.scan.parts.items()}
        made: list[Any] = [self.split, spec.holdout, spec.limit, asdict(shared.preparation), self.schema.classes]
        made += [str(spec.range)] if spec.range is not None else []
        files = sorted((name, size) for name, size, _ in shared.source.listing or ())
        times = sorted((name, str(written)) for name, _, written in shared.source.listing or ())
        return f"{digest(['stream', files, rows, made])}.{digest(times)}"

    @property
    def content(self) -> None:
        """Nothing that a result may be kept under: what the files hold is not known."""

    def _found(self) -> dict[str, Any]:
        shared, labels = self._shared, self._part.labels
        classes: dict[str, int] = {}
        if labels is not None:
            counted = np.bincount(self._rows(labels), minlength=len(self.schema.classes))
            classes = dict(zip(self.schema.classes, counted.tolist(), strict=True))
        found = shared.scan.found
        says = [f"streamed, {shared.window:,} rows shuffled at a time; sizes of the first {PEEKED} pictures"]
        return {
            "layout": shared.source.layout,
            **found,
            "classes": classes,
            "sizes": dict(shared.sizes.most_common(10)),
            "different_sizes": len(shared.sizes),
            "extremes": extremes(shared.sizes),
            "modes": {},
            "bad": {
                "count": len(shared.bad.found),
                "of": shared.bad.total,
                "files": {printable(file): why for file, why in shared.bad.found.items()},
            },
            "arrangement": [*found.get("arrangement", []), *says],
            "left_out": [*shared.source.left_out, *found.get("left_out", [])],
            "notes": found.get("notes", []),
        }

    def part(self, split: str) -> Streamed:
        """Another split of the same source. Raises UsageError if there is none of that name."""
        return Streamed(replace(self._spec, split=split), self._shared)

    def names(self, rows: AnyRows) -> list[str]:
        """The names of rows: paths within the source, or a file's name and the row's number in it."""
        return [self._part.names[row] for row in self._of(rows).tolist()]

    def spread(self, n: int) -> Rows:
        """n rows from all over the set, from few places where it is large: a run is read from its beginning."""
        starts = self._starts
        if starts is None or len(self) <= PLACES * n:
            return super().spread(n)
        places = np.unique(np.linspace(0, len(starts) - 1, PLACES).round().astype(int))
        rows = np.unique(starts[places][:, None] + np.arange(-(-n // len(places))))
        rows = rows[rows < len(self)][:n]
        more = np.setdiff1d(np.arange(2 * n), rows)[: n - len(rows)]  # where runs are short, or the last one is
        return np.union1d(rows, more)

    def arrays(self, rows: AnyRows) -> Arrays:
        """The fields of rows as they are prepared: ``image`` uint8 [B, H, W, C], and ``label`` int64 [B]."""
        wanted, back = np.unique(rows, return_inverse=True)  # in their order: a run is read from its beginning
        prepared = self.prepared(wanted, self.read(wanted), _decoders().map if THREADS > 1 else map)
        return {field: values[back] for field, values in prepared.items()}

    def _of(self, rows: AnyRows) -> AnyRows:
        """Rows of this split as rows of the source's part."""
        return rows if self._chosen is None else self._chosen[rows]

    def _rows(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """This split's own out of a column of the source's part."""
        return values if self._chosen is None else values[self._chosen]

    @cached_property
    def _starts(self) -> Rows | None:
        """The rows at which runs begin."""
        if self._part.runs is None or self._chosen is None:
            return self._part.runs
        starts = np.unique(self._chosen.searchsorted(self._part.runs))
        return starts[starts < len(self)]

    # ---- for a feed, whose threads call these ------------------------------------------------------------------------
    def order(self, batch_size: int, seed: int) -> Shuffle:
        """The order of its rows in training. Where runs are longer than what is shuffled together, that is said."""
        order = Shuffle(self._starts, len(self), self._shared.window, batch_size, seed)
        longest = 1 if order.starts is None else int(np.diff(order.starts, append=len(self)).max())
        if longest > order.size and not self._shared.said:
            self._shared.said.append(
                f"{self._shared.source.where} is read in runs of up to {longest:,} rows, of which {order.size:,} are "
                "shuffled at a time: if neighbours are alike, as where classes are sorted, shuffle its rows once or "
                "write smaller row groups"
            )
            note(f"note: {self._shared.said[0]}.")
        return order

    def ahead(self, batch_size: int) -> int:
        """How many batches to prepare ahead, by the pixels and by the bytes of the files that are held meanwhile."""
        c, h, w = self.schema["image"]
        most = min(MOST_AHEAD // (c * h * w * batch_size), self._shared.held // batch_size)
        return max(1, min(AHEAD * THREADS, most))

    def read(self, rows: AnyRows, stop: threading.Event | None = None) -> list[Encoded]:
        """Those rows as the files hold them. Raises DataError for files that are no longer what they were,
        CancelledError once it is to stop."""
        pictures: list[Encoded] = []
        try:
            for block in self._part.read(self._of(rows).astype(np.int64, copy=False)):
                if stop is not None and stop.is_set():
                    raise CancelledError
                pictures += cast(list[Encoded], block)
            return pictures
        except DAMAGE as error:
            reason = (
                getattr(error, "strerror", None) or str(error).partition("\n")[0].rstrip(":") or type(error).__name__
            )
            raise DataError(
                f"{self._shared.source.where} can no longer be read ({reason}): check its files."
            ) from error

    def prepared(
        self, rows: AnyRows, pictures: Sequence[Encoded], run: Callable[..., Iterable[NDArray[np.bool_]]] = map
    ) -> Arrays:
        """The fields of rows that were read. run: how to map over stretches of them."""
        preparation = self._shared.preparation
        width, height = preparation.size
        pixels = np.empty((len(pictures), height, width, preparation.channels), np.uint8)
        stretches = [slice(start, start + STRETCH) for start in range(0, len(pictures), STRETCH)]
        with hushed:  # odd files are warned of, and those that cannot be read are told
            done = run(self._decode, [pictures[some] for some in stretches], [pixels[some] for some in stretches])
            good = np.concatenate([np.empty(0, bool), *done])
        arrays: Arrays = {"image": pixels}
        if "label" in self.schema:
            arrays["label"] = self._labels(rows, pictures)
        if good.all():
            return arrays
        if not good.any():
            raise DataError(f"{self._shared.source.where}: none of {len(pictures)} pictures can be read.")
        able = np.flatnonzero(good)
        taken = able[able.searchsorted(np.arange(len(good))) % len(able)]
        return {field: values[taken] for field, values in arrays.items()}

    def _decode(self, pictures: Sequence[Encoded], pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Decodes pictures into their places; says which could be read."""
        good = np.ones(len(pictures), bool)
        for i, picture in enumerate(pictures):
            try:
                pixels[i] = decode(picture, self._shared.preparation, self._shared.reading)[0]
            except BadPicture as error:
                good[i] = False
                self._shared.bad.meet(picture.name, str(error))
        return good

    def _labels(self, rows: AnyRows, pictures: Sequence[Encoded]) -> NDArray[np.int64]:
        if self._part.labels is not None:
            return self._part.labels[self._of(rows)]
        for picture in pictures:
            if picture.label is None or not 0 <= picture.label < len(self.schema.classes):
                what = "no label" if picture.label is None else f"the label {picture.label}, which is no class"
                raise DataError(
                    f"{picture.name}, in split {self.split}, has {what}: leave "
                    "stream=true away, and the set is read whole, without labels where some rows lack one."
                )
        return np.array([picture.label for picture in pictures], np.int64)


@cache
def _decoders() -> ThreadPoolExecutor:
    """Threads that decode what is asked for at once."""
    return ThreadPoolExecutor(THREADS, "decode")


# ---- ahead of training -----------------------------------------------------------------------------------------------
class Feed:
    """The batches of a streamed set, read and decoded in the background: ``feed(step)`` is the step's.

    Steps are asked for in their order; another one is found by reading its window. mine: which rows of a batch to take.
    end: no step from this one on will be asked for (None: any may be), so that no row is read for it.
    """

    def __init__(self, data: Streamed, order: Shuffle, mine: slice, end: int | None = None) -> None:
        self.data, self.order, self.mine, self.end = data, order, mine, end
        self._reader, self._decoders = ThreadPoolExecutor(1, "read"), ThreadPoolExecutor(THREADS, "decode")
        self._windows: dict[int, Future[dict[int, Encoded]]] = {}
        self._ahead: deque[tuple[int, Future[Arrays]]] = deque()
        self._most = data.ahead(order.batch_size)
        self._stop = threading.Event()

    def __call__(self, step: int) -> Arrays:
        """The batch of a step. Raises DataError."""
        if not self._ahead or self._ahead[0][0] != step:
            for _, batch in self._ahead:
                batch.cancel()
            self._ahead.clear()
        last = step + self._most if self.end is None else min(step + self._most, self.end - 1)
        for later in range(step + len(self._ahead), last + 1):
            self._ahead.append((later, self._decoders.submit(self._batch, self._pieces(later))))
        self._forget(step)
        return self._ahead.popleft()[1].result()

    def close(self) -> None:
        """Stops reading and decoding, and lets go of what was read. No step can be asked for any more."""
        self._stop.set()
        for threads in (self._decoders, self._reader):
            threads.shutdown(wait=False, cancel_futures=True)
        self._ahead.clear()
        self._windows.clear()

    def _pieces(self, step: int) -> list[tuple[Future[dict[int, Encoded]], Rows, Rows]]:
        """For each window that the step's batch takes from: the window, its rows, and which of them."""
        left = self.mine
        pieces = []
        for number, taken in self.order.pieces(step):
            window = self._window(number)
            if taken.stop > self.order.length(number) // 2 and self.order.given(number + 1, self.end):
                self._window(number + 1)
            rows, order = self.order.window(number)
            mine = order[taken][max(0, left.start) : max(0, left.stop)]
            left = slice(left.start - (taken.stop - taken.start), left.stop - (taken.stop - taken.start))
            if len(mine):
                pieces.append((window, rows, mine))
        return pieces

    def _window(self, number: int) -> Future[dict[int, Encoded]]:
        """The rows of a window, being read."""
        if number not in self._windows:
            self._windows[number] = self._reader.submit(self._read, number)
        return self._windows[number]

    def _read(self, number: int) -> dict[int, Encoded]:
        """Those rows of a window that will be asked for, by their places in it."""
        rows, order = self.order.window(number)
        wanted = np.sort(order[: self.order.given(number, self.end)])
        return dict(zip(wanted.tolist(), self.data.read(rows[wanted], self._stop), strict=True))

    def _forget(self, step: int) -> None:
        """Drops windows that no batch from this step on takes from."""
        first, last = next(self.order.pieces(step))[0], next(self.order.pieces(step + self._most + 1))[0] + 1
        for number in [number for number in self._windows if not first <= number <= last]:
            self._windows.pop(number).cancel()

    def _batch(self, pieces: Sequence[tuple[Future[dict[int, Encoded]], Rows, Rows]]) -> Arrays:
        """A batch, in a thread that decodes."""
        rows = np.concatenate([rows[mine] for _, rows, mine in pieces])
        pictures = [window.result()[i] for window, _, mine in pieces for i in mine.tolist()]
        return self.data.prepared(rows, pictures, self._unless_closed)

    def _unless_closed(self, decode: Callable[..., NDArray[np.bool_]], *stretches: Any) -> Iterator[NDArray[np.bool_]]:
        for stretch in zip(*stretches, strict=True):
            if self._stop.is_set():
                raise CancelledError
            yield decode(*stretch)
