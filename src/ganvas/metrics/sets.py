"""Metrics of two sets of images: one pass of the extractor over each set serves all that share it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

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


class Gathering:
    """The statistic that each of several metrics needs of one set of images, in one pass: `update`, then `result`.

    fingerprint: a name for these very images (say, of data, split and rows); with it statistics are kept in the cache
    under a hash of it, of the extractor's tensors and of its recipe. Metrics that read the same statistic of the same
    features share it. ``failed``: metrics that cannot measure these images, and why.
    """

    def __init__(self, metrics: Sequence[SetMetric[Any]], *, fingerprint: str | None = None) -> None:
        self.failed: dict[str, DataError] = {}
        self._fingerprint = fingerprint
        self._extractors = {metric.extractor.name: metric.extractor for metric in metrics}
        self._wanted: dict[str, dict[str, Statistic]] = {name: {} for name in self._extractors}  # of each, by key
        self._keys: dict[str, tuple[str, str]] = {}  # of each metric
        for metric in metrics:
            statistic = metric.statistic()
            self._keys[metric.name] = metric.extractor.name, statistic.key
            self._wanted[metric.extractor.name].setdefault(statistic.key, statistic)
        missing = {
            name: [one for one in found.values() if not _cached(one, self._extractors[name], fingerprint)]
            for name, found in self._wanted.items()
        }
        self._missing = {name: statistics for name, statistics in missing.items() if statistics}
        self._sizes: dict[str, dict[tuple[int, ...], Any]] = {}  # of each extractor: of images -> as it prepares them
        self._seen = not self._missing

    @property
    def names(self) -> Sequence[str]:
        """The names of all its metrics."""
        return tuple(self._keys)

    @property
    def missing(self) -> bool:
        """Whether it must see the images: not where the cache had everything, or all have failed."""
        return bool(self._missing)

    def update(self, x: Tensor | Sequence[Tensor]) -> None:
        """Adds images [B, 1 or 3, H, W] in [-1, 1], or several batches of them, each of a size of its own."""
        batches = [x] if isinstance(x, Tensor) else list(x)
        self._seen = True
        for name, statistics in list(self._missing.items()):
            try:
                self._check_sizes(name, statistics, batches)
                features = self._extractors[name](x)
            except DataError as error:
                del self._missing[name]
                self.failed |= {metric: error for metric, (extractor, _) in self._keys.items() if extractor == name}
                continue
            for statistic in statistics:
                statistic.update(features)

    def _check_sizes(self, name: str, statistics: Sequence[Statistic], batches: Sequence[Tensor]) -> None:
        """Raises DataError where the recipe of an extractor leaves images at different sizes."""
        known = self._sizes.setdefault(name, {})
        for batch in batches:
            if (shape := tuple(batch.shape[1:])) in known:
                continue
            recipe = self._extractors[name].describe(batch)
            if not known:
                for statistic in statistics:
                    statistic.recipe = recipe
            elif recipe["size"] != (first := next(iter(known.values())))["size"]:
                one, other = next(iter(known)), shape
                raise DataError(
                    f"Features of {first['extractor']} are compared at one size, and one set has images of "
                    f"{one[2]}x{one[1]} and of {other[2]}x{other[1]}: ask for a common size, as in ?size=64."
                )
            known[shape] = recipe

    def result(self) -> dict[str, Any]:
        """The statistics by the metrics' names, without those that failed. Raises DataError if there were no images."""
        if not self._seen:
            raise DataError("There are no images to measure.")
        for name, statistics in self._missing.items():
            for statistic in statistics:
                if path := _path(statistic, self._extractors[name], self._fingerprint):
                    keep(statistic.save, path)
        return {
            name: self._wanted[extractor][key]
            for name, (extractor, key) in self._keys.items()
            if name not in self.failed
        }


def gather(
    metrics: Sequence[SetMetric[Any]],
    batches: Iterable[Tensor | Sequence[Tensor]],
    *,
    fingerprint: str | None = None,
) -> dict[str, Any]:
    """What `Gathering` finds in batches, which are not touched where everything is in the cache. Raises DataError for
    images that do not fit."""
    found = Gathering(metrics, fingerprint=fingerprint)
    if found.missing:
        for x in batches:
            found.update(x)
            for error in found.failed.values():
                raise error
    return found.result()


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
