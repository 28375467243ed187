from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawing import all_names, encoded, everything, noise, read_or_reason, sentence, write
from hypothesis import given, settings
from hypothesis import strategies as st

from ganvas.data import Dataset, archives, open_data
from ganvas.data.archives import archive
from ganvas.errors import DataError

FILES = {
    f"{split}/{kind}/{i}.png": noise(17 * i + len(split) + ord(kind[0]))
    for split, n in (("train", 5), ("test", 2))
    for i in range(n)
    for kind in ("cat", "dog")
}


def pack(path: Path, members: dict[str, bytes]) -> Path:
    """An archive of those members, in that order; the suffix says which kind."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, data in members.items():
                info = zipfile.ZipInfo(name)
                info.filename = name  # as it is: on Windows ZipInfo would change it
                file.writestr(info, data)
    else:
        kind: Any = {".tar": "w", ".gz": "w:gz", ".tgz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}[path.suffix]
        with tarfile.open(path, kind) as file:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
    return path


def contents(data: Dataset) -> list[Any]:
    """All of a data set but where it lies."""
    parts = [data.part(split) for split in data.splits]
    found = {key: value for key, value in data.found.items() if key not in ("layout", "spec")}
    return [
        found,
        [(all_names(p), everything(p).tolist(), p.tensors(np.arange(len(p)))["label"].tolist()) for p in parts],
    ]


# ---- an archive is the folder that it was made of --------------------------------------------------------------------
@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("folder"), {**FILES, "train/notes.txt": b""})


@pytest.mark.parametrize(
    ("suffix", "prefix", "in_order"),
    [
        *[("zip", "", True), ("zip", "./", False), ("tar", "", True), ("tar", "./", False), ("tar.gz", "", True)],
        *[("tar.gz", "./", False), ("tgz", "", False), ("tar.bz2", "", False), ("tar.xz", "", False)],
    ],
)
def test_an_archive_equals_its_folder(suffix: str, prefix: str, in_order: bool, folder: Path, tmp_path: Path) -> None:
    names = sorted(FILES, key=lambda name: name if in_order else FILES[name].tobytes().hex())
    members = {prefix + name: encoded(FILES[name]) for name in names}
    path = pack(tmp_path / f"packed.{suffix}", {f"{prefix}train/notes.txt": b"", **members})
    assert contents(open_data(str(path))) == contents(open_data(str(folder)))
    assert contents(open_data(f"{path}?limit=3&size=4")) == contents(open_data(f"{folder}?limit=3&size=4"))


@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
def test_holds_the_same_files_out_as_of_the_folder(suffix: str, tmp_path: Path) -> None:
    files = {f"{i}.png": noise(i) for i in range(20)}
    path = pack(tmp_path / f"packed.{suffix}", {name: encoded(files[name]) for name in reversed(files)})
    there, here = (open_data(f"{where}?holdout=0.3") for where in (write(tmp_path / "folder", files), path))
    for split in ("train", "test"):
        assert all_names(here.part(split)) == all_names(there.part(split))
        assert here.part(split).fingerprint == there.part(split).fingerprint


def test_paths_of_windows_are_paths(folder: Path, tmp_path: Path) -> None:
    members = {name.replace("/", "\\"): encoded(pixels) for name, pixels in FILES.items()} | {"train\\notes.txt": b""}
    data = open_data(str(pack(tmp_path / "packed.zip", members)))
    assert contents(data) == contents(open_data(str(folder)))


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz"])
def test_of_two_members_with_one_path_the_last_counts_as_when_unpacked(suffix: str, tmp_path: Path) -> None:
    path = pack(tmp_path / f"packed.{suffix}", {"b.png": encoded(noise(0)), "a.png": encoded(noise(1))})
    pack(
        tmp_path / f"more.{suffix}",
        {"b.png": encoded(noise(0)), "./a.png": encoded(noise(2)), "a.png": encoded(noise(1))},
    )
    data = open_data(str(tmp_path / f"more.{suffix}"))
    assert contents_of_one(data) == contents_of_one(open_data(str(path)))


def contents_of_one(data: Dataset) -> tuple[list[str], list[Any]]:
    return all_names(data), everything(data).tolist()


def test_what_is_hidden_or_a_link_or_a_folder_is_no_picture(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "packed.tar", "w") as file:
        for name, kind in (("d.png", tarfile.DIRTYPE), ("l.png", tarfile.SYMTYPE), ("p.png", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "../../../etc/passwd"
            file.addfile(info)
        for name in ("__MACOSX/a.png", ".x/a.png", "._a.png", "a.png"):
            info = tarfile.TarInfo(name)
            info.size = len(data := encoded(noise(1)))
            file.addfile(info, io.BytesIO(data))
    assert all_names(open_data(str(tmp_path / "packed.tar"))) == ["a.png"]


def test_blocks_of_large_pictures_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {f"{i}.png": encoded(noise(i, 20, 20, 3)) for i in range(7)}  # 1.2 kB each
    for suffix in ("zip", "tar"):
        part = archive(pack(tmp_path / f"packed.{suffix}", members)).scan().parts["train"]
        assert [len(block) for block in part.read(np.arange(7))] == [7]
        with monkeypatch.context() as patch:
            patch.setattr(archives, "MOST_HELD", 3000)
            assert [len(block) for block in part.read(np.arange(7))] == [3, 3, 1]


# ---- what is refused -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize("name", ["../a.png", "a/../../b.png", "/etc/a.png", "..\\a.png", "C:\\a.png", "a/.."])
def test_a_path_that_leads_out_is_refused_and_named(name: str, suffix: str, tmp_path: Path) -> None:
    path = pack(tmp_path / f"packed.{suffix}", {"fine.png": encoded(noise(1)), name: encoded(noise(2))})
    with pytest.raises(DataError, match="leads out of the archive") as caught:
        open_data(str(path))
    assert repr(name) in sentence(caught.value)
    assert list(tmp_path.iterdir()) == [path]


def marked(data: bytes, signature: bytes, offset: int, value: bytes) -> bytes:
    """A zip with that value written into every header of a kind."""
    place = data.find(signature)
    while place >= 0:
        data = data[: place + offset] + value + data[place + offset + len(value) :]
        place = data.find(signature, place + 1)
    return data


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "packed.zip", {"a.png": encoded(noise(1))})
    data = marked(path.read_bytes(), b"PK\x01\x02", 8, b"\x01\x00")
    path.write_bytes(marked(data, b"PK\x03\x04", 6, b"\x01\x00"))
    with pytest.raises(DataError, match="is encrypted: unpack it and name the folder instead"):
        open_data(str(path))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    zipped = pack(tmp_path / "bomb.zip", {"a.png": encoded(noise(1))})
    zipped.write_bytes(marked(zipped.read_bytes(), b"PK\x01\x02", 24, (2_000_000_000).to_bytes(4, "little")))
    taped = {name: tmp_path / name for name in ("bomb.tar", "link.tar")}
    for name, path in taped.items():
        info = tarfile.TarInfo("a.png")
        info.size = 1 << 41
        info.type = tarfile.REGTYPE if name == "bomb.tar" else b"Z"  # a member that is no file has to be passed, too
        path.write_bytes(info.tobuf() + bytes(1024))
    for path in (zipped, *taped.values()):
        with pytest.raises(DataError, match="refused as a bomb"):
            open_data(str(path))


def test_a_picture_that_is_too_large_is_skipped_unread(tmp_path: Path) -> None:
    path = pack(tmp_path / "packed.zip", {"a.png": encoded(noise(1))})
    large = marked(path.read_bytes(), b"PK\x01\x02", 24, (300 << 20).to_bytes(4, "little"))
    path.write_bytes(large)
    with pytest.raises(DataError, match=r"a\.png: over 64 MiB"):
        open_data(str(path))


# ---- what is damaged -------------------------------------------------------------------------------------------------
MEMBERS = {f"{i}.png": encoded(noise(i, 20, 20, 3)) for i in range(4)}


def cut(part: float) -> Callable[[bytes], bytes]:
    return lambda data: data[: int(len(data) * part)]


def header_spoilt(data: bytes) -> bytes:
    """A tar whose third header is damaged: there tarfile stops without a word."""
    place = data.index(b"2.png")
    return data[:place] + b"XXXX" + data[place + 4 :]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *[(f"packed.{suffix}", cut(part)) for suffix in ("zip", "tar", "tar.gz", "tar.xz") for part in (0, 0.3, 0.7)],
        *[(f"packed.{suffix}", lambda data: b"no archive" * 99) for suffix in ("zip", "tar", "tar.bz2")],
        ("packed.tar", header_spoilt),
    ],
)
def test_a_damaged_archive_is_named(name: str, damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = pack(tmp_path / name, MEMBERS)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="does not read as an archive") as caught:
        open_data(str(path))
    assert str(path) in sentence(caught.value)


def test_a_damaged_member_is_named_and_skipped(tmp_path: Path) -> None:
    path = pack(tmp_path / "packed.zip", MEMBERS)
    data = bytearray(path.read_bytes())
    place = data.index(MEMBERS["2.png"][60:70]) if MEMBERS["2.png"][60:70] in data else data.index(b"2.png") + 400
    data[place] ^= 1
    path.write_bytes(data)
    found = open_data(f"{path}?max-bad=25%")
    assert all_names(found) == ["0.png", "1.png", "3.png"]
    assert list(found.found["bad"]["files"]) == ["2.png"]


def test_an_archive_without_pictures_says_what_it_holds(tmp_path: Path) -> None:
    for suffix in ("zip", "tar"):
        with pytest.raises(DataError, match=r"holds no picture \(but 1 \.txt\)"):
            open_data(str(pack(tmp_path / f"packed.{suffix}", {"a.txt": b""})))
        with pytest.raises(DataError, match="holds no picture:"):
            open_data(str(pack(tmp_path / f"empty.{suffix}", {})))


@pytest.fixture(scope="module", params=["zip", "tar", "tar.gz"])
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path = pack(
        tmp_path_factory.mktemp("sound") / f"packed.{request.param}",
        {f"{i}.png": encoded(noise(i, 3, 3)) for i in range(3)},
    )
    return path, path.read_bytes()


@given(place=st.floats(0, 1, exclude_max=True), insert=st.binary(min_size=1, max_size=6))
@settings(max_examples=120, deadline=None)
def test_whatever_the_bytes_are_there_are_pictures_or_one_sentence(
    sound: tuple[Path, bytes], place: float, insert: bytes
) -> None:
    path, data = sound
    start = int(len(data) * place)
    path.write_bytes(data[:start] + insert + data[start + len(insert) :])
    try:
        parts = archive(path).scan().parts
    except DataError as error:
        sentence(error)
        return
    for part in parts.values():
        for picture in [picture for block in part.read(np.arange(len(part.names))) for picture in block]:
            assert picture.name in part.names
            assert not isinstance(picture.data, bytes) or read_or_reason(picture.data, 3, 3) is not None


def test_names_that_are_no_text_are_read_and_named(tmp_path: Path) -> None:
    path = pack(tmp_path / "packed.tar", {"\udcff.png": encoded(noise(1)), "b\udc80.png": b"no picture"})
    found = open_data(f"{path}?max-bad=50%")
    assert all_names(found) == ["\udcff.png"]
    assert list(found.found["bad"]["files"]) == ["b\\udc80.png"]
