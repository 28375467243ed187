from __future__ import annotations

import importlib.util
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from drawing import all_names, everything, noise, sentence, write

from ganvas.data import open_data
from ganvas.data.cifar import ARCHIVE, CLASSES, NAMES_FILE
from ganvas.errors import DataError

FILES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
N = 12  # records a file


def binary(images: np.ndarray, labels: np.ndarray) -> bytes:
    """Records as the publisher describes them: a label, then 1024 bytes of red, of green, of blue, row by row."""
    records = []
    for image, label in zip(images, labels, strict=True):
        red, green, blue = (image[:, :, channel].tobytes() for channel in range(3))
        records.append(bytes([label]) + red + green + blue)
    return b"".join(records)


IMAGES, LABELS = noise(7, 6 * N, 32, 32, 3), np.arange(6 * N) % 10


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The six files, and what the publisher puts beside them."""
    batches = tmp_path / "cifar-10-batches-bin"
    for i, name in enumerate(FILES):
        rows = slice(i * N, (i + 1) * N)
        write(batches, {name: binary(IMAGES[rows], LABELS[rows])})
    return write(batches, {NAMES_FILE: "\n".join([*CLASSES, ""]).encode(), "readme.html": b"<html>"})


def packed(folder: Path) -> Path:
    path = folder.parent / ARCHIVE
    with tarfile.open(path, "w:gz") as file:
        for name in sorted((path.name for path in folder.iterdir()), reverse=True):  # in no helpful order
            file.add(folder / name, f"cifar-10-batches-bin/{name}")
    return path


def test_the_folder_the_one_around_it_and_the_archive_are_one_set(folder: Path, tmp_path: Path) -> None:
    archive = packed(folder)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(archive, alone)
    sets = [open_data(str(place)) for place in (folder, folder.parent, alone, alone / ARCHIVE)]
    for data in sets:
        assert dict(data.splits) == {"train": 5 * N, "test": N}
        assert np.array_equal(everything(data), IMAGES[: 5 * N])
        assert np.array_equal(everything(data.part("test")), IMAGES[5 * N :])
        assert data.tensors(np.arange(len(data)))["label"].tolist() == LABELS[: 5 * N].tolist()
        assert data.schema.classes == CLASSES
        assert data.schema["image"] == (3, 32, 32)
    assert len({data.fingerprint for data in sets}) == 1
    assert [data.found["layout"].split(", ")[1] for data in sets] == ["folder of binary files"] * 2 + [
        "archive of binary files"
    ] * 2


def test_the_named_set_is_the_one_that_was_fetched(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANVAS_CACHE", str(folder.parent / "cache"))
    with pytest.raises(DataError, match=r"run `ganvas fetch cifar10`, or name a folder") as caught:
        open_data("cifar10")
    sentence(caught.value)
    place = folder.parent / "cache" / "datasets" / "cifar10"
    place.mkdir(parents=True)
    shutil.copy(packed(folder), place)
    assert np.array_equal(everything(open_data("cifar10?limit=30&split=test")), IMAGES[5 * N :])


@pytest.mark.parametrize("pickled", ["data_batch_1", "cifar-10-batches-py/data_batch_1"])
def test_the_pickled_form_is_refused(pickled: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"Python pickles, which are never loaded: get the binary version .{ARCHIVE}"):
        open_data(str(write(tmp_path, {pickled: b"\x80\x04."})))


@pytest.mark.parametrize("missing", [["data_batch_3.bin"], ["test_batch.bin"], FILES[:5]])
def test_a_file_that_is_missing_is_named(missing: list[str], folder: Path) -> None:
    for name in missing:
        (folder / name).unlink()
    for place in (folder, packed(folder)):
        with pytest.raises(DataError, match=f"CIFAR-10 without {', '.join(missing)}: get the whole set") as caught:
            open_data(str(place))
        assert str(place) in sentence(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "data_batch_2.bin has 0 bytes, no whole number of records of 3,073"),
        (bytes(3072), "data_batch_2.bin has 3,072 bytes"),
        (bytes(3074), "data_batch_2.bin has 3,074 bytes"),
        (b"\x0a" + bytes(3072), "data_batch_2.bin has labels over 9"),
    ],
)
def test_a_file_that_is_no_batch_is_named(content: bytes, says: str, folder: Path) -> None:
    (folder / "data_batch_2.bin").write_bytes(content)
    for place in (folder, packed(folder)):
        with pytest.raises(DataError) as caught:
            open_data(str(place))
        assert says in sentence(caught.value)


def test_a_damaged_archive_is_named(folder: Path, tmp_path: Path) -> None:
    path = packed(folder)
    (tmp_path / "alone").mkdir()
    damaged = tmp_path / "alone" / ARCHIVE
    for content in (b"", b"no archive", path.read_bytes()[:5000]):
        damaged.write_bytes(content)
        with pytest.raises(DataError, match="does not read as an archive") as caught:
            open_data(str(damaged))
        assert str(damaged) in sentence(caught.value)


# ---- real images -----------------------------------------------------------------------------------------------------
def test_real_images_are_the_same_as_pictures_arrays_and_records(shared: Path, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("read_pack", shared / "data" / "read_pack.py")
    assert spec is not None
    assert spec.loader is not None
    reader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reader)
    pack = reader.load_pack(shared / "data" / "cifar10_test_a.npz")
    images, labels = pack["images"][::17], pack["labels"][::17].astype(np.int64)  # 295, class after class
    names = [str(name) for name in pack["meta"]["classes"]]
    assert names == list(CLASSES)

    files = {f"{names[label]}/{i:05d}.png": image for i, (image, label) in enumerate(zip(images, labels, strict=True))}
    np.savez(tmp_path / "real.npz", images=images, labels=labels, classes=names)
    records = write(tmp_path / "records", dict.fromkeys(FILES, binary(images[:1], labels[:1])))
    write(records, {f"data_batch_{i + 1}.bin": binary(images[i::5], labels[i::5]) for i in range(5)})

    pictures, arrays = open_data(str(write(tmp_path / "pictures", files))), open_data(str(tmp_path / "real.npz"))
    assert np.array_equal(everything(pictures), images)
    assert all_names(pictures) == sorted(files)
    assert pictures.fingerprint == arrays.fingerprint
    assert pictures.found["classes"] == arrays.found["classes"]
    assert np.array_equal(everything(open_data(str(records))), np.concatenate([images[i::5] for i in range(5)]))
