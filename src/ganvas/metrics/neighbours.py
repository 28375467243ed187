"""Precision, recall, density and coverage: how two sets of features lie among each other's nearest neighbours.

Kynkäänniemi et al. 2019, 1904.06991 (precision and recall, equation 1); Naeem et al. 2020, 2002.09797 (density and
coverage, equations 2 and 3). A set's manifold is the union of balls around its features, each as wide as the distance
to the k-th nearest other one; what lies on the rim is inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor

from ganvas.metrics.extractors import Extractor
from ganvas.metrics.rows import Rows
from ganvas.metrics.sets import Measured, SetMetric

MANIFOLD = 3  # neighbours that precision and recall count to
DENSITY = 5  # density and coverage
BLOCK = 512  # rows of a distance matrix at once
SLACK = 1e-12  # of the squared norms: above the rounding of distances, far below what two images differ by


@dataclass(frozen=True)
class Neighbours:
    """What one pass over the distances between real and fake images tells."""

    precision: float
    """Share of the fakes inside the reals' manifold."""
    recall: float
    """Share of the reals inside the fakes' manifold."""
    density: float
    """Mean number of real balls around a fake, over k: about 1 for equal distributions, and not bounded."""
    coverage: float
    """Share of the real balls that hold a fake."""


def nearest(x: Tensor, k: int) -> Tensor:
    """Squared distances [N, k] of features x [N, D] to their 1st to k-th nearest others; infinite where there are not
    so many."""
    x = _centred(x, x)
    found = torch.full((len(x), k), torch.inf, dtype=x.dtype)
    for start in range(0, len(x), BLOCK):
        some = slice(start, start + BLOCK)
        distances = _squares(x[some], x)
        distances.diagonal(start).fill_(torch.inf)  # itself
        found[some, : len(x) - 1] = distances.topk(min(k, len(x)), largest=False).values[:, : len(x) - 1]
    return found


def compare(reals: Tensor, fakes: Tensor, near_reals: Tensor, near_fakes: Tensor) -> Neighbours:
    """All four from features [N, D] and [M, D] and what `nearest` says of each, at least `DENSITY` columns.

    A ball that is infinitely wide (of a set that has not so many images) holds everything. A block of the distances at
    a time is in memory.
    """
    x, y = _centred(reals, reals), _centred(fakes, reals)
    radius, wide = near_reals[:, MANIFOLD - 1], near_reals[:, DENSITY - 1]  # [N]
    radius_y = near_fakes[:, MANIFOLD - 1, None]  # [M, 1]
    inside = balls = 0
    found, holds = torch.zeros(len(x), dtype=torch.bool), torch.zeros(len(x), dtype=torch.bool)
    for start in range(0, len(y), BLOCK):
        some = slice(start, start + BLOCK)
        distances = _squares(y[some], x, 1 - SLACK)  # [B, N]
        within = distances <= wide
        inside += int((distances <= radius).any(1).sum())
        balls += int(within.sum())
        found |= (distances <= radius_y[some]).any(0)
        holds |= within.any(0)
    return Neighbours(
        inside / len(y), found.double().mean().item(), balls / (DENSITY * len(y)), holds.double().mean().item()
    )


def _centred(x: Tensor, about: Tensor) -> Tensor:
    """``x`` in float64 about a mean: then the products below keep the digits of the distances."""
    return x.double() - about.double().mean(0)


def _squares(x: Tensor, y: Tensor, share: float = 1.0) -> Tensor:
    """Squared distances [N, M]; of the squared norms a ``share`` is taken."""
    return torch.addmm((x * x).sum(1)[:, None] + (y * y).sum(1), x, y.T, beta=share, alpha=-2).clamp_(min=0)


_near: WeakKeyDictionary[Rows, tuple[int, Tensor]] = WeakKeyDictionary()  # after how many images
_compared: WeakKeyDictionary[Rows, tuple[tuple[int, int], ref[Rows], Neighbours]] = WeakKeyDictionary()  # of the reals


def _neighbours(a: Rows, b: Rows) -> Neighbours:
    """Of two statistics, once for the metrics that read it."""
    seen = a.n, b.n
    if (kept := _compared.get(a)) and kept[0] == seen and kept[1]() is b:
        return kept[2]
    for side in (a, b):
        if side not in _near or _near[side][0] != side.n:
            _near[side] = side.n, nearest(side.rows, DENSITY)
    found = compare(a.rows, b.rows, _near[a][1], _near[b][1])
    _compared[a] = seen, ref(b), found
    return found


class NeighbourMetric(SetMetric[Rows]):
    """One of the four, by the first word of its name."""

    def __init__(self, name: str, extractor: Extractor) -> None:
        super().__init__(name, extractor)
        self.which = name.partition("-")[0]
        self.k = MANIFOLD if self.which in ("precision", "recall") else DENSITY
        self.least = self.k + 1

    def statistic(self) -> Rows:
        return Rows()

    def measure(self, a: Rows, b: Rows) -> Measured:
        return Measured(getattr(_neighbours(a, b), self.which))

    def recipe(self, a: Rows, b: Rows) -> dict[str, Any]:
        return {
            "k": self.k,
            "distance": "Euclidean, float64; what lies on a ball's rim is inside",
            "features_of": f"{a.told()} and {b.told()}",
        }
