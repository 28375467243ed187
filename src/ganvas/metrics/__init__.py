"""Metrics that print their recipe: ladders of pure steps, images -> features -> statistics -> value.

`metric` builds one by name. What it compares says how to feed it:

    "pairs"     m.update(x, y) for each batch, then m.figure()
    "sets"      a, b = m.moments(batches_a), m.moments(batches_b), then m.distance(a, b); `gather` for several at once
    "mixture"   m.figure(points, mixture)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ganvas.errors import UsageError, nearest
from ganvas.metrics import digits, extractors, lpips
from ganvas.metrics.extractors import Extractor
from ganvas.metrics.figure import Figure, subset
from ganvas.metrics.frechet import FrechetDistance, gather
from ganvas.metrics.lpips import LPIPS
from ganvas.metrics.modes import Modes
from ganvas.metrics.moments import Moments
from ganvas.metrics.pairs import MAE, MSE, PSNR, SSIM, PairMetric

Metric = PairMetric | FrechetDistance | Modes


def _lpips(name: str, kind: str) -> Metric:
    return LPIPS(name, lpips.trained(kind))


def _frechet(name: str, extractor: Callable[[], Extractor]) -> Metric:
    return FrechetDistance(name, extractor())


# name: (what it compares, whether larger is better, how it is built)
TABLE: dict[str, tuple[str, bool, Callable[[str], Metric]]] = {
    "mse":           ("pairs",   False, MSE),
    "mae":           ("pairs",   False, MAE),
    "psnr":          ("pairs",   True,  PSNR),
    "ssim":          ("pairs",   True,  SSIM),
    "lpips-alex":    ("pairs",   False, partial(_lpips, kind="alex")),
    "lpips-squeeze": ("pairs",   False, partial(_lpips, kind="squeeze")),
    "lpips-vgg":     ("pairs",   False, partial(_lpips, kind="vgg")),
    "fd-alex":       ("sets",    False, partial(_frechet, extractor=extractors.alex)),
    "fd-squeeze":    ("sets",    False, partial(_frechet, extractor=extractors.squeeze)),
    "fd-digits":     ("sets",    False, partial(_frechet, extractor=digits.digits)),
    "modes":         ("mixture", True,  Modes),
}  # fmt: skip

NAMES = tuple(TABLE)
COMPARES = {name: row[0] for name, row in TABLE.items()}
LARGER_IS_BETTER = frozenset(name for name, row in TABLE.items() if row[1])


def metric(name: str) -> Metric:
    """A fresh metric by name. Raises UsageError for an unknown name; MissingWeights (one line: what, where from, where
    to put it) and Damaged where published weights are not at hand or not what was published."""
    if name not in TABLE:
        raise UsageError(f"There is no metric {name!r}: {nearest(name, NAMES)}.")
    return TABLE[name][2](name)


__all__ = [
    "COMPARES",
    "LARGER_IS_BETTER",
    "NAMES",
    "Extractor",
    "Figure",
    "FrechetDistance",
    "Metric",
    "Modes",
    "Moments",
    "PairMetric",
    "gather",
    "metric",
    "subset",
]
