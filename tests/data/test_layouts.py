"""Folders as people have them: split names of all kinds, strays, hidden folders, and what Ganvas itself has written."""

from __future__ import annotations

import json
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from drawing import all_names, encoded, everything, noise, sentence, write
from PIL import Image

from ganvas.data import layout, open_data, outputs
from ganvas.data.folders import arrange, listing
from ganvas.data.source import LeftOut, find_split
from ganvas.errors import DataError, UsageError
from ganvas.ops.marks import IMAGE, SHEET, mark_of
from ganvas.ops.sheet import save_sheet
from ganvas.output import save_film, save_images


def filled(root: Path, names: Iterable[str]) -> Path:
    return write(root, {name: noise(i) for i, name in enumerate(names)})


def reasons(found: dict[str, object]) -> dict[str, tuple[int, list[str]]]:
    """What was left out, by reason."""
    return {one["reason"]: (one["count"], one["names"]) for one in found["left_out"]}  # type: ignore[attr-defined]


# ---- names of splits -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("first", "second", "split"),
    [
        ("Train", "Test", "test"),
        ("TRAIN", "VAL", "val"),
        ("train", "Testing", "test"),
        ("training", "dev", "val"),
        ("Training", "Eval", "val"),
        ("train", "Validation", "val"),
        ("train", "valid", "val"),
        ("train_images", "test-images", "test"),
        ("TrainSet", "TestSet", "test"),
        ("train2017", "val2017", "val"),
        ("DIV2K_train_HR", "DIV2K_valid_HR", "val"),
    ],
)
def test_splits_are_known_by_their_usual_names_in_any_case(first: str, second: str, split: str, tmp_path: Path) -> None:
    root = filled(tmp_path, [f"{folder}/{i}.png" for folder in (first, second) for i in range(3)])
    data = open_data(str(root))
    assert data.splits == {"train": 3, split: 3}
    assert not data.schema.classes
    assert not data.found["left_out"]
    for asked in (split, split.upper(), {"val": "Validation", "test": "testing"}[split]):
        part = open_data(f"{root}?split={asked}")
        assert (part.split, part.spec) == (split, f"{root}?split={split}")
    assert open_data(f"{root}?split=Training").split == "train"
    with pytest.raises(UsageError, match="no split 'other'"):
        open_data(f"{root}?split=other")


def test_a_split_is_found_by_its_own_name_first() -> None:
    assert find_split("validation", ["train", "val", "validation"]) == "validation"
    assert find_split("dev", ["train", "validation"]) == "validation"
    assert find_split("EXTRA", ["train", "extra"]) == "extra"
    assert find_split("more", ["train", "extra"]) == "more"


def test_folders_of_one_split_are_read_together_and_that_is_said(tmp_path: Path) -> None:
    data = open_data(str(filled(tmp_path, ["train/1.png", "val/1.png", "dev/1.png"])))
    assert data.splits == {"train": 1, "val": 2}
    assert data.found["notes"] == ["dev, val are read together as the split val."]


@pytest.mark.parametrize("pack", ["zip", "tar"])
def test_archives_are_laid_out_as_folders_are(pack: str, tmp_path: Path) -> None:
    names = ["Set/Train/cat/1.png", "Set/Train/dog/2.png", "Set/Testing/cat/3.png", "Set/cover.png",
             "Set/Train/@eaDir/1.png", "__MACOSX/Set/1.png", "Set/Train/cat/thumbs/1.png",
             "Set/runs/a/samples/1.png"]  # fmt: skip
    members = {name: encoded(noise(i)) for i, name in enumerate(names)}
    members |= {"Set/runs/a/config.json": b"{}", "Set/runs/a/stats.jsonl": b""}
    path = tmp_path / f"set.{pack}"
    if pack == "zip":
        with zipfile.ZipFile(path, "w") as file:
            for name, data in members.items():
                file.writestr(name, data)
    else:
        write(tmp_path / "there", members)
        with tarfile.open(path, "w") as file:
            file.add(tmp_path / "there", ".")
    data = open_data(str(path))
    assert data.splits == {"train": 2, "test": 1}
    assert data.schema.classes == ("cat", "dog")
    told = reasons(data.found)
    assert told["in a hidden folder"][0] == 2
    assert told["in a folder of thumbnails"] == (1, ["Set/Train/cat/thumbs/"])
    assert told["a run of ganvas"] == (1, ["Set/runs/a/"])
    assert told["outside of the splits"] == (1, ["Set/cover.png"])


def test_arrays_and_their_splits(tmp_path: Path) -> None:
    for name, n in (("Training", 4), ("TEST", 3), ("codes", 9)):
        np.savez(tmp_path / f"{name}.npz", images=np.stack([noise(i) for i in range(n)]))
    write(tmp_path, {"preview.png": noise(1)})
    data = open_data(str(tmp_path))
    assert data.splits == {"train": 4, "test": 3}
    assert reasons(data.found)["outside of the splits"] == (1, ["codes.npz"])
    assert reasons(data.found)["an image beside .npz files"] == (1, ["preview.png"])
    assert "not an image file (.npz)" not in reasons(data.found)


# ---- strays ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("names", "splits", "classes", "left"),
    [
        ("other/a.png train/b.png", {"train": [1]}, [None] * 2, {"other/": 1}),
        ("readme/x.png train/a.png val/b.png", {"train": [1], "val": [2]}, [None] * 3, {"readme/": 1}),
        ("contact-data.png test/x/a.png train/x/b.png train/y/c.png", {"train": [2, 3], "test": [1]},
         [None, "x", "x", "y"], {"contact-data.png": 1}),
        ("cover.png x/a.png y/b.png", {"train": [1, 2]}, [None, "x", "y"], {"cover.png": 1}),
        ("train/note.png train/x/a.png train/y/b.png", {"train": [1, 2]}, [None, "x", "y"], {"train/note.png": 1}),
        ("d/test/a.png d/train/b.png docs/logo.png", {"train": [1], "test": [0]}, [None] * 3, {"docs/": 1}),
        ("train/a.png train_masks/a.png test/a.png test_masks/a.png", {"train": [0], "test": [2]}, [None] * 4,
         {"train_masks/": 1, "test_masks/": 1}),
    ],
)  # fmt: skip
def test_strays_undo_neither_splits_nor_classes_and_are_named(
    names: str, splits: dict[str, list[int]], classes: list[str | None], left: dict[str, int]
) -> None:
    found = arrange(names.split())
    assert {split: rows.tolist() for split, rows in found.splits.items()} == splits
    assert found.folders == classes
    assert [name for one in found.left_out for name in one["names"]] == list(left)
    assert sum(one["count"] for one in found.left_out) == sum(left.values())


def test_what_is_no_stray_is_kept_and_the_reading_is_told() -> None:
    many = arrange([*(f"{i}.png" for i in range(40)), *(f"{c}/{i}.png" for c in "xy" for i in range(40))])
    assert len(many.splits["train"]) == 120
    assert not many.left_out
    assert many.notes == ["No classes in train: beside the folders x, y lie 40 images."]
    vehicles = arrange([f"{name}/{i}.png" for name in ("bus", "car", "tram", "train") for i in range(5)])
    assert set(vehicles.folders) == {"bus", "car", "tram", "train"}
    assert vehicles.notes == ["train/ is not read as a split: it holds 5 of 20 images."]
    quality = arrange([*(f"valid/{i}.png" for i in range(50)), "invalid/1.png", "invalid/2.png"])
    assert set(quality.folders) == {"valid", "invalid"}
    unlabeled = arrange([f"{name}/{i}.png" for name in ("train", "test", "unlabeled") for i in range(30)])
    assert {split: len(rows) for split, rows in unlabeled.splits.items()} == {"train": 30, "test": 30}
    assert unlabeled.notes == ["Not read, for they lie outside of the splits train, test: 30 images."]


@pytest.mark.parametrize(
    ("names", "splits", "classes"),
    [
        ("cats/test/a.png cats/train/b.png dogs/train/c.png", {"train": [1, 2], "test": [0]}, ["cats", "cats", "dogs"]),
        ("test_cats/a.png train_cats/b.png train_dogs/c.png", {"train": [1, 2], "test": [0]}, ["cats", "cats", "dogs"]),
        ("bus_stop/a.png train_station/b.png", {"train": [0, 1]}, ["bus_stop", "train_station"]),
        ("test/images/x/a.png train/images/x/b.png train/images/y/c.png", {"train": [1, 2], "test": [0]},
         ["x", "x", "y"]),
        ("palms/a.png thumbs/b.png", {"train": [0, 1]}, ["palms", "thumbs"]),
    ],
)  # fmt: skip
def test_splits_and_classes_may_be_told_by_one_name_or_the_other_way_round(
    names: str, splits: dict[str, list[int]], classes: list[str | None]
) -> None:
    found = arrange(names.split())
    assert {split: rows.tolist() for split, rows in found.splits.items()} == splits
    assert found.folders == classes
    assert not found.left_out


@pytest.mark.parametrize("stream", ["", "?stream=true"])
@pytest.mark.parametrize("test", ["test/{}.png", "test/unknown/{}.png"])
def test_a_flat_split_has_no_labels_and_the_others_keep_theirs(test: str, stream: str, tmp_path: Path) -> None:
    names = [f"train/{c}/{i}.png" for c in ("cat", "dog") for i in range(2)] + [test.format(i) for i in range(5)]
    data = open_data(f"{filled(tmp_path, names)}{stream}")
    assert data.splits == {"train": 4, "test": 5}
    assert data.schema.classes == ("cat", "dog")
    assert data.tensors(np.arange(4))["label"].tolist() == [0, 0, 1, 1]
    part = data.part("test")
    assert not part.schema.classes
    assert set(part.tensors(np.arange(5))) == {"image"}
    assert data.found["notes"] == ["The split test has no class folders: it has no labels."]


def test_a_class_of_another_split_alone_is_told(tmp_path: Path) -> None:
    data = open_data(str(filled(tmp_path, ["train/a/1.png", "train/b/1.png", "test/a/1.png", "test/c/1.png"])))
    assert data.schema.classes == ("a", "b", "c")
    assert data.found["notes"] == ["The split test has classes that train has not: c."]


# ---- folders that are none of the data -------------------------------------------------------------------------------
def test_folders_of_network_storage_and_tools_are_hidden_and_their_images_counted(tmp_path: Path) -> None:
    names = [f"{c}/{i}.png" for c in ("cat", "dog") for i in range(3)]
    hidden = ["cat/@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg", "#recycle/old.png", "$RECYCLE.BIN/S-1-5/$R1.png",
              "System Volume Information/a.png", ".Trash-1000/files/a.png", "lost+found/a.png", "@Recycle/a.png",
              "@Recently-Snapshot/a.png", "#snapshot/a.png", "@tmp/a.png", "__pycache__/a.png", ".thumbnails/a.png",
              ".ipynb_checkpoints/a.png", "__MACOSX/a.png"]  # fmt: skip
    data = open_data(str(filled(tmp_path, [*names, *hidden])))
    assert all_names(data) == names
    assert data.schema.classes == ("cat", "dog")
    count, shown = reasons(data.found)["in a hidden folder"]
    assert count == len(hidden)
    assert "#recycle/" in shown


def test_of_many_hidden_folders_few_are_looked_through(tmp_path: Path) -> None:
    filled(tmp_path, ["a.png", *(f"@eaDir/{i}/thumb.jpg" for i in range(300))])
    told = {one["reason"]: one["count"] for one in listing(tmp_path).left_out}
    assert 0 < told["in a hidden folder"] < 300
    assert "in a hidden folder, not looked through" in told


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        ("a.png b.png thumbs/a.png", ["a.png", "b.png"]),
        ("x/a.png x/Thumbnails/a.png y/b.png", ["x/a.png", "y/b.png"]),
        ("x/a.png y/b.png thumbnails/a.png", ["x/a.png", "y/b.png"]),
        ("train/a.png test/b.png thumbs/a.png", ["train/a.png"]),
        ("thumbnails/a.png thumbnails/b.png", ["thumbnails/a.png", "thumbnails/b.png"]),
        ("fingers/a.png palms/b.png thumbs/c.png", ["fingers/a.png", "palms/b.png", "thumbs/c.png"]),
        ("thumbs_up/a.png thumbs_down/a.png", ["thumbs_down/a.png", "thumbs_up/a.png"]),
    ],
)
def test_thumbnails_are_left_out_where_they_are_not_the_data(names: str, kept: list[str], tmp_path: Path) -> None:
    data = open_data(str(filled(tmp_path, names.split())))
    assert all_names(data) == kept
    left = sum(one["count"] for one in data.found["left_out"])
    assert left == len(names.split()) - sum(data.splits.values())


def test_links_pipes_and_devices_are_named_and_never_opened(tmp_path: Path) -> None:
    root = filled(tmp_path / "up" / "root", ["a/1.png", "b/2.png"])
    filled(tmp_path / "up", ["outside.png"])
    (root / "a" / "back").symlink_to(root)
    (root / "a" / "parent").symlink_to(tmp_path / "up")
    (root / "a" / "self").symlink_to(root / "a" / "self")
    (root / "a" / "self.png").symlink_to(root / "a" / "self.png")
    (root / "zero.png").symlink_to("/dev/zero")
    os.mkfifo(root / "pipe.png")
    os.mkfifo(root / "pipe")
    found = listing(root)
    assert [name for name, _, _ in found.files] == ["a/1.png", "a/self.png", "b/2.png"]
    told = {one["reason"]: one for one in found.left_out}
    assert told["not a regular file"]["names"] == ["pipe.png", "zero.png"]
    assert told["a link to a folder that is read already"]["names"] == ["a/back/", "a/parent/"]


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, scandir = filled(tmp_path, ["a/1.png", "b/2.png"]), os.scandir

    def refusing(path: str) -> object:
        if os.fspath(path).endswith(("/b", "nowhere")):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    data = open_data(str(root))
    assert all_names(data) == ["a/1.png"]
    assert reasons(data.found) == {"a folder that cannot be read": (1, ["b/"])}
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        open_data(f"images:{tmp_path / 'nowhere'}")


def test_names_that_are_no_text_are_read_and_shown_escaped(tmp_path: Path) -> None:
    filled(tmp_path, ["a\nb.png", "c.png", "d.png"])
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")).write_bytes(encoded(noise(7)))
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xfe\n.txt")).write_bytes(b"")
    (tmp_path / "x\ny.png").write_bytes(b"no picture")
    data = open_data(f"{tmp_path}?max-bad=1")
    assert len(data) == 4
    assert list(data.found["bad"]["files"]) == ["x\\ny.png"]
    with pytest.raises(DataError) as caught:
        open_data(f"{tmp_path}?strict=true")
    sentence(caught.value)
    assert data.found["left_out"] == [{"reason": "not an image file (.txt)", "count": 1, "names": ["\\udcfe\\n.txt"]}]
    json.dumps(data.found).encode()


# ---- what Ganvas has written -----------------------------------------------------------------------------------------
def run_folder(root: Path) -> None:
    """A run, as far as its folder shows: a sheet of samples, and the files that tell it."""
    root.mkdir(parents=True)
    (root / "config.json").write_text('{\n  "format": 1,\n  "ganvas": "0.1.0",\n  "system": "vae"\n}\n')
    write(root, {"samples/samples-1.png": noise(1, 40, 40, 3)})


IMAGES = torch.zeros(4, 3, 8, 8)


@pytest.mark.parametrize("layout", ["flat", "classes", "splits", "members"])
def test_runs_and_sheets_in_a_folder_of_data_are_none_of_it(layout: str, tmp_path: Path) -> None:
    names = {
        "flat": [f"{i}.png" for i in range(6)],
        "classes": [f"{c}/{i}.png" for c in "xy" for i in range(3)],
        "splits": [f"{s}/{c}/{i}.png" for s in ("train", "test") for c in "xy" for i in range(3)],
        "members": [f"{s}/{i}.png" for s in ("trainA", "trainB") for i in range(3)],
    }[layout]
    filled(tmp_path, names)
    before = open_data(str(tmp_path))
    stream = f"images:{tmp_path}?stream=true"
    streamed = open_data(stream).fingerprint
    run_folder(tmp_path / "runs" / "vae-data")
    for name in ("contact-data.png", "grid.png", "grid.jpg", "grid.webp"):
        save_sheet(IMAGES, tmp_path / name)
    save_film(tmp_path / "path.gif", torch.rand(4, 3, 32, 32))
    save_images(tmp_path / "out", [IMAGES], 4)
    data = open_data(str(tmp_path))
    assert (data.kind, data.splits, data.schema.classes) == (before.kind, before.splits, before.schema.classes)
    assert data.fingerprint == before.fingerprint
    assert open_data(stream).fingerprint == streamed
    told = reasons(data.found)
    assert told["a run of ganvas"] == (1, ["runs/vae-data/"])
    assert told["a sheet drawn by ganvas"][0] == 5
    assert told["made by ganvas"] == (4, ["out/"])


def test_a_benchmark_is_none_of_the_data(tmp_path: Path) -> None:
    filled(tmp_path, ["a.png", "table/digits-samples.png", "table/cells/x/1.png"])
    (tmp_path / "table/table.json").write_text('{"benchmark": "avae-table"}')
    assert all_names(open_data(str(tmp_path))) == ["a.png"]


def test_images_that_ganvas_made_are_data_where_they_are_all_or_named_so(tmp_path: Path) -> None:
    for name in ("0", "1"):
        save_images(tmp_path / "made" / name, [IMAGES], 4)
    data = open_data(str(tmp_path / "made"))
    assert data.schema.classes == ("0", "1")
    assert not data.found["left_out"]
    filled(tmp_path / "pairs", [f"A/{i:06d}.png" for i in range(4)])
    save_images(tmp_path / "pairs" / "B", [IMAGES], 4)
    assert open_data(f"{tmp_path}/pairs?load_size=8").splits == {"train": 4}
    filled(tmp_path / "splits", ["train/1.png"])
    save_images(tmp_path / "splits" / "test", [IMAGES], 4)
    assert open_data(str(tmp_path / "splits")).splits == {"train": 1, "test": 4}


def test_a_folder_of_sheets_alone_says_what_they_are(tmp_path: Path) -> None:
    save_sheet(IMAGES, tmp_path / "grid.png")
    with pytest.raises(DataError) as caught:
        open_data(str(tmp_path))
    assert "holds no picture (but grid.png, a sheet drawn by ganvas)" in sentence(caught.value)
    assert everything(open_data(str(tmp_path / "grid.png"))).shape[0] == 1  # asked for by its name


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_marks_are_read_from_the_ends_of_a_file(suffix: str, tmp_path: Path) -> None:
    save_sheet(torch.rand(4, 3, 64, 64), tmp_path / f"sheet{suffix}")
    assert mark_of(str(tmp_path / f"sheet{suffix}")) == SHEET
    Image.fromarray(noise(1)).save(tmp_path / f"other{suffix}")
    assert mark_of(str(tmp_path / f"other{suffix}")) is None
    assert mark_of(str(tmp_path / "nowhere.png")) is None


def test_few_files_are_opened_to_see_who_wrote_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real: Callable[[str], str | None] = mark_of
    monkeypatch.setattr(outputs, "mark_of", lambda path: opened.append(path) or real(path))
    files = [(f"{i:05d}.png", 10, i) for i in range(5000)]
    assert outputs.without_outputs(str(tmp_path), files, LeftOut()) == files
    assert len(opened) == outputs.LOOKED_AT
    save_images(tmp_path / "made", [IMAGES], 4)
    assert mark_of(str(tmp_path / "made/000000.png")) == IMAGE


def test_a_hidden_name_is_so_in_any_case() -> None:
    assert all(map(layout.is_hidden, ("@EADIR", "$Recycle.Bin", "Thumbs.db", ".git", "__MACOSX")))
    assert not any(map(layout.is_hidden, ("eaDir", "recycle", "thumbs", "@someone", "#1")))


# ---- pairs, sets, label maps -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("folders", "kind", "splits"),
    [
        (["TrainA", "TrainB", "TestA", "TestB"], "unpaired", {"train": 2, "test": 2}),
        (["training/A", "training/B", "Testing/A", "Testing/B"], "paired", {"train": 2, "test": 2}),
        (["training_A", "training_B", "eval_A", "eval_B"], "paired", {"train": 2, "val": 2}),
        (["A/Train", "B/Train", "A/Val", "B/Val"], "paired", {"train": 2, "val": 2}),
        (["trainA", "trainB", "docs"], "unpaired", {"train": 2}),
        (["train/A", "train/B", "extra"], "paired", {"train": 2}),
        (["Train_Label", "Train_Img"], "labels", {"train": 2}),
        (["sets/horses/trainA", "sets/horses/trainB"], "unpaired", {"train": 2}),
    ],
)
def test_members_are_known_whatever_their_case_and_what_lies_beside(
    folders: list[str], kind: str, splits: dict[str, int], tmp_path: Path
) -> None:
    names = [f"{folder}/{i}.png" for folder in folders for i in range(2)]
    write(tmp_path, {name: noise(i)[..., 0] % 3 if "Label" in name else noise(i) for i, name in enumerate(names)})
    data = open_data(str(tmp_path))
    assert (data.kind, data.splits) == (kind, splits)
    strays = [folder for folder in folders if folder in ("docs", "extra")]
    told = reasons(data.found)
    assert list(told.values()) == [(2, [f"{folder}/"]) for folder in strays]
    asked = list(splits)[-1]
    assert open_data(f"{tmp_path}?split={asked.upper()}").split == asked


def test_letters_are_members_only_where_no_other_class_lies_beside(tmp_path: Path) -> None:
    for third, few, kind in (("C", 1, "images"), ("other", 9, "images"), ("docs", 1, "paired")):
        root = filled(tmp_path / third, [*(f"{m}/{i}.png" for m in "AB" for i in range(4)),
                                         *(f"{third}/{i}.png" for i in range(few))])  # fmt: skip
        assert open_data(str(root)).kind == kind


def test_files_without_a_partner_and_strays_of_two_folders_are_named(tmp_path: Path) -> None:
    names = [f"{side}/{split}/{i}.png" for side in ("x", "y") for split in ("Train", "Test") for i in range(4)]
    filled(tmp_path, [*names, "x/cover.png", "x/Train/lonely.png", "y/@eaDir/1.png"])
    data = open_data(f"paired:{tmp_path}/x,{tmp_path}/y?max-bad=20%")
    assert data.splits == {"train": 4, "test": 4}
    told = reasons(data.found)
    assert told["outside of the splits"] == (1, [f"{tmp_path}/x/cover.png"])
    assert told["without a partner"][0] == 1
    assert told["in a hidden folder"] == (1, ["@eaDir/"])


def test_a_folder_as_people_have_them(tmp_path: Path) -> None:
    """Mixed sizes, one broken file, ``Train/`` and ``Test/``, folders of thumbnails, and a note."""
    files = {f"{split}/{c}/{i}.jpg": noise(i, 20 + i, 30, 3) for split in ("Train", "Test") for c in ("cat", "dog")
             for i in range(4)}  # fmt: skip
    write(tmp_path, {**files, "Train/cat/broken.jpg": b"<html>404</html>", "Train/cat/@eaDir/0.jpg/SYNO.jpg": noise(1),
                     "Train/dog/thumbs/0.jpg": noise(2), "thumbnails/0.jpg": noise(3), "notes.txt": b"",
                     "Thumbs.db": b""})  # fmt: skip
    data = open_data(f"{tmp_path}?size=16")
    assert data.splits == {"train": 8, "test": 8}
    assert data.schema.classes == ("cat", "dog")
    assert list(data.found["bad"]["files"]) == ["Train/cat/broken.jpg"]
    assert reasons(data.found) == {
        "in a hidden folder": (1, ["Train/cat/@eaDir/"]),
        "in a folder of thumbnails": (2, ["Train/dog/thumbs/", "thumbnails/"]),
        "not an image file (.txt)": (1, ["notes.txt"]),
    }
