from __future__ import annotations

import os
from pathlib import Path

import pytest
from drawing import all_names, everything, noise, sentence, write
from hypothesis import given, settings
from hypothesis import strategies as st
from sharding import parquet, pictures

from ganvas.data import open_data
from ganvas.data.shards import Shard, by_split, is_pattern, matching
from ganvas.errors import DataError


def shards(*names: str) -> list[Shard]:
    return [Shard(name, name, 1) for name in names]


def empty_files(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


# ---- patterns --------------------------------------------------------------------------------------------------------
FILES = (
    "a/@eaDir/train-000.tar",
    "a/train-000.tar",
    "a/train-001.tar",
    "a/train-002.tar",
    "a/b/train-010.tar",
    "a/x-1-9.tar",
    "a/x-2-10.tar",
)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a/train-{000..002}.tar", ["train-000.tar", "train-001.tar", "train-002.tar"]),
        ("a/train-{001..002}.tar", ["train-001.tar", "train-002.tar"]),
        ("a/train-*.tar", ["train-000.tar", "train-001.tar", "train-002.tar"]),
        ("a/train-00[02].tar", ["train-000.tar", "train-002.tar"]),
        ("a/**/train-{010..010}.tar", ["b/train-010.tar"]),
        ("a/**/train-000.tar", ["train-000.tar"]),
        ("a/*/train-0*.tar", ["b/train-010.tar"]),
        ("a/@eaDir/train-0*.tar", ["train-000.tar"]),
        ("a/*/train-0?0.tar", ["b/train-010.tar"]),
        ("*/train-000.tar", ["a/train-000.tar"]),
        ("a/x-{1..2}-*.tar", ["x-1-9.tar", "x-2-10.tar"]),
    ],
)
def test_a_pattern_names_files_in_order_from_where_it_stops_being_plain(
    pattern: str, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_files(tmp_path, *FILES)
    assert is_pattern(pattern)
    assert [shard.name for shard in matching(f"{tmp_path}/{pattern}")] == names
    monkeypatch.chdir(tmp_path)
    assert [shard.name for shard in matching(pattern)] == names


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 4))
@settings(max_examples=30)
def test_a_range_names_every_number_at_the_width_it_is_given(
    tmp_path_factory: pytest.TempPathFactory, first: int, more: int, width: int
) -> None:
    root = tmp_path_factory.mktemp("range")
    wanted = [f"{i:0{width}d}.tar" for i in range(first, first + more + 1)]
    empty_files(root, *wanted, "other.tar")
    found = matching(f"{root}/{{{first:0{width}d}..{first + more}}}.tar")
    assert [shard.name for shard in found] == sorted(wanted)


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("a/train-{000..003}.tar", "there is no {root}/a/train-003.tar"),
        ("a/none-*.tar", "matches no file; check the pattern"),
        ("none\n*.tar", r"none\n*.tar' matches no file"),
        ("a/train-{2..1}.tar", "a range that ends before it begins: {{2..1}}"),
        ("a/{0000..9999}-{0000..9999}.tar", "names over 1,000,000 files"),
        ("a/**", "names other files than Parquet alone"),
    ],
)
def test_a_pattern_that_names_nothing_is_answered_with_what_is_missing(pattern: str, says: str, tmp_path: Path) -> None:
    empty_files(tmp_path, *FILES, "a/notes.txt")
    with pytest.raises(DataError) as caught:
        open_data(f"{tmp_path}/{pattern}")
    assert says.format(root=tmp_path) in sentence(caught.value)


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    write(tmp_path, {"a[1].png": noise(1), "a1.png": noise(2)})
    assert all_names(open_data(str(tmp_path / "a[1].png"))) == ["a[1].png"]


# ---- splits ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"], {"train": 2}),
        (["test-00000-of-00001.parquet", "train-00000-of-00001.parquet"], {"train": 1, "test": 1}),
        (["validation-00000-of-00001.parquet", "train-00000-of-00001.parquet"], {"train": 1, "val": 1}),
        (["train-00000-of-00001.parquet", "unlabeled-00000-of-00001.parquet"], {"train": 1, "unlabeled": 1}),
        (["train/0000.parquet", "train/0001.parquet", "test/0000.parquet"], {"train": 2, "test": 1}),
        (["imagenet-train-000000.tar", "imagenet-val-000000.tar"], {"train": 1, "val": 1}),
        (["part-00000-of-00002.parquet", "part-00001-of-00002.parquet"], {"train": 2}),
        (["train.parquet", "more.parquet"], {"train": 2}),
        (["000000.tar", "000001.tar"], {"train": 2}),
        (["test-000.tar"], {"test": 1}),
        (["latest-000.tar", "trainer-001.tar"], {"train": 2}),
        (["TRAIN-000.tar", "Testing-000.tar", "dev_000.tar"], {"train": 1, "test": 1, "val": 1}),
        (["Training/000.tar", "eval/000.tar"], {"train": 1, "val": 1}),
        (["train-000.tar", "val-000.tar", "more.tar"], {"train": 1, "val": 1}),
    ],
)
def test_names_tell_splits_where_every_one_does(names: list[str], splits: dict[str, int]) -> None:
    found = by_split(shards(*names))
    assert {split: len(members) for split, members in found.items()} == splits
    assert list(found) == list(splits)


def test_shards_of_no_split_and_pictures_beside_are_left_out_and_named(tmp_path: Path) -> None:
    for name in ("train-000", "Test-000", "more"):
        parquet(tmp_path / f"{name}.parquet", pictures(2))
    write(tmp_path, {"preview.png": noise(1), "notes.txt": b""})
    data = open_data(str(tmp_path))
    assert data.splits == {"train": 2, "test": 2}
    assert [(one["reason"], one["names"]) for one in data.found["left_out"]] == [
        ("outside of the splits", ["more.parquet"]),
        ("an image beside .parquet files", ["preview.png"]),
        ("not an image file (.txt)", ["notes.txt"]),
    ]


def test_a_folder_of_pictures_with_a_table_beside_them_is_pictures(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    write(tmp_path, {"a.png": noise(1), "b.png": noise(2)})
    pq.write_table(pa.table({"caption": ["a", "b"]}), tmp_path / "metadata.parquet")
    assert all_names(open_data(str(tmp_path))) == ["a.png", "b.png"]


def test_a_folder_of_parquet_with_a_picture_beside_it_is_parquet(tmp_path: Path) -> None:
    parquet(tmp_path / "data" / "train-00000-of-00001.parquet", pictures(3))
    parquet(tmp_path / ".cache" / "old.parquet", pictures(2))
    write(tmp_path, {"banner.png": noise(9, 50, 50, 3)})
    data = open_data(str(tmp_path))
    assert everything(data).tolist() == [pixels.tolist() for pixels in pictures(3)]


@pytest.mark.parametrize("where", ["linked", "plain"])
def test_shards_in_a_folder_that_is_linked_are_found_as_its_pictures_are(where: str, tmp_path: Path) -> None:
    parquet(tmp_path / "there" / "a.parquet", pictures(3))
    write(tmp_path / "set", {"cover.png": noise(9)})
    there = tmp_path / "there"
    (tmp_path / "set" / "more").symlink_to(there) if where == "linked" else there.rename(tmp_path / "set" / "more")
    data = open_data(str(tmp_path / "set"))
    assert all_names(data) == [f"more/a.parquet/{i:06d}" for i in range(3)]
    assert everything(data).tolist() == [pixels.tolist() for pixels in pictures(3)]


def test_a_pipe_that_is_named_like_a_shard_is_none(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": noise(1)})
    os.mkfifo(tmp_path / "b.parquet")
    (tmp_path / "c.parquet").symlink_to(tmp_path / "nowhere")
    assert all_names(open_data(str(tmp_path))) == ["a.png"]
