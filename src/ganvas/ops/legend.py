"""A legend of label maps: which color stands for which id."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ganvas.ops.maps import VOID, coloured

SMALLEST, LARGEST = 13, 32  # pixels of the letters
PER_LETTER = 80  # pixels of a sheet's width to each pixel of the letters, so that they can be read when it is shrunk
INK, FRAME, PAPER = (40, 40, 40), (150, 150, 150), (255, 255, 255)


def ids_in(*maps: NDArray[np.integer[Any]]) -> list[int]:
    """The ids that occur in label maps of any shapes, in order."""
    return sorted({int(one) for ids in maps for one in np.unique(ids)})


def legend(ids: list[int], width: int) -> Image.Image:
    """A strip of about ``width`` pixels with the color and the number of each of ``ids``, which are in columns.

    It is as wide as the widest entry at least.
    """
    size = min(LARGEST, max(SMALLEST, width // PER_LETTER))
    font = ImageFont.load_default(size)
    texts = [f"{one} void" if one == VOID else str(one) for one in ids]
    gap, swatch = size // 2, size
    column = 2 * gap + swatch + max(math.ceil(font.getlength(text)) for text in texts) + gap
    columns = max(1, min(len(ids), (width - gap) // column))
    line = size + gap
    strip = Image.new("RGB", (max(width, columns * column + gap), math.ceil(len(ids) / columns) * line + gap), PAPER)
    pen = ImageDraw.Draw(strip)
    for i, (color, text) in enumerate(zip(coloured(np.array(ids)).tolist(), texts, strict=True)):
        left, top = gap + i % columns * column, gap + i // columns * line
        pen.rectangle((left, top, left + swatch - 1, top + swatch - 1), fill=tuple(color), outline=FRAME)
        pen.text((left + swatch + gap, top + swatch // 2), text, fill=INK, font=font, anchor="lm")
    return strip


def with_legend(sheet: Image.Image, ids: list[int]) -> Image.Image:
    """A sheet with the legend of the label maps on it below; without ids the sheet itself."""
    if not ids:
        return sheet
    strip = legend(ids, sheet.width)
    both = Image.new("RGB", (max(sheet.width, strip.width), sheet.height + strip.height), PAPER)
    both.paste(sheet.convert("RGB"), (0, 0))
    both.paste(strip, (0, sheet.height))
    return both
