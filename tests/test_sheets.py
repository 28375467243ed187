"""What training draws at a checkpoint: what the verbs allow, the same every time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ganvas import ways
from ganvas.data import open_data
from ganvas.errors import RunError
from ganvas.game import Game
from ganvas.ops.legend import ids_in, with_legend
from ganvas.ops.maps import coloured
from ganvas.ops.plane import draw_plane
from ganvas.ops.sheet import grid, strips
from ganvas.sheets import PAIRS, POINTS, SAMPLES, remove_sheets, save_sheets, sheets_missing
from paintings import Dimmer, Painter, labels, paired, unpaired


class Dim(Game):
    """Halves what it sees; remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.N = nn.Linear(1, 1)
        self.labels: Tensor | None = None

    def reconstruct(self, x: Tensor, *, seed: int = 0, first: int = 0, label: Tensor | None = None) -> Tensor:
        self.labels = label
        return x / 2


class Bright(Dim):
    """Draws noise, of images or of points, too."""

    points = False

    def sample(self, n: int, *, seed: int = 0, first: int = 0, **how: Any) -> Tensor:
        torch.manual_seed(seed)
        return torch.randn(n, 2) if self.points else torch.rand(n, 1, 32, 32) * 2 - 1


def drawn(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_samples_and_reconstructions_are_drawn_as_the_verbs_allow(tmp_path: Path) -> None:
    data = open_data("digits?split=test")
    rows = data.tensors(np.arange(PAIRS))
    save_sheets(tmp_path / "both", Bright(), data, 30)
    save_sheets(tmp_path / "one", game := Dim(), data, 30)
    assert sorted(os.listdir(tmp_path / "both")) == ["reconstructions-00000030.png", "samples-00000030.png"]
    assert os.listdir(tmp_path / "one") == ["reconstructions-00000030.png"]
    want = grid(rows["image"], beside=rows["image"] / 2)
    for folder in ("both", "one"):
        assert np.array_equal(drawn(tmp_path / folder / "reconstructions-00000030.png"), np.asarray(want))
    assert np.array_equal(drawn(tmp_path / "both" / "samples-00000030.png"), np.asarray(grid(Bright().sample(SAMPLES))))
    assert game.labels is not None
    assert torch.equal(game.labels, rows["label"])


def test_the_same_game_draws_the_same_again(tmp_path: Path) -> None:
    data = open_data("digits?split=test")
    for step in (1, 2):
        save_sheets(tmp_path, Bright(), data, step)
        torch.rand(3)
    for kind in ("samples", "reconstructions"):
        assert np.array_equal(drawn(tmp_path / f"{kind}-00000001.png"), drawn(tmp_path / f"{kind}-00000002.png"))


def test_large_pictures_are_drawn_a_few_at_a_time_and_look_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counting(Bright):
        def __init__(self) -> None:
            super().__init__()
            self.rows: list[int] = []

        def sample(self, n: int, *, seed: int = 0, first: int = 0, **how: Any) -> Tensor:
            self.rows.append(n)
            return torch.linspace(-1, 1, SAMPLES)[first : first + n].view(-1, 1, 1, 1).expand(n, 1, 32, 32)

        def reconstruct(self, x: Tensor, **how: Any) -> Tensor:
            self.rows.append(len(x))
            return super().reconstruct(x, **how)

    data = open_data("digits?split=test")
    save_sheets(tmp_path / "together", Counting(), data, 1)
    monkeypatch.setattr(ways, "PIXELS", 3 * 32 * 32)
    save_sheets(tmp_path / "apart", game := Counting(), data, 1)
    assert max(game.rows) == 3
    assert sum(game.rows) == SAMPLES + PAIRS
    for name in ("samples-00000001.png", "reconstructions-00000001.png"):
        assert (tmp_path / "together" / name).read_bytes() == (tmp_path / "apart" / name).read_bytes()


def test_sheets_that_lack_are_known_and_those_of_later_steps_are_removed(tmp_path: Path) -> None:
    data, game = open_data("digits?split=test"), Bright()
    for step in (1, 2, 3):
        save_sheets(tmp_path, game, data, step)
    (tmp_path / "mine.png").touch()
    remove_sheets(tmp_path, 1)
    assert sorted(os.listdir(tmp_path)) == ["mine.png", "reconstructions-00000001.png", "samples-00000001.png"]
    assert not sheets_missing(tmp_path, game, data, 1)
    (tmp_path / "samples-00000001.png").unlink()
    assert sheets_missing(tmp_path, game, data, 1)


def test_points_are_drawn_over_their_density(tmp_path: Path) -> None:
    game = Bright()
    game.points = True
    save_sheets(tmp_path, game, open_data("mixture:ring8"), 5)
    assert os.listdir(tmp_path) == ["samples-00000005.png"]
    want = draw_plane(game.sample(POINTS).numpy(), "ring8")
    assert np.array_equal(drawn(tmp_path / "samples-00000005.png"), want)


def test_a_sheet_that_finds_no_room_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "samples").write_text("in the way")
    with pytest.raises(RunError, match="samples cannot be written: Not a directory; free some space"):
        save_sheets(tmp_path / "samples", Bright(), open_data("digits?split=test"), 5)


# ---- translations ----------------------------------------------------------------------------------------------------
def strips_of(rows: dict[str, Any]) -> np.ndarray:
    return np.asarray(strips(rows))


def test_translations_of_unpaired_pictures_stand_between_them_and_what_comes_back(tmp_path: Path) -> None:
    data = open_data(unpaired(tmp_path / "data", trainA=9, trainB=3))
    save_sheets(tmp_path / "out", game := Dimmer(), data, 4)
    (path,) = (tmp_path / "out").iterdir()
    assert path.name == "translations-00000004.png"
    a = data.domain("A").tensors(np.array([0, 1, 2, 3, 5, 6, 7, 8]))["image"]
    b = data.domain("B").tensors(np.arange(3))["image"]
    to_b, again = game.translate(a), game.translate(b)
    want = {"A": a, "to B": to_b, "A again": to_b, "B": b, "to A": b, "B again": again}
    assert np.array_equal(drawn(path), strips_of(want))


@pytest.mark.parametrize("directions", [("AtoB",), ("BtoA",), ("AtoB", "BtoA")])
def test_translations_of_pairs_stand_between_their_sides(tmp_path: Path, directions: tuple[str, ...]) -> None:
    data = open_data(paired(tmp_path / "data"))
    game = Dimmer()
    game.directions = directions
    save_sheets(tmp_path / "out", game, data, 4)
    x = data.tensors(np.arange(3))
    want: dict[str, Any] = {}
    for direction in directions:
        a, b = direction.split("to")
        want |= {a: x[a], f"to {b}": game.translate(x[a], direction=direction), f"real {b}": x[b]}
    assert np.array_equal(drawn(tmp_path / "out" / "translations-00000004.png"), strips_of(want))


def test_pictures_of_label_maps_stand_between_them_in_colours_and_the_photographs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few at a time are translated."""
    data = open_data(labels(tmp_path / "data", instances=True))
    monkeypatch.setattr(ways, "PIXELS", 2 * 32 * 32)
    save_sheets(tmp_path / "out", game := Painter({0: 2}, bounded=True), data, 4)
    assert [len(x) for x in game.instances if x is not None] == [2, 1]
    x = data.tensors(np.arange(3))
    want = {"labels": coloured(x["labels"].numpy()), "to image": game.translate(x["labels"]), "real image": x["image"]}
    sheet, without = drawn(tmp_path / "out" / "translations-00000004.png"), strips_of(want)
    assert np.array_equal(sheet[: len(without)], without)
    below = with_legend(Image.fromarray(without), ids_in(x["labels"].numpy()))
    assert np.array_equal(sheet, np.asarray(below))
    assert coloured(x["labels"].numpy()[:, :8, :8]).max() == 0  # void


def test_wide_pictures_are_fewer_on_a_sheet(tmp_path: Path) -> None:
    data = open_data(f"{labels(tmp_path / 'data')}?load_size=1024x32")
    save_sheets(tmp_path / "out", Painter(), data, 1)
    assert drawn(tmp_path / "out" / "translations-00000001.png").shape[1] < 2 * 1100
