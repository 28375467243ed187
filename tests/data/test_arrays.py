from __future__ import annotations

import os
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
        ({"images": IMAGES.astype(np.int32)}, "images is int32 [3, 5, 6, 3]: images are uint8 [N, H, W, C]"),
        ({"images": IMAGES.astype(bool)}, "images is bool"),
        ({"images": IMAGES.astype(complex)}, "images is complex128"),
        ({"images": ["a", "b"]}, "images is <U1 [2]"),
        ({"images": IMAGES[..., :2]}, "images is uint8 [3, 5, 6, 2]"),
        ({"images": IMAGES.transpose(0, 3, 1, 2)}, "images is uint8 [3, 3, 5, 6]: "),  # planes, as floats have them
        ({"images": FLOATS.transpose(0, 2, 3, 1)}, "images is float32 [2, 5, 6, 3]: "),  # and the other way round
        ({"images": FLOATS[0]}, "images is float32 [3, 5, 6]"),
        ({"images": IMAGES[0]}, "images is uint8 [5, 6, 3]"),  # a single one
        ({"images": IMAGES[0, 0, 0, 0]}, "images is uint8 []"),
        ({"images": IMAGES[:0]}, "images has no rows: [0, 5, 6, 3]"),
        ({"images": IMAGES[:, :0]}, "images is uint8 [3, 0, 6, 3]"),
        ({"images": changed(np.nan)}, "images holds values that are not finite"),
        ({"images": changed(-np.inf)}, "images holds values that are not finite"),
        ({"images": changed(1.01)}, "images holds values from 0 to 1.01"),
        ({"images": changed(-255)}, "images holds values from -255 to 0: images are"),
        ({"image": IMAGES}, "no array named 'images': did you mean 'image'"),
        ({}, "no array named 'images': it is empty"),
        ({"images": IMAGES, "labels": [0.0, 1, 2]}, "labels is float64 [3]: labels are whole numbers [3]"),
        ({"images": IMAGES, "labels": [0, 1]}, "labels is int64 [2]: labels are whole numbers [3]"),
        ({"images": IMAGES, "labels": np.eye(3, dtype=int)}, "labels is int64 [3, 3]"),
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
