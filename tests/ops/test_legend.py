"""The legend of label maps: every id that is there, in its color, where people can read it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ganvas.ops.legend import ids_in, legend, with_legend
from ganvas.ops.maps import VOID, coloured


def colors(picture: Image.Image) -> set[tuple[int, ...]]:
    return {color for _, color in picture.convert("RGB").getcolors(1 << 24) or []}  # type: ignore[misc]


def test_the_ids_are_those_that_occur() -> None:
    assert ids_in(np.array([[3, 3], [0, 255]], np.uint8), np.array([7])) == [0, 3, 7, 255]
    assert ids_in() == []


@pytest.mark.parametrize("width", [20, 140, 800, 3000])
@pytest.mark.parametrize("ids", [[0], [4, 11], [*range(36), VOID], list(range(256))])
def test_every_id_has_a_patch_of_its_color(ids: list[int], width: int) -> None:
    strip = legend(ids, width)
    assert strip.width >= width
    found = colors(strip)
    assert {tuple(color) for color in coloured(np.array(ids)).tolist()} <= found
    others = sorted(set(range(256)) - set(ids))
    plain = {tuple(color) for color in coloured(np.array(others, int)).tolist()} if others else set()
    grays = {color for color in found if len(set(color)) == 1}
    assert not (plain & (found - grays))


def test_letters_grow_with_the_sheet_and_rows_are_broken() -> None:
    few, many = legend([1, 2], 400), legend(list(range(60)), 400)
    assert many.height > 3 * few.height
    assert many.width == few.width == 400
    assert legend([1, 2], 2400).height > 1.8 * few.height


def test_different_ids_have_different_letters() -> None:
    first, second = (np.asarray(legend([one], 60)).min(2)[:, 25:] for one in (3, 8))
    assert (first < 100).any()
    assert not np.array_equal(first, second)


def test_it_stands_below_the_sheet_and_only_where_there_are_ids() -> None:
    sheet = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 50), np.uint8))
    assert with_legend(sheet, []) is sheet
    both = with_legend(sheet, [2, VOID])
    assert np.array_equal(np.asarray(both)[:30, :50], np.asarray(sheet.convert("RGB")))
    assert both.height > 40
