from __future__ import annotations

import importlib.util
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from drawing import all_names, everything, sentence, write
from originals import CIFAR10, CIFAR10_FILES, CIFAR100, N, Records, binary

from ganvas.data import open_data
from ganvas.errors import DataError


@pytest.fixture(params=[CIFAR10, CIFAR100], ids=["cifar10", "cifar100"])
def made(request: pytest.FixtureRequest) -> Records:
    return request.param


@pytest.fixture
def folder(made: Records, tmp_path: Path) -> Path:
    """The files, and what the publisher puts beside them."""
    return made.write(tmp_path)


def packed(made: Records, folder: Path) -> Path:
    path = folder.parent / made.archive
    with tarfile.open(path, "w:gz") as file:
        for name in sorted((path.name for path in folder.iterdir()), reverse=True):  # in no helpful order
            file.add(folder / name, f"{made.folder}/{name}")
    return path


def test_the_folder_the_one_around_it_and_the_archive_are_one_set(made: Records, folder: Path, tmp_path: Path) -> None:
    archive = packed(made, folder)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(archive, alone)
    renamed = shutil.copytree(folder, tmp_path / "mine")
    sets = [open_data(str(place)) for place in (folder, folder.parent, renamed, alone, alone / made.archive)]
    images, labels = made.rows
    n = len(images) - N
    for data in sets:
        assert dict(data.splits) == {"train": n, "test": N}
        assert np.array_equal(everything(data), images[:n])
        assert np.array_equal(everything(data.part("test")), images[n:])
        assert data.tensors(np.arange(n))["label"].tolist() == labels[:n].tolist()
        assert data.part("test").tensors(np.arange(N))["label"].tolist() == labels[n:].tolist()
        assert data.schema.classes == made.classes
        assert data.schema["image"] == (3, 32, 32)
    assert len({data.fingerprint for data in sets}) == 1
    assert [data.found["layout"].split(", ")[1] for data in sets] == ["folder of binary files"] * 3 + [
        "archive of binary files"
    ] * 2


@pytest.mark.parametrize(
    ("made", "pickled"),
    [
        (CIFAR10, "data_batch_1"),
        (CIFAR10, "cifar-10-batches-py/data_batch_1"),
        (CIFAR100, "cifar-100-python/train"),
    ],
)
def test_the_pickled_form_is_refused(made: Records, pickled: str, tmp_path: Path) -> None:
    write(tmp_path, {pickled: b"\x80\x04."})
    for place in {tmp_path, (tmp_path / pickled).parent}:
        with pytest.raises(
            DataError, match=f"Python pickles, which are never loaded: get the binary .* .{made.archive}"
        ):
            open_data(str(place))


@pytest.mark.parametrize(
    ("made", "missing"),
    [
        (CIFAR10, ["data_batch_3.bin"]),
        (CIFAR10, ["test_batch.bin"]),
        (CIFAR10, CIFAR10_FILES[:5]),
        (CIFAR100, ["train.bin"]),
        (CIFAR100, ["test.bin"]),
        (CIFAR100, ["fine_label_names.txt"]),
    ],
)
def test_a_file_that_is_missing_is_named(made: Records, missing: list[str], tmp_path: Path) -> None:
    folder = made.write(tmp_path)
    for name in missing:
        (folder / name).unlink()
    for place in (folder, packed(made, folder)):
        with pytest.raises(DataError, match=f"without {', '.join(missing)}: get the whole set") as caught:
            open_data(str(place))
        assert str(place) in sentence(caught.value)


def test_the_names_of_ten_classes_are_known_where_their_file_is_missing(tmp_path: Path) -> None:
    folder = CIFAR10.write(tmp_path)
    (folder / CIFAR10.names).unlink()
    assert open_data(str(folder)).schema.classes == CIFAR10.classes


def test_pictures_beside_a_file_that_happens_to_be_called_train_are_pictures(tmp_path: Path) -> None:
    data = open_data(str(write(tmp_path, {"a.png": np.zeros((2, 3, 3), np.uint8), "train.bin": b"mine"})))
    assert data.found["layout"] == "folder of pictures"


@pytest.mark.parametrize(
    ("made", "name", "content", "says"),
    [
        (CIFAR10, "data_batch_2.bin", b"", "data_batch_2.bin has 0 bytes, no whole number of records of 3,073"),
        (CIFAR10, "data_batch_2.bin", bytes(3072), "data_batch_2.bin has 3,072 bytes"),
        (CIFAR10, "data_batch_2.bin", bytes(3074), "data_batch_2.bin has 3,074 bytes"),
        (CIFAR10, "data_batch_2.bin", b"\x0a" + bytes(3072), "data_batch_2.bin has labels over 9"),
        (CIFAR100, "test.bin", bytes(2 * 3073), "test.bin has 6,146 bytes, no whole number of records of 3,074"),
        (CIFAR100, "train.bin", b"\x00\x64" + bytes(3072), "train.bin has labels over 99"),
        (CIFAR100, "fine_label_names.txt", b"apple\nbaby\n", "fine_label_names.txt has 2 names, not 100"),
    ],
)
def test_a_file_of_another_content_is_named(
    made: Records, name: str, content: bytes, says: str, tmp_path: Path
) -> None:
    folder = made.write(tmp_path)
    (folder / name).write_bytes(content)
    for place in (folder, packed(made, folder)):
        with pytest.raises(DataError) as caught:
            open_data(str(place))
        assert says in sentence(caught.value)


def test_a_damaged_archive_is_named(made: Records, folder: Path, tmp_path: Path) -> None:
    path = packed(made, folder)
    (tmp_path / "alone").mkdir()
    damaged = tmp_path / "alone" / made.archive
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
    assert tuple(names) == CIFAR10.classes

    files = {f"{names[label]}/{i:05d}.png": image for i, (image, label) in enumerate(zip(images, labels, strict=True))}
    np.savez(tmp_path / "real.npz", images=images, labels=labels, classes=names)
    records = write(tmp_path / "records", dict.fromkeys(CIFAR10.files, binary(images[:1], labels[:1])))
    write(records, {f"data_batch_{i + 1}.bin": binary(images[i::5], labels[i::5]) for i in range(5)})

    pictures, arrays = open_data(str(write(tmp_path / "pictures", files))), open_data(str(tmp_path / "real.npz"))
    assert np.array_equal(everything(pictures), images)
    assert all_names(pictures) == sorted(files)
    assert pictures.fingerprint == arrays.fingerprint
    assert pictures.found["classes"] == arrays.found["classes"]
    assert np.array_equal(everything(open_data(str(records))), np.concatenate([images[i::5] for i in range(5)]))
