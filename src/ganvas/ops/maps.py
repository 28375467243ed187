"""Label maps for people to look at."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

VOID = 255  # the id of what belongs to no class


def _palette() -> NDArray[np.uint8]:
    """256 colours, all different, the first one black.

    Bit j of a number goes to channel j mod 3, the lowest bits to the highest bits of the channels, so that small
    numbers lie far apart.
    """
    numbers = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        colours[:, bit % 3] |= ((numbers >> bit & 1) << (7 - bit // 3)).astype(np.uint8)
    return colours


PALETTE = _palette()


def coloured(ids: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
    """A colour for each id: uint8 [..., 3] of non-negative integers [...], such as label maps [B, H, W].

    The 255 classes 0..254 have 255 different colours, the same in every picture; void (255) is black. Ids beyond, as
    instances may have, take the colours of the classes over again.
    """
    return PALETTE[np.where(ids == VOID, 0, ids % VOID + 1)]
