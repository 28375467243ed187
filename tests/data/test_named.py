from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawing import noise, sentence, write
from originals import CIFAR10, CIFAR100, bedrooms, faces, lmdb_of, svhn, zipped
from PIL import Image

from ganvas.cli import run
from ganvas.data import named, open_data
from ganvas.errors import DataError, UsageError


def _bedrooms(folder: Path) -> None:
    lmdb_of(folder / "bedroom_train_lmdb", bedrooms(20))
    lmdb_of(folder / "bedroom_val_lmdb", bedrooms(5, seed=1))


def _faces(folder: Path) -> None:
    folder.mkdir(parents=True)
    zipped(folder / "img_align_celeba.zip", faces(20))


WRITE: dict[str, Callable[[Path], object]] = {
    "cifar10": CIFAR10.write,
    "cifar100": CIFAR100.write,
    "svhn": lambda folder: svhn(folder, {"train": 5, "test": 6, "extra": 7}),
    "celeba": _faces,
    "lsun-bedroom": _bedrooms,
}


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new cache."""
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_there_is_an_original_to_try_of_every_set() -> None:
    assert list(WRITE) == list(named.SETS)


@pytest.mark.parametrize("name", named.SETS)
def test_a_set_is_read_from_where_fetch_puts_it_and_from_a_folder_alike(
    name: str, cached: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=f"is not on this machine: run `ganvas fetch {name}`, or name a folder"):
        open_data(name)
    WRITE[name](named.folder(name))
    WRITE[name](tmp_path / "mine")
    one = named.SETS[name]
    data, mine = open_data(named.spec(name)), open_data(named.spec(name, str(tmp_path / "mine")))
    assert data.spec == named.spec(name)
    assert mine.spec == named.spec(name, str(tmp_path / "mine"))
    assert data.split == mine.split == one.train
    assert data.schema["image"] == (3, one.side, one.side)
    assert data.fingerprint == mine.fingerprint
    assert data.part(one.test).fingerprint == mine.part(one.test).fingerprint
    assert one.test == "test"  # where training and evaluation look for what they validate on
    bare = open_data(name)
    assert bare.split == "train"
    assert bare.part(one.train).fingerprint == data.fingerprint


@pytest.mark.parametrize("name", named.SETS)
def test_a_set_is_shown_by_its_name(
    name: str, cached: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    WRITE[name](named.folder(name))
    assert run(["data", name, "--out", str(tmp_path / "sheet.png")]) == 0
    shown = capsys.readouterr().out
    assert f"images: {named.SETS[name].title}, " in shown
    assert "train" in shown
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert min(sheet.size) > 64


@pytest.mark.parametrize(
    ("name", "where", "spec"),
    [
        ("cifar10", None, "cifar10"),
        ("cifar100", "digits", "digits"),
        ("svhn", None, "svhn?split=extra"),
        ("svhn", "a.npz?split=train&limit=9", "a.npz?split=train&limit=9"),
        ("celeba", None, "celeba?holdout=0.1&size=64&crop=108x132&resize=bilinear"),
        ("celeba", "images:a?holdout=20%", "images:a?holdout=0.2&size=64&crop=108x132&resize=bilinear"),
        ("celeba", "a?crop=centre&size=32x32", "a?holdout=0.1&size=32&crop=centre&resize=bilinear"),
        ("celeba", "a?resize=bicubic", "a?holdout=0.1&size=64&crop=108x132&resize=bicubic"),
        ("lsun-bedroom", None, "lsun-bedroom?size=64&crop=none&resize=bilinear"),
        ("lsun-bedroom", "a?flip=true&crop=100", "a?size=64&crop=100&resize=bilinear&flip=true"),
    ],
)
def test_what_is_published_holds_where_the_spec_says_nothing(name: str, where: str | None, spec: str) -> None:
    assert named.spec(name, where) == spec
    assert named.spec(name, spec) == spec


def test_arrays_of_a_set_are_prepared_as_its_originals_are(tmp_path: Path) -> None:
    for split, n in (("train", 4), ("test", 2)):
        write(tmp_path, {})
        np.savez(tmp_path / f"{split}.npz", images=noise(n, n, 218, 178, 3))
    data = open_data(named.spec("celeba", str(tmp_path)))
    assert dict(data.splits) == {"train": 4, "test": 2}
    assert data.schema["image"] == (3, 64, 64)


def test_an_unknown_set_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="no named set 'lsun_bedroom': did you mean 'lsun-bedroom'") as caught:
        named.spec("lsun_bedroom")
    sentence(caught.value)
    with pytest.raises(DataError, match="did you mean 'celeba'"):
        open_data("celebA")


def test_every_set_is_in_the_help_and_on_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "--help"]) == 0
    shown = capsys.readouterr().out
    page = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    for name, one in named.SETS.items():
        told = f"{one.originals}; read as ?{one.keys}" if one.keys else one.originals
        assert re.search(rf"^\s+{name}: {re.escape(told)}$", shown, re.M)
        assert f"`{name}`" in page
