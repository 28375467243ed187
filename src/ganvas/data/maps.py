"""Label maps and instance maps: whole numbers, one a pixel, from any picture file that holds them without loss."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganvas.data.colors import RAW, packed, strips
from ganvas.data.pictures import MOST_PIXELS, TURNS, opened, orientation_of
from ganvas.data.source import BadPicture, Encoded
from ganvas.errors import DataError
from ganvas.ops.maps import VOID

MOST_INSTANCES = 65535  # in one map
LOSSY = ("JPEG", "MPO", "WEBP", "AVIF", "JPEG2000")
AT_ONCE = 1 << 22  # instance ids that are sorted at a time

Ids = NDArray[np.integer[Any]]  # [H, W]


def read_ids(picture: Encoded, most: int = MOST_PIXELS) -> tuple[Ids, str]:
    """The numbers [H, W] that a file holds, upright, and Pillow's mode: of a palette its indices, of 16 bits all.

    Colors that are all gray and opaque are the gray's number. most: pixels that the map may have. Raises BadPicture for
    other colors, a file that is lossy, and whatever cannot be read.
    """
    with opened(picture, most) as image:
        if image.format in LOSSY:
            raise BadPicture(f"a {image.format} changes ids as it packs them: write label and instance maps as PNG")
        spread = packed(image)
        orientation, mode = orientation_of(image), image.mode
        if mode == "F" or mode in ("CMYK", "YCbCr", "LAB", "HSV") or (mode == "RGB" and RAW in image.info):
            raise _colored(mode)
        if orientation in TURNS:
            image = image.transpose(TURNS[orientation])
        ids = _numbers(image, mode)
        if spread > 1:
            ids //= spread
    if ids.min() < 0:
        raise BadPicture("has negative ids")
    return ids, mode


def _colored(mode: str) -> BadPicture:
    return BadPicture(f"a picture in colour ({mode}): a map has one whole number a pixel, grey or palette")


def _numbers(image: Image.Image, mode: str) -> Ids:
    """The numbers of an image, in the type that holds them, a strip at a time."""
    ids: Ids | None = None
    for top, bottom in strips(image.size):
        part = np.asarray(image.crop((0, top, image.width, bottom)))
        if part.ndim == 3:
            colors, alpha = (part[..., :3], part[..., 3:]) if part.shape[2] > 2 else (part[..., :1], part[..., 1:])
            if (colors != colors[..., :1]).any() or (alpha != 255).any():
                raise _colored(mode)
            part = part[..., 0]
        if part.dtype == np.bool_:
            part = part.astype(np.uint8)
        if ids is None:
            ids = np.empty((image.height, image.width), part.dtype.newbyteorder("="))
        ids[top:bottom] = part
    assert ids is not None
    return ids


def is_mask(ids: Ids) -> bool:
    """Whether a map holds 0 and 255 alone, as painting programs write masks."""
    return bool(((ids == 0) | (ids == VOID)).all())


def labels_of(ids: Ids, name: str, *, masks: bool = False) -> NDArray[np.uint8]:
    """Label ids as bytes, where 255 is void; of ``masks`` of 0 and 255, the classes 0 and 1.

    Raises DataError for an id that no class can have, BadPicture where all is void.
    """
    if masks:
        if int(ids.max()) <= 1:
            return ids.astype(np.uint8)
        if not is_mask(ids):
            some = ", ".join(str(value) for value in np.unique(ids)[:5].tolist())
            raise DataError(
                f"{name} has the ids {some}: masks (void=none) hold 0 and 255 alone, or 0 and 1; leave void=none away."
            )
        return (ids == VOID).astype(np.uint8)
    if (top := int(ids.max())) > VOID:
        raise DataError(f"{name} has the label id {top}: ids go from 0 to 254, and 255 is void.")
    if ids.min() == VOID:
        raise BadPicture("is void (255) all over")
    return ids.astype(np.uint8)


def instances_of(ids: Ids) -> NDArray[np.uint16]:
    """Instance ids as 0, 1, ... in the order of the file's ids. Raises BadPicture where there are too many."""
    flat = ids.reshape(-1)
    parts = [flat[start : start + AT_ONCE] for start in range(0, flat.size, AT_ONCE)]
    known = np.unique(parts[0])
    for part in parts[1:]:
        known = np.union1d(known, part)
    if len(known) > MOST_INSTANCES:
        raise BadPicture(f"has {len(known)} instances: at most {MOST_INSTANCES} are read")
    dense = np.empty(flat.size, np.uint16)
    for number, part in enumerate(parts):
        dense[number * AT_ONCE : number * AT_ONCE + part.size] = np.searchsorted(known, part)
    return dense.reshape(ids.shape)
