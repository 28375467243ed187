"""Sheets: many images on one, for people to look at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ganvas.files import atomic
from ganvas.ops.marks import IMAGE, SHEET, save_marked

Images = Tensor | NDArray[np.uint8]  # float [N, C, H, W] in [-1, 1], or uint8 [N, H, W, C]; C is 1 or 3

PLEASANT = 64  # pixels a side up to which small images are enlarged, by whole factors
GAP = 2  # pixels between images
WITHIN = 1  # between an image and the one beside it
BETWEEN = 8  # more of them between rows of a table that stand side by side
LARGE = 512  # pixels a side down to which images of a table are shrunk
PAPER = 255


def to_uint8(images: Images) -> NDArray[np.uint8]:
    """uint8 [N, H, W, C] from floats [N, C, H, W] in [-1, 1]: round((x + 1) * 127.5), clamped. uint8 stays as it is."""
    if isinstance(images, np.ndarray):
        return images
    levels = ((images.detach().float() + 1) * 127.5).round().nan_to_num(0).clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).cpu().numpy()


def grid(
    images: Images, columns: int | None = None, scale: int | None = None, beside: Images | None = None
) -> Image.Image:
    """All images on one sheet, row by row.

    columns: how many images (or pairs) a row; by default the sheet is nearly square. scale: whole factor of
    enlargement; by default images under 64 px grow up to it. beside: as many images of the same size, each put to the
    right of its partner.
    """
    tiles = enlarged(to_uint8(images), scale)
    gap = GAP
    if beside is not None:
        partners = enlarged(to_uint8(beside), scale)
        between = np.full((*tiles.shape[:2], WITHIN, tiles.shape[3]), PAPER, np.uint8)
        tiles, gap = np.concatenate([tiles, between, partners], 2), 3 * GAP
    n, h, w, c = tiles.shape
    columns = min(n, columns or max(1, round(math.sqrt(n * (h + gap) / (w + gap)))))
    rows = math.ceil(n / columns)
    sheet = np.full((rows * (h + gap) + gap, columns * (w + gap) + gap, c), PAPER, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = gap + i // columns * (h + gap), gap + i % columns * (w + gap)
        sheet[top : top + h, left : left + w] = tile
    return Image.fromarray(sheet[..., 0] if c == 1 else sheet)


def strips(rows: Mapping[str, Images], scale: int | None = None) -> Image.Image:
    """One row of images under the other, each with its name before it; images are of one size, names short."""
    font = ImageFont.load_default(13)
    lines = {name: enlarged(to_uint8(images), scale) for name, images in rows.items()}
    h, w = next(iter(lines.values())).shape[1:3]
    left = max(math.ceil(font.getlength(name)) for name in lines) + 4 * GAP
    across = max(len(tiles) for tiles in lines.values())
    sheet = Image.new("RGB", (left + across * (w + GAP), len(lines) * (h + GAP) + GAP), (PAPER,) * 3)
    pen = ImageDraw.Draw(sheet)
    for i, (name, tiles) in enumerate(lines.items()):
        top = GAP + i * (h + GAP)
        pen.text((2 * GAP, top + h // 2), name, fill=(40, 40, 40), font=font, anchor="lm")
        for j, tile in enumerate(tiles):
            picture = Image.fromarray(tile[..., 0] if tile.shape[2] == 1 else tile)
            sheet.paste(picture.convert("RGB"), (left + j * (w + GAP), top))
    return sheet


def table(rows: Sequence[Sequence[NDArray[np.uint8]]], across: int | None = None) -> Image.Image:
    """Rows of images uint8 [H, W, C], of any sizes, C 1 or 3, as many in each row: in colour, each at the top left of
    its place.

    across: how many rows stand side by side, apart by a wider gap; by default so many that the sheet is nearly square.
    All are enlarged by one whole factor if all are under 64 px, and those over 512 px are shrunk to that.
    """
    scale = max(1, PLEASANT // max(max(image.shape[:2]) for row in rows for image in row))
    tiles = [[_tile(image, scale) for image in row] for row in rows]

    def squareness(across: int) -> float:
        lefts, tops = _places(tiles, across)
        return abs(math.log(lefts[-1] / tops[-1]))

    across = min(range(1, len(rows) + 1), key=squareness) if across is None else across
    lefts, tops = _places(tiles, across)
    sheet = Image.new("RGB", (lefts[-1], tops[-1]), (PAPER,) * 3)
    for i, row in enumerate(tiles):
        for j, tile in enumerate(row):
            sheet.paste(tile, (lefts[i % across * len(row) + j], tops[i // across]))
    return sheet


def _places(tiles: Sequence[Sequence[Image.Image]], across: int) -> tuple[list[int], list[int]]:
    """Where each column and each line of a table of tiles begins, with ``across`` rows a line; and its two ends."""
    lefts, tops = [GAP], [GAP]
    for column in range(across):
        for j in range(len(tiles[0])):
            lefts.append(lefts[-1] + max(row[j].width for row in tiles[column::across]) + GAP)
        lefts[-1] += BETWEEN * (column < across - 1)
    for line in range(0, len(tiles), across):
        tops.append(tops[-1] + max(tile.height for row in tiles[line : line + across] for tile in row) + GAP)
    return lefts, tops


def _tile(image: NDArray[np.uint8], scale: int) -> Image.Image:
    pixels = enlarged(image[None], scale)[0]
    tile = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    tile.thumbnail((LARGE, LARGE), Image.Resampling.LANCZOS)
    return tile


def enlarged(tiles: NDArray[np.uint8], scale: int | None = None) -> NDArray[np.uint8]:
    """Images [N, H, W, C] enlarged by a whole factor; by default up to 64 px."""
    scale = scale or max(1, PLEASANT // max(tiles.shape[1:3]))
    return tiles.repeat(scale, 1).repeat(scale, 2)


def save_sheet(
    images: Images,
    path: Path,
    columns: int | None = None,
    scale: int | None = None,
    beside: Images | None = None,
) -> None:
    """Writes `grid` of the images to ``path``, whole or not at all; its suffix says the format."""
    save_image(grid(images, columns, scale, beside), path)


def save_image(image: Image.Image, path: Path) -> None:
    """Writes a picture, whole or not at all; its suffix says the format. It is marked as a sheet, so that it is never
    taken for data."""
    with atomic(path) as part:
        save_marked(image, part, SHEET)


def save_pixels(pixels: NDArray[np.uint8], path: Path) -> None:
    """Writes one image uint8 [H, W, C], C 1 or 3, at its own size, whole or not at all, marked as an image of ours."""
    with atomic(path) as part:
        save_marked(as_image(pixels), part, IMAGE)


def as_image(pixels: NDArray[np.uint8]) -> Image.Image:
    """Pixels uint8 [H, W, C], C 1 or 3, as a Pillow image."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
