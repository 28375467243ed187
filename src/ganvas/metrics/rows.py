"""Features themselves, as many as fit: a seeded subset of what streams by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganvas.metrics.statistics import Statistic
from ganvas.streams import Purpose, stream, uniform

MOST = 10_000  # 80 MB of 2048 numbers


def draws(first: int, count: int, seed: int) -> NDArray[np.float64]:
    """Numbers ``first .. first + count - 1`` of an endless series of uniform ones: the same however it is cut."""
    bits = np.random.PCG64(stream(seed, 0, Purpose.METRIC))
    bits.advance(first)
    return uniform(bits.random_raw(count))


class Rows(Statistic):
    """The features of at most ``most`` images, drawn without replacement and evenly, whatever the batches are.

    Image i gets the i-th number of a seeded series, and those with the smallest numbers stay: a pure function of the
    seed and of the order of the images. Memory is that of twice ``most`` rows.
    """

    kind: ClassVar[str] = "features"

    def __init__(self, most: int = MOST, seed: int = 0, recipe: Mapping[str, Any] | None = None) -> None:
        super().__init__(recipe)
        self.most, self.seed = most, seed
        self._rows: list[Tensor] = []
        self._places, self._numbers = np.empty(0, np.int64), np.empty(0)  # of each row: which image, and its number

    @property
    def key(self) -> str:
        return f"{self.kind}: at most {self.most} by {self.seed}"

    @property
    def used(self) -> int:
        return min(self.n, self.most)

    def update(self, x: Tensor) -> Self:
        numbers, places = draws(self.n, len(x), self.seed), np.arange(self.n, self.n + len(x))
        self.n += len(x)
        self._rows.append(x.float())
        self._places, self._numbers = np.append(self._places, places), np.append(self._numbers, numbers)
        if len(self._places) > 2 * self.most:
            self._settle()
        return self

    def _settle(self) -> None:
        """Lets go of what will not be among the rows, and puts the rest into one tensor, in the images' order."""
        if len(self._places) > self.most:
            kept = np.sort(np.argpartition(self._numbers, self.most)[: self.most])
            self._places, self._numbers = self._places[kept], self._numbers[kept]
            rows = torch.cat(self._rows)
            self._rows = [rows[torch.from_numpy(kept).to(rows.device)]]
        elif len(self._rows) > 1:
            self._rows = [torch.cat(self._rows)]

    @property
    def rows(self) -> Tensor:
        """The features [min(n, most), D], float32 on the CPU, in the order of the images."""
        self._settle()
        return self._rows[0].cpu() if self._rows else torch.empty(0, 0)

    @property
    def finite(self) -> bool:
        return bool(self.rows.isfinite().all())

    def told(self) -> str:
        """Which rows these are, in words."""
        if self.n <= self.most:
            return f"all {self.n:,}"
        return f"{self.most:,} of {self.n:,} by seed {self.seed}"

    def tensors(self) -> dict[str, Tensor]:
        rows = self.rows
        return {"rows": rows, "places": torch.from_numpy(self._places), "numbers": torch.from_numpy(self._numbers)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self._rows = [tensors["rows"]]
        self._places, self._numbers = tensors["places"].numpy(), tensors["numbers"].numpy()
