"""Sheets: every image whole and in its place, to the bit."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ganvas.ops.sheet import BETWEEN, GAP, LARGE, PAPER, WITHIN, enlarged, grid, save_sheet, table, to_uint8


def pixels(n: int, h: int, w: int, c: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (n, h, w, c), dtype=np.uint8)  # never 255, the paper


def floats(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).double() / 127.5 - 1


# ---- levels ----------------------------------------------------------------------------------------------------------
def test_every_grey_level_comes_back() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    assert np.array_equal(to_uint8(floats(levels).float()), levels)
    assert np.array_equal(to_uint8(levels), levels)


def test_what_is_no_level_becomes_the_nearest() -> None:
    values = torch.tensor([-7.0, -1.0, -0.997, 0.0, 0.999, 1.0, 7.0, math.inf, -math.inf, math.nan]).view(1, 1, 1, 10)
    assert to_uint8(values).reshape(-1).tolist() == [0, 0, 0, 128, 255, 255, 255, 255, 0, 0]


def test_weights_and_layouts_do_not_matter() -> None:
    images = floats(pixels(2, 4, 6, 3)).float().to(memory_format=torch.channels_last).requires_grad_()
    assert np.array_equal(to_uint8(images), pixels(2, 4, 6, 3))
    assert np.array_equal(to_uint8(images.bfloat16()), to_uint8(images.detach().bfloat16().float()))


# ---- places ----------------------------------------------------------------------------------------------------------
@given(
    n=st.integers(1, 12),
    h=st.integers(1, 9),
    w=st.integers(1, 9),
    c=st.sampled_from([1, 3]),
    columns=st.none() | st.integers(1, 15),
    scale=st.integers(1, 3),
    pairs=st.booleans(),
)
@settings(deadline=None, max_examples=80)
def test_every_image_lies_whole_in_its_place_and_all_else_is_paper(
    n: int, h: int, w: int, c: int, columns: int | None, scale: int, pairs: bool
) -> None:
    images, partners = pixels(n, h, w, c), pixels(n, h, w, c, seed=1)
    drawn = grid(images, columns, scale, beside=partners if pairs else None)
    sheet = np.asarray(drawn.convert("RGB" if c == 3 else "L")).reshape(drawn.height, drawn.width, c).copy()
    assert drawn.mode == ("RGB" if c == 3 else "L")
    gap = 3 * GAP if pairs else GAP
    cell = (scale * h, scale * w * (2 if pairs else 1) + (WITHIN if pairs else 0))
    across, down = (sheet.shape[1] - gap) / (cell[1] + gap), (sheet.shape[0] - gap) / (cell[0] + gap)
    assert across == int(across)
    assert down == int(down) == math.ceil(n / across)
    if columns is not None:
        assert across == min(columns, n)
    for i in range(n):
        top, left = gap + i // int(across) * (cell[0] + gap), gap + i % int(across) * (cell[1] + gap)
        places = [(left, images)] + ([(left + scale * w + WITHIN, partners)] if pairs else [])
        for start, source in places:
            tile = sheet[top : top + scale * h, start : start + scale * w]
            assert np.array_equal(tile, np.kron(source[i], np.ones((scale, scale, 1), np.uint8)))
            tile[:] = PAPER
    assert (sheet == PAPER).all()


def test_a_sheet_is_nearly_square_of_its_own_accord() -> None:
    for n, h, w in ((64, 32, 32), (32, 32, 64), (10, 64, 32), (1, 64, 64), (7, 100, 100)):
        drawn = grid(pixels(n, h, w, 1))
        assert 0.4 < drawn.width / drawn.height < 2.5


@pytest.mark.parametrize(("side", "factor"), [(1, 64), (8, 8), (28, 2), (32, 2), (33, 1), (64, 1), (200, 1)])
def test_small_images_grow_up_to_64_pixels(side: int, factor: int) -> None:
    assert enlarged(pixels(1, side, side // 2 or 1, 1)).shape[1] == side * factor


def test_a_sheet_is_saved_as_its_name_says(tmp_path: Path) -> None:
    images = pixels(4, 8, 8, 3)
    for name, kind in (("a.png", "PNG"), ("a.jpg", "JPEG"), ("a.webp", "WEBP")):
        save_sheet(floats(images).float(), tmp_path / name, columns=2)
        with Image.open(tmp_path / name) as saved:
            assert (saved.format, saved.size) == (kind, grid(images, 2).size)
            if kind == "PNG":
                assert np.array_equal(np.asarray(saved), np.asarray(grid(images, 2)))
    with pytest.raises(ValueError, match="unknown file extension"):
        save_sheet(images, tmp_path / "a.xyz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "a.png", "a.webp"]


# ---- a table ---------------------------------------------------------------------------------------------------------
def test_a_table_holds_images_of_any_size_each_in_its_place() -> None:
    rows = [[pixels(1, 70, 90, 3, seed=i)[0], pixels(1, 30 + i, 64, 1, seed=9 + i)[0]] for i in range(3)]
    sheet = np.asarray(table(rows))
    assert sheet.shape == (3 * 70 + 4 * GAP, 90 + 64 + 3 * GAP, 3)
    for i, (wide, grey) in enumerate(rows):
        top = GAP + i * (70 + GAP)
        assert np.array_equal(sheet[top : top + 70, GAP : GAP + 90], wide)
        right = sheet[top : top + 70, GAP + 90 + GAP : -GAP]
        assert np.array_equal(right[: 30 + i], grey.repeat(3, 2))
        assert (right[30 + i :] == PAPER).all()


@pytest.mark.parametrize("rows", [4, 5, 9, 16])
@pytest.mark.parametrize("tiles", [1, 2, 3, 5])
@pytest.mark.parametrize("shape", [(64, 64), (64, 128), (190, 64)])
def test_a_table_of_many_rows_is_nearly_square(rows: int, tiles: int, shape: tuple[int, int]) -> None:
    sheet = table([[np.full((*shape, 3), 7, np.uint8)] * tiles] * rows)
    assert 1 / 2.7 < sheet.width / sheet.height < 2.7  # a prime number of rows has no better


def test_rows_of_a_table_that_stand_side_by_side_are_apart() -> None:
    rows = [[pixels(1, 64, 64, 3, seed=i)[0]] * 2 for i in range(4)]
    sheet = np.asarray(table(rows, across=2))
    second = GAP + 2 * (64 + GAP) + BETWEEN
    assert sheet.shape == (2 * (64 + GAP) + GAP, second + 2 * (64 + GAP), 3)
    assert np.array_equal(sheet[GAP : GAP + 64, second : second + 64], rows[1][0])
    assert np.array_equal(sheet[-64 - GAP : -GAP, GAP : GAP + 64], rows[2][0])


def test_a_tables_small_images_grow_by_one_factor_and_its_large_ones_shrink() -> None:
    small = [pixels(1, 20, 16, 3)[0], pixels(1, 10, 30, 3)[0]]
    sheet = np.asarray(table([small]))
    assert np.array_equal(sheet[GAP : GAP + 40, GAP : GAP + 32], small[0].repeat(2, 0).repeat(2, 1))
    assert np.array_equal(sheet[GAP : GAP + 20, 2 * GAP + 32 : -GAP], small[1].repeat(2, 0).repeat(2, 1))
    large = table([[np.full((256, 2048, 3), 7, np.uint8)]])
    assert large.size == (LARGE + 2 * GAP, 64 + 2 * GAP)
