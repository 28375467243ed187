"""Rows of several pictures: what a folder is read as, who belongs together, and what is wrong with it, in a line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from drawing import Array, all_names, encoded, noise, sentence, write
from PIL import Image

from ganvas.data import open_data
from ganvas.data.geometry import nearest
from ganvas.data.pictures import Preparation
from ganvas.errors import DataError, GanvasError, UsageError


def pictures(*folders: str, names: str = "abc", size: tuple[int, int] = (8, 6)) -> dict[str, Array | bytes]:
    """Noise of that width and height under every folder and name."""
    found: dict[str, Array | bytes] = {}
    for folder in folders:
        for name in names:
            found[f"{folder}/{name}.png"] = noise(len(found), size[1], size[0], 3)
    return found


def maps(*folders: str, names: str = "abc", size: tuple[int, int] = (8, 6), ids: int = 5) -> dict[str, Array | bytes]:
    """Label maps with the ids 0..ids-1."""
    grey = {}
    for i, path in enumerate(pictures(*folders, names=names, size=size)):
        grey[path] = np.random.default_rng(i).integers(0, ids, (size[1], size[0]), np.uint8)
    return grey


@pytest.mark.parametrize(
    ("folders", "prefer", "kind"),
    [
        (["trainA", "trainB", "testA", "testB"], (), "unpaired"),
        (["trainA", "trainB"], ("unpaired", "paired"), "unpaired"),
        (["trainA", "trainB"], ("paired", "labels"), "paired"),
        (["trainA", "trainB"], ("labels", "paired"), "paired"),
        (["trainA", "trainB"], ("images",), "images"),
        (["train_A", "train_B", "test_A", "test_B"], (), "paired"),
        (["train_A", "train_B"], ("unpaired", "paired"), "unpaired"),
        (["A", "B"], (), "paired"),
        (["train/A", "train/B", "val/A", "val/B"], (), "paired"),
        (["A/train", "B/train", "A/test", "B/test"], (), "paired"),
        (["A", "B", "C"], (), "images"),  # classes
        (["trainA", "cats"], (), "images"),
        (["A"], (), "images"),
        (["train", "test"], (), "images"),
        (["cats", "dogs"], ("unpaired", "paired"), "images"),
    ],
)
def test_a_folder_is_read_as_its_layout_says_and_as_is_preferred_where_that_fits(
    folders: list[str], prefer: tuple[str, ...], kind: str, tmp_path: Path
) -> None:
    data = open_data(str(write(tmp_path, pictures(*folders))), prefer=prefer)
    assert data.kind == kind
    if kind != "images":
        assert data.spec == f"{kind}:{tmp_path}"
        assert open_data(data.spec).fingerprint == data.fingerprint
        splits = [split for split in ("train", "test", "val") if any(split in folder for folder in folders)]
        assert data.splits == dict.fromkeys(splits or ["train"], 3)
        assert data.schema.fields == {"A": (3, 6, 8), "B": (3, 6, 8)}
        assert all_names(data) == ["a.png", "b.png", "c.png"]


@pytest.mark.parametrize("instances", [False, True])
@pytest.mark.parametrize("name", ["{0}_{1}", "{0}/{1}"])
def test_label_maps_lie_beside_their_photographs(name: str, instances: bool, tmp_path: Path) -> None:
    members = ["label", "inst"] if instances else ["label"]
    folders = [name.format(split, member) for split in ("train", "test") for member in members]
    images = [name.format(split, "img") for split in ("train", "test")]
    files = {**maps(*folders), **pictures(*images), "train_feat/a.png": noise(1)}
    data = open_data(str(write(tmp_path, files)), prefer=("paired", "labels"))
    assert data.kind == "labels"
    assert list(data.schema.fields) == ["labels", *["instances"] * instances, "image"]
    assert data.schema.classes == ("0", "1", "2", "3", "4")
    assert data.found["left_out"] == [{"reason": "in no folder of labels data", "count": 1, "names": ["train_feat/"]}]
    ids = files[name.format("test", "label") + "/b.png"]
    row = data.part("test").tensors(np.array([1]))
    assert np.array_equal(row["labels"][0].numpy(), ids)
    np.testing.assert_allclose(row["image"][0].numpy().transpose(1, 2, 0),
                               files[name.format("test", "img") + "/b.png"] / 127.5 - 1, atol=1e-6)  # fmt: skip


def test_there_are_as_many_classes_as_any_map_of_any_split_has(tmp_path: Path) -> None:
    files = {**maps("train_label", "test_label", ids=3), **pictures("train_img", "test_img")}
    for name, top in (("train_label/b.png", 6), ("train_label/c.png", 4), ("test_label/c.png", 8)):
        files[name] = np.full((6, 8), top, np.uint8)
    data = open_data(str(write(tmp_path, files)))
    assert data.schema.classes == data.part("test").schema.classes == tuple("012345678")
    with pytest.raises(DataError, match=r"test_label/c.png has the label id 8, beyond classes=8"):
        open_data(f"{tmp_path}?classes=8")


def test_instance_maps_that_not_every_split_has_are_left_out_and_that_is_said(tmp_path: Path) -> None:
    files = {**maps("train_label", "train_inst", "test_label"), **pictures("train_img", "test_img")}
    data = open_data(str(write(tmp_path, files)))
    assert list(data.schema.fields) == ["labels", "image"]
    assert "train_inst left out: not every split has instance maps" in data.found["arrangement"]


def test_two_folders_are_matched_by_name_whatever_the_suffix(tmp_path: Path) -> None:
    write(tmp_path, {"x,y/sub/1.png": noise(1), "x,y/sub/2.bmp": encoded(noise(2), "BMP"), "photos/sub/2.png": noise(4),
                     "photos/sub/1.tif": encoded(noise(3), "TIFF")})  # fmt: skip
    data = open_data(f"paired:{tmp_path}/x,y,{tmp_path}/photos")
    assert all_names(data) == ["sub/1.png", "sub/2.bmp"]
    taken = data.arrays(np.arange(2))
    assert [np.array_equal(taken["A"][i], noise(1 + i)) for i in (0, 1)] == [True, True]
    assert [np.array_equal(taken["B"][i], noise(3 + i)) for i in (0, 1)] == [True, True]


def test_names_that_tell_the_member_are_matched_without_it(tmp_path: Path) -> None:
    files = maps("train_label", names="x")
    files["train_label/aachen_0_gtFine_labelIds.png"] = files.pop("train_label/x.png")
    files["train_img/aachen_0_leftImg8bit.png"] = noise(1, 6, 8, 3)
    files["train_inst/aachen_0_gtFine_instanceIds.png"] = maps("i", names="x")["i/x.png"]
    assert all_names(open_data(str(write(tmp_path, files)))) == ["aachen_0_gtFine_labelIds.png"]


@pytest.mark.parametrize("order", ["AB", "BA"])
def test_pictures_that_hold_a_pair_are_cut_in_halves(order: str, tmp_path: Path) -> None:
    wide = {f"{split}/{i}.png": noise(i, 6, 10, 3) for i, split in enumerate(["train", "train", "val"])}
    data = open_data(f"{write(tmp_path, wide)}?side-by-side={order}")
    assert (data.kind, data.splits) == ("paired", {"train": 2, "val": 1})
    assert open_data(data.spec).fingerprint == data.fingerprint
    taken, halves = data.part("val").arrays(np.arange(1)), (wide["val/2.png"][:, :5], wide["val/2.png"][:, 5:])
    for member, half in zip(order, halves, strict=True):
        assert np.array_equal(taken[member][0], half)


def test_two_sets_that_are_no_pairs_may_differ_in_number(tmp_path: Path) -> None:
    write(tmp_path, {**pictures("trainA", names="abcde"), **pictures("trainB", names="xy")})
    data = open_data(str(tmp_path))
    assert len(data) == 5
    assert data.found["sides"] == {"train": {"A": 5, "B": 2}}
    rows = data.arrays(np.arange(5))
    assert np.array_equal(rows["B"][4], rows["B"][0])
    assert not np.array_equal(rows["B"][1], rows["B"][0])


@pytest.mark.parametrize("kind", ["paired", "unpaired"])
def test_rows_are_held_out_and_limited_by_name_and_pairs_stay_together(kind: str, tmp_path: Path) -> None:
    names = "abcdefghijklmnopqrst"
    files = write(tmp_path, {f"{side}/{name}.png": np.full((4, 4, 3), i, np.uint8)
                             for side in ("A", "B") for i, name in enumerate(names)})  # fmt: skip
    data = open_data(f"{kind}:{files}?holdout=0.3&limit=8")
    assert data.splits["train"] == 8
    parts = [data.part(split).arrays(np.arange(data.splits[split])) for split in ("train", "test")]
    for part in parts:
        assert np.array_equal(part["A"], part["B"])
    assert not {*parts[0]["A"][:, 0, 0, 0].tolist()} & {*parts[1]["A"][:, 0, 0, 0].tolist()}


# ---- what is wrong ---------------------------------------------------------------------------------------------------
def refused(root: Path, files: Mapping[str, Array | bytes], spec: str = "{}", **more: object) -> str:
    """The one line that data is refused with."""
    with pytest.raises(GanvasError) as caught:
        open_data(spec.format(write(root, files)), **more)  # type: ignore[arg-type]
    return sentence(caught.value)


LABELLED = {**maps("train_label"), **pictures("train_img")}


@pytest.mark.parametrize(
    ("files", "spec", "says"),
    [
        (pictures("A", "B"), "labels:{}", "holds no labels data: a folder with train_label/ and train_img/"),
        (pictures("x", "y"), "paired:{}", r"side-by-side=AB"),
        ({**pictures("trainA", "trainB", "testA")}, "{}", "has testA in its split 'test', and no pictures 'B' beside"),
        ({**pictures("A"), **pictures("B", names="xyz")}, "{}", "No file in A has a partner in B .*unpaired:"),
        ({**pictures("A", names="abcdef"), **pictures("B")}, "{}", r"A/d.png: has no partner in B; A/e.png"),
        ({**pictures("A", "B"), "B/a.jpg": noise(1, 6, 8, 3)}, "{}", "two pictures of one name: B/a.jpg and B/a.png"),
        ({**LABELLED, **pictures("train_img", size=(9, 6))}, "{}",
         r"train_label/a.png: is 8x6, and train_img/a.png is 9x6, which load_size=8x6 would stretch alike"),
        ({**LABELLED, **maps("train_inst", size=(4, 3))}, "{}", r"is 8x6, and train_inst/a.png is 4x3"),
        ({**pictures("A"), **pictures("B", size=(16, 12))}, "{}", "A/a.png: is 8x6, and B/a.png is 16x12, which load_"),
        ({**LABELLED, **{f"train_label/{n}.png": np.full((6, 8), 255, np.uint8) for n in "ab"}}, "{}",
         "train_label/a.png: is void .255. all over"),
        ({**LABELLED, **pictures("train_label")}, "{}", r"a picture in colour .RGB.: a map has one whole number"),
        ({**LABELLED, "train_label/a.png": np.full((6, 8), 300, np.uint16)}, "{}", "train_label/a.png has the label id"
         " 300: ids go from 0 to 254, and 255 is void"),
        (LABELLED, "{}?classes=4", r"train_label/[abc].png has the label id 4, beyond classes=4"),
        (LABELLED, "{}?crop=9x4", r"3 pictures of .* are smaller than the crop of 9x4, such as a.png .8x6."),
        (LABELLED, "{}?strict=true&crop=9", "smaller than the crop"),
        (LABELLED, "{}?stream=true", "stream=true makes no sense: labels data is read into the store"),
        (LABELLED, "{}?size=8&load_size=8", "size and load_size contradict each other"),
        (LABELLED, "{}?size=8&crop=9", "the crop is larger than the pictures: 9 of 8"),
        (LABELLED, "{}?crop=centre", "takes a window in pixels"),
        (LABELLED, "{}?resize=bilinear", "resize says nothing"),
        (LABELLED, "{}?side-by-side=AB&classes=3", "classes says nothing"),
        (LABELLED, "{}?split=val", "no split 'val'"),
        (pictures("trainA", "trainB"), "{}?classes=3", "classes says nothing: only labels data"),
        (pictures("cats"), "{}?load_size=3", "load_size says nothing: it is of paired, unpaired or labels data alone"),
        (pictures("x", size=(7, 6)), "{}?side-by-side=AB", "is 7 pixels wide: an odd number has no two halves"),
        ({**pictures("A", "B", size=(8, 6), names="a"), **pictures("A", "B", size=(6, 8), names="b")},
         "{}?scale_width=16", "pictures of different sizes .16x12 to 16x21., which do not stack"),
        ({"A": b"", "B": b""}, "paired:{}/A", "is no folder: paired data is read from folders"),
        ({"A/x": b""}, "paired:{}/A,{}/C", "no folder, nor two, as paired:A,B"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_a_line(
    files: dict[str, Array | bytes], spec: str, says: str, tmp_path: Path, cache: Path
) -> None:
    before = {path.name for path in (cache / "stores").glob(".*.part*")}
    said = refused(tmp_path, files, spec.replace("{}", str(tmp_path)))
    assert re.search(says, said), said
    assert {path.name for path in (cache / "stores").glob(".*.part*")} == before  # nothing half-written


def test_few_rows_that_cannot_be_read_are_skipped_and_named(tmp_path: Path) -> None:
    files = {**maps("train_label", names="abcdefgh"), **pictures("train_img", names="abcdefg")}
    files["train_img/b.png"] = b"\x89PNG\r\n\x1a\nno"
    data = open_data(f"{write(tmp_path, files)}?max-bad=30%")
    assert all_names(data) == [f"{name}.png" for name in "acdefg"]
    assert data.found["bad"]["count"] == 2
    assert data.found["bad"]["files"]["train_label/h.png"] == "has no partner in train_img"
    assert data.found["bad"]["files"]["train_label/b.png"].startswith("train_img/b.png: ")
    with pytest.raises(DataError, match="cannot be read"):
        open_data(f"{tmp_path}?strict=true")


# ---- masks -----------------------------------------------------------------------------------------------------------
def masks(values: tuple[int, int], *folders: str, names: str = "abc") -> dict[str, Array | bytes]:
    """Label maps of two ids."""
    drawn = maps(*folders, names=names, ids=2)
    return {path: np.where(np.asarray(ids) > 0, *values[::-1]).astype(np.uint8) for path, ids in drawn.items()}


def test_masks_of_0_and_255_are_two_classes_and_that_is_said(tmp_path: Path) -> None:
    files = {**masks((0, 255), "train_label", "test_label"), **pictures("train_img", "test_img")}
    files["train_label/b.png"] = np.full((6, 8), 255, np.uint8)  # all of it is foreground
    data = open_data(str(write(tmp_path, files)))
    assert data.schema.classes == ("0", "1")
    for split in ("train", "test"):
        labels = data.part(split).arrays(np.arange(3))["labels"]
        expected = [np.asarray(files[f"{split}_label/{name}.png"]) // 255 for name in "abc"]
        assert np.array_equal(labels, expected)
    assert "read as masks of the classes 0 and 1" in data.found["notes"][0]
    assert data.found["void"] == 0
    assert data.spec == f"labels:{tmp_path}?void=none"
    assert open_data(data.spec).fingerprint == data.fingerprint
    assert open_data(f"{tmp_path}?classes=2").fingerprint == data.fingerprint


@pytest.mark.parametrize("key", ["void=255", "classes=1", "classes=3"])
@pytest.mark.parametrize("before", ["", "?void=255"])
def test_masks_whose_255_is_void_can_be_had(key: str, before: str, tmp_path: Path) -> None:
    files = write(tmp_path, {**masks((0, 255), "train_label"), **pictures("train_img")})
    first = open_data(f"{files}{before}").found["void"]
    assert (first > 0) == bool(before)
    data = open_data(f"{files}?{key}")
    assert data.found["void"] > 0
    assert set(np.unique(data.arrays(np.arange(3))["labels"])) == {0, 255}
    assert open_data(str(files)).found["void"] == 0


@pytest.mark.parametrize("values", [(0, 1, 255), (0, 1), (0, 128, 255), (0,)])
def test_maps_with_other_ids_stay_as_they_are(values: tuple[int, ...], tmp_path: Path) -> None:
    files = {**maps("train_label", ids=len(values)), **pictures("train_img")}
    files |= {path: np.array(values, np.uint8)[ids] for path, ids in files.items() if path.startswith("train_label")}
    data = open_data(str(write(tmp_path, files)))
    assert set(np.unique(data.arrays(np.arange(3))["labels"])) == set(values)
    assert ("hold the ids 0, 128" in " ".join(data.found.get("notes", []))) == (128 in values)
    if 255 in values:
        with pytest.raises(DataError, match=r"has the ids 0, 1.*: masks .void=none. hold 0 and 255 alone"):
            open_data(f"{tmp_path}?void=none")


@pytest.mark.parametrize("form", ["RGB", "RGBA", "LA"])
def test_gray_colors_are_the_ids_of_gray(form: str, tmp_path: Path) -> None:
    files = {**maps("train_label"), **pictures("train_img")}
    coded = {p: encoded(Image.fromarray(np.asarray(v)).convert(form)) if "label" in p else v for p, v in files.items()}
    plain, other = write(tmp_path / "a", files), write(tmp_path / "b", coded)
    assert open_data(str(plain)).fingerprint == open_data(str(other)).fingerprint


# ---- sizes of label maps and photographs -----------------------------------------------------------------------------
@pytest.mark.parametrize("key", ["size=12x9", "load_size=12x9", "scale_width=12", "size=8x6&crop=4"])
@pytest.mark.parametrize("instances", [False, True])
def test_a_label_map_and_its_photograph_come_to_the_size_that_is_asked_for(
    key: str, instances: bool, tmp_path: Path
) -> None:
    files = {**maps("train_label"), **pictures("train_img", size=(16, 12))}
    files |= maps("train_inst", size=(32, 24)) if instances else {}
    data = open_data(f"{write(tmp_path, files)}?{key}")
    rows = data.arrays(np.arange(3))
    assert {field: values.shape[1:3] for field, values in rows.items()} == dict.fromkeys(rows, data.window[::-1])
    assert np.isin(rows["labels"], [0, 1, 2, 3, 4]).all()
    if key == "size=12x9":
        names = [np.asarray(files[f"train_label/{name}.png"]) for name in "abc"]
        assert np.array_equal(rows["labels"], [nearest(ids, Preparation((12, 9), "none")) for ids in names])


def test_rounded_sizes_are_of_one_shape_and_others_are_not(tmp_path: Path) -> None:
    files = {**maps("train_label", size=(33, 17)), **pictures("train_img", size=(65, 33))}
    assert open_data(f"{write(tmp_path / 'a', files)}?scale_width=20").window == (20, 10)
    assert open_data(f"{tmp_path / 'a'}?size=20x10").window == (20, 10)
    square = write(tmp_path / "b", {**maps("train_label", size=(32, 32)), **pictures("train_img", size=(64, 32))})
    for key in ("size=16", "scale_width=16"):
        said = refused(square, {}, f"{{}}?{key}")
        assert "is 32x32, and train_img/a.png is 64x32, of another shape, which load_size would stretch alike" in said
    assert open_data(f"{square}?load_size=16").window == (16, 16)


def test_pictures_of_several_sizes_are_loaded_and_cropped_as_published(tmp_path: Path) -> None:
    write(tmp_path, {**pictures("trainA", size=(40, 30)), **pictures("trainB", size=(30, 40))})
    data = open_data(str(tmp_path))
    assert data.spec == f"unpaired:{tmp_path}?crop=256&load_size=286"
    assert data.schema["A"] == (3, 256, 256)
    assert data.whole(0)["B"].shape == (1, 3, 286, 286)
    assert open_data(str(tmp_path)).fingerprint == open_data(data.spec).fingerprint == data.fingerprint


def test_a_store_is_found_again_and_changes_with_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ganvas.data import opening

    write(tmp_path, pictures("A", "B"))
    first = open_data(str(tmp_path))
    read: list[object] = []
    real = opening.gather
    monkeypatch.setattr(opening, "gather", lambda *a, **more: read.append(a) or real(*a, **more))
    assert open_data(str(tmp_path), verify=True).fingerprint == first.fingerprint
    assert not read
    Image.fromarray(noise(77, 6, 8, 3)).save(tmp_path / "B" / "a.png")
    assert open_data(str(tmp_path)).fingerprint != first.fingerprint
    assert len(read) == 1


def test_a_member_that_is_not_there_is_refused(tmp_path: Path) -> None:
    data = open_data(str(write(tmp_path, pictures("A", "B"))))
    with pytest.raises(UsageError, match="has no pictures 'C'"):
        data.domain("C")
    with pytest.raises(UsageError, match="has no member 'A': it is images data"):
        open_data(f"images:{tmp_path}").domain("A")
