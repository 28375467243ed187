"""Label maps and instance maps: whole numbers, one a pixel, from any picture file that holds them without loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganvas.data.colors import RAW, packed, strips
from ganvas.data.geometry import picked
from ganvas.data.pictures import MOST_PIXELS, TURNS, Preparation, opened, orientation_of
from ganvas.data.source import BadPicture, Encoded
from ganvas.data.spec import Size
from ganvas.errors import DataError
from ganvas.ops.maps import VOID

MOST_INSTANCES = 65535  # in one map
LOSSY = ("JPEG", "MPO", "WEBP", "AVIF", "JPEG2000")
AT_ONCE = 1 << 22  # instance ids that are sorted at a time

Ids = NDArray[np.integer[Any]]  # [H, W]


def read_ids(
    picture: Encoded, most: int = MOST_PIXELS, prepare: Callable[[Size], Preparation] | None = None
) -> tuple[Ids, str]:
    """The numbers [H, W] that a file holds, upright, and Pillow's mode: of a palette its indices, of 16 bits all.

    Colors that are all gray and opaque are the gray's number. most: pixels that the map may have. prepare: tells by the
    width and height what the map is resized to, each pixel to the nearest. Raises BadPicture for other colors, a file
    that is lossy, and whatever cannot be read.
    """
    with _opened(picture, most) as (image, mode, spread):
        rows, columns = np.arange(image.height), np.arange(image.width)
        if prepare is not None:
            rows, columns = picked(prepare(image.size), image.size)
        ids: Ids | None = None
        for top, bottom, part in _parts(image, mode):
            first, last = rows.searchsorted((top, bottom))
            if ids is None:
                ids = np.empty((len(rows), len(columns)), part.dtype.newbyteorder("="))
            ids[first:last] = part[rows[first:last, None] - top, columns] if prepare is not None else part
    assert ids is not None
    if spread > 1:
        ids //= spread
    return ids, mode


def mask_values(picture: Encoded, most: int = MOST_PIXELS) -> tuple[bool, bool]:
    """Whether a map holds 0 and 255 alone, as painting programs write masks, and whether it holds 255. Raises
    BadPicture."""
    void = False
    with _opened(picture, most) as (image, mode, spread):
        for _, _, part in _parts(image, mode):
            foreground = part == VOID * spread
            if not (foreground | (part == 0)).all():
                return False, void
            void |= bool(foreground.any())
    return True, void


@contextmanager
def _opened(picture: Encoded, most: int) -> Iterator[tuple[Image.Image, str, int]]:
    """An upright map, Pillow's mode of its file, and what ids are multiplied by in it."""
    with opened(picture, most) as image:
        if image.format in LOSSY:
            raise BadPicture(f"a {image.format} changes ids as it packs them: write label and instance maps as PNG")
        spread = packed(image)
        orientation, mode = orientation_of(image), image.mode
        if mode == "F" or mode in ("CMYK", "YCbCr", "LAB", "HSV") or (mode == "RGB" and RAW in image.info):
            raise _colored(mode)
        yield image.transpose(TURNS[orientation]) if orientation in TURNS else image, mode, spread


def _colored(mode: str) -> BadPicture:
    return BadPicture(f"a picture in colour ({mode}): a map has one whole number a pixel, grey or palette")


def _parts(image: Image.Image, mode: str) -> Iterator[tuple[int, int, Ids]]:
    """Rows of a map, some at a time: from which to which, and their numbers."""
    for top, bottom in strips(image.size):
        part = np.asarray(image.crop((0, top, image.width, bottom)))
        if part.ndim == 3:
            colors, alpha = (part[..., :3], part[..., 3:]) if part.shape[2] > 2 else (part[..., :1], part[..., 1:])
            if (colors != colors[..., :1]).any() or (alpha != 255).any():
                raise _colored(mode)
            part = part[..., 0]
        if part.dtype == np.bool_:
            part = part.astype(np.uint8)
        if part.min() < 0:
            raise BadPicture("has negative ids")
        yield top, bottom, part


def is_mask(ids: Ids) -> bool:
    """Whether a map holds 0 and 255 alone."""
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
