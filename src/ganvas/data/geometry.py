"""How whole pictures and maps of several sizes come to the size that a spec asks for, and windows of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganvas.data.pictures import Preparation
from ganvas.data.spec import Size, Spec
from ganvas.streams import Purpose, bits

LOAD_SIZE, CROP = (286, 286), (256, 256)  # the published defaults, where nothing is said and sizes differ

Array = NDArray[Any]
Corners = NDArray[np.int64]  # [B, 2]: top and left of each row's window


@dataclass(frozen=True)
class Geometry:
    """What is done to each whole picture before any window is drawn: at most one of the three, None of all: nothing.

    size: prepared to it, as `Preparation` says (crop, resize). load_size: stretched to it. scale_width: scaled to that
    width, its height rounded.
    """

    size: Size | None = None
    load_size: Size | None = None
    scale_width: int | None = None
    crop: str | Size = "centre"
    resize: str = "bicubic"

    @classmethod
    def of(cls, spec: Spec) -> Geometry:
        """As a spec says."""
        return cls(spec.size, spec.load_size, spec.scale_width)

    def preparation(self, own: Size, channels: int = 3) -> Preparation:
        """What is done to a picture of that width and height."""
        if self.size is not None:
            return Preparation(self.size, self.crop, self.resize, channels)
        width, height = own
        if self.scale_width is not None:
            height = max(1, round(height * self.scale_width / width))
            width = self.scale_width
        return Preparation(self.load_size or (width, height), crop="none", channels=channels)


def nearest(values: Array, preparation: Preparation) -> Array:
    """A map [H, W] of any type, its window resized to the nearest value: the pixel under the centre of each new one."""
    rows, columns = picked(preparation, (values.shape[1], values.shape[0]))
    return np.ascontiguousarray(values[rows[:, None], columns])


def picked(preparation: Preparation, size: Size) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The rows and the columns of a map of that width and height that `nearest` takes."""
    left, top, right, bottom = preparation.window(*size)
    width, height = preparation.size
    rows = np.floor(top + (np.arange(height) + 0.5) * ((bottom - top) / height)).astype(np.intp)
    columns = np.floor(left + (np.arange(width) + 0.5) * ((right - left) / width)).astype(np.intp)
    return rows, columns


def centred(sizes: Array, window: Size) -> Corners:
    """The corners of the centred windows of pictures of those sizes [B, 2] (height, width)."""
    return np.asarray((sizes.astype(np.int64) - window[::-1]) // 2)


def drawn(sizes: Array, window: Size, numbers: NDArray[np.uint64]) -> Corners:
    """Corners [B, 2] anywhere, by two random numbers each."""
    room = sizes.astype(np.int64) - window[::-1] + 1
    return np.asarray((numbers.reshape(-1, 2) % room.astype(np.uint64)).astype(np.int64))


def coins(n: int, seed: int, step: int, side: int = 0) -> NDArray[np.bool_]:
    """Which rows of a step's whole batch of n are mirrored."""
    return np.asarray((bits(n, seed, step, Purpose.FLIP, side) >> np.uint64(63)).astype(bool))


def lots(n: int, seed: int, step: int, side: int = 0) -> NDArray[np.uint64]:
    """Two random numbers for the window of each row of a step's whole batch of n: [n, 2]."""
    return bits(2 * n, seed, step, Purpose.SOURCE, side).reshape(n, 2)


def cut(picture: Array, corner: Corners, window: Size, mirrored: bool) -> Array:
    """The window of a picture or map [H, W, ...] at that corner, mirrored left to right or not: a view."""
    (top, left), (width, height) = corner, window
    part = picture[top : top + height, left : left + width]
    return part[:, ::-1] if mirrored else part
