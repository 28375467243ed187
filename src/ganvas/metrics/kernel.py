"""The kernel distance between two sets of images; in Inception's features it is called KID.

Bińkowski et al. 2018, 1801.01401, section 4: the unbiased estimate of the squared maximum mean discrepancy (Gretton et
al. 2012, equation 3) with the kernel (x.y / D + 1)^3, over subsets.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ganvas.metrics.rows import Rows
from ganvas.metrics.sets import Measured, SetMetric
from ganvas.streams import Purpose, permutation

SUBSETS, SIZE = 100, 1000
BLOCK = 512  # rows of a kernel matrix at once


def distances(x: Tensor, y: Tensor, of_x: Tensor, of_y: Tensor) -> Tensor:
    """The unbiased estimates [S] of S pairs of subsets of features x [N, D] and y [M, D], float64.

    of_x [S, N] and of_y [S, M]: 1 where a row is in the subset, else 0. Every kernel is computed once, a block of rows
    at a time, whatever the number of subsets.
    """
    size_x, size_y = of_x.sum(1), of_y.sum(1)
    within_x = 2 * _sums(x, x, of_x, of_x, within=True) / (size_x * (size_x - 1))
    within_y = 2 * _sums(y, y, of_y, of_y, within=True) / (size_y * (size_y - 1))
    return within_x + within_y - 2 * _sums(x, y, of_x, of_y) / (size_x * size_y)


def _sums(x: Tensor, y: Tensor, of_x: Tensor, of_y: Tensor, *, within: bool = False) -> Tensor:
    """Sums [S] of the kernels of the subsets' rows; within one set, of each pair of two different rows once."""
    total = x.new_zeros(len(of_x))
    for start in range(0, len(x), BLOCK):
        first = start if within else 0  # what lies before is symmetric to what was
        base = (x[start : start + BLOCK] @ y[first:].T).div_(x.shape[1]).add_(1)
        kernel = base * base * base
        if within:
            kernel = kernel.triu_(1)
        total += ((of_x[:, start : start + BLOCK] @ kernel) * of_y[:, first:]).sum(1)
    return total


def _subsets(size: int, total: int, count: int, side: int) -> Tensor:
    """``count`` subsets of ``size`` rows without replacement, as ones [count, total]."""
    chosen = torch.zeros(count, total, dtype=torch.float64)
    for i in range(count):
        chosen[i, torch.from_numpy(permutation(total, 0, i, Purpose.METRIC, side)[:size])] = 1
    return chosen


class KernelDistance(SetMetric[Rows]):
    """The mean over 100 seeded subsets of 1,000 features; its expectation does not depend on the number of images.

    Where a side has fewer images the subsets are as large as it is, and the recipe says so.
    """

    def statistic(self) -> Rows:
        return Rows()

    def measure(self, a: Rows, b: Rows) -> Measured:
        x, y = a.rows.double(), b.rows.double()
        size, count = self._subsets(a, b)
        found = distances(x, y, _subsets(size, len(x), count, 1), _subsets(size, len(y), count, 2))
        return Measured(found.mean().item(), found.std(correction=0).item() if count > 1 else None)

    @staticmethod
    def _subsets(a: Rows, b: Rows) -> tuple[int, int]:
        """How large subsets are, and how many: one, where it is everything."""
        size = min(SIZE, a.used, b.used)
        return size, 1 if size == max(a.used, b.used) else SUBSETS

    def recipe(self, a: Rows, b: Rows) -> dict[str, Any]:
        size, count = self._subsets(a, b)
        return {
            "kernel": "(x.y / D + 1)^3",
            "estimate": "unbiased MMD^2, float64",
            "subsets": f"{count} of {size:,}, without replacement, seeded",
            "features_of": f"{a.told()} and {b.told()}",
            **({"std": f"over subsets, divisor {count}"} if count > 1 else {}),
        }

    def warning(self, a: Rows, b: Rows) -> str | None:
        size, _ = self._subsets(a, b)
        return None if size == SIZE else f"{size} images hold no subset of {SIZE:,}: the estimate is a rough one"
