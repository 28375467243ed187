from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from drawing import all_names, encoded, everything, noise, sentence, without_stores, write
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ganvas.data import open_data
from ganvas.data.folders import arrange, listing
from ganvas.data.source import SPLITS
from ganvas.errors import DataError, UsageError


def photographs(n: int) -> dict[str, np.ndarray]:
    return {f"{i:03d}.png": noise(i) for i in range(n)}


# ---- what is found ---------------------------------------------------------------------------------------------------
def test_finds_pictures_at_any_depth_in_order_of_their_paths(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files = {name: noise(i) for i, name in enumerate(["z.png", "a.PNG", "b/c/d/e.tif", "b/c.jpg", "b.bmp"])}
    hidden = {".a.png": b"", "._z.png": b"", ".git/a.png": b"", "__MACOSX/a.png": b""}
    data = open_data(str(write(tmp_path, {**files, **hidden, "b/notes.txt": b"", "README": b""})))
    assert all_names(data) == sorted(files)
    assert np.array_equal(everything(data), [files[name] for name in sorted(files)])
    assert data.found["left_out"] == [
        {"reason": "in a hidden folder", "count": 2, "names": [".git/", "__MACOSX/"]},
        {"reason": "not an image file", "count": 1, "names": ["README"]},
        {"reason": "not an image file (.txt)", "count": 1, "names": ["b/notes.txt"]},
    ]
    assert data.found["modes"] == {"RGB": 5}
    assert data.found["sizes"] == {"5x6": 5}
    assert capfd.readouterr() == ("", "")  # no bar where there is no terminal


def test_follows_links_once_and_opens_no_pipe(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", {"a.png": noise(1)})
    root = write(tmp_path / "root", {"b.png": noise(2)})
    (root / "d").symlink_to(tmp_path / "elsewhere")
    (root / "e").symlink_to(tmp_path / "elsewhere")
    (root / "loop").symlink_to(root)
    (root / "f.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    (root / "lost.png").symlink_to(tmp_path / "gone.png")
    os.mkfifo(root / "pipe.png")
    assert [name for name, _, _ in listing(root).files] == ["b.png", "d/a.png", "f.png", "lost.png"]
    data = open_data(f"{root}?max-bad=50%")
    assert data.found["bad"] == {"count": 1, "of": 4, "files": {"lost.png": "No such file or directory"}}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "holds no picture: pictures end in .png .jpg"),
        ({"a.txt": b"", "b/c.txt": b"", "d.wav": b""}, "holds no picture (but 2 .txt, 1 .wav)"),
        ({".hidden.png": encoded(noise(0))}, "holds no picture:"),
        ({"a.png": b"", "b.png": b"text"}, "2 pictures in"),
    ],
)
def test_a_folder_without_pictures_is_refused_with_what_it_holds(
    files: dict[str, bytes], says: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        open_data(str(write(tmp_path, files)))
    assert says in sentence(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere", "neither a file or folder nor a named set"),
        ("digitz", "did you mean 'digits'"),
        ("~no-such-user/a", "neither a file or folder"),
        ("a.txt", "is nothing that is read: a folder, picture"),
        ("a.txt/b", "Not a directory"),
        ("n" * 300, "File name too long"),
    ],
)
def test_a_path_that_is_no_data_says_why(name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(tmp_path, {"a.txt": b""}))
    with pytest.raises(DataError) as caught:
        open_data(name)
    assert says in sentence(caught.value)


def test_one_picture_is_a_set_of_one(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": noise(1), "b.png": noise(2)})
    data = open_data(str(tmp_path / "b.png"))
    assert all_names(data) == ["b.png"]
    assert np.array_equal(everything(data), [noise(2)])


# ---- what cannot be read ---------------------------------------------------------------------------------------------
def test_unreadable_pictures_are_named_counted_and_skipped_up_to_a_limit(tmp_path: Path, cache: Path) -> None:
    files = {f"{'ab'[i % 2]}/{name}": pixels for i, (name, pixels) in enumerate(photographs(150).items())}
    sound = dict(files)
    for name, content in {"a/004.png": encoded(noise(4))[:60], "b/149.png": b"text"}.items():
        files[name] = content
        del sound[name]
    spec = str(write(tmp_path, files))
    with pytest.raises(DataError) as caught:  # over the default of 1 %
        open_data(spec)
    text = sentence(caught.value)
    assert all(part in text for part in ("2 or more of 150 pictures", spec, "max-bad=1%", "a/004.png", "b/149.png"))
    for _ in range(2):  # built, then mapped
        data = open_data(f"{spec}?max-bad=2%")
        assert all_names(data) == sorted(sound)
        assert np.array_equal(everything(data), [sound[name] for name in sorted(sound)])
        labels = data.tensors(np.arange(len(data)))["label"]
        assert [data.schema.classes[label] for label in labels] == [name[0] for name in sorted(sound)]
        bad = data.found["bad"]
        assert (bad["count"], bad["of"], bad["files"]["b/149.png"]) == (2, 150, "not a picture that can be read")
        assert set(bad["files"]) == {"a/004.png", "b/149.png"}
    with pytest.raises(DataError, match=r"raise it, as in \?max-bad=\d+%"):
        open_data(f"{spec}?max-bad=1.3%")
    for _ in range(2):  # of the store that there is, and without one
        with pytest.raises(DataError, match="leave out strict=true"):
            open_data(f"{spec}?max-bad=50%&strict=true")
        without_stores(cache)


def test_one_bad_picture_spoils_no_small_folder(tmp_path: Path) -> None:
    """One in a hundred is less than one of three: it is skipped and named all the same, unless none is tolerated."""
    spec = write(tmp_path, {**photographs(3), "z.png": b"text"})
    assert open_data(str(spec)).found["bad"]["files"] == {"z.png": "not a picture that can be read"}
    for none in ("max-bad=0", "strict=true"):
        with pytest.raises(DataError, match=r"z\.png: not a picture"):
            open_data(f"{spec}?{none}")


def test_a_split_without_a_readable_picture_is_named(tmp_path: Path) -> None:
    files = {"train/a.png": noise(1), "test/b.png": b"", "test/c.png": b""}
    with pytest.raises(DataError, match="no picture that can be read in its split 'test'"):
        open_data(f"{write(tmp_path, files)}?max-bad=100%")


# ---- sizes and modes -------------------------------------------------------------------------------------------------
def test_pictures_that_are_alike_keep_their_size_and_others_become_64(tmp_path: Path) -> None:
    for name, shapes, expected in [
        ("alike", [(30, 20), (30, 20)], (3, 30, 20)),
        ("one differs", [(30, 20)] * 70 + [(30, 21)], (3, 64, 64)),
        ("large", [(257, 20)], (3, 64, 64)),
    ]:
        files = {f"{i}.png": noise(i, *shape, 3) for i, shape in enumerate(shapes)}
        data = open_data(str(write(tmp_path / name, files)))
        assert data.schema["image"] == expected
        assert len(data) == len(shapes)
    found = open_data(str(tmp_path / "one differs")).found
    assert found["sizes"] == {"20x30": 70, "21x30": 1}
    assert found["different_sizes"] == 2
    assert open_data(str(tmp_path / "large"), natural=True).schema["image"] == (3, 257, 20)


def test_turned_pictures_are_alike_if_upright(tmp_path: Path) -> None:
    """Tall ones, some as the camera held upright stored them, some as it stored them lying."""
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = {f"{form}.{form}": encoded(noise(3, 4, 9, 3), form, exif=exif) for form in ("tiff", "png", "jpeg")}
    data = open_data(str(write(tmp_path, {**lying, "upright.png": noise(4, 9, 4, 3)})))
    assert data.schema["image"] == (3, 9, 4)
    assert np.array_equal(everything(data)[all_names(data).index("tiff.tiff")], np.rot90(noise(3, 4, 9, 3), -1))


def test_all_modes_live_in_one_folder(tmp_path: Path) -> None:
    picture = Image.fromarray(noise(1, 8, 8, 3))
    files = {f"{mode}.png": encoded(picture.convert(mode)) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")}
    files["16.png"] = encoded(noise(1, 8, 8).astype(np.uint16) * 257)
    files["float.tif"] = encoded(noise(1, 8, 8).astype(np.float32) / 255, "TIFF")
    files["cmyk.jpg"] = encoded(picture.convert("CMYK"), "JPEG")
    spec = str(write(tmp_path, files))
    data = open_data(spec)
    assert data.schema["image"] == (3, 8, 8)
    assert len(data) == len(files)
    assert set(data.found["modes"]) == {"1", "L", "LA", "P", "RGB", "RGBA", "I;16", "F", "CMYK"}
    grey = open_data(f"{spec}?channels=grey&size=5x3")
    assert grey.schema["image"] == (1, 3, 5)


# ---- what paths say --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("names", "splits", "classes"),
    [
        ("a.png b.png", {"train": [0, 1]}, [None, None]),
        ("x/a.png y/b.png", {"train": [0, 1]}, ["x", "y"]),
        ("x/a.png x/b.png", {"train": [0, 1]}, [None, None]),  # one folder is no choice of classes
        ("x/a.png y/b.png y/z/c.png", {"train": [0, 1, 2]}, ["x", "y", "y"]),  # what lies deeper is of the class
        ("x/v/a.png y/b.png y/z/c.png", {"train": [0, 1, 2]}, [None] * 3),
        ("s/x/a.png s/y/b.png", {"train": [0, 1]}, ["x", "y"]),  # what holds everything says nothing
        ("test/a.png train/b.png", {"train": [1], "test": [0]}, [None, None]),
        ("s/test/a.png s/train/b.png", {"train": [1], "test": [0]}, [None, None]),
        ("test/x/a.png train/x/b.png train/y/c.png", {"train": [1, 2], "test": [0]}, ["x", "x", "y"]),
        ("train/x/a.png train/y/b.png", {"train": [0, 1]}, ["x", "y"]),
        ("test/x/a.png train/x/b.png", {"train": [1], "test": [0]}, [None, None]),
        ("test/a.png", {"test": [0]}, [None]),
        ("train/a.png val/b.png validation/c.png", {"train": [0], "val": [1, 2]}, [None] * 3),
    ],
)
def test_paths_say_splits_and_classes(names: str, splits: dict[str, list[int]], classes: list[str | None]) -> None:
    found = arrange(names.split())
    assert {split: rows.tolist() for split, rows in found.splits.items()} == splits
    assert found.folders == classes
    assert not found.left_out


PATHS = st.lists(
    st.sampled_from([*SPLITS, "Testing", "dev", "train_x", "test_x", "a", "b", "c.png"]), min_size=1, max_size=4
).map("/".join)


@given(st.sets(PATHS, min_size=1))
@settings(max_examples=300, deadline=None)
def test_every_path_is_in_one_split_or_left_out_and_a_split_has_labels_or_none(paths: set[str]) -> None:
    found = arrange(sorted(paths))
    rows = np.concatenate(list(found.splits.values())).tolist()
    assert len(set(rows)) == len(rows) == len(paths) - sum(one["count"] for one in found.left_out)
    assert 2 * len(rows) >= len(paths) or found.notes
    assert list(found.splits) == [split for split in SPLITS if split in found.splits]
    assert len(found.folders) == len(paths)
    for part in found.splits.values():
        folders = {found.folders[row] for row in part}
        assert None not in folders or folders == {None}


def test_classes_of_all_splits_are_one_list(tmp_path: Path) -> None:
    names = ["train/cat/1.png", "train/dog/1.png", "train/dog/2.png", "test/dog/1.png"]
    data = open_data(str(write(tmp_path, {name: noise(i) for i, name in enumerate(names)})))
    assert data.schema.classes == data.part("test").schema.classes == ("cat", "dog")
    assert data.tensors(np.arange(3))["label"].tolist() == [0, 1, 1]
    assert data.part("test").tensors(np.arange(1))["label"].tolist() == [1]
    assert data.found["classes"] == {"cat": 1, "dog": 2}
    assert data.part("test").found["classes"] == {"cat": 0, "dog": 1}
    assert dict(data.splits) == {"train": 3, "test": 1}


def test_a_split_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    spec = str(write(tmp_path, {"train/a.png": noise(1), "val/b.png": noise(2)}))
    assert open_data(f"{spec}?split=val").split == "val"
    with pytest.raises(UsageError, match=r"no split 'test': .*train, val"):
        open_data(f"{spec}?split=test")
    assert open_data(str(write(tmp_path / "only", {"test/a.png": noise(1)}))).split == "test"


# ---- holdout and limit -----------------------------------------------------------------------------------------------
def test_holdout_parts_the_files_by_their_names_alone(tmp_path: Path) -> None:
    spec = f"{write(tmp_path, photographs(200))}?holdout=0.2"
    train = open_data(spec)
    before = {"train": all_names(train), "test": all_names(train.part("test"))}
    assert sorted(before["train"] + before["test"]) == sorted(photographs(200))
    assert 25 <= len(before["test"]) <= 55  # 40 and three standard deviations
    (tmp_path / "010.png").unlink()
    write(tmp_path, {f"more {i}.png": noise(i) for i in range(50)} | {"000.png": noise(999)})
    train = open_data(spec)
    for split, names in before.items():
        after = all_names(train.part(split))
        assert [name for name in after if not name.startswith("more")] == [n for n in names if n != "010.png"]
    assert any(name.startswith("more") for name in all_names(train.part("test")))


def test_holdout_leaves_a_row_on_either_side_and_other_splits_alone(tmp_path: Path) -> None:
    few = str(write(tmp_path / "few", photographs(2)))
    assert dict(open_data(f"{few}?holdout=0.001").splits) == {"train": 1, "test": 1}
    assert dict(open_data(f"{few}?holdout=99.9%").splits) == {"train": 1, "test": 1}
    with pytest.raises(DataError, match="leave holdout away"):
        open_data(f"{write(tmp_path / 'one', photographs(1))}?holdout=0.5")
    given = {f"{split}/{i}.png": noise(i) for split in ("train", "val") for i in range(4)}
    data = open_data(f"{write(tmp_path / 'val', given)}?holdout=0.5")
    assert list(data.splits) == ["train", "test", "val"]
    assert all_names(data.part("val")) == [f"val/{i}.png" for i in range(4)]
    tested = open_data(f"{write(tmp_path / 'val', {'test/0.png': noise(0)})}?holdout=0.5")
    assert dict(tested.splits) == {"train": 4, "test": 1, "val": 4}


def test_limit_takes_rows_by_their_names_and_more_of_them_include_the_fewer(tmp_path: Path) -> None:
    write(tmp_path, {f"{split}/{i}.png": noise(i) for split in ("train", "test") for i in range(30)})
    chosen = {n: set(all_names(open_data(f"{tmp_path}?limit={n}"))) for n in (1, 7, 20, 99)}
    assert [len(names) for names in chosen.values()] == [1, 7, 20, 30]
    assert chosen[1] < chosen[7] < chosen[20] < chosen[99]
    assert dict(open_data(f"{tmp_path}?limit=7").splits) == {"train": 7, "test": 7}
    assert chosen[7] != {f"train/{i}.png" for i in range(7)}
    write(tmp_path, {"train/new.png": noise(1)})
    assert len(chosen[7] - set(all_names(open_data(f"{tmp_path}?limit=7")))) <= 1


# ---- the fingerprint -------------------------------------------------------------------------------------------------
def test_the_fingerprint_is_of_the_content_not_of_the_place(tmp_path: Path) -> None:
    here = write(tmp_path / "here", {f"{c}/{i}.png": noise(i + 9 * ord(c)) for i in range(3) for c in "xy"})
    shutil.copytree(here, tmp_path / "there")
    first = open_data(str(here)).fingerprint
    assert open_data(str(tmp_path / "there")).fingerprint == open_data(f"{here}?flip=true").fingerprint == first
    others = [open_data(f"{here}?{query}").fingerprint for query in ("size=7", "channels=grey", "limit=2")]
    (here / "y").rename(here / "z")  # another name of a class
    others.append(open_data(str(here)).fingerprint)
    write(here, {"x/1.png": noise(1000)})
    others.append(open_data(str(here)).fingerprint)
    assert len({first, *others}) == 6
    assert np.array_equal(everything(open_data(str(here)))[1], noise(1000))  # read anew: the file has changed
