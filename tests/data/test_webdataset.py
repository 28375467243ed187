from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from drawing import Array, all_names, encoded, everything, noise, sentence, write
from sharding import pictures

from ganvas.data import open_data, unpacking
from ganvas.data import webdataset as room
from ganvas.data.opening import find
from ganvas.data.spec import Spec
from ganvas.errors import DataError


def shard(path: Path, samples: Mapping[str, Mapping[str, Any]]) -> Path:
    """A shard as `webdataset` writes it: key -> suffix -> value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with webdataset.TarWriter(str(path)) as writer:
        for key, sample in samples.items():
            writer.write({"__key__": key, **sample})
    return path


def tar(path: Path, members: Mapping[str, bytes]) -> Path:
    """A tar of any members."""
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def samples(values: list[Array], first: int = 0) -> dict[str, dict[str, Any]]:
    """Pictures, in turn of three classes."""
    return {f"{first + i:06d}": {"png": encoded(value), "cls": (first + i) % 3} for i, value in enumerate(values)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two shards for training and one for testing."""
    shard(tmp_path / "shards/train-000000.tar", samples(pictures(4)))
    shard(tmp_path / "shards/train-000001.tar", samples(pictures(5, 4), 4))
    shard(tmp_path / "shards/test-000000.tar", samples(pictures(3, 9), 9))
    return tmp_path / "shards"


# ---- what is read ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("source", "counts"),
    [
        ("", {"train": 9, "test": 3}),
        ("/*.tar", {"train": 9, "test": 3}),
        ("/train-{000000..000001}.tar", {"train": 9}),
        ("/train-000001.tar", {"train": 5}),
        ("/test-*.tar", {"test": 3}),
    ],
)
def test_shards_that_webdataset_wrote_are_the_pictures_that_it_was_given(
    source: str, counts: dict[str, int], root: Path
) -> None:
    data = open_data(f"{root}{source}")
    assert data.splits == counts
    last = {"train": 9, "test": 12}[next(iter(counts))]
    rows = range(last - len(data), last)
    assert everything(data).tolist() == [noise(i).tolist() for i in rows]
    assert data.tensors(np.arange(len(data)))["label"].tolist() == [i % 3 for i in rows]
    assert data.schema.classes == ("0", "1", "2")
    assert all_names(data)[-1].endswith(f"/{last - 1:06d}.png")


@pytest.mark.parametrize(
    ("sample", "label"),
    [
        ({"cls": 2, "json": {"label": 1}}, 2),
        ({"json": {"caption": "a cat", "label": 1}}, 1),
        ({"json": {"cls": 1}}, 1),
        ({"json": {"label": "cat", "class": 0}}, 0),
        ({"json": {"label": "cat"}}, None),
        ({"json": [1, 2]}, None),
        ({"meta.json": b"{}", "json": b"{'label': 1}"}, None),
        ({"json": b"\xff"}, None),
        ({"json": b"[" * 100_000}, None),
        ({"json": b'{"label": 1, "text": "' + b"x" * (1 << 20) + b'"}'}, None),
        ({"cls": b"1", "json": b"{"}, 1),
        ({"txt": "a cat"}, None),
    ],
)
def test_a_class_is_of_cls_or_else_of_json(sample: dict[str, Any], label: int | None, tmp_path: Path) -> None:
    shard(tmp_path / "000.tar", {"a": {"png": encoded(noise(1)), **sample}})
    data = open_data(str(tmp_path))
    assert ("label" in data.schema) == (label is not None)
    if label is not None:
        assert data.tensors(np.arange(1))["label"].tolist() == [label]


def test_labels_that_some_samples_lack_are_left_out_and_said(root: Path) -> None:
    shard(root / "test-000001.tar", {"a": {"png": encoded(noise(1))}})
    data = open_data(str(root))
    assert "label" not in data.schema
    assert "no labels: test has samples without one" in data.found["arrangement"]


def test_samples_are_grouped_by_key_and_those_without_a_picture_are_counted(tmp_path: Path) -> None:
    members = {
        "a/1.jpg": encoded(noise(1, 8, 8, 3), "PNG"),  # whatever its suffix
        "a/1.cls": b"0",
        "b/1.seg.png": encoded(noise(2, 8, 8, 3)),
        "b/1.png": encoded(noise(3, 8, 8, 3)),
        "b/1.cls": b" 1\n",
        "b/2.cls": b"1",
        "c.webp": encoded(noise(4, 8, 8, 3), "WEBP", lossless=True),
        "c.cls": b"1",
        ".hidden.png": b"",
    }
    data = open_data(str(tar(tmp_path / "set-000.tar", members)))
    assert all_names(data) == ["set-000.tar/a/1.jpg", "set-000.tar/b/1.png", "set-000.tar/c.webp"]
    assert everything(data).tolist() == [noise(i, 8, 8, 3).tolist() for i in (1, 3, 4)]
    assert data.found["left_out"] == [
        {"reason": "another image of a sample", "count": 1, "names": ["set-000.tar/b/1.seg.png"]},
        {"reason": "a sample without an image", "count": 1, "names": ["set-000.tar/b/2"]},
    ]


@pytest.mark.parametrize("sidecar", [None, "cls", "json"])
@pytest.mark.parametrize("name", ["frame.{:04d}", "cat.{}", "2021.01.{:02d}", "v1.5.{}", "Dr. Who {}", "a.b c.{}x"])
def test_points_in_names_belong_to_the_key(name: str, sidecar: str | None, tmp_path: Path) -> None:
    """Of a folder of shards as of a shard by itself."""
    members = {}
    for i in range(6):
        members[f"{name.format(i)}.png"] = encoded(noise(i))
        if sidecar is not None:
            members[f"{name.format(i)}.{sidecar}"] = b"%d" % (i % 2) if sidecar == "cls" else b'{"label": %d}' % (i % 2)
    tar(tmp_path / "train-000.tar", members)
    for source in (tmp_path, tmp_path / "train-000.tar"):
        data = open_data(str(source))
        assert everything(data).tolist() == [noise(i).tolist() for i in range(6)]
        if sidecar == "cls" or (sidecar and source == tmp_path):
            assert data.tensors(np.arange(6))["label"].tolist() == [0, 1] * 3
    assert not [one for one in data.found["left_out"] if "image" in one["reason"] and ".json" not in one["reason"]]


def test_words_before_a_suffix_are_members_of_one_sample(tmp_path: Path) -> None:
    members = {}
    for i in range(3):
        for j, member in enumerate(("depth.png", "mask2.png", "jpg")):
            members[f"frame.{i:04d}.{member}"] = encoded(noise(10 * i + j))
        members[f"frame.{i:04d}.cls"] = b"1"
    members["@eaDir/x.png"] = encoded(noise(0))
    data = open_data(str(tar(tmp_path / "train-000.tar", members)))
    assert everything(data).tolist() == [noise(10 * i + 2).tolist() for i in range(3)]
    told = {one["reason"]: one["count"] for one in data.found["left_out"]}
    assert told == {"another image of a sample": 6, "in a hidden folder": 1}


def test_a_plain_tar_of_pictures_is_what_it_was(tmp_path: Path) -> None:
    members = {f"{kind}/{i}.png": encoded(noise(i)) for kind in ("b", "a") for i in range(2)}
    data = open_data(str(tar(tmp_path / "set-000.tar", members)))
    assert all_names(data) == ["a/0.png", "a/1.png", "b/0.png", "b/1.png"]
    assert data.schema.classes == ("a", "b")


def test_compressed_shards_are_read_into_the_store(tmp_path: Path) -> None:
    for s in range(2):
        members = {f"{i}{suffix}": data for i in range(3) for suffix, data in ((".png", encoded(noise(3 * s + i))),
                                                                           (".cls", b"%d" % i))}  # fmt: skip
        tar(tmp_path / f"{s:03d}.tar.gz", members)
    data = open_data(f"{tmp_path}/*.tar.gz")
    assert everything(data).tolist() == [noise(i).tolist() for i in range(6)]


# ---- what lies where is written down once ----------------------------------------------------------------------------
def test_shards_are_walked_through_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = find(Spec(str(root))).scan()
    walked: list[Path] = []
    real = room.walk_tar
    monkeypatch.setattr(room, "walk_tar", lambda path: walked.append(path) or real(path))
    after = find(Spec(f"{root}/*.tar")).scan()
    assert walked == []
    assert list(after.parts["train"].names) == list(before.parts["train"].names)
    shard(root / "train-000001.tar", samples(pictures(2), 4))
    assert len(find(Spec(str(root))).scan().parts["train"].names) == 6
    assert len(walked) == 3


def test_runs_begin_with_each_shard_and_are_no_longer_than_so_many(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "RUN", 3)
    runs = find(Spec(str(root))).scan().parts["train"].runs
    assert runs is not None
    assert runs.tolist() == [0, 3, 4, 7]


# ---- what is not -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("said", [b"cat", b"", b"-1", b"1.5", b"true", b"\xff", b"100000", b"[" * 100_000])
def test_a_class_that_is_no_number_is_named(said: bytes, tmp_path: Path) -> None:
    path = tar(tmp_path / "000.tar", {"a.png": encoded(noise(1)), "a.cls": said})
    with pytest.raises(DataError, match=r"a\.cls is no label .*: write a whole number") as caught:
        open_data(str(path))
    assert str(path) in sentence(caught.value)


def test_a_shard_is_as_safe_as_any_archive(tmp_path: Path) -> None:
    sound = {"a.png": encoded(noise(1)), "a.cls": b"0"}
    tar(tmp_path / "000.tar", {**sound, "../b.png": b""})
    with pytest.raises(DataError, match=r"holds the path '\.\./b\.png', which leads out"):
        open_data(str(tmp_path))
    data = tar(tmp_path / "001.tar", {**sound, "b.png": encoded(noise(2, 99, 99, 3))}).read_bytes()
    (tmp_path / "001.tar").write_bytes(data[:5000])
    with pytest.raises(DataError, match=r"001\.tar does not read as an archive"):
        open_data(str(tmp_path / "001.tar"))


def test_pictures_that_cannot_be_read_are_counted_and_named(tmp_path: Path) -> None:
    members = {f"{i}.png": encoded(noise(i)) if i != 2 else b"no picture" for i in range(4)}
    tar(tmp_path / "000.tar", members)
    data = open_data(f"{tmp_path}?max-bad=25%")
    assert all_names(data) == ["000.tar/0.png", "000.tar/1.png", "000.tar/3.png"]
    assert list(data.found["bad"]["files"]) == ["000.tar/2.png"]


def test_shards_without_a_picture_are_refused(tmp_path: Path) -> None:
    tar(tmp_path / "000.tar", {"a.cls": b"0", "a.txt": b"a cat"})
    with pytest.raises(DataError, match="holds no sample with a picture"):
        open_data(str(tmp_path))


def test_a_folder_with_one_tar_that_is_no_shard_holds_no_picture(tmp_path: Path) -> None:
    tar(tmp_path / "backup.tar", {"a.png": encoded(noise(1))})
    with pytest.raises(DataError, match=r"holds no picture \(but 1 \.tar\)"):
        open_data(str(tmp_path))
    write(tmp_path, {"b.png": noise(2)})
    assert all_names(open_data(str(tmp_path))) == ["b.png"]


def test_to_look_into_a_tar_is_as_safe_as_to_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MOST_FREE", 1000)
    monkeypatch.setattr(unpacking, "MOST_EXPANSION", 2)
    seen: list[str] = []
    walk = room.walk_tar
    monkeypatch.setattr(
        room, "walk_tar", lambda path: (seen.append(info.name) or (info, stream) for info, stream in walk(path))
    )
    path = tar(tmp_path / "a.tar.gz", {f"{i}.bin": bytes(100_000) for i in range(9)})
    assert not room.is_shard(path)
    assert seen in ([], ["0.bin"])
    with pytest.raises(DataError, match="refused as a bomb"):
        open_data(str(path))
