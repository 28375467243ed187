"""Colours of label maps: a class has one colour everywhere, and no other class has it."""

from __future__ import annotations

import numpy as np
import pytest

from ganvas.ops.maps import VOID, coloured


def test_every_class_has_a_colour_of_its_own_and_void_is_black() -> None:
    colours = coloured(np.arange(256, dtype=np.uint8))
    assert colours.dtype == np.uint8
    assert colours.shape == (256, 3)
    assert len(np.unique(colours, axis=0)) == 256
    assert colours[VOID].tolist() == [0, 0, 0]


def test_the_classes_of_a_street_lie_far_apart() -> None:
    colours = coloured(np.append(np.arange(35), VOID)).astype(int)
    apart = np.abs(colours[:, None] - colours[None]).max(2)
    assert apart[~np.eye(36, dtype=bool)].min() >= 64


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_a_map_keeps_its_shape_and_ids_beyond_take_the_colours_over_again(dtype: type) -> None:
    maps = np.random.default_rng(0).integers(0, 255, (2, 3, 5)).astype(dtype)
    assert np.array_equal(coloured(maps)[1, 2, 4], coloured(maps[1, 2, 4:])[0])
    assert np.array_equal(coloured(np.array([256 + 254])), coloured(np.array([0])))
