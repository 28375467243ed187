from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from drawing import everything, noise, sentence
from originals import svhn

from ganvas.data import open_data
from ganvas.errors import DataError

COUNTS = {"train": 23, "test": 11, "extra": 1500}  # the last in more blocks than one


@pytest.mark.parametrize("compressed", [True, False])
def test_every_file_is_a_split_and_ten_is_the_digit_zero(compressed: bool, tmp_path: Path) -> None:
    held = svhn(tmp_path, COUNTS, compressed=compressed)
    data = open_data(str(tmp_path))
    assert dict(data.splits) == COUNTS
    assert data.split == "train"
    assert data.spec == str(tmp_path)  # nothing is done to the pictures
    assert data.schema.classes == tuple("0123456789")
    for split, (images, digits) in held.items():
        part = data.part(split)
        assert np.array_equal(everything(part), images)
        assert part.tensors(np.arange(len(part)))["label"].tolist() == digits.tolist()


def test_some_rows_are_those_rows(tmp_path: Path) -> None:
    images, digits = svhn(tmp_path, COUNTS)["extra"]
    data = open_data(f"{tmp_path}?split=extra&limit=40")
    rows = [int(name) for name in data.names(np.arange(40))]
    assert rows == sorted(rows)
    assert rows[-1] > 1024  # from both blocks
    assert np.array_equal(everything(data), images[rows])
    assert data.tensors(np.arange(40))["label"].tolist() == digits[rows].tolist()


def refused(spec: str | Path) -> str:
    with pytest.raises(DataError) as caught:
        open_data(str(spec))
    return sentence(caught.value)


def test_extra_may_be_missing_until_it_is_asked_for(tmp_path: Path) -> None:
    svhn(tmp_path, {"train": 3, "test": 2})
    assert dict(open_data(str(tmp_path)).splits) == {"train": 3, "test": 2}
    text = refused(f"{tmp_path}?split=extra")
    assert text == f"{tmp_path} holds SVHN without extra_32x32.mat: `ganvas fetch svhn --dest {tmp_path}` gets it."
    svhn(tmp_path, {**COUNTS, "extra": 4})
    assert len(open_data(f"{tmp_path}?split=extra")) == 4


@pytest.mark.parametrize("missing", ["train", "test"])
def test_another_file_that_is_missing_is_named(missing: str, tmp_path: Path) -> None:
    svhn(tmp_path, {split: 2 for split in COUNTS if split != missing})
    assert f"{tmp_path} holds SVHN without {missing}_32x32.mat: `ganvas fetch svhn" in refused(tmp_path)


def test_one_file_alone_is_no_set(tmp_path: Path) -> None:
    svhn(tmp_path, COUNTS)
    assert "is one of the files of SVHN: name the folder" in refused(tmp_path / "test_32x32.mat")


X, Y = noise(0, 32, 32, 3, 4), np.array([[1], [2], [10], [3]], np.uint8)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"X": X}, "has X uint8 [32, 32, 3, 4], not X"),
        ({"y": Y}, "has y uint8 [4, 1], not X"),
        ({}, "has no numbers, not X"),
        ({"X": X.astype(np.float64), "y": Y}, "has X float64 [32, 32, 3, 4], y uint8 [4, 1], not X uint8"),
        ({"X": X[:, :, :1], "y": Y}, "has X uint8 [32, 32, 1, 4]"),
        ({"X": X[:16], "y": Y}, "has X uint8 [16, 32, 3, 4]"),
        ({"X": X[..., 0], "y": Y}, "has X uint8 [32, 32, 3], y"),
        ({"X": X, "y": Y[:3]}, "y uint8 [3, 1], not X"),
        ({"X": X[..., :0], "y": Y[:0]}, "has X uint8 [32, 32, 3, 0]"),
        ({"X": X, "y": Y + 1}, "has labels y outside 1 to 10"),
        ({"X": X, "y": Y * 0}, "has labels y outside 1 to 10"),
        ({"X": X, "y": Y / 2}, "has labels y outside 1 to 10"),
    ],
)
def test_arrays_of_another_kind_are_named(variables: dict[str, Any], says: str, tmp_path: Path) -> None:
    svhn(tmp_path, {"train": 2, "test": 2})
    scipy.io.savemat(tmp_path / "test_32x32.mat", variables)
    text = refused(tmp_path)
    assert says in text
    assert str(tmp_path / "test_32x32.mat") in text


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.99])
def test_a_file_that_is_cut_short_is_named(share: float, tmp_path: Path) -> None:
    svhn(tmp_path, {"train": 5, "test": 5})
    path = tmp_path / "train_32x32.mat"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    text = refused(tmp_path)
    assert str(path) in text
    assert text.endswith("get it again.")
