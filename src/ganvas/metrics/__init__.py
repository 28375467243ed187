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
from ganvas.metrics.kernel import KernelDistance
from ganvas.metrics.lpips import LPIPS
from ganvas.metrics.modes import Modes
from ganvas.metrics.moments import Moments
from ganvas.metrics.neighbours import NeighbourMetric
from ganvas.metrics.pairs import MAE, MSE, MSSSIM, PSNR, SSIM, PairMetric
from ganvas.metrics.scores import InceptionScore
from ganvas.metrics.sets import Gathering, SetMetric, gather
from ganvas.nets.inception import Inception

Metric = PairMetric | SetMetric[Any] | Modes


class Row(NamedTuple):
    """What there is to know of a metric before it is built."""

    compares: str
    larger_is_better: bool
    build: Callable[[str], Metric]
    weights: tuple[str, ...] = ()
    """The published weights that it needs."""
    by_default: bool = True
    """Whether it is measured where nobody names metrics and its weights are at hand."""


def _lpips(name: str, kind: str) -> Metric:
    return LPIPS(name, lpips.trained(kind))


def _over(kind: Callable[[str, Extractor], Metric], extractor: Callable[[], Extractor]) -> Callable[[str], Metric]:
    """A metric of sets in the features of one extractor."""
    return lambda name: kind(name, extractor())


def _inception_score(name: str) -> Metric:
    extractor = extractors.inception()
    assert isinstance(extractor.net, Inception)
    return InceptionScore(name, extractor, extractor.net.logits)


_ALEX, _SQUEEZE, _INCEPTION = ("alexnet",), ("squeezenet1_1",), ("inception",)
_TORCH, _CLEAN = (partial(extractors.inception, f"inception-{kind}") for kind in ("torch", "clean"))


def _neighbours(suffix: str, extractor: Callable[[], Extractor], needs: tuple[str, ...], usual: bool) -> dict[str, Row]:
    return {
        f"{name}{suffix}": Row("sets", True, _over(NeighbourMetric, extractor), needs, usual)
        for name in ("precision", "recall", "density", "coverage")
    }


# Distances in other features than Inception's are never called FID or KID, and say in their name which those are.
TABLE: dict[str, Row] = {
    "mse":             Row("pairs",   False, MSE),
    "mae":             Row("pairs",   False, MAE),
    "psnr":            Row("pairs",   True,  PSNR),
    "ssim":            Row("pairs",   True,  SSIM),
    "ms-ssim":         Row("pairs",   True,  MSSSIM),
    "lpips-alex":      Row("pairs",   False, partial(_lpips, kind="alex"), (*_ALEX, "lpips-alex")),
    "lpips-squeeze":   Row("pairs",   False, partial(_lpips, kind="squeeze"), (*_SQUEEZE, "lpips-squeeze")),
    "lpips-vgg":       Row("pairs",   False, partial(_lpips, kind="vgg"), ("vgg16", "lpips-vgg"), by_default=False),
    "fd-alex":         Row("sets",    False, _over(FrechetDistance, extractors.alex), _ALEX),
    "fd-squeeze":      Row("sets",    False, _over(FrechetDistance, extractors.squeeze), _SQUEEZE),
    "fd-digits":       Row("sets",    False, _over(FrechetDistance, digits.digits), by_default=False),
    "fid":             Row("sets",    False, _over(FrechetDistance, extractors.inception), _INCEPTION),
    "fid-torch":       Row("sets",    False, _over(FrechetDistance, _TORCH), _INCEPTION, by_default=False),
    "fid-clean":       Row("sets",    False, _over(FrechetDistance, _CLEAN), _INCEPTION, by_default=False),
    "kd-alex":         Row("sets",    False, _over(KernelDistance, extractors.alex), _ALEX),
    "kd-squeeze":      Row("sets",    False, _over(KernelDistance, extractors.squeeze), _SQUEEZE, by_default=False),
    "kid":             Row("sets",    False, _over(KernelDistance, extractors.inception), _INCEPTION),
    "inception-score": Row("sets",    True,  _inception_score, _INCEPTION),
    **_neighbours("", extractors.inception, _INCEPTION, True),
    **_neighbours("-alex", extractors.alex, _ALEX, True),
    **_neighbours("-squeeze", extractors.squeeze, _SQUEEZE, False),
    "modes":           Row("mixture", True,  Modes),
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
    "Gathering",
    "Metric",
    "Modes",
    "Moments",
    "PairMetric",
    "SetMetric",
    "gather",
    "metric",
    "subset",
]
