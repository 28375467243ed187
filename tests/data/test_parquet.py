from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawing import all_names, encoded, everything, noise, sentence, write
from hypothesis import given, settings
from hypothesis import strategies as st
from sharding import CLASSES, hub_folder, parquet, pictures

from ganvas.data import open_data, unpacking
from ganvas.data import parquet as room
from ganvas.data.opening import find
from ganvas.data.source import BadPicture
from ganvas.data.spec import Spec
from ganvas.errors import DataError


def labels(spec: str | Path) -> list[int]:
    data = open_data(str(spec))
    return data.tensors(np.arange(len(data)))["label"].tolist()


def pixels(values: list[Any]) -> list[Any]:
    return [value.tolist() for value in values]


# ---- what is read ----------------------------------------------------------------------------------------------------
def test_a_folder_that_datasets_wrote_is_the_folder_of_its_pictures(tmp_path: Path) -> None:
    files = {
        "data/train-00000-of-00002.parquet": pictures(6),
        "data/train-00001-of-00002.parquet": pictures(3, 6),
        "data/test-00000-of-00001.parquet": pictures(3, 9),
    }
    data = open_data(str(hub_folder(tmp_path / "hub", files)))
    assert data.splits == {"train": 9, "test": 3}
    assert data.schema.classes == CLASSES
    assert everything(data).tolist() == pixels(pictures(9))
    assert labels(tmp_path / "hub") == [0, 1, 2] * 3
    assert all_names(data)[5:7] == [
        "data/train-00000-of-00002.parquet/000005",
        "data/train-00001-of-00002.parquet/000000",
    ]
    assert data.found["arrangement"] == [
        *["splits train, test", "pictures in column image", "3 classes by column label"],
    ]
    test = {f"{CLASSES[i % 3]}/{i}.png": picture for i, picture in enumerate(pictures(3, 9))}
    folder = open_data(str(write(tmp_path / "folder", test)))
    assert data.part("test").fingerprint == folder.fingerprint  # the same rows, of the same classes


COLUMNS = {
    "binary": lambda data: pa.array(data),
    "large binary": lambda data: pa.array(data, pa.large_binary()),
    "dictionary": lambda data: pa.array(data).dictionary_encode(),
    "struct": lambda data: pa.array([{"path": "a", "bytes": value} for value in data]),
    "large struct": lambda data: pa.array(
        [{"bytes": value} for value in data], pa.struct({"bytes": pa.large_binary()})
    ),
}


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_any_column_of_bytes_holds_pictures(column: str, compression: str, tmp_path: Path) -> None:
    values = COLUMNS[column]([encoded(value) for value in pictures(7)])
    table = pa.table({"caption": ["a"] * 7, "img": values, "fine_label": pa.array([0, 1] * 3 + [4], pa.int32())})
    pq.write_table(table, tmp_path / "set.parquet", compression=compression, row_group_size=3)
    data = open_data(str(tmp_path / "set.parquet"))
    assert everything(data).tolist() == pixels(pictures(7))
    assert data.schema.classes == ("0", "1", "2", "3", "4")
    assert labels(tmp_path / "set.parquet") == [0, 1, 0, 1, 0, 1, 4]


@given(st.integers(1, 30), st.integers(1, 12), st.integers(1, 5), st.data())
@settings(max_examples=25)
def test_any_rows_are_read_in_any_order_whatever_the_row_groups(
    tmp_path_factory: pytest.TempPathFactory, n: int, group: int, at_once: int, data: st.DataObject
) -> None:
    path = parquet(tmp_path_factory.mktemp("groups") / "a.parquet", [b"%d" % i for i in range(n)], row_group_size=group)
    part = find(Spec(str(path))).scan().parts["train"]
    assert part.runs is not None
    assert part.runs.tolist() == list(range(0, n, group))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "MOST_AT_ONCE", at_once)
        for _ in range(3):  # each goes on from where the last one ended
            rows = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=20))
            read = [picture for block in part.read(np.array(rows)) for picture in block]
            assert [picture.data for picture in read] == [b"%d" % row for row in rows]
            assert [picture.name for picture in read] == [f"a.parquet/{row:06d}" for row in rows]


def test_rows_further_on_in_a_group_are_read_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = find(Spec(str(parquet(tmp_path / "a.parquet", [b"x"] * 100, row_group_size=50)))).scan().parts["train"]
    opened: list[str] = []
    real = pq.ParquetFile
    monkeypatch.setattr(pq, "ParquetFile", lambda path, **how: opened.append(path) or real(path, **how))
    for rows in ([0, 3], [4], [30, 49], [50], [99]):
        list(part.read(np.array(rows)))
    assert len(opened) == 2  # a group each
    list(part.read(np.array([0])))
    assert len(opened) == 3  # back again


def test_a_file_without_rows_is_passed_over(tmp_path: Path) -> None:
    parquet(tmp_path / "a-000.parquet", [])
    parquet(tmp_path / "a-001.parquet", pictures(2))
    pq.write_table(pq.read_table(tmp_path / "a-001.parquet").slice(0, 0), tmp_path / "a-000.parquet")
    assert everything(open_data(str(tmp_path))).tolist() == pixels(pictures(2))
    with pytest.raises(DataError, match="holds no rows"):
        open_data(str(tmp_path / "a-000.parquet"))


# ---- what is not -----------------------------------------------------------------------------------------------------
def test_pictures_that_cannot_be_read_are_counted_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_BYTES", 5000)
    values = [*pictures(8), None, b"no picture", noise(1, 60, 60, 3)]
    data = open_data(f"{parquet(tmp_path / 'a.parquet', values, [0, 1] * 5 + [1])}?max-bad=30%")
    assert len(data) == 8
    assert data.found["bad"]["files"] == {
        "a.parquet/000008": "no bytes",
        "a.parquet/000009": "not a picture that can be read",
        "a.parquet/000010": "over 0 MiB",
    }
    with pytest.raises(DataError, match=r"cannot be read, over max-bad=1% \(a.parquet/000008"):
        open_data(str(tmp_path / "a.parquet"))


def test_a_path_without_bytes_is_never_followed(tmp_path: Path) -> None:
    write(tmp_path, {"secret.png": noise(1)})
    rows = pa.array([{"bytes": encoded(noise(2)), "path": ""}, {"bytes": None, "path": str(tmp_path / "secret.png")}])
    pq.write_table(pa.table({"image": rows}), tmp_path / "a.parquet")
    (part,) = find(Spec(str(tmp_path / "a.parquet"))).scan().parts.values()
    (block,) = part.read(np.arange(2))
    assert isinstance(block[1].data, BadPicture)


@pytest.mark.parametrize("missing", [None, -1])
def test_labels_that_some_rows_lack_are_left_out_and_said(missing: int | None, tmp_path: Path) -> None:
    hub_folder(tmp_path, {"train-00000-of-00001.parquet": pictures(6)})
    table = pq.read_table(tmp_path / "train-00000-of-00001.parquet")
    column = pa.array([0, 1, missing, 0, 1, 2])
    pq.write_table(table.set_column(1, table.schema.field(1), column), tmp_path / "test-00000-of-00001.parquet")
    data = open_data(str(tmp_path))
    assert "label" not in data.schema
    assert "no labels: test has rows without one" in data.found["arrangement"]


@pytest.mark.parametrize("stream", ["", "?stream=true"])
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("bare", ["train-00000-of-00001", "test-00000-of-00001", "train-00001-of-00002"])
def test_files_without_the_column_of_labels_are_files_without_labels(
    bare: str, named: bool, stream: str, tmp_path: Path
) -> None:
    full = "train-00000-of-00002" if bare.startswith("train") else "train-00000-of-00001"
    full = "test-00000-of-00001" if bare == "train-00000-of-00001" else full
    if named:
        hub_folder(tmp_path, {f"{full}.parquet": pictures(4), f"{bare}.parquet": pictures(3, 9)})
        path = tmp_path / f"{bare}.parquet"
        pq.write_table(pq.read_table(path).drop_columns(["label"]), path)
    else:
        parquet(tmp_path / f"{full}.parquet", pictures(4), [0, 1, 2, 0])
        parquet(tmp_path / f"{bare}.parquet", pictures(3, 9))
    data = open_data(f"{tmp_path}{stream}")
    assert "label" not in data.schema
    assert f"no labels: {bare.partition('-')[0]} has rows without one" in data.found["arrangement"]
    rows = [everything(data.part(split)).tolist() for split in data.splits]
    assert sorted(image for split in rows for image in split) == sorted(pixels([*pictures(4), *pictures(3, 9)]))


def test_a_column_of_labels_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = find(Spec(str(parquet(tmp_path / "a.parquet", pictures(4), [0, 1, 2, 1])))).scan().parts["train"]
    assert part.labels is not None
    assert part.labels.tolist() == [0, 1, 2, 1]
    asked: list[Any] = []
    real = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile, "iter_batches", lambda self, *a, **how: asked.append(how) or real(self, *a, **how)
    )
    list(part.read(np.arange(4)))
    assert [how["columns"] for how in asked] == [["image.bytes"]]


@pytest.mark.parametrize("wrong", [-2, 3, 10**6])
def test_a_label_that_is_no_class_is_an_error(wrong: int, tmp_path: Path) -> None:
    hub_folder(tmp_path, {"train-00000-of-00001.parquet": pictures(3)})
    path = tmp_path / "train-00000-of-00001.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, table.schema.field(1), pa.array([0, 1, wrong])), path)
    with pytest.raises(
        DataError, match=f"go from {min(0, wrong)} to {max(1, wrong)}, where classes are 0 to 2"
    ) as caught:
        open_data(str(tmp_path))
    assert str(path) in sentence(caught.value)


def test_a_file_without_pictures_says_what_columns_it_has(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "pixels": [[1, 2]]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"no column of pictures.*text \(string\), pixels \(list<.*") as caught:
        open_data(str(tmp_path / "a.parquet"))
    sentence(caught.value)


def test_files_of_one_set_have_the_same_columns(tmp_path: Path) -> None:
    parquet(tmp_path / "a-000.parquet", pictures(2), [0, 1])
    pq.write_table(pa.table({"picture": pa.array([encoded(noise(1))])}), tmp_path / "a-001.parquet")
    with pytest.raises(DataError, match=r"a-001\.parquet has other columns than .*a-000\.parquet"):
        open_data(str(tmp_path))


@pytest.mark.parametrize("part", [0, 0.5, 0.99])
def test_a_damaged_file_is_named(part: float, tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", pictures(20))
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(DataError, match="does not read as Parquet") as caught:
        open_data(str(path))
    assert str(path) in sentence(caught.value)


def test_damage_in_the_middle_is_named_when_it_is_met(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", pictures(20), compression="zstd")
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 200] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        open_data(str(path))
    assert str(path) in sentence(caught.value)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = parquet(tmp_path / "a.parquet", [bytes(100_000)] * 4, compression="zstd", use_dictionary=False)
    assert path.stat().st_size < 4000
    monkeypatch.setattr(unpacking, "MOST_FREE", 300_000)
    monkeypatch.setattr(room._Pictures, "_batches", None)
    with pytest.raises(DataError, match=f"unpacks to over {unpacking.MOST_EXPANSION} times its size"):
        open_data(str(path))


def test_a_column_of_equal_labels_counts_by_what_it_takes_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = 300_000
    column = pa.array([encoded(noise(1))] * 1000).dictionary_encode()
    table = pa.table({"image": pa.concat_arrays([column] * (n // 1000)), "label": pa.array(np.zeros(n, np.int64))})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
    monkeypatch.setattr(unpacking, "MOST_FREE", 2_000_000)
    monkeypatch.setattr(unpacking, "MOST_EXPANSION", 1)
    assert (tmp_path / "a.parquet").stat().st_size < 100_000
    with pytest.raises(DataError, match="refused as a bomb"):
        open_data(str(tmp_path / "a.parquet"))


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet(tmp_path / "a.parquet", pictures(2))
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for spec in (tmp_path, tmp_path / "a.parquet", tmp_path / "*.parquet"):
        with pytest.raises(DataError, match=r"needs pyarrow: pip install 'ganvas\[hub\]'\."):
            open_data(str(spec))
    write(tmp_path, {"a.png": noise(1)})
    assert all_names(open_data(str(tmp_path))) == ["a.png"]
