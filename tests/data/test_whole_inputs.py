"""What a run is given to translate: any file, folder or data, each picture whole, prepared as the run's own."""

from __future__ import annotations

import gc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from drawing import Array, encoded, noise, sentence, write
from PIL import Image

from ganvas.data import open_data, open_input
from ganvas.errors import DataError, GanvasError

SIZES = {"a": (6, 8), "b": (12, 10), "c": (9, 9)}  # height, width


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files: dict[str, Array | bytes] = {}
    for i, (name, size) in enumerate(SIZES.items()):
        ids = np.random.default_rng(i).integers(0, 5, size, np.uint8)
        files |= {f"streets/{split}_label/{name}.png": ids + (split == "test") for split in ("train", "test")}
        instances = encoded(np.arange(ids.size).reshape(size).astype(np.uint16) * 3)
        files |= {f"streets/{split}_inst/{name}_inst.png": instances for split in ("train", "test")}
        files |= {f"streets/{split}_img/{name}.png": noise(i, *size, 3) for split in ("train", "test")}
        files |= {
            f"sets/trainA/{name}.png": noise(10 + i, *size, 3),
            f"sets/trainB/{name}.png": noise(20 + i, *size, 3),
        }
    files["sets/trainB/d.png"] = noise(24, 9, 9, 3)
    return write(tmp_path_factory.mktemp("given"), files)


def sides(data: object, name: str = "image") -> list[tuple[int, int]]:
    return [tuple(data.whole(i)[name].shape[-2:]) for i in range(len(data))]  # type: ignore[attr-defined,arg-type]


@pytest.mark.parametrize(
    ("like", "expected"),
    [
        ("unpaired:x", [(6, 8), (12, 10), (9, 9)]),
        ("imported", [(6, 8), (12, 10), (9, 9)]),
        ("unpaired:x?crop=4", [(6, 8), (12, 10), (9, 9)]),
        ("unpaired:x?load_size=18&crop=16x12", [(12, 16)] * 3),
        ("unpaired:x?load_size=18", [(18, 18)] * 3),
        ("unpaired:x?scale_width=16&crop=4", [(12, 16), (19, 16), (16, 16)]),
        ("unpaired:x?size=5x7", [(7, 5)] * 3),
    ],
)
def test_a_folder_is_prepared_whole_as_the_runs_data_says(
    like: str, expected: list[tuple[int, int]], folder: Path
) -> None:
    data = open_input(f"{folder}/sets/trainA", field="image", like=like)
    assert (len(data), data.kind, data.names(np.arange(3))) == (3, "images", ["a.png", "b.png", "c.png"])
    assert sides(data) == expected
    assert data.whole(0)["image"].dtype == torch.float32
    own = open_input(f"{folder}/sets/trainA?size=10", field="image", like=like)  # the spec's own keys win
    assert sides(own) == [(10, 10)] * 3
    windows = open_input(f"{folder}/sets?scale_width=4&crop=64", field="image", like=like)  # of training
    assert sides(windows) == [(3, 4), (5, 4), (4, 4)]


def test_what_is_not_resized_is_as_the_file_has_it(folder: Path) -> None:
    row = open_input(f"{folder}/sets/trainA/b.png", field="image", like="unpaired:x").whole(0)["image"]
    assert np.array_equal(((row[0] + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy(), noise(11, 12, 10, 3))


@pytest.mark.parametrize(("member", "n"), [("A", 3), ("B", 4)])
def test_of_two_sets_one_is_taken_and_the_other_need_not_be_there(member: str, n: int, folder: Path) -> None:
    data = open_input(f"{folder}/sets", field="image", like="unpaired:x", member=member)
    alone = open_input(f"{folder}/sets/train{member}", field="image", like="unpaired:x")
    assert (len(data), data.names(np.arange(n))) == (n, alone.names(np.arange(n)))
    assert all(torch.equal(data.whole(i)["image"], alone.whole(i)["image"]) for i in range(n))


@pytest.mark.parametrize("form", ["zip", "npz"])
def test_pictures_come_from_whatever_holds_them(form: str, folder: Path, tmp_path: Path) -> None:
    if form == "zip":
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
            for name in SIZES:
                file.write(folder / "sets" / "trainA" / f"{name}.png", f"{name}.png")
        expected = [(6, 8), (12, 10), (9, 9)]
    else:
        np.savez(tmp_path / "set.npz", images=noise(1, 3, 6, 8, 3))
        expected = [(6, 8)] * 3
    data = open_input(f"{tmp_path}/set.{form}", field="image", like="unpaired:x?channels=grey")
    assert sides(data) == expected
    assert data.schema["image"][0] == 1


@pytest.mark.parametrize("order", ["AB", "BA"])
def test_of_pictures_that_hold_a_pair_one_half_is_taken(order: str, tmp_path: Path) -> None:
    wide = noise(1, 6, 10, 3)
    spec = f"{write(tmp_path, {'1.png': wide})}?side-by-side={order}"
    data = open_input(spec, field="image", like="paired:x", member="B")
    half = wide[:, 5:] if order == "AB" else wide[:, :5]
    assert torch.equal(data.whole(0)["image"], open_data(spec).whole(0)["B"])
    assert np.array_equal(data.pixels(np.arange(1))[0], half)


def test_held_out_rows_are_those_that_training_left_out(folder: Path, tmp_path: Path) -> None:
    spec = write(tmp_path, {f"{side}/{i}.png": noise(i, 4, 4, 3) for side in "AB" for i in range(20)})
    trained = open_data(f"{spec}?holdout=0.2")
    data = open_input(f"{spec}?holdout=0.2&split=test", field="image", like=trained.spec)
    held = trained.part("test")
    assert data.names(np.arange(len(data))) == held.names(np.arange(len(held)))


# ---- label maps ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("spec", ["streets?split=test", "labels:{}/streets?split=test", "streets/test_label"])
def test_label_maps_are_read_with_their_instances_and_without_their_photographs(spec: str, folder: Path) -> None:
    spec = spec.format(folder) if "{}" in spec else f"{folder}/{spec}"
    beside = f"{folder}/streets/test_inst" if spec.endswith("test_label") else None
    data = open_input(spec, field="labels", like="labels:x?crop=4", classes=9, instances=beside)
    assert (len(data), data.kind, data.schema.classes) == (3, "labels", tuple("012345678"))
    assert list(data.schema.fields) == ["labels", "instances"]
    whole = open_data(f"{folder}/streets?split=test&crop=4")
    for i in range(3):
        row, known = data.whole(i), whole.whole(i)
        assert torch.equal(row["labels"], known["labels"])
        assert torch.equal(row["instances"], known["instances"])


def test_one_map_has_the_one_instance_map_whatever_its_name(folder: Path) -> None:
    label, inst = f"{folder}/streets/train_label/b.png", f"{folder}/streets/train_inst/b_inst.png"
    data = open_input(label, field="labels", like="labels:x?scale_width=5", classes=5, instances=inst)
    row = data.whole(0)
    assert {name: tuple(values.shape) for name, values in row.items()} == {"labels": (1, 6, 5), "instances": (1, 6, 5)}
    assert row["instances"].unique().numel() == row["instances"].max() + 1 == 30


@pytest.mark.parametrize(
    ("spec", "more", "says"),
    [
        ("streets/train_img", {}, "a picture in colour"),
        ("streets?split=test", {"classes": 5}, "test_label/[abc].png has the label id 5, beyond classes=5"),
        ("streets/train_label/b.png", {"classes": 3}, r"b.png has the label id 4, beyond classes=3"),
        ("sets", {}, "sets has no labels to translate: it is unpaired data"),
        ("streets/train_label", {"instances": "streets/train_inst/a_inst.png"}, "One instance map cannot be that of 3"),
        (
            "streets/train_label/b.png",
            {"instances": "streets/train_inst/a_inst.png"},
            "is 10x12, and a_inst.png is 8x6",
        ),
        ("streets/train_label", {"instances": "sets/trainA"}, "a picture in colour"),
        ("streets/train_label/b.png", {"instances": "nowhere"}, "is no instance map"),
        ("streets/train_label?split=val", {}, "has no split 'val'"),
        ("streets/train_label?stream=true", {}, "stream=true makes no sense"),
        ("nowhere", {}, "There is no data"),
    ],
)
def test_what_cannot_be_taken_is_said_in_a_line(
    spec: str, more: dict[str, object], says: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(GanvasError, match=says) as caught:
        open_input(spec, field="labels", like="labels:x", **{"classes": 6, **more})  # type: ignore[arg-type]
    sentence(caught.value)


def test_an_array_of_label_maps_is_read(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 4, (3, 6, 8), np.uint8)
    np.savez(tmp_path / "maps.npz", images=ids)
    data = open_input(f"{tmp_path}/maps.npz", field="labels", like="labels:x", classes=4)
    assert np.array_equal(np.concatenate([data.whole(i)["labels"] for i in range(3)]), ids)


def test_masks_are_read_as_the_run_has_read_them(tmp_path: Path) -> None:
    mask = np.array([[0, 255], [255, 255]], np.uint8)
    for name, values in (("a.png", mask), ("all.png", mask | 255), ("ones.png", mask // 255)):
        Image.fromarray(values).save(tmp_path / name)
        row = open_input(f"{tmp_path}/{name}", field="labels", like="labels:x?void=none", classes=2).whole(0)["labels"]
        assert np.array_equal(row[0], values > 0)
    void = open_input(f"{tmp_path}/a.png", field="labels", like="labels:x", classes=2).whole(0)["labels"]
    assert np.array_equal(void[0], mask)


def test_numbers_are_read_by_the_range_of_the_run(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 0.25]], np.float32)).save(tmp_path / "a.tif")
    row = open_input(f"{tmp_path}/a.tif", field="image", like="unpaired:x?range=unit").whole(0)["image"]
    assert row[0, 0].tolist() == [[-1, pytest.approx(64 / 127.5 - 1, abs=1e-6)]]
    with pytest.raises(DataError, match=r"holds numbers of 32 bits"):
        open_input(f"{tmp_path}/a.tif", field="image", like="unpaired:x")


def test_points_are_not_translated() -> None:
    with pytest.raises(GanvasError, match="no pictures to translate"):
        open_input("mixture:ring8", field="image", like="unpaired:x")


def test_single_pictures_leave_nothing_behind(tmp_path: Path, cache: Path) -> None:
    before = set((cache / "stores").glob("*"))
    Image.fromarray(noise(1, 6, 8, 3)).save(tmp_path / "a.png")
    data = open_input(f"{tmp_path}/a.png", field="image", like="unpaired:x")
    assert data.whole(0)["image"].shape == (1, 3, 6, 8)
    (tmp_path / "b.png").write_bytes(b"no")
    with pytest.raises(GanvasError, match=r"b.png"):
        open_input(f"{tmp_path}/b.png", field="image", like="unpaired:x")
    del data
    gc.collect()
    assert set((cache / "stores").glob("*")) <= before  # those of other tests may go meanwhile


def test_of_files_beside_each_other_those_are_instance_maps_that_say_so(folder: Path, tmp_path: Path) -> None:
    """As Cityscapes has them: the label maps and the instance maps in one folder."""
    ids, objects = np.zeros((4, 4), np.uint8), np.arange(16, dtype=np.uint16).reshape(4, 4)
    files = {"gt/x_gtFine_labelIds.png": ids, "gt/x_gtFine_instanceIds.png": encoded(objects)}
    at = write(tmp_path, files)
    label, how = f"{at}/gt/x_gtFine_labelIds.png", {"field": "labels", "like": "labels:x?crop=4", "classes": 1}
    row = open_input(label, **how, instances=f"{at}/gt").whole(0)  # type: ignore[arg-type]
    assert row["instances"].flatten().tolist() == list(range(16))
    write(tmp_path, {"gt/x_inst.png": encoded(objects)})
    with pytest.raises(GanvasError, match="two instance maps of one name"):
        open_input(label, **how, instances=f"{at}/gt")  # type: ignore[arg-type]
    with pytest.raises(GanvasError, match="is no instance map"):
        open_input(label, **how, instances="~nosuch/x.png")  # type: ignore[arg-type]


def test_what_cannot_be_read_is_left_out_and_kept_to_be_told(tmp_path: Path) -> None:
    at = write(tmp_path, {**{f"in/{i}.png": noise(i, 4, 4, 3) for i in range(5)}, "in/bad.jpg": b"no picture"})
    data = open_input(f"{at}/in", field="image", like="unpaired:x?crop=4")
    assert len(data) == 5
    assert data.found["bad"]["files"] == {"bad.jpg": "not a picture that can be read"}


OWN_SIZES = [(6, 8), (12, 10), (9, 9)]


@pytest.mark.parametrize("asked", ["crop=none", "size=none", "load_size=none", "load-size=none", "scale_width=none"])
@pytest.mark.parametrize("source", ["sets/trainA", "sets", "unpaired:sets"])
def test_each_image_keeps_its_own_size_where_that_is_asked_for(source: str, asked: str, folder: Path) -> None:
    kind, _, inside = source.rpartition(":")
    spec = f"{kind}:{folder}/{inside}" if kind else f"{folder}/{inside}"
    data = open_input(f"{spec}?{asked}", field="image", like="unpaired:x?load_size=36&crop=32")
    assert sides(data) == OWN_SIZES
    assert data.found["prepared"] == "kept at their own size"
    stretched = open_input(spec, field="image", like="unpaired:x?load_size=36")
    assert sides(stretched) == [(36, 36)] * 3
    assert stretched.found["prepared"] == (
        "stretched to 36x36, as this run was trained; ?crop=none keeps each image's size"
    )


def test_a_size_that_is_asked_for_beside_crop_none_is_stretched_to(folder: Path) -> None:
    data = open_input(f"{folder}/sets/trainA?size=7x5&crop=none", field="image", like="unpaired:x")
    assert sides(data) == [(5, 7)] * 3
    assert data.found["prepared"] == "stretched to 7x5"


def test_the_runs_own_double_images_are_halves_and_others_are_pointed_at(tmp_path: Path) -> None:
    at = write(tmp_path, {f"{name}/{i}.png": noise(i, 8, 16, 3) for name in ("own", "other") for i in range(3)})
    how = {"field": "image", "like": f"paired:{at}/own?side-by-side=AB"}
    own = open_input(f"{at}/own", **how, own=lambda asked: asked.source.endswith("own"))  # type: ignore[arg-type]
    assert sides(own) == [(8, 8)] * 3
    other = open_input(f"{at}/other", **how)  # type: ignore[arg-type]
    assert sides(other) == [(8, 16)] * 3
    (note,) = other.found["notes"]
    assert "trained on the halves of double images; add ?side-by-side=AB" in note
    assert "notes" not in own.found or not own.found["notes"]


def test_what_is_read_once_leaves_no_store_and_the_runs_own_data_does(folder: Path, cache: Path) -> None:
    before = {path.name for path in cache.glob("*/*")}
    data = open_input(f"{folder}/sets/trainB", field="image", like="unpaired:x?size=11")
    assert len(data) == 4
    (passing,) = [path for path in (cache / "stores").glob(".*.part") if path.name not in before]
    del data
    gc.collect()
    assert not passing.exists()
    open_input(f"{folder}/sets", field="image", like="unpaired:x?size=11", member="B", own=lambda asked: True)
    assert {path.name for path in (cache / "stores").glob("*")} - before
