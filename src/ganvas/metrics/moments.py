"""Count, mean and covariance of any number of vectors, in one pass and a fixed memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from ganvas.errors import Damaged
from ganvas.files import atomic


def double(x: Tensor) -> Tensor:
    """``x`` in float64, where it lies if that device has float64, else on the CPU."""
    return x.to("cpu" if x.device.type == "mps" else x.device, torch.float64)


class Moments:
    """Streaming moments of vectors [D]: float64 sums about a pilot, the mean of the first batch.

    The pilot keeps the subtraction in the covariance harmless: E[x^2] - E[x]^2 loses all digits where the mean is large
    beside the deviation. Batch size, order and merging change the result by float64 rounding alone.

    recipe: what the vectors are; it travels with the sums, and only sums of one recipe may meet.
    """

    def __init__(self, recipe: Mapping[str, Any] | None = None) -> None:
        self.recipe = dict(recipe or {})
        self.n = 0
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

    def save(self, path: Path) -> None:
        """Writes the sums as safetensors, whole or not at all."""
        from safetensors.torch import save_file

        tensors = {"pilot": self._pilot, "sum": self._sum, "products": self._products}
        with atomic(path) as part:
            save_file(
                {name: value.cpu().contiguous() for name, value in tensors.items()},
                part,
                {"n": str(self.n), "recipe": json.dumps(self.recipe)},
            )

    @classmethod
    def load(cls, path: Path) -> Moments:
        """Reads what `save` wrote. Raises Damaged."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
                moments = cls(json.loads(metadata["recipe"]))
                moments.n = int(metadata["n"])
                moments._pilot, moments._sum, moments._products = map(file.get_tensor, ("pilot", "sum", "products"))
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise Damaged(f"{path} does not hold moments ({error}): delete it, and it is computed again.") from error
        return moments
