"""Points over their density: each where it belongs, and no point can spoil the drawing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib.axes
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from ganvas.ops.mixtures import mixture
from ganvas.ops.plane import draw_plane, save_plane

SIDE = 640


def pixel(x: float, y: float, half: float = 2.5) -> tuple[int, int]:
    """Row and column of a point in a frame of +-half."""
    left, bottom, size = 0.075, 0.055, 0.88
    across, up = (left + size * (x + half) / (2 * half), bottom + size * (y + half) / (2 * half))
    return round((1 - up) * SIDE), round(across * SIDE)


def around(picture: np.ndarray, x: float, y: float) -> np.ndarray:
    """The mean colour of the nine pixels about a point."""
    row, column = pixel(x, y)
    return picture[row - 1 : row + 2, column - 1 : column + 2].reshape(-1, 3).mean(0)


def test_points_and_modes_lie_where_they_belong() -> None:
    """A mode is blue, a point orange; each axis in its own direction; all else is paper."""
    picture = draw_plane(np.array([[1.0, -0.5], [1.0, -0.5], [1.0, -0.5]]), "ring8")
    assert (picture.dtype, picture.shape) == (np.uint8, (SIDE, SIDE, 3))
    for k in range(8):
        red, _, blue = around(picture, 2 * math.cos(k * math.pi / 4), 2 * math.sin(k * math.pi / 4))
        assert blue > red + 40
    red, _, blue = around(picture, 1.0, -0.5)
    assert red > blue + 100
    for x, y in ((-0.5, 1.0), (0.5, 1.0), (-1.0, 0.5), (0.0, 0.0), (1.5, 0.0)):
        assert (around(picture, x, y) == 255).all()


def test_the_density_is_the_right_way_round() -> None:
    """The spiral has no mirror image: it is blue where it is dense, and paper where only its reflections are."""
    known = mixture("spiral")
    picture = draw_plane(np.zeros((0, 2)), "spiral").astype(int)
    low, high = known.centres.min(0).values, known.centres.max(0).values
    middle, half = (low + high).div(2).tolist(), 1.25 * (high - low).max().item() / 2
    sparse = known.log_density(known.centres).max() - 10
    reflections = 0
    for x, y in known.centres[20::4].tolist():
        red, _, blue = picture[pixel(x - middle[0], y - middle[1], half)]
        assert blue > red + 20
        for place in ((-x, y), (x, -y), (y, x), (-y, -x)):
            if known.log_density(torch.tensor([place])) < sparse:
                assert picture[pixel(place[0] - middle[0], place[1] - middle[1], half)].min() > 240
                reflections += 1
    assert reflections > 20


@pytest.fixture
def captions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The captions that are drawn."""
    told: list[str] = []
    real = matplotlib.axes.Axes.set_title

    def spy(axes: Any, text: str, **how: Any) -> Any:
        told.append(text)
        return real(axes, text, **how)

    monkeypatch.setattr(matplotlib.axes.Axes, "set_title", spy)
    return told


def test_what_is_not_drawn_is_counted(captions: list[str]) -> None:
    points = np.array([[0, 0], [2, 0], [9, 0], [0, -3], [np.nan, 0], [0, np.inf]], np.float32)
    draw_plane(points, "ring8")
    draw_plane(points[:2], "ring8")
    draw_plane(points)  # no density: the frame fits the points
    assert captions == [
        "6 points over ring8, 4 of them outside the frame",
        "2 points over ring8",
        "6 points, 2 of them outside the frame",
    ]


@given(arrays.arrays(np.float32, st.tuples(st.integers(0, 5), st.just(2)), elements=st.floats(width=32)), st.booleans())
@example(np.full((2, 2), 1e30, np.float32), False)
@example(np.array([[1e20, 1], [1e20, 2]], np.float32), False)
@example(np.array([[3e38, -3e38], [-3e38, 3e38]], np.float32), False)
@settings(deadline=None, max_examples=10)
def test_any_points_are_drawn_without_a_warning(points: np.ndarray, over: bool) -> None:
    picture = draw_plane(points, "grid25" if over else None, side=160)
    assert picture.shape == (160, 160, 3)
    assert (picture == 255).any()


def test_a_drawing_is_saved_as_its_name_says(tmp_path: Path) -> None:
    points = np.zeros((3, 2))
    save_plane(points, tmp_path / "deep" / "points.png", "ring8")
    with Image.open(tmp_path / "deep" / "points.png") as saved:
        assert saved.format == "PNG"
        assert np.array_equal(np.asarray(saved), draw_plane(points, "ring8"))
