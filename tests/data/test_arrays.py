from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawing import all_names, everything, noise, sentence
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.lib import format as npy
from PIL import Image

from ganvas.data import open_data
from ganvas.data.arrays import array_file, to_uint8
from ganvas.errors import DataError


def saved(path: Path, **arrays: Any) -> str:
    np.savez(path, **{name: np.asarray(values) for name, values in arrays.items()})
    return str(path)


# ---- what is read ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("packed", [np.savez, np.savez_compressed])
def test_bytes_are_read_as_they_are(packed: Any, channels: int, tmp_path: Path) -> None:
    images = noise(1, 7, 5, 4, channels)
    packed(tmp_path / "a.npz", images=images)
    np.save(tmp_path / "a.npy", images)
    for name in ("a.npz", "a.npy"):
        data = open_data(str(tmp_path / name))
        assert np.array_equal(everything(data), images)
        assert data.schema["image"] == (channels, 5, 4)
        assert data.schema.classes == ()
        assert all_names(data) == [f"{i:06d}" for i in range(7)]
    assert open_data(str(tmp_path / "a.npy")).fingerprint == open_data(str(tmp_path / "a.npz")).fingerprint


def test_more_than_is_held_in_memory_at_once_is_read_in_blocks(tmp_path: Path) -> None:
    images = noise(4, 3000, 32, 32, 3)  # 9 MB
    spec = saved(tmp_path / "a.npz", images=images)
    assert len(list(array_file(tmp_path / "a.npz").scan().parts["train"].read(np.arange(3000)))) == 3
    some = open_data(f"{spec}?limit=60")
    rows = [int(name) for name in all_names(some)]
    assert min(rows) < 1000 < 2000 < max(rows)
    assert np.array_equal(everything(some), images[rows])


def test_other_forms_of_the_same_images_are_the_same(tmp_path: Path) -> None:
    images = noise(2, 300, 16, 16, 1)
    floats = (images.transpose(0, 3, 1, 2) / 127.5) - 1
    forms = {
        "without channels": images[..., 0],
        "columns first": np.asfortranarray(images),
        "float64": floats,
        "float32": floats.astype(np.float32),
        "float32, columns first": np.asfortranarray(floats.astype(np.float32)),
        "float32, most significant byte first": floats.astype(">f4"),
        "just out of range": (floats * 1.0009).astype(np.float32),
    }
    for name, values in forms.items():
        np.save(tmp_path / f"{name}.npy", values)
        data = open_data(str(tmp_path / f"{name}.npy"))
        assert np.array_equal(everything(data), images), name
        assert data.schema["image"] == (1, 16, 16)
    np.save(tmp_path / "float16.npy", floats.astype(np.float16))
    assert np.abs(everything(open_data(str(tmp_path / "float16.npy"))).astype(int) - images).max() <= 1


def test_alpha_lies_over_white_and_size_and_channels_are_as_asked(tmp_path: Path) -> None:
    images = noise(3, 5, 12, 20, 4)
    images[..., 3] = 255
    images[:, 0, 0] = 0, 0, 0, 0
    spec = saved(tmp_path / "a.npz", images=images)
    assert everything(open_data(spec))[:, 0, 0].tolist() == [[255] * 3] * 5
    assert np.array_equal(everything(open_data(spec))[:, 1:], images[:, 1:, :, :3])
    small = everything(open_data(f"{spec}?size=6&channels=grey"))
    for pixels, mine in zip(images[..., :3], small, strict=True):
        pixels[0, 0] = 255
        grey = Image.fromarray(pixels).convert("L")
        assert np.array_equal(mine[..., 0], grey.resize((6, 6), Image.Resampling.BICUBIC, (4, 0, 16, 12)))
    assert open_data(spec).found["modes"] == {"RGBA": 5}


@given(npst.arrays(np.float32, (2, 1, 3, 2), elements=st.floats(-1, 1, width=32)))
@settings(deadline=None)
def test_floats_round_to_the_nearest_byte(values: np.ndarray) -> None:
    bytes_ = to_uint8(values, "here")
    assert bytes_.shape == (2, 3, 2, 1)
    assert np.abs(bytes_.transpose(0, 3, 1, 2) / 127.5 - 1 - values.astype(np.float64)).max() <= 1 / 255 + 1e-6


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "uint64", ">i4"])
@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_labels_are_classes(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    labels = np.array([0, 2, 1, 0, 2, 2], dtype).reshape(shape)
    data = open_data(saved(tmp_path / "a.npz", images=noise(1, 6, 2, 2, 3), labels=labels))
    assert data.tensors(np.arange(6))["label"].tolist() == [0, 2, 1, 0, 2, 2]
    assert data.schema.classes == ("0", "1", "2")
    assert data.found["classes"] == {"0": 2, "1": 1, "2": 3}
    names = ["cat", "dog", "Kuh", "unused"]
    named = open_data(saved(tmp_path / "b.npz", images=noise(1, 6, 2, 2, 3), labels=labels, classes=names))
    assert named.schema.classes == tuple(names)
    assert named.found["classes"] == {"cat": 2, "dog": 1, "Kuh": 3, "unused": 0}


def test_a_folder_of_splits_and_a_folder_of_parts(tmp_path: Path) -> None:
    train, test = noise(1, 5, 3, 3, 3), noise(2, 4, 3, 3, 3)
    splits, parts = tmp_path / "splits", tmp_path / "parts"
    splits.mkdir(), parts.mkdir()
    saved(splits / "test.npz", images=test, labels=[3, 1, 0, 0])
    saved(splits / "train.npz", images=train, labels=[0, 1, 2, 1, 1])
    (splits / "._train.npz").write_bytes(b"left by a Mac")
    (splits / "notes.txt").write_bytes(b"")
    data = open_data(str(splits))
    assert dict(data.splits) == {"train": 5, "test": 4}
    assert np.array_equal(everything(data), train)
    assert np.array_equal(everything(data.part("test")), test)
    assert data.part("test").tensors(np.arange(4))["label"].tolist() == [3, 1, 0, 0]
    assert data.schema.classes == ("0", "1", "2", "3")
    np.save(parts / "b.npy", test)
    saved(parts / "a.npz", images=train, labels=[0, 1, 2, 1, 1])
    joined = open_data(str(parts))
    assert np.array_equal(everything(joined), np.concatenate([train, test]))
    assert "label" not in joined.schema  # one part has none
    held_out = open_data(f"{parts}?holdout=0.3&limit=3")
    for split in ("train", "test"):
        rows = [int(name) for name in all_names(held_out.part(split))]
        assert np.array_equal(everything(held_out.part(split)), np.concatenate([train, test])[rows])


# ---- values ----------------------------------------------------------------------------------------------------------
BYTES = np.arange(0, 240, 4, dtype=np.uint8).reshape(4, 5, 3, 1)


@pytest.mark.parametrize(
    ("values", "decided"),
    [
        (BYTES / 255, "unit"),
        ((BYTES / 255).astype(np.float16), "unit"),
        (BYTES / 127.5 - 1, "signed"),
        (BYTES.astype(np.float32), "0..255"),
        (BYTES.astype(np.int64), "0..255"),
        (BYTES.astype(np.uint16), "0..255"),
        (BYTES * (1023 / 255), "0..1023"),
        (np.rint(BYTES * (4095 / 255)).astype(np.uint16), "0..4095"),
        (np.rint(BYTES * (16383 / 255)).astype(">i4"), "0..16383"),
        (BYTES.astype(np.uint16) * 257, "0..65535"),
    ],
)
def test_numbers_of_any_range_are_the_same_images_and_the_range_is_kept(
    values: np.ndarray, decided: str, tmp_path: Path, cache: Path
) -> None:
    np.save(tmp_path / "a.npy", values)
    data = open_data(str(tmp_path / "a.npy"))
    assert np.abs(everything(data).astype(int) - BYTES).max() <= 1
    assert (data.found["range"], data.found["range_by"]) == (decided, "values")
    assert data.spec.endswith(f"?range={decided}")
    assert bool(data.found.get("notes")) == (decided != "signed")
    stores = sorted((cache / "stores").iterdir())
    assert open_data(data.spec).fingerprint == data.fingerprint
    assert sorted((cache / "stores").iterdir()) == stores  # the store is that of either spec


def test_bits_are_black_and_white(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", BYTES > 100)
    assert np.array_equal(everything(open_data(str(tmp_path / "a.npy"))), (BYTES > 100) * 255)


def test_all_splits_share_one_range_which_can_be_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "train.npz", images=BYTES[:2] / 255)  # by itself in [0, 0.5], ...
    np.savez(tmp_path / "test.npz", images=BYTES[2:] / 127.5 - 1)  # ... and this one has negative values
    both = open_data(str(tmp_path))
    assert both.found["range"] == "signed"
    assert everything(both).min() == 128
    other = open_data(f"{tmp_path}?range=-3..1")
    assert everything(other).min() == round(255 * 3 / 4)
    assert other.found["range_by"] == "spec"
    with pytest.raises(DataError, match=r"beyond range=unit: say \?range=LOW..HIGH"):
        open_data(f"{tmp_path}?range=unit")
    windowed = everything(open_data(f"{tmp_path}?range=0.2..0.4"))
    assert {0, 255} < set(windowed.ravel().tolist())


@pytest.mark.parametrize("shape", [(2, 6, 5), (2, 6, 5, 1), (2, 1, 6, 5), (2, 3, 6, 5), (2, 6, 5, 3), (2, 6, 5, 4)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_channels_lie_first_or_last(shape: tuple[int, ...], dtype: str, tmp_path: Path) -> None:
    images = noise(5, *shape)
    expected = images[..., None] if len(shape) == 3 else images.transpose(0, 2, 3, 1) if shape[1] < 4 else images
    spec = saved(tmp_path / "a.npz", images=images if dtype == "uint8" else images.astype(np.float32) / 255)
    data = open_data(spec)
    if expected.shape[3] == 4:
        expected = np.stack([np.asarray(Image.alpha_composite(Image.new("RGBA", (5, 6), "white"), Image.fromarray(one))
                                        .convert("RGB")) for one in expected])  # fmt: skip
    assert np.array_equal(everything(data), expected)


# ---- names -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["arr_0", "images", "IMAGES", "image", "x", "data", "photographs"])
def test_a_lone_array_of_images_may_have_any_name(name: str, tmp_path: Path) -> None:
    statistics = {"mu": np.zeros(8), "sigma": np.zeros((8, 8)), "mu_s": np.zeros(9), "sigma_s": np.zeros((9, 9))}
    images = noise(1, 4, 6, 5, 3)
    assert np.array_equal(everything(open_data(saved(tmp_path / "a.npz", **{name: images}, **statistics))), images)


def test_samples_with_their_labels_in_order_are_read(tmp_path: Path) -> None:
    images = noise(1, 4, 6, 5, 3)
    np.savez(tmp_path / "a.npz", images, np.array([3, 0, 1, 2]))
    data = open_data(str(tmp_path / "a.npz"))
    assert data.tensors(np.arange(4))["label"].tolist() == [3, 0, 1, 2]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("x_train", "y_train", "x_test", "y_test"), ("train", "test")),
        (("X_train", "Y_train", "X_test", "Y_test"), ("train", "test")),
        (("trainX", "trainY", "testX", "testY"), ("train", "test")),
        (("train_images", "train_labels", "val_images", "val_labels"), ("train", "val")),
        (("TrainImages", "TrainLabels", "testing_images", "testing_labels"), ("train", "test")),
        (("images", "labels", "test_images", "test_labels"), ("train", "test")),
    ],
)
def test_names_of_arrays_tell_splits(names: tuple[str, ...], splits: tuple[str, str], tmp_path: Path) -> None:
    images, labels = (noise(1, 3, 6, 5), noise(2, 2, 6, 5)), (np.array([[0], [1], [2]]), np.array([[2], [0]]))
    given = dict(zip(names, (images[0], labels[0], images[1], labels[1]), strict=True))
    data = open_data(saved(tmp_path / "a.npz", **given))
    assert dict(data.splits) == {splits[0]: 3, splits[1]: 2}
    assert np.array_equal(everything(data.part(splits[1]))[..., 0], images[1])
    assert data.part(splits[1]).tensors(np.arange(2))["label"].tolist() == [2, 0]


def test_files_tell_splits_in_any_case(tmp_path: Path) -> None:
    for name, n in (("Train", 3), ("TEST", 2)):
        np.savez(tmp_path / f"{name}.npz", noise(1, n, 6, 5, 3))
    assert dict(open_data(str(tmp_path)).splits) == {"train": 3, "test": 2}


# ---- labels ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("labels", "read", "classes", "note"),
    [
        ([1, 3, 2], [0, 2, 1], "123", "labels start at 1: the 3 classes are 1 to 3"),
        ([1.0, 3.0, 2.0], [0, 2, 1], "123", "labels start at 1"),
        ([[0, 1], [1, 0], [0, 1]], [1, 0, 1], "01", ""),
        ([0, 4, 4], [0, 4, 4], "01234", "3 of the 5 classes have no image"),
        ([True, False, True], [1, 0, 1], "01", ""),
    ],
)
def test_labels_as_people_have_them(
    labels: list[Any], read: list[int], classes: str, note: str, tmp_path: Path
) -> None:
    data = open_data(saved(tmp_path / "a.npz", images=IMAGES, labels=labels))
    assert data.tensors(np.arange(3))["label"].tolist() == read
    assert data.schema.classes == tuple(classes)
    assert note in " ".join(data.found.get("notes", []))
    assert bool(note) == bool(data.found.get("notes"))


def test_names_of_classes_that_start_at_1_are_those_of_the_labels(tmp_path: Path) -> None:
    data = open_data(saved(tmp_path / "a.npz", images=IMAGES, labels=[1, 2, 2], classes=["a", "b"]))
    assert data.found["classes"] == {"a": 1, "b": 2}


# ---- what is refused -------------------------------------------------------------------------------------------------
IMAGES = noise(1, 3, 5, 6, 3)
FLOATS = np.zeros((2, 3, 5, 6), np.float32)


def changed(value: float) -> np.ndarray:
    floats = FLOATS.copy()
    floats[1, 2, 4, 5] = value
    return floats


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"images": IMAGES.astype(complex)}, "images is complex128"),
        ({"images": ["a", "b"]}, "images is <U1 [2]"),
        ({"images": np.full((3, 4, 5, 3), 20, np.int64)}, "images holds values from 20 to 20, and nothing says"),
        ({"images": np.full((3, 4, 5, 3), -1, np.int8)}, "images holds values from -1 to -1, and nothing says"),
        ({"images": np.full((3, 4, 5, 3), 70000)}, "images holds values from 70000 to 70000, and nothing says"),
        ({"a": IMAGES, "b": IMAGES}, "has several arrays that may be the images (a uint8 [3, 5, 6, 3], b uint8"),
        ({"arr_0": IMAGES, "arr_1": IMAGES}, "has several arrays that may be the images"),
        ({"mu": np.zeros(4), "sigma": np.zeros((4, 4))}, "has no array of images (mu float64 [4], sigma"),
        ({"images": IMAGES, "train_images": IMAGES}, "has both images and train_images: name the splits of both"),
        ({"images": IMAGES, "labels": [0.5, 1, 2]}, "labels is float64 [3] and not all whole"),
        ({"images": IMAGES, "labels": [np.nan, 1, 2]}, "labels is float64 [3] and not all whole"),
        ({"images": IMAGES, "labels": np.eye(3) * 2}, "labels is float64 [3, 3]: labels are whole numbers [3] or one"),
        ({"images": IMAGES, "labels": np.ones((3, 4), int)}, "labels is int64 [3, 4]"),
        ({"images": IMAGES[..., :2]}, "images is uint8 [3, 5, 6, 2]"),
        ({"images": FLOATS[0]}, "images is float32 [3, 5, 6]"),
        ({"images": IMAGES[0]}, "images is uint8 [5, 6, 3]"),  # a single one
        ({"images": IMAGES[0, 0, 0, 0]}, "images is uint8 []"),
        ({"images": IMAGES[:0]}, "images has no rows: [0, 5, 6, 3]"),
        ({"images": IMAGES[:, :0]}, "images is uint8 [3, 0, 6, 3]"),
        ({"images": changed(np.nan)}, "images holds values that are not finite"),
        ({"images": changed(-np.inf)}, "images holds values that are not finite"),
        ({"images": changed(1.01)}, "images holds values from 0 to 1.01"),
        (
            {"images": changed(-255)},
            "images holds values from -255 to 0, and nothing says which of them are black and white",
        ),
        ({}, "has no array of images: it is empty"),
        ({"images": IMAGES, "labels": [0, 1]}, "labels is int64 [2]: labels are whole numbers [3]"),
        ({"images": IMAGES, "labels": [0, -1, 2]}, "labels goes from -1 to 2: labels count from 0"),
        ({"images": IMAGES, "labels": [0, 1, 10**9]}, "labels goes from 0 to 1000000000"),
        ({"images": IMAGES, "labels": np.array([0, 1, 2**64 - 1], np.uint64)}, "labels count from 0"),
        ({"images": IMAGES, "labels": [0, 1, 2], "classes": ["a", "b"]}, "names 2 classes, but its labels go up to 2"),
        ({"images": IMAGES, "labels": [0, 1, 2], "classes": ["a", "b", "a"]}, "classes has a name twice"),
        ({"images": IMAGES, "labels": [0, 1, 2], "classes": [1, 2, 3]}, "classes is int64 [3]: the classes' names"),
    ],
)
def test_what_is_no_set_of_images_says_what_it_is_and_what_is_wanted(
    arrays: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        open_data(saved(tmp_path / "a.npz", **arrays))
    assert says in sentence(caught.value)
    assert str(tmp_path / "a.npz") in str(caught.value)


def test_parts_of_different_shapes_are_refused(tmp_path: Path) -> None:
    saved(tmp_path / "a.npz", images=IMAGES)
    saved(tmp_path / "b.npz", images=IMAGES[:, :3])
    with pytest.raises(DataError, match=r"b\.npz has images of \[3, 6, 3\] \(H, W, C\), but .*a\.npz of \[5, 6, 3\]"):
        open_data(str(tmp_path))


def header(shape: tuple[int, ...], **more: Any) -> bytes:
    """The header of a ``.npy`` of bytes."""
    file = io.BytesIO()
    npy.write_array_header_2_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape} | more)
    return file.getvalue()


def deflated(path: Path, start: bytes, zeros: int) -> str:
    """An ``.npz`` whose one array begins so and goes on with so many zeros."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("images.npy", "w", force_zip64=True) as out,
    ):
        out.write(start)
        for _ in range(zeros >> 20):
            out.write(bytes(1 << 20))
    return str(path)


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (b"\x93NUMPY\x02\x00" + (64 << 20).to_bytes(4, "little"), "its header: of 67,108,864 bytes"),
        (header((300, 1024, 1024, 1)), "unpacks to over 200 times its size"),
        (header((1, 1024, 1024, 1, 300), fortran_order=True), "unpacks to over 200 times its size"),
    ],
)
def test_what_unpacks_out_of_all_proportion_is_refused_by_its_headers(start: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        open_data(deflated(tmp_path / "a.npz", start, 301 << 20))


@pytest.mark.parametrize("packer", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_numpy_never_packs_by_is_refused(packer: int, tmp_path: Path) -> None:
    """`zipfile` unpacks a whole block of these at once, however large."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w", packer) as archive:
        archive.writestr("x_train.npy", header((4, 8, 8)) + bytes(256))
    with pytest.raises(DataError, match=r"a\.npz: x_train is packed by bzip2 or LZMA: write it by numpy"):
        open_data(f"images:{tmp_path / 'a.npz'}")


def test_a_large_array_that_has_no_rows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganvas.data.npyfiles.MOST_COLUMNS_FIRST", 1 << 10)
    images = np.asfortranarray(noise(1, 9, 8, 8, 3))
    np.save(tmp_path / "a.npy", images)
    assert np.array_equal(everything(open_data(str(tmp_path / "a.npy"))), images)
    with pytest.raises(DataError, match=r"lies in Fortran order .*: save numpy.ascontiguousarray of it"):
        open_data(saved(tmp_path / "a.npz", images=images))


def test_more_tiny_images_than_any_set_has_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(header((5_000_000, 1, 1, 1)) + bytes(5_000_000))
    with pytest.raises(DataError, match="has 5,000,000 images of 1x1"):
        open_data(str(tmp_path / "a.npy"))


@pytest.mark.parametrize("point", [0x7FFFFFFF, 0x110000, 0xD800, 0xDFFF])
def test_names_of_classes_that_are_no_text_are_refused(point: int, tmp_path: Path) -> None:
    raw = io.BytesIO()
    np.save(raw, np.array(["aa", "bb"]))
    names = raw.getvalue()[:-16] + point.to_bytes(4, "little") + raw.getvalue()[-12:]
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        for name, values in (("images", IMAGES), ("labels", np.array([0, 1, 0]))):
            one = io.BytesIO()
            np.save(one, values)
            file.writestr(f"{name}.npy", one.getvalue())
        file.writestr("classes.npy", names)
    with pytest.raises(DataError, match="classes holds names that are no text"):
        open_data(str(tmp_path / "a.npz"))


class Bomb:
    """Makes a folder where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["images", "labels", "whatever"])
def test_objects_are_never_unpickled(name: str, tmp_path: Path) -> None:
    bombs = np.array([Bomb(tmp_path / "executed")] * 3, object)
    spec = saved(tmp_path / "a.npz", **{"images": IMAGES, name: bombs})
    with pytest.raises(DataError, match=f"holds Python objects in {name}, which are never unpickled"):
        open_data(spec)
    np.save(tmp_path / "a.npy", bombs)
    with pytest.raises(DataError, match="holds Python objects"):
        open_data(str(tmp_path / "a.npy"))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize("part", [0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_named(part: float, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    (np.save if suffix == "npy" else np.savez)(path, noise(1, 9, 8, 8, 3))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(DataError, match=r"ends early|does not read as a NumPy file") as caught:
        open_data(str(path))
    assert str(path) in sentence(caught.value)


@pytest.mark.parametrize("shape", [(10**12, 8, 8, 3), (-3, 8, 8, 3), (3, -8, -8, 3), (1 << 62, 1 << 62, 1, 3)])
def test_a_header_is_not_believed_beyond_its_file(shape: tuple[int, ...], tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        file.write(bytes(600))
    with pytest.raises(DataError, match=r"ends early|a shape of"):
        open_data(str(tmp_path / "a.npy"))


@pytest.fixture(scope="module", params=["npy", "npz"])
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path = tmp_path_factory.mktemp("sound") / f"a.{request.param}"
    (np.save if request.param == "npy" else np.savez)(path, FLOATS)
    return path, path.read_bytes().replace(b"arr_0", b"images")


@given(place=st.floats(0, 1, exclude_max=True), insert=st.binary(min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
@pytest.mark.filterwarnings("ignore:Reading `.npy`")  # NumPy, of a header that looks like Python 2
def test_whatever_the_bytes_are_there_are_images_or_one_sentence(
    sound: tuple[Path, bytes], place: float, insert: bytes
) -> None:
    path, data = sound
    start = int(len(data) * place)
    path.write_bytes(data[:start] + insert + data[start + len(insert) :])
    try:
        (part,) = array_file(path).scan().parts.values()
        blocks = list(part.read(np.arange(len(part.names))))
    except DataError as error:
        sentence(error)
    else:
        assert sum(len(block) for block in blocks) == len(part.names)
