"""Metrics that print their recipe: ladders of pure steps, images -> features -> statistics -> value.

`metric` builds one by name. What it compares says how to feed it:

    "pairs"     m.update(x, y) for each batch, then m.figure()
    "sets"      real, fake = m.statistics(batches_a), m.statistics(batches_b), then m.distance(real, fake); `gather` for
                several at once
    "mixture"   m.figure(points, mixture)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from ganvas.errors import UsageError, nearest
from ganvas.metrics import digits, extractors, lpips
from ganvas.metrics.extractors import Extractor
from ganvas.metrics.figure import Figure, subset
from ganvas.metrics.frechet import FrechetDistance
from ganvas.metrics.lpips import LPIPS
from ganvas.metrics.modes import Modes
from ganvas.metrics.moments import Moments
from ganvas.metrics.pairs import MAE, MSE, PSNR, SSIM, PairMetric
from ganvas.metrics.sets import SetMetric, gather

Metric = PairMetric | SetMetric[Any] | Modes


class Row(NamedTuple):
    """What there is to know of a metric before it is built."""

    compares: str
    larger_is_better: bool
    build: Callable[[str], Metric]
    weights: tuple[str, ...] = ()
    """The published weights that it needs."""
    by_default: bool = True
    """Whether it is measured where nobody names metrics."""


def _lpips(name: str, kind: str) -> Metric:
    return LPIPS(name, lpips.trained(kind))


def _over(extractor: Callable[[], Extractor], kind: Callable[[str, Extractor], Metric]) -> Callable[[str], Metric]:
    """A metric of sets in the features of one extractor."""
    return lambda name: kind(name, extractor())


ALEX, SQUEEZE, VGG = ("alexnet",), ("squeezenet1_1",), ("vgg16",)

TABLE: dict[str, Row] = {
    "mse":           Row("pairs",   False, MSE),
    "mae":           Row("pairs",   False, MAE),
    "psnr":          Row("pairs",   True,  PSNR),
    "ssim":          Row("pairs",   True,  SSIM),
    "lpips-alex":    Row("pairs",   False, partial(_lpips, kind="alex"), (*ALEX, "lpips-alex")),
    "lpips-squeeze": Row("pairs",   False, partial(_lpips, kind="squeeze"), (*SQUEEZE, "lpips-squeeze")),
    "lpips-vgg":     Row("pairs",   False, partial(_lpips, kind="vgg"), (*VGG, "lpips-vgg"), by_default=False),
    "fd-alex":       Row("sets",    False, _over(extractors.alex, FrechetDistance), ALEX),
    "fd-squeeze":    Row("sets",    False, _over(extractors.squeeze, FrechetDistance), SQUEEZE),
    "fd-digits":     Row("sets",    False, _over(digits.digits, FrechetDistance)),
    "modes":         Row("mixture", True,  Modes),
}  # fmt: skip

NAMES = tuple(TABLE)
COMPARES = {name: row.compares for name, row in TABLE.items()}
LARGER_IS_BETTER = frozenset(name for name, row in TABLE.items() if row.larger_is_better)


def metric(name: str) -> Metric:
    """A fresh metric by name. Raises UsageError for an unknown name; MissingWeights (one line: what, where from, where
    to put it) and Damaged where published weights are not at hand or not what was published."""
    if name not in TABLE:
        raise UsageError(f"There is no metric {name!r}: {nearest(name, NAMES)}.")
    return TABLE[name].build(name)


__all__ = [
    "COMPARES",
    "LARGER_IS_BETTER",
    "NAMES",
    "TABLE",
    "Extractor",
    "Figure",
    "FrechetDistance",
    "Metric",
    "Modes",
    "Moments",
    "PairMetric",
    "SetMetric",
    "gather",
    "metric",
    "subset",
]
