"""Which numbers are black and white in arrays and images that hold more than 8 bits: one range for a whole data set."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganvas.errors import DataError

TOLERANCE = 1e-3  # beyond 1, relatively: what rounding and resizing leave
DARKEST = 32  # a set of numbers whose highest is below it is no image of 8 bits or more
DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and scanners have
NUMBER = r"-?[0-9]{1,17}(?:\.[0-9]{1,20})?(?:e[+-]?[0-9]{1,3})?"


@dataclass(frozen=True)
class Range:
    """The numbers that are black and white. Its `str` is the value of the key ``range`` that means it."""

    low: float
    high: float

    def __str__(self) -> str:
        named = {(0.0, 1.0): "unit", (-1.0, 1.0): "signed"}
        return named.get((self.low, self.high), f"{_number(self.low)}..{_number(self.high)}")

    @property
    def clips(self) -> bool:
        """Whether numbers beyond it are cut off. Of unit and signed, they are an error."""
        return str(self) not in ("unit", "signed")


UNIT, SIGNED, BYTES, SIXTEEN_BITS = Range(0.0, 1.0), Range(-1.0, 1.0), Range(0.0, 255.0), Range(0.0, 65535.0)


def _number(value: float) -> str:
    return str(int(value)) if abs(value) < 1e16 and value == int(value) else repr(value)


def read_range(text: str) -> Range | None:
    """The value of the key ``range``; None for auto. Raises ValueError saying what it takes."""
    if text == "auto":
        return None
    if text in ("unit", "signed"):
        return UNIT if text == "unit" else SIGNED
    match = re.fullmatch(rf"({NUMBER})\.\.({NUMBER})", text)
    if match is None or not -math.inf < float(match[1]) < float(match[2]) < math.inf:
        raise ValueError("auto, unit (0 to 1), signed (-1 to 1), or the numbers for black and white such as 0..4095")
    return Range(float(match[1]), float(match[2]))


@dataclass
class Extrema:
    """The lowest and highest number seen so far, and whether all of them come from whole numbers."""

    low: float = math.inf
    high: float = -math.inf
    whole: bool = True

    def add(self, values: NDArray[Any]) -> None:
        """Widens it by numbers, of which those that are not finite do not count."""
        self.whole &= values.dtype.kind != "f"
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            values = values[np.isfinite(values)]
        if values.size:
            self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))

    def merge(self, other: Extrema) -> None:
        """Widens it by what was seen elsewhere."""
        if other:
            self.whole &= other.whole
            self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    def __bool__(self) -> bool:
        return self.low <= self.high

    def __str__(self) -> str:
        return f"{self.low:.6g} to {self.high:.6g}"


def decide(seen: Extrema, where: str) -> Range:
    """The range that numbers of a data set are read by, where none was asked for.

    Floats from 0 to 1 are unit, from -1 to 1 signed. Other numbers from 0 on are as many bits as hold them: 8, 10, 12,
    14 or 16. Raises DataError for the rest.
    """
    if not seen.whole and -1 - TOLERANCE <= seen.low < 0 and seen.high <= 1 + TOLERANCE:
        return SIGNED
    if seen.low >= 0:
        if not seen.whole and seen.high <= 1 + TOLERANCE:
            return UNIT
        if seen.high >= DARKEST or seen.high == 0:
            for depth in DEPTHS:
                if seen.high <= ((1 << depth) - 1) * (1 + TOLERANCE):
                    return Range(0.0, float((1 << depth) - 1))
    raise DataError(
        f"{where} holds values from {seen}, and nothing says which of them are black and white: say so, as in "
        f"?range={_number(math.floor(seen.low))}..{_number(math.ceil(seen.high))} (or unit, or signed)."
    )


def sentence(chosen: Range, seen: Extrema, what: str) -> str:
    """What there is to say of a range that was decided: ``what`` is "arrays" or "images of more than 8 bits"."""
    if chosen == UNIT:
        other = "range=signed"
    else:
        other = "range=LOW..HIGH" if seen.high == chosen.high else f"range=0..{_number(seen.high)}"
    return (
        f"{what} with values from {seen} are read as {_number(chosen.low)} (black) to {_number(chosen.high)} (white), "
        f"range={chosen}; another range can be given, as in ?{other}"
    )


class Beyond(Exception):  # noqa: N818 - what is raised for it depends on where the numbers come from
    """Numbers that are not finite, or beyond a range that cuts nothing off."""


def to_bytes(values: NDArray[Any], chosen: Range) -> NDArray[np.uint8]:
    """Numbers of any shape as bytes, rounded to the nearest. Raises Beyond."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise Beyond("values that are not finite (NaN or infinity)")
    if not chosen.clips and values.size:
        low, high = float(values.min()), float(values.max())
        slack = TOLERANCE * (chosen.high - chosen.low) / 2
        if low < chosen.low - slack or high > chosen.high + slack:
            raise Beyond(f"values from {low:.4g} to {high:.4g}, beyond range={chosen}")
    wide = values.dtype.kind == "f" and values.dtype.itemsize <= 4
    scaled: NDArray[np.floating[Any]] = values.astype(np.float32 if wide else np.float64)
    scaled -= chosen.low
    scaled *= 255 / (chosen.high - chosen.low)
    return np.rint(scaled, out=scaled).clip(0, 255, out=scaled).astype(np.uint8)
