"""The Inception Score: how sure a classifier is of each image, and how evenly the images fall on its classes.

Salimans et al. 2016, 1606.03498, section 4: exp of the mean KL(p(y|x) || p(y)), the mean over ten splits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ganvas.metrics.extractors import Extractor
from ganvas.metrics.moments import double
from ganvas.metrics.rows import draws
from ganvas.metrics.sets import Measured, SetMetric
from ganvas.metrics.statistics import Statistic

SPLITS = 10


def split_of(first: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The split of each of ``count`` images from ``first`` on: each ten images in a row go to the ten splits in a
    seeded order of their own, so that splits are of one size and no class falls on one of them."""
    block = first // SPLITS
    blocks = -(-(first + count) // SPLITS) - block
    order = draws(block * SPLITS, blocks * SPLITS, 0).reshape(blocks, SPLITS).argsort(1).ravel()
    return order[first - block * SPLITS :][:count]


class Scores(Statistic):
    """Sums of the class probabilities and of their negative entropies, by split: memory does not grow with N."""

    kind: ClassVar[str] = "scores"

    def __init__(
        self, logits: Callable[[Tensor], Tensor] | None = None, recipe: Mapping[str, Any] | None = None
    ) -> None:
        """logits: of features [B, D] -> [B, K] (default: the features are logits)."""
        super().__init__(recipe)
        self._logits = logits
        self._shares = torch.empty(0, 0, dtype=torch.float64)  # [SPLITS, K]: sum of p
        self._certainty = torch.zeros(SPLITS, dtype=torch.float64)  # sum over images and classes of p log p

    def update(self, x: Tensor) -> Self:
        log = double(x if self._logits is None else self._logits(x)).log_softmax(1)
        share = log.exp()
        if not self.n:
            self._shares = share.new_zeros(SPLITS, share.shape[1])
            self._certainty = share.new_zeros(SPLITS)
        split = torch.from_numpy(split_of(self.n, len(x))).to(share.device)
        member = F.one_hot(split, SPLITS).to(share.dtype).T  # [SPLITS, B]; a product adds in one order on any device
        self._shares += member @ share
        self._certainty += member @ (share * log).sum(1)
        self.n += len(x)
        return self

    @property
    def values(self) -> Tensor:
        """The score of each split that has images, float64 on the CPU; from 1 to the number of classes."""
        shares, certainty = self._shares.cpu(), self._certainty.cpu()
        counts = shares.sum(1).round()
        shares, certainty, counts = (value[counts > 0] for value in (shares, certainty, counts))
        mean = shares / counts[:, None]
        return (certainty / counts - torch.special.xlogy(mean, mean).sum(1)).exp()

    @property
    def classes(self) -> int:
        """K, or 0 before the first update."""
        return self._shares.shape[1]

    @property
    def finite(self) -> bool:
        return bool(self._shares.isfinite().all() and self._certainty.isfinite().all())

    def tensors(self) -> dict[str, Tensor]:
        return {"shares": self._shares, "certainty": self._certainty}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self._shares, self._certainty = tensors["shares"], tensors["certainty"]


class InceptionScore(SetMetric[Scores]):
    """The score of the second set; that of the reference, where it has enough images, is told beside it."""

    alone = True
    least = 2 * SPLITS

    def __init__(self, name: str, extractor: Extractor, logits: Callable[[Tensor], Tensor]) -> None:
        super().__init__(name, extractor)
        self._logits = logits

    def statistic(self) -> Scores:
        return Scores(self._logits)

    def measure(self, a: Scores, b: Scores) -> Measured:
        parts = {"reference": a.values.mean().item()} if a.n >= self.least and a.finite else {}
        return Measured(b.values.mean().item(), b.values.std(correction=0).item(), parts)

    def recipe(self, a: Scores, b: Scores) -> dict[str, Any]:
        return {
            "judges": "the second set by itself",
            "classes": b.classes,
            "logits": "without the last layer's bias",
            "splits": f"{SPLITS}, seeded, ten images in a row to ten splits",
            "std": f"over splits, divisor {SPLITS}",
        }

    def warning(self, a: Scores, b: Scores) -> str | None:
        if b.n > SPLITS * b.classes:
            return None
        return (
            f"{b.n} images in {SPLITS} splits are fewer than {b.classes} classes a split: biased downwards, compare it "
            "with nothing measured on another number of images"
        )
