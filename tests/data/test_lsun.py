from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from drawing import all_names, everything, sentence
from originals import bedrooms, lmdb_of
from PIL import Image
from torch.nn import functional

from ganvas.data import open_data
from ganvas.data.lsun import here
from ganvas.errors import DataError

TRAIN, VAL = bedrooms(30), bedrooms(7, seed=1)
PUBLISHED = "size=64&crop=none&resize=bilinear"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lmdb_of(tmp_path / "bedroom_train_lmdb", TRAIN)
    lmdb_of(tmp_path / "bedroom_val_lmdb", VAL)
    return tmp_path


def prepared(data: bytes) -> np.ndarray:
    """By the publication: the whole picture squashed to 64x64."""
    with Image.open(io.BytesIO(data)) as image:
        planes = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    return functional.interpolate(planes, (64, 64), mode="bilinear", align_corners=False)[0].permute(1, 2, 0).round()


def test_the_rooms_are_in_the_order_of_their_keys_prepared_as_published(folder: Path) -> None:
    for place in (folder, folder / "bedroom_train_lmdb"):
        data = open_data(str(place))
        assert data.spec == f"{place}?{PUBLISHED}"
        assert data.schema.fields == {"image": (3, 64, 64)}
        for part, values in ((data, TRAIN), (data.part("test"), VAL)):
            assert all_names(part) == sorted(values)
            assert np.array_equal(everything(part), np.stack([prepared(values[key]) for key in sorted(values)]))
        assert data.found["arrangement"] == ["test is the publisher's val"]
    assert all_names(open_data(f"{folder}?limit=5")) == sorted(all_names(open_data(f"{folder}?limit=5")))


def test_the_set_is_the_same_however_it_was_written(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    lmdb_of(other / "bedroom_train_lmdb", dict(reversed(TRAIN.items())))
    shutil.copytree(folder / "bedroom_val_lmdb", other / "bedroom_val_lmdb")
    one, two = open_data(str(folder)), open_data(str(other))
    assert (one.fingerprint, one.part("test").fingerprint) == (two.fingerprint, two.part("test").fingerprint)


def test_nothing_is_written_beside_it(folder: Path) -> None:
    def state() -> list[tuple[str, int, int]]:
        return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*"))]

    before = state()
    open_data(str(folder))
    assert state() == before


def test_many_may_read_it_at_once_in_a_process(folder: Path) -> None:
    sources = [here(folder) for _ in range(2)]
    scans = [source.scan() for source in sources if source is not None]
    readers = [scan.parts["train"].read(np.arange(30)) for scan in scans]
    for blocks in zip(*readers, strict=True):
        assert blocks[0] == blocks[1]


def test_one_that_was_written_anew_in_its_place_is_read_anew(folder: Path, tmp_path: Path) -> None:
    old = open_data(f"{folder}?stream=true")
    assert all_names(old) == sorted(TRAIN)
    lmdb_of(tmp_path / "new", VAL)
    os.replace(tmp_path / "new" / "data.mdb", folder / "bedroom_train_lmdb" / "data.mdb")
    assert all_names(open_data(f"{folder}?stream=true")) == sorted(VAL)
    assert len(everything(old)) == len(TRAIN)  # which holds the old one open


def test_streams_the_rows_that_the_store_has(folder: Path) -> None:
    """Three million rooms take 37 GB in the store, and none so."""
    kept, streamed = open_data(str(folder)), open_data(f"{folder}?stream=true")
    rows = np.array([29, 3, 3, 0])
    for split in ("train", "test"):
        some = rows % len(kept.part(split))
        assert np.array_equal(streamed.part(split).pixels(some), kept.part(split).pixels(some))
        assert streamed.part(split).names(some) == kept.part(split).names(some)


def test_a_value_that_is_no_picture_is_named_and_skipped(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(folder / "bedroom_val_lmdb")
    lmdb_of(folder / "bedroom_val_lmdb", {**VAL, "broken": b"no picture"})
    found = open_data(str(folder)).found
    assert found["bad"] == {"count": 1, "of": 38, "files": {"broken": "not a picture that can be read"}}
    assert found["splits"] == {"train": 30, "test": 7}


def refused(spec: str | Path) -> str:
    with pytest.raises(DataError) as caught:
        open_data(str(spec))
    return sentence(caught.value)


def test_a_split_that_is_missing_or_packed_is_named(folder: Path) -> None:
    (folder / "bedroom_val_lmdb" / "data.mdb").unlink()
    text = refused(folder)
    assert "without bedroom_val_lmdb/data.mdb: get http://dl.yf.io/lsun/scenes/bedroom_val_lmdb.zip and unzip" in text
    (folder / "bedroom_val_lmdb.zip").write_bytes(b"")
    for place in (folder, folder / "bedroom_train_lmdb", folder / "bedroom_val_lmdb.zip"):
        assert refused(place).startswith(f"{folder} holds bedroom_val_lmdb.zip: unzip there first")


@pytest.mark.parametrize("left", [0, 10, 4096, 8191, 8192, 8193, 20000, -4096, -1])
def test_an_lmdb_that_is_cut_short_is_named_before_it_is_read(left: int, folder: Path) -> None:
    path = folder / "bedroom_train_lmdb" / "data.mdb"
    path.write_bytes(path.read_bytes()[:left])
    text = refused(folder)
    assert text.startswith(f"{path} does not read as an LMDB (")
    assert text.endswith("get it again.")


@pytest.mark.parametrize("content", [b"x" * 9000, bytes(9000)])
def test_another_file_is_refused(content: bytes, folder: Path) -> None:
    path = folder / "bedroom_val_lmdb" / "data.mdb"
    path.write_bytes(content)
    assert refused(folder).startswith(f"{path} does not read as an LMDB (")


def test_an_empty_one_is_named(folder: Path) -> None:
    shutil.rmtree(folder / "bedroom_val_lmdb")
    lmdb_of(folder / "bedroom_val_lmdb", {})
    assert f"{folder / 'bedroom_val_lmdb' / 'data.mdb'} holds no picture" in refused(folder)


def test_says_what_to_install(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lmdb", None)
    assert "needs lmdb: pip install 'ganvas[hub]'" in refused(folder)
    monkeypatch.undo()
