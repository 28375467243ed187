"""What a metric answers: a value and the recipe behind it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ganvas.console import note
from ganvas.streams import Purpose, permutation


@dataclass(frozen=True)
class Figure:
    """A measured number that says how it was measured."""

    value: float
    """The measurement; NaN or infinite where the mathematics says so."""
    std: float | None
    """Standard deviation (N-1) over images, where the value is a mean over images."""
    n: int
    """How many images, pairs or points were measured."""
    recipe: Mapping[str, Any]
    """Everything that a person needs to measure it again; a ``warning`` where the number should not be trusted."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Further numbers of the same measurement, by name."""

    def to_json(self) -> dict[str, Any]:
        """The figure as JSON types. JSON knows no NaN and no infinity: both become None."""
        told = {"value": _number(self.value), "std": _number(self.std), "n": self.n, "recipe": dict(self.recipe)}
        return told | ({"parts": {name: _number(value) for name, value in self.parts.items()}} if self.parts else {})


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def keep(save: Callable[[Path], None], path: Path) -> None:
    """Saves what was computed for the next time; a cache that cannot be written is named, and nothing is lost."""
    from safetensors import SafetensorError

    try:
        save(path)
    except (OSError, SafetensorError) as error:
        note(f"note: {path} cannot be written, so it is computed again the next time: {error}")


def subset(n: int, total: int, *, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The rows that a metric takes of ``total``: ``n`` of them without replacement, sorted, a pure function of
    (n, total, seed); all of them where there are no more."""
    if n >= total:
        return np.arange(total)
    return np.sort(permutation(total, seed, 0, Purpose.METRIC)[:n])
