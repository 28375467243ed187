"""Label maps and instance maps: whole numbers, one a pixel, from any picture file that holds them without loss."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ganvas.data.pictures import TURNS, opened, orientation_of
from ganvas.data.source import BadPicture, Encoded
from ganvas.errors import DataError
from ganvas.ops.maps import VOID

MOST_INSTANCES = 65535  # in one map
LOSSY = ("JPEG", "WEBP", "AVIF", "JPEG2000")
PACKED = {"L;2": 85, "L;4": 17}  # Pillow spreads grey levels of few bits over 0..255: what it multiplies by

Ids = NDArray[np.int64]  # [H, W]


def read_ids(picture: Encoded) -> tuple[Ids, str]:
    """The numbers [H, W] that a file holds, upright, and Pillow's mode: of a palette its indices, of 16 bits all.

    Raises BadPicture for a colour picture, one that is lossy, and whatever cannot be read.
    """
    with opened(picture) as image:
        if image.format in LOSSY:
            raise BadPicture(f"a {image.format} changes ids as it packs them: write label and instance maps as PNG")
        tiles = getattr(image, "tile", None)
        raw = tiles[0][3] if tiles else None
        packed = PACKED.get(raw, 1) if isinstance(raw, str) else 1
        orientation, mode = orientation_of(image), image.mode
        if mode not in ("1", "L", "P") and not mode.startswith("I"):
            raise BadPicture(f"a picture in colour ({mode}): a map has one whole number a pixel, grey or palette")
        if orientation in TURNS:
            image = image.transpose(TURNS[orientation])
        ids = np.asarray(image).astype(np.int64) // packed
    if ids.min() < 0:
        raise BadPicture("has negative ids")
    return ids, mode


def labels_of(ids: Ids, name: str) -> NDArray[np.uint8]:
    """Label ids as bytes. Raises DataError for an id that no class can have, BadPicture where all is void."""
    if (top := int(ids.max())) > VOID:
        raise DataError(f"{name} has the label id {top}: ids go from 0 to 254, and 255 is void.")
    if ids.min() == VOID:
        raise BadPicture("is void (255) all over")
    return ids.astype(np.uint8)


def instances_of(ids: Ids) -> NDArray[np.uint16]:
    """Instance ids as 0, 1, ... in the order of the file's ids. Raises BadPicture where there are too many."""
    known, dense = np.unique(ids, return_inverse=True)
    if len(known) > MOST_INSTANCES:
        raise BadPicture(f"has {len(known)} instances: at most {MOST_INSTANCES} are read")
    return dense.reshape(ids.shape).astype(np.uint16)
