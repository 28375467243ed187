from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import folders
from ganvas.data import open_data
from ganvas.errors import DataError, UsageError
from ganvas.inputs import class_number, fitting
from ganvas.run import Run

CATS = {"schema": {"image": [3, 24, 40]}, "classes": [], "leaves": {}}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photographs in colour, 100x90."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.jpg"):
        pixels = np.random.default_rng(len(name)).integers(0, 256, (90, 100, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def run(tmp_path: Path, **changes: object) -> Run:
    return folders.build(tmp_path / "run", **{"data": "digits", "leaves": {}, **changes})


def test_other_data_is_prepared_to_the_size_and_channels_of_the_run(tmp_path: Path, photos: Path) -> None:
    assert fitting(run(tmp_path), str(photos)).schema["image"] == (1, 32, 32)
    wide = folders.build(tmp_path / "wide", data="elsewhere", **CATS)
    dataset = fitting(wide, f"{photos}?flip=true&limit=1")
    assert dataset.schema["image"] == (3, 24, 40)
    assert len(dataset) == 1
    assert fitting(wide, f"{photos}?size=40x24&channels=rgb").schema["image"] == (3, 24, 40)


def test_the_runs_own_source_is_prepared_as_it_was(tmp_path: Path, photos: Path) -> None:
    own = f"{photos}?size=24&crop=60&resize=bilinear"
    cropped = folders.build(tmp_path / "run", data=own, schema={"image": [3, 24, 24]}, classes=[], leaves={})
    again = fitting(cropped, f"{photos}?limit=1")
    assert again.spec == f"{photos}?size=24&crop=60&resize=bilinear&limit=1"
    assert fitting(cropped, str(photos)).fingerprint == fitting(cropped).fingerprint
    assert fitting(cropped, f"{photos}/a.png").spec == f"{photos}/a.png?size=24&channels=rgb"


def test_numbers_are_read_by_the_range_that_the_run_was_trained_with(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 2 * 6 * 5).reshape(2, 1, 6, 5)
    np.save(tmp_path / "own.npy", values)
    np.save(tmp_path / "other.npy", values[:1])
    Image.fromarray((values[0, 0]).astype(np.float32)).save(tmp_path / "one.tif")
    trained = open_data(str(tmp_path / "own.npy"))
    known = folders.build(tmp_path / "run", data=trained.spec, schema={"image": [1, 6, 5]}, classes=[], leaves={})
    rows = np.arange(1)
    for name in ("own.npy", "other.npy", "one.tif"):
        assert np.array_equal(fitting(known, str(tmp_path / name)).pixels(rows), trained.pixels(rows)), name
    assert fitting(known, str(tmp_path / "own.npy")).fingerprint == trained.fingerprint


def test_a_note_says_that_the_runs_own_data_has_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fingerprint = fitting(run(tmp_path)).fingerprint
    assert "its content has changed since" in capsys.readouterr().err
    same = folders.build(tmp_path / "same", data="digits", leaves={}, fingerprint=fingerprint)
    assert len(fitting(same)) == 1437
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("asked", ["size=64", "size=32x31", "channels=rgb", "size=32&channels=rgb"])
def test_another_size_or_channels_than_the_runs_are_refused(tmp_path: Path, asked: str) -> None:
    with pytest.raises(UsageError, match="takes grey images of 32x32: leave size and channels away"):
        fitting(run(tmp_path), f"photos?{asked}")


def test_points_are_no_pictures_nor_the_other_way_round(tmp_path: Path) -> None:
    points = folders.build(tmp_path / "points", data="mixture:ring8", schema={"vector": [2]}, classes=[], leaves={})
    assert fitting(points, "mixture:grid25?limit=9").mixture == "grid25"
    with pytest.raises(DataError, match=r"takes vector \[2\], and digits has image \[1, 32, 32\], label \[\]"):
        fitting(points, "digits")
    with pytest.raises(DataError, match=r"takes image \[1, 32, 32\], and mixture:ring8 has vector \[2\]"):
        fitting(run(tmp_path), "mixture:ring8")


def test_a_conditional_run_needs_its_classes_where_images_are_encoded(tmp_path: Path, photos: Path) -> None:
    conditional = run(tmp_path, leaves={"conditional": True})
    assert fitting(conditional, "digits?split=test").schema.classes == tuple("0123456789")
    with pytest.raises(UsageError, match=rf"needs a class of each image \(0, 1, .*\), which {photos} has not"):
        fitting(conditional, str(photos))
    assert fitting(conditional, str(photos), labelled=False).schema["image"] == (1, 32, 32)


# ---- rows of several pictures ----------------------------------------------------------------------------------------
def streets(root: Path, width: int = 24, classes: int = 3) -> Path:
    """Label maps and photographs in two splits."""
    generator = np.random.default_rng(width)
    for split in ("train", "test"):
        for name in "abc":
            shape = (18, width)
            ids = generator.integers(0, classes, shape, np.uint8)
            ids[0, 0] = classes - 1
            for member, pixels in (("label", ids), ("img", generator.integers(0, 256, (*shape, 3), np.uint8))):
                folder = root / f"{split}_{member}"
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / f"{name}.png")
    return root


MAPS: dict[str, object] = {"system": "pix2pix", "leaves": {}, "classes": ["0", "1", "2"]}


def test_rows_of_several_pictures_are_prepared_as_the_runs_own(tmp_path: Path) -> None:
    own, other = streets(tmp_path / "own"), streets(tmp_path / "other", width=28)
    spec = f"labels:{own}?crop=16x12&scale_width=20"
    of_maps = folders.build(
        tmp_path / "run", data=spec, schema={"labels": [12, 16], "image": [3, 12, 16]}, **MAPS
    )  # fmt: skip
    for asked in (None, str(own), f"labels:{own}"):
        data = fitting(of_maps, asked)
        assert (data.spec, data.schema["image"]) == (spec, (3, 12, 16))
    assert fitting(of_maps, str(other)).spec == f"labels:{other}?crop=16x12&scale_width=20"
    assert fitting(of_maps, f"{other}?size=10x8").schema["image"] == (3, 8, 10)


def test_label_maps_of_other_classes_than_the_runs_are_refused_and_of_fewer_are_not(tmp_path: Path) -> None:
    of_maps = folders.build(
        tmp_path / "run", data="labels:gone", schema={"labels": [18, 24], "image": [3, 18, 24]}, **MAPS
    )
    assert fitting(of_maps, str(streets(tmp_path / "few", classes=2))).schema.classes == ("0", "1", "2")
    with pytest.raises(DataError, match="has the label id 3, beyond classes=3"):
        fitting(of_maps, str(streets(tmp_path / "many", classes=4)))


def test_a_layout_of_several_kinds_is_read_as_the_run_reads_it(tmp_path: Path, photos: Path) -> None:
    for side in ("trainA", "trainB"):
        (tmp_path / "both" / side).mkdir(parents=True)
        for name in ("a.png", "b.png"):
            Image.fromarray(np.zeros((24, 24, 3), np.uint8)).save(tmp_path / "both" / side / name)
    schema = {"A": [3, 24, 24], "B": [3, 24, 24]}
    of: dict[str, object] = {"schema": schema, "classes": [], "leaves": {}}
    made = {
        kind: folders.build(tmp_path / kind, system=system, data=f"{kind}:gone", **of)
        for kind, system in (("paired", "pix2pix"), ("unpaired", "cyclegan"))
    }
    for kind, one in made.items():
        assert fitting(one, str(tmp_path / "both")).kind == kind
    assert fitting(made["unpaired"], f"paired:{tmp_path}/both").kind == "paired"
    with pytest.raises(DataError, match=r"takes A \[3, 24, 24\], and .* has image"):
        fitting(made["unpaired"], str(photos))
    with pytest.raises(DataError, match=r"takes A \[3, 24, 24\], and .* has A \[1, 24, 24\]"):
        fitting(made["unpaired"], f"{tmp_path}/both?channels=grey")


@pytest.mark.parametrize(("given", "number"), [("cat", 0), ("10", 1), ("2", 2), ("1", 1), ("dog", 2), (None, None)])
def test_a_class_goes_by_its_name_and_else_by_its_number(tmp_path: Path, given: str | None, number: int) -> None:
    named = run(tmp_path, classes=["cat", "10", "dog"], leaves={"conditional": True})
    assert class_number(named, given) == number


@pytest.mark.parametrize(
    ("given", "says"),
    [("cta", r"no class 'cta': did you mean 'cat'\? \(one of: cat, 10, dog\)"), ("3", "no class '3'"), ("", "class ''"),
     ("-1", "no class '-1'"), ("²", "no class '²'"), ("1.0", "no class '1.0'")],
)  # fmt: skip
def test_a_class_that_is_not_there_is_refused(tmp_path: Path, given: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        class_number(run(tmp_path, classes=["cat", "10", "dog"], leaves={"conditional": True}), given)


def test_a_run_that_was_told_no_classes_knows_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="knows no class '3': it was not trained with --conditional"):
        class_number(run(tmp_path), "3")
