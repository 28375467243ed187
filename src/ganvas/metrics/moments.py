"""Count, mean and covariance of any number of vectors, in one pass and a fixed memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ganvas.metrics.statistics import Statistic


def double(x: Tensor) -> Tensor:
    """``x`` in float64, where it lies if that device has float64, else on the CPU."""
    return x.to("cpu" if x.device.type == "mps" else x.device, torch.float64)


class Moments(Statistic):
    """Streaming moments of vectors [D]: float64 sums about a pilot, the mean of the first batch.

    The pilot keeps the subtraction in the covariance harmless: E[x^2] - E[x]^2 loses all digits where the mean is large
    beside the deviation. Batch size, order and merging change the result by float64 rounding alone.
    """

    kind: ClassVar[str] = "moments"

    def __init__(self, recipe: Mapping[str, Any] | None = None) -> None:
        super().__init__(recipe)
        self._pilot = self._sum = torch.empty(0, dtype=torch.float64)  # [D]
        self._products = torch.empty(0, 0, dtype=torch.float64)  # [D, D]: sum of (x - pilot)(x - pilot)'

    def update(self, x: Tensor) -> Self:
        """Adds vectors [B, D]. Nothing is read back from the device."""
        if not len(x):
            return self
        x = double(x)
        if not self.n:
            self._pilot = x.mean(0).nan_to_num(0.0, 0.0, 0.0)  # an infinite pilot would hide an infinite mean
            self._sum = torch.zeros_like(self._pilot)
            self._products = torch.zeros(x.shape[1], x.shape[1], dtype=x.dtype, device=x.device)
        x = x - self._pilot
        self._sum += x.sum(0)
        self._products.addmm_(x.T, x)
        self.n += len(x)
        return self

    def merge(self, other: Moments) -> Self:
        """Adds everything that ``other`` has seen."""
        if not other.n:
            return self
        if not self.n:
            self._pilot, self._sum, self._products = other._pilot, other._sum.clone(), other._products.clone()
        else:  # sums about our pilot: (x - p) = (x - q) + (q - p)
            total = other._sum.to(self._sum.device)
            shift = other._pilot.to(self._pilot.device) - self._pilot
            cross = torch.outer(total, shift)
            self._products += other._products.to(self._products.device) + cross + cross.T
            self._products += other.n * torch.outer(shift, shift)
            self._sum += total + other.n * shift
        self.n += other.n
        return self

    @property
    def dims(self) -> int:
        """D, or 0 before the first update."""
        return len(self._sum)

    @property
    def mean(self) -> Tensor:
        """Mean [D], float64 on the CPU."""
        return (self._pilot + self._sum / self.n).cpu()

    @property
    def covariance(self) -> Tensor:
        """Unbiased covariance [D, D] (divisor N-1), float64 on the CPU; NaN for a single vector."""
        centred = self._products - torch.outer(self._sum, self._sum / self.n)
        return (centred / (self.n - 1) if self.n > 1 else torch.full_like(centred, torch.nan)).cpu()

    @property
    def finite(self) -> bool:
        """Whether mean and covariance are finite."""
        return all(bool(value.isfinite().all()) for value in (self.mean, self.covariance))

    def tensors(self) -> dict[str, Tensor]:
        return {"pilot": self._pilot, "sum": self._sum, "products": self._products}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self._pilot, self._sum, self._products = (tensors[name] for name in ("pilot", "sum", "products"))
