"""Metrics of two sets of images: one pass of the extractor over each set serves all that share it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from ganvas.errors import Damaged, DataError
from ganvas.files import cache_folder
from ganvas.metrics.extractors import Extractor
from ganvas.metrics.figure import Figure, keep
from ganvas.metrics.statistics import Statistic, name_of

S = TypeVar("S", bound=Statistic)


class Measured(NamedTuple):
    """What a metric found."""

    value: float
    std: float | None = None
    parts: Mapping[str, float] = {}


class SetMetric(ABC, Generic[S]):
    """A metric of two sets of images: a statistic of each, then the `distance` of a reference and another set.

    All that a subclass adds: which statistic it needs, what it measures, and how it says so.
    """

    compares: ClassVar[Literal["sets"]] = "sets"
    alone: ClassVar[bool] = False
    """Whether it judges the second set by itself."""
    least = 2
    """Images that each side needs."""

    def __init__(self, name: str, extractor: Extractor) -> None:
        self.name, self.extractor = name, extractor

    @abstractmethod
    def statistic(self) -> S:
        """What it needs of each set, still empty."""

    @abstractmethod
    def measure(self, a: S, b: S) -> Measured:
        """The figure of two sets of finite features."""

    @abstractmethod
    def recipe(self, a: S, b: S) -> dict[str, Any]:
        """How these two sets are measured, beside what their features are."""

    def warning(self, a: S, b: S) -> str | None:
        """Why the figure should not be trusted, if so."""
        return None

    def statistics(self, batches: Iterable[Tensor], *, fingerprint: str | None = None) -> S:
        """The statistic of images [B, C, H, W] in [-1, 1], streaming. See `gather`."""
        found: S = gather([self], batches, fingerprint=fingerprint)[self.name]
        return found

    def distance(self, a: S, b: S) -> Figure:
        """The figure of set ``b`` beside the reference ``a``, such as real images. Raises DataError where a set is too
        small or the two were not seen alike."""
        sides = [b] if self.alone else [a, b]
        n = min(side.n for side in sides)
        if n < self.least:
            where = "" if self.alone else " on each side"
            raise DataError(f"{self.name} needs at least {self.least} images{where}, and has {n}.")
        if differing := [key for key in a.recipe if a.recipe[key] != b.recipe.get(key)]:
            key = differing[0]
            raise DataError(
                f"{self.name} compares sets that were prepared alike, and the {key} of these is {a.recipe[key]} and "
                f"{b.recipe.get(key)}: bring both to one size (size=... in a data spec)."
            )
        recipe = {**a.recipe, **self.recipe(a, b), "images": [a.n, b.n]}
        n = min(side.used for side in sides)
        if not all(side.finite for side in sides):
            return Figure(float("nan"), None, n, {**recipe, "warning": "some images are not finite"})
        if warning := self.warning(a, b):
            recipe["warning"] = warning
        value, std, parts = self.measure(a, b)
        return Figure(value, std, n, recipe, parts)


def gather(
    metrics: Sequence[SetMetric[Any]], batches: Iterable[Tensor], *, fingerprint: str | None = None
) -> dict[str, Any]:
    """The statistic that each of several metrics needs of one set of images, by the metric's name, in one pass.

    batches: images [B, 1 or 3, H, W] in [-1, 1], all of one size; not touched where everything is in the cache.
    fingerprint: a name for these very images (say, of data, split and rows); with it statistics are kept in the cache
    under a hash of it, of the extractor's tensors and of its recipe. Metrics that read the same statistic of the same
    features share it. Raises DataError for images that do not fit.
    """
    extractors = {metric.extractor.name: metric.extractor for metric in metrics}
    wanted: dict[str, dict[str, Statistic]] = {name: {} for name in extractors}  # of each extractor, by key
    keys: dict[str, tuple[str, str]] = {}
    for metric in metrics:
        statistic = metric.statistic()
        keys[metric.name] = metric.extractor.name, statistic.key
        wanted[metric.extractor.name].setdefault(statistic.key, statistic)
    missing = {
        name: [statistic for statistic in found.values() if not _cached(statistic, extractors[name], fingerprint)]
        for name, found in wanted.items()
    }
    missing = {name: statistics for name, statistics in missing.items() if statistics}
    if missing:
        _pass([(extractors[name], statistics) for name, statistics in missing.items()], batches)
        for name, statistics in missing.items():
            for statistic in statistics:
                if path := _path(statistic, extractors[name], fingerprint):
                    keep(statistic.save, path)
    return {name: wanted[extractor][key] for name, (extractor, key) in keys.items()}


def _pass(work: Sequence[tuple[Extractor, Sequence[Statistic]]], batches: Iterable[Tensor]) -> None:
    """Fills statistics with the features of images; each extractor sees each image once."""
    shape: torch.Size | None = None
    for x in batches:
        if shape is None:
            shape = x.shape[1:]
            for extractor, statistics in work:
                for statistic in statistics:
                    statistic.recipe = extractor.describe(x)
        elif x.shape[1:] != shape:
            raise DataError(f"Images of one set differ in shape, {list(shape)} and {list(x.shape[1:])}: use size=...")
        for extractor, statistics in work:
            features = extractor(x)
            for statistic in statistics:
                statistic.update(features)
    if shape is None:
        raise DataError("There are no images to measure.")


def _path(statistic: Statistic, extractor: Extractor, fingerprint: str | None) -> Path | None:
    if fingerprint is None:
        return None
    name = name_of(fingerprint, statistic.key, extractor.name, dict(extractor.recipe))
    return cache_folder() / statistic.kind / f"{name}.safetensors"


def _cached(statistic: Statistic, extractor: Extractor, fingerprint: str | None) -> bool:
    """Whether the statistic could be filled from the cache; what is damaged is computed again and written over."""
    path = _path(statistic, extractor, fingerprint)
    if path is None or not path.is_file():
        return False
    try:
        statistic.load(path)
    except Damaged:
        return False
    return True
