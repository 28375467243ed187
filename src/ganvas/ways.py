"""The ways in which a game translates, and its passes along them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ganvas.schema import Schema

PIXELS = 1 << 19  # of images that are translated together: a generator's maps of more would fill the memory
MOST = 100  # of them


@dataclass(frozen=True)
class Way:
    """One direction: which field of a batch it starts from, and in which lies what should come out."""

    direction: str
    source: str
    target: str


def ways(game: Any, schema: Schema) -> list[Way]:
    """The directions that a game translates in on data of that schema, the first the one it is known for."""
    if "labels" in schema:
        return [Way(direction, "labels", "image") for direction in game.directions[:1]]
    return [Way(direction, direction[0], direction[-1]) for direction in game.directions]


def together(height: int, width: int) -> int:
    """How many rows of that size may be translated together."""
    return max(1, min(MOST, PIXELS // (height * width)))


def bounded(game: Any) -> bool:
    """Whether a game that translates label maps learnt from instances, and needs them."""
    return bool(getattr(game, "bounded", False))


def portions(shape: Sequence[int], count: int) -> Iterator[tuple[int, int]]:
    """The numbers 0 .. count - 1 as runs (first, last + 1) of as many rows of a shape (..., H, W) as may be translated
    together."""
    height, width = shape[-2:]
    some = together(height, width)
    for first in range(0, count, some):
        yield first, min(first + some, count)


def translated(game: Any, batch: Mapping[str, Tensor], way: Way, *, seed: int = 0, first: int = 0) -> Tensor:
    """The translation of a batch: images [B, C, H, W]; of its row i by (seed, first + i)."""
    more = {"instances": batch["instances"]} if way.source == "labels" and bounded(game) else {}
    y: Tensor = game.translate(batch[way.source], direction=way.direction, seed=seed, first=first, **more)
    return y
