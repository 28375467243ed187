"""Two sets of images against each other, no model needed; a run stands for its samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ganvas.data import Dataset, open_data
from ganvas.devices import device as named_device
from ganvas.errors import DataError, UsageError
from ganvas.figures import BATCH, MOST, Figures, Images, Tools, caution, check_n, checked, set_figures, told
from ganvas.inputs import fitting
from ganvas.metrics import COMPARES, NAMES, PairMetric, SetMetric
from ganvas.metrics import subset as drawn
from ganvas.run import Run
from ganvas.verbs import Samples

DEFAULT = ("fd-alex", "fd-squeeze")

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class _Side:
    """One set: what it is, how many images it has (None: as many as wanted), and how to read some of them."""

    name: str
    shape: tuple[int, ...]
    count: int | None
    read: Callable[[Rows], Iterator[Tensor]]
    content: str | None = None
    dataset: Dataset | None = None


def compare(
    a: str | Path,
    b: str | Path,
    *,
    metrics: Sequence[str] | None = None,
    n: int | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Figures:
    """The metrics of two sets of images, folders, arrays or data specs; a run folder stands for its samples.

    metrics: names (default: fd-alex and fd-squeeze); those of pairs need images that have a partner of the same name,
    or arrays of the same length. n: images a side (default: all; of two runs 10,000). seed: of samples and subsets.

    Beside a run, images are prepared to its size; else those of a set that are all alike keep their size. Pairs must
    share their size and channels, sets the size at which a metric looks at them. Memory does not grow with the number
    of images. ``a`` is the reference where a metric has one, such as the real images of precision and recall. Metrics
    that cannot be had are told in a line on stderr and left out; when none is left the error is raised. Raises
    UsageError, DataError.
    """
    check_n(n)
    wanted = checked(DEFAULT if metrics is None else metrics, [n for n in NAMES if COMPARES[n] != "mixture"])
    where = named_device(device)
    runs = [Run.open(side) if Run.exists(side) else None for side in (a, b)]
    for run in runs:
        if run is not None and ("image" not in run.config.schema or "sample" not in run.config.verbs):
            what = f"{run.folder} ({run.config.system} on {run.config.data or 'no data of its own'})"
            hint = "compare what it translated, or use `ganvas evaluate`" if "translate" in run.config.verbs else ""
            raise UsageError(f"{what} draws no samples of images{f': {hint}' if hint else ''}.")
    model = next((run for run in runs if run is not None), None)
    # the second of two runs takes another seed, so that a run beside itself is not measured as equal
    seeds = (seed, seed + 1 if runs[0] is not None else seed)
    sides = [
        _images(str(side), model, where) if run is None else _samples(run, own, where)
        for side, run, own in zip((a, b), runs, seeds, strict=True)
    ]
    tools = Tools(wanted)
    figures: Figures = {}
    if pairs := tools.of(PairMetric):  # type: ignore[type-abstract]  # asked of, never called
        figures |= _pairs(sides, tools, pairs, n, seed)
    if sets := tools.of(SetMetric):  # type: ignore[type-abstract]
        figures |= _sets(sides, tools, sets, n, seed)
    figures = {
        name: told(figures[name], a=sides[0].name, b=sides[1].name, seed=seed) for name in wanted if name in figures
    }
    caution(figures)
    return figures


def _images(spec: str, model: Run | None, device: str) -> _Side:
    if model is None:
        dataset = open_data(spec, prefer=("images",), natural=True)
    else:
        dataset = fitting(model, spec, labelled=False)
    if "image" not in dataset.schema:
        raise UsageError(f"{spec} has no images to compare.")

    def read(rows: Rows) -> Iterator[Tensor]:
        for first in range(0, len(rows), BATCH):
            yield dataset.tensors(rows[first : first + BATCH], device)["image"]

    name = f"{dataset.spec}, split {dataset.split}"
    return _Side(name, dataset.schema["image"], len(dataset), read, dataset.content, dataset)


def _samples(run: Run, seed: int, device: str) -> _Side:
    game = run.load_game(device=device)
    assert isinstance(game, Samples)

    def read(rows: Rows) -> Iterator[Tensor]:
        for first in range(0, len(rows), BATCH):
            yield game.sample(min(BATCH, len(rows) - first), seed=seed, first=first)

    return _Side(f"samples of {run.folder}, seed {seed}", tuple(run.config.schema["image"]), None, read)


def _sets(sides: Sequence[_Side], tools: Tools, sets: list[SetMetric[Any]], n: int | None, seed: int) -> Figures:
    most = n or min((side.count for side in sides if side.count is not None), default=MOST)
    images = []
    for side in sides:
        count = side.count if side.count is not None else most
        rows = drawn(n or count, count, seed=seed)
        known = side.content is not None
        fingerprint = f"{side.content} {len(rows)} of {count} by {seed}" if known else None
        images.append(Images(side.name, side.read(rows), len(rows), fingerprint))
    return set_figures(tools, sets, *images)


def _pairs(sides: Sequence[_Side], tools: Tools, pairs: list[PairMetric], n: int | None, seed: int) -> Figures:
    one, two = (side.dataset for side in sides)
    if one is None or two is None:
        raise UsageError(f"Samples have no partners to be compared with, as {', '.join(p.name for p in pairs)} would.")
    if sides[0].shape != sides[1].shape:
        (c, h, w), (c2, h2, w2) = sides[0].shape, sides[1].shape
        raise DataError(
            f"{one.spec} has images of {w}x{h} in {c} channels, {two.spec} of {w2}x{h2} in {c2}: bring both to one "
            "size and mode (?size=64&channels=rgb)."
        )
    partner, how = _partners(one, two)
    rows = drawn(n or len(one), len(one), seed=seed)
    for x, y in zip(sides[0].read(rows), sides[1].read(partner[rows]), strict=True):
        tools.update(pairs, x, y)
    return {pair.name: told(pair.figure(), pairs=how) for pair in pairs}


def _partners(one: Dataset, two: Dataset) -> tuple[Rows, str]:
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
