from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from drawing import everything, noise, write
from PIL import Image

from ganvas.data import Dataset, contact_sheet, open_data
from ganvas.ops.sheet import GAP, PLEASANT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ninety pictures of nine colours, ten of each, one colour after another."""
    colours = np.linspace(0, 240, 9).astype(np.uint8)
    files = {f"{i // 10}/{i % 10}.png": np.full((8, 16, 3), colours[i // 10]) for i in range(90)}
    return write(tmp_path, {"train/notes.txt": b"", **{f"train/{name}": pixels for name, pixels in files.items()}})


def test_what_was_found_is_one_json_object(folder: Path) -> None:
    write(folder, {"train/3/bad.png": b"", "test/3/1.png": noise(1, 8, 16, 3)})
    data = open_data(f"{folder}?max-bad=5%&flip=true")
    found = json.loads(json.dumps(data.found))
    assert found.pop("fingerprint") == data.fingerprint
    assert found == {
        "kind": "images",
        "layout": "folder of pictures",
        "spec": f"{folder}?flip=true&max-bad=0.05",
        "split": "train",
        "rows": 90,
        "splits": {"train": 90, "test": 1},
        "fields": {"image": [3, 8, 16], "label": []},
        "classes": {str(i): 10 for i in range(9)},
        "sizes": {"16x8": 91},
        "different_sizes": 1,
        "extremes": ["16x8", "16x8"],
        "modes": {"RGB": 91},
        "bad": {"count": 1, "of": 92, "files": {"train/3/bad.png": "not a picture that can be read"}},
        "arrangement": ["splits train, test", "9 classes by folder"],
        "left_out": [{"reason": "not an image file (.txt)", "count": 1, "names": ["train/notes.txt"]}],
        "notes": [],
    }


@pytest.mark.parametrize("prefer", [(), ("unpaired", "paired"), ("labels",)])
def test_who_asks_makes_no_difference_where_a_layout_is_of_one_kind(prefer: tuple[str, ...], folder: Path) -> None:
    data = open_data(str(folder), prefer=prefer)
    assert data.found == open_data(str(folder)).found
    assert data.kind == "images"


def test_a_part_is_the_split_that_the_spec_would_open(folder: Path) -> None:
    write(folder, {"test/3/1.png": noise(1, 8, 16, 3)})
    data = open_data(str(folder))
    part, opened = data.part("test"), open_data(f"{folder}?split=test")
    assert part.found == opened.found
    assert np.array_equal(everything(part), everything(opened))
    assert data.part("train").fingerprint == data.fingerprint != part.fingerprint
    assert "90 rows of train" in repr(data)


# ---- the contact sheet -----------------------------------------------------------------------------------------------
def tiles(sheet: Image.Image, columns: int, rows: int, width: int, height: int) -> np.ndarray:
    """The images on a sheet, [rows * columns, height, width, 3]; it has the size for so many."""
    assert sheet.size == (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP)
    pixels = np.asarray(sheet)[GAP:, GAP:]
    grid = pixels.reshape(rows, height + GAP, columns, width + GAP, *pixels.shape[2:])
    return grid[:, :height, :, :width].swapaxes(1, 2).reshape(rows * columns, height, width, *pixels.shape[2:])


def test_a_contact_sheet_shows_rows_from_the_whole_set(folder: Path) -> None:
    data = open_data(str(folder))
    shown = tiles(contact_sheet(data, 18), 3, 6, PLEASANT, PLEASANT // 2)  # nearly square, enlarged by whole factors
    assert np.array_equal(np.unique(shown), np.unique(everything(data)))  # every class is there
    rows = np.linspace(0, 89, 18).round().astype(int)
    assert np.array_equal(shown, data.pixels(rows).repeat(4, 1).repeat(4, 2))


@pytest.mark.parametrize(("n", "columns", "rows"), [(1, 1, 1), (4, 2, 2), (64, 8, 8), (500, 8, 8)])
def test_a_contact_sheet_of_digits_is_square(n: int, columns: int, rows: int) -> None:
    shown: Dataset = open_data("digits?limit=64&split=test")
    assert tiles(contact_sheet(shown, n), columns, rows, PLEASANT, PLEASANT).shape == (columns * rows, 64, 64)


def test_a_contact_sheet_of_points_shows_them_over_their_density() -> None:
    sheet, other = (np.asarray(contact_sheet(open_data(f"mixture:{name}?limit=500"))) for name in ("ring8", "grid25"))
    assert sheet.shape == other.shape
    assert sheet.shape[0] >= 200
    assert not np.array_equal(sheet, other)
