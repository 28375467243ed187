"""Two sets of images against each other, no model needed; a run stands for its samples."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganvas.data import Dataset, Direct, Reading, open_data, open_direct, reading_of
from ganvas.data.dataset import to_tensors
from ganvas.devices import device as named_device
from ganvas.errors import DataError, UsageError
from ganvas.figures import (
    BATCH,
    MOST,
    Batch,
    Figures,
    Images,
    Tools,
    caution,
    check_n,
    checked,
    distances,
    finished,
    gathered,
    patient,
    told,
)
from ganvas.files import atomic, cache_folder
from ganvas.inputs import fitting
from ganvas.inputs import told as told_of_run
from ganvas.metrics import COMPARES, NAMES, Gathering, PairMetric, SetMetric
from ganvas.metrics import subset as drawn
from ganvas.metrics.figure import keep
from ganvas.metrics.statistics import name_of
from ganvas.run import Run
from ganvas.verbs import Samples

DEFAULT = ("fd-alex", "fd-squeeze")
PIXELS = 1 << 22  # of images that are measured together: more of large ones would fill the memory

Pixels = NDArray[np.uint8]  # [H, W, C]
Rows = NDArray[np.int64]


@dataclass
class _Side:
    """One set: what it is, and how many images it has (None: as many as wanted).

    rows: the images of rows, as they are or as they were prepared; None for one that cannot be read. batches: the same
    for a run, which draws them. known: what results of these rows may be kept under, if anything. reading: what was
    read, as far as that is known so far.
    """

    name: str
    count: int | None
    data: Dataset | Direct | None = None
    batches: Callable[[int], Iterator[Tensor]] | None = None
    reading: Callable[[], Reading] | None = None
    prepared: str = "samples"

    @property
    def spec(self) -> str:
        """The data spec, where there is one."""
        return self.name if self.data is None else self.data.spec

    def images(self, rows: Rows) -> Iterator[Pixels | None]:
        """The images of rows, one by one."""
        if isinstance(self.data, Direct):
            yield from self.data.images(rows)
            return
        assert self.data is not None
        for first in range(0, len(rows), BATCH):
            yield from self.data.pixels(rows[first : first + BATCH])

    def fingerprint(self, rows: Rows, seed: int) -> str | None:
        """A name for the images of these rows, where it is sure that they stay the same."""
        if self.data is None or self.data.content is None:
            return None
        return f"{self.data.content} {len(rows)} of {self.count} by {seed}"


def compare(
    a: Run | str | Path,
    b: Run | str | Path,
    *,
    metrics: Sequence[str] | None = None,
    n: int | None = None,
    seed: int = 0,
    device: str = "auto",
    quiet: bool = False,
) -> Figures:
    """The metrics of two sets of images, folders, arrays or data specs; a run or its folder stands for its samples.

    metrics: names (default: fd-alex and fd-squeeze); those of pairs need images that have a partner of the same name,
    or arrays of the same length. n: images a side (default: all; of two runs 10,000). seed: of samples and subsets.
    quiet: not to say on stderr what was read.

    No image is resized unless a data spec asks for it (``?size=64``) or the recipe of a metric says so: pairs are
    measured at their own size, which the two of a pair must share, and sets as each metric's recipe prepares every
    image from its own size. Beside a run, images are prepared as those of the run. Memory does not grow with the number
    of images. ``a`` is the reference where a metric has one, such as the real images of precision and recall. Metrics
    that cannot be had are told in a line on stderr and left out; when none is left the error is raised. Raises
    UsageError, DataError.
    """
    check_n(n)
    wanted = checked(DEFAULT if metrics is None else metrics, [n for n in NAMES if COMPARES[n] != "mixture"])
    where = named_device(device)
    runs = [_run(side) for side in (a, b)]
    for run in runs:
        if run is not None and ("image" not in run.config.schema or "sample" not in run.config.verbs):
            what = f"{run.folder} ({run.config.system} on {run.config.data or 'no data of its own'})"
            hint = "compare what it translated, or use `ganvas evaluate`" if "translate" in run.config.verbs else ""
            raise UsageError(f"{what} draws no samples of images{f': {hint}' if hint else ''}.")
    model = next((run for run in runs if run is not None), None)
    # the second of two runs takes another seed, so that a run beside itself is not measured as equal
    seeds = (seed, seed + 1 if runs[0] is not None else seed)
    sides = [
        _images(str(side), model) if run is None else _samples(run, own, where)
        for side, run, own in zip((a, b), runs, seeds, strict=True)
    ]
    tools = Tools(wanted)
    pairs = tools.of(PairMetric)  # type: ignore[type-abstract]  # asked of, never called
    sets = tools.of(SetMetric)  # type: ignore[type-abstract]
    if not quiet:
        _tell(side for side in sides if isinstance(side.data, Dataset))
    figures = _measured(sides, tools, pairs, sets, n, seed, where)
    if not quiet:
        _tell(side for side in sides if isinstance(side.data, Direct))  # only now known
    prepared = " and ".join(dict.fromkeys(side.prepared for side in sides))
    more = {"a": sides[0].name, "b": sides[1].name, "prepared": prepared, "seed": seed}
    figures = {name: told(figures[name], **more) for name in wanted if name in figures}
    caution(figures)
    return figures


def _tell(sides: Iterable[_Side]) -> None:
    for side in sides:
        if side.reading is not None:
            side.reading().tell()


def _run(side: Run | str | Path) -> Run | None:
    if isinstance(side, Run):
        return side
    if not isinstance(side, str | os.PathLike):
        raise UsageError(f"compare takes runs, paths or data specs, not {type(side).__name__}.")
    return Run.open(side) if Run.exists(side) else None


def _images(spec: str, model: Run | None) -> _Side:
    """A set that is given; its images as they are, or as those of the run that it is measured beside."""
    data: Dataset | Direct | None = open_direct(spec) if model is None else None
    if data is None:
        data = open_data(spec, prefer=("images",), natural=True) if model is None else fitting(
            model, spec, labelled=False)  # fmt: skip
        if "image" not in data.schema:
            raise UsageError(f"{spec} has no images to compare.")

    def reading() -> Reading:
        assert data is not None
        return told_of_run(model, data) if model is not None and isinstance(data, Dataset) else reading_of(data)

    return _Side(f"{data.spec}, split {data.split}", len(data), data, reading=reading, prepared=reading().prepared)


def _samples(run: Run, seed: int, device: str) -> _Side:
    game = run.load_game(device=device)
    assert isinstance(game, Samples)

    def batches(count: int) -> Iterator[Tensor]:
        for first in range(0, count, BATCH):
            yield game.sample(min(BATCH, count - first), seed=seed, first=first)

    return _Side(f"samples of {run.folder}, seed {seed}", None, batches=batches)


# ---- the passes ------------------------------------------------------------------------------------------------------
def _measured(
    sides: Sequence[_Side],
    tools: Tools,
    pairs: list[PairMetric],
    sets: list[SetMetric[Any]],
    n: int | None,
    seed: int,
    device: str,
) -> Figures:
    """The figures, in one pass over the images where pairs and sets are of the same rows."""
    most = n or min((side.count for side in sides if side.count is not None), default=MOST)
    counts = [side.count if side.count is not None else most for side in sides]
    of_sets = [drawn(n or count, count, seed=seed) for count in counts]
    figures: Figures = {}
    together = False
    gatherings: list[Gathering] = []
    if pairs:
        partner, how = _paired(sides, pairs)
        rows = of_sets[0]
        together = bool(sets) and np.array_equal(of_sets[1], partner[rows])
        if together:
            gatherings = [
                Gathering(sets, fingerprint=s.fingerprint(r, seed)) for s, r in zip(sides, of_sets, strict=True)
            ]
        _pass_over_pairs(sides, tools, pairs, rows, partner[rows], gatherings, device)
        figures |= {pair.name: told(pair.figure(), pairs=how) for pair in pairs}
    if not sets:
        return figures
    if together:
        found = [finished(tools, gathering) for gathering in gatherings]
    else:
        found = gathered(tools, sets, *(_to_gather(s, r, seed, device) for s, r in zip(sides, of_sets, strict=True)))
    for side, rows in zip(sides, of_sets, strict=True):
        _remember(side, rows, seed)
    return figures | (distances(tools, sets, *found) if found else {})


def _to_gather(side: _Side, rows: Rows, seed: int, device: str) -> Images:
    """The rows of a side, for what is measured of sets."""
    if side.batches is not None:
        return Images(side.name, side.batches(len(rows)), len(rows))
    return Images(side.name, _stacked(side.images(rows), device), len(rows), side.fingerprint(rows, seed))


def _remember(side: _Side, rows: Rows, seed: int) -> None:
    """Keeps what was read of a side beside its statistics; or takes what was read when these were computed, if they
    spared the reading."""
    fingerprint = side.fingerprint(rows, seed)
    if fingerprint is None or side.reading is None or not isinstance(side.data, Direct):
        return
    path = cache_folder() / "readings" / f"{name_of(fingerprint)}.json"
    if side.data.seen:
        text = json.dumps(side.reading().to_json())
        keep(lambda path: _write(path, text), path)
        return
    with suppress(OSError, ValueError, TypeError, KeyError):
        before = Reading.from_json(json.loads(path.read_text()))
        side.reading = lambda: before


def _write(path: Path, text: str) -> None:
    with atomic(path) as part:
        part.write_text(text)


def _stacked(images: Iterable[Pixels | None], device: str) -> Iterator[Batch]:
    """Images as batches, of several sizes where neighbors are; those that cannot be read left out."""
    waiting: list[Pixels] = []
    pixels = 0
    for image in images:
        if image is None:
            continue
        if waiting and (len(waiting) == BATCH or pixels + image.size // image.shape[2] > PIXELS):
            yield _batch(waiting, device)
            waiting, pixels = [], 0
        waiting.append(image)
        pixels += image.size // image.shape[2]
    if waiting:
        yield _batch(waiting, device)


def _batch(images: list[Pixels], device: str) -> Batch:
    """One tensor where all images are of one size, else one for each run of neighbors that are."""
    runs: list[list[Pixels]] = []
    for image in images:
        if not runs or runs[-1][0].shape != image.shape:
            runs.append([])
        runs[-1].append(image)
    tensors = [to_tensors({"image": np.stack(run)}, torch.device(device))["image"] for run in runs]
    return tensors[0] if len(tensors) == 1 else tensors


def _pass_over_pairs(
    sides: Sequence[_Side],
    tools: Tools,
    pairs: list[PairMetric],
    rows: Rows,
    partners: Rows,
    gatherings: Sequence[Gathering],
    device: str,
) -> None:
    """Reads each pair once and shows it to the metrics of pairs, and each image to what is gathered of its set. Pairs
    of which one cannot be read are left out of the former. Raises DataError for a pair of two sizes."""
    one, two = sides
    waiting: list[tuple[Pixels, Pixels]] = []

    def flush() -> None:
        if waiting:
            x, y = (_batch([pair[i] for pair in waiting], device) for i in range(2))
            assert isinstance(x, Tensor)
            assert isinstance(y, Tensor)
            tools.update(pairs, x, y)
            show(x, y)
            waiting.clear()

    def show(*batches: Batch | None) -> None:
        for gathering, batch in zip(gatherings, batches, strict=False):
            if gathering.missing and batch is not None:
                gathering.update(batch)

    def batches() -> Iterator[Batch]:
        """Of as many images as were measured since the last: for who counts them."""
        for at, (x, y) in enumerate(zip(one.images(rows), two.images(partners), strict=True)):
            if x is None or y is None:
                flush()
                show(*(None if image is None else _batch([image], device) for image in (x, y)))
                continue
            if x.shape != y.shape:
                _refuse(sides, x, y, rows[at], partners[at])
            full = len(waiting) == BATCH or (len(waiting) + 1) * x.shape[0] * x.shape[1] > PIXELS
            if waiting and (full or waiting[0][0].shape != x.shape):
                done = len(waiting)
                flush()
                yield torch.empty(done)
            waiting.append((x, y))
        flush()

    for _ in patient(Images(one.name, batches(), len(rows))):
        pass


def _refuse(sides: Sequence[_Side], x: Pixels, y: Pixels, row: int, partner: int) -> None:
    names = [side.data.names(np.array([at]))[0] for side, at in zip(sides, (row, partner), strict=True) if side.data]
    shown = [f"{image.shape[1]}x{image.shape[0]} in {image.shape[2]} channels" for image in (x, y)]
    raise DataError(
        f"{names[0]} of {sides[0].spec} is {shown[0]}, and its partner {names[1]} of {sides[1].spec} is {shown[1]}: a "
        "pair is measured at its own size; ask for a common size and mode of both sets, as in ?size=64&channels=rgb."
    )


def _paired(sides: Sequence[_Side], pairs: Sequence[PairMetric]) -> tuple[Rows, str]:
    """The row of each image's partner, and how partners were found."""
    one, two = (side.data for side in sides)
    if one is None or two is None:
        raise UsageError(f"Samples have no partners to be compared with, as {', '.join(p.name for p in pairs)} would.")
    return _partners(one, two)


def _partners(one: Dataset | Direct, two: Dataset | Direct) -> tuple[Rows, str]:
    """For every row of one set the row of its partner in the other: of the same name, of the same name without suffix,
    or by order where either is an array. Raises DataError naming the first without a partner."""
    names = [side.names(np.arange(len(side))) for side in (one, two)]
    stems = [[str(PurePosixPath(name).with_suffix("")) for name in side] for side in names]
    for left, right in (names, stems):
        place = {name: row for row, name in enumerate(right)}
        if len(left) == len(right) == len(place) and place.keys() == set(left):
            return np.array([place[name] for name in left]), "by name"
    if len(one) == len(two) and any(all(name.isdecimal() for name in side) for side in names):
        return np.arange(len(one)), "by order"
    lonely = sorted(set(stems[0]) ^ set(stems[1]))
    why = f"{lonely[0]} has no partner" if lonely else "a name stands for several pictures"
    more = f", nor have {len(lonely) - 1} more" if len(lonely) > 1 else ""
    raise DataError(f"{one.spec} ({len(one)} images) and {two.spec} ({len(two)}) do not pair by name: {why}{more}.")
