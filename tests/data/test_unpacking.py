"""Archives and tables that are meant to hurt: refused before they take memory, time or room on the disk."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawing import all_names, encoded, noise

from ganvas.data import open_data, unpacking
from ganvas.errors import DataError

PACKS: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


def member(name: bytes, data: bytes = b"", kind: bytes = b"0", size: int | None = None) -> bytes:
    """A member of a tar, as it lies there."""
    info = tarfile.TarInfo("x")
    info.size, info.type = len(data) if size is None else size, kind
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[:100] = name[:100].ljust(100, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data + bytes(-len(data) % 512)


PICTURES = b"".join(member(f"{i}.png".encode(), encoded(noise(i))) for i in (2, 0, 1, 3))  # not in order of name
END = bytes(1024)


@pytest.mark.parametrize("way", PACKS)
def test_what_lies_behind_the_end_is_not_unpacked(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MOST_FREE", 1 << 20)
    path = tmp_path / f"a.tar.{way}"
    path.write_bytes(PACKS[way](PICTURES + END + bytes(100_000)))
    assert all_names(open_data(str(path))) == ["0.png", "1.png", "2.png", "3.png"]
    path.write_bytes(PACKS[way](PICTURES + END + bytes(5 << 20)))
    with pytest.raises(DataError, match=r"unpacks to over 100 times its size, and over 1 MiB: it is refused as a bomb"):
        open_data(str(path))


@pytest.mark.parametrize("way", PACKS)
@pytest.mark.parametrize("damage", [lambda data: data[:-6], lambda data: data[:-5] + b"\xa5" + data[-4:]])
def test_a_packed_tar_whose_end_is_damaged_is_named(way: str, damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / f"a.tar.{way}"
    path.write_bytes(damage(PACKS[way](PICTURES + END)))
    with pytest.raises(DataError, match=r"a\.tar\.\w+ does not read as an archive .*: get the file again"):
        open_data(str(path))


def test_several_streams_end_to_end_and_what_follows_them(tmp_path: Path) -> None:
    for way, pack in PACKS.items():
        path = tmp_path / f"a.tar.{way}"
        whole = PICTURES + END
        path.write_bytes(pack(whole[:700]) + pack(whole[700:]) + (b"" if way == "xz" else bytes(99)) + b"no stream")
        assert len(open_data(str(path))) == 4


@pytest.mark.parametrize(
    "content",
    [
        member(b"././@LongLink", kind=b"L", size=1 << 31),
        member(b"././@LongLink", kind=b"K", size=1 << 31),
        member(b"pax", kind=b"x", size=1 << 31),
        member(b"pax", kind=b"g", size=1 << 31),
        member(b"pax", bytes(1 << 19), b"x"),
        b"".join(
            member(b"g", b"".join(b"12 %07d=\n" % (i * 600 + j) for j in range(600)), b"g") + member(b"a")
            for i in range(9)
        ),
    ],
)
@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_headers_of_a_tar_are_bounded(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content if suffix == "tar" else gzip.compress(content + END))
    with pytest.raises(DataError, match=r"has (headers of over 256 KiB for one member|over 1,000 headers)"):
        open_data(str(path))


def test_blocks_of_a_sparse_member_are_bounded(tmp_path: Path) -> None:
    first = bytearray(member(b"s", kind=b"S"))
    first[482] = 1
    first[148:156] = b" " * 8
    first[148:156] = b"%06o\0 " % sum(first)
    block = (b"%011o\0%011o\0" % (1, 1)) * 21 + b"\1" + bytes(7)
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(bytes(first) + block * 1000, 1))
    with pytest.raises(DataError, match="refused as a bomb"):
        open_data(str(path))


def test_members_and_paths_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(content: bytes, why: str) -> None:
        (tmp_path / "a.tar.gz").write_bytes(gzip.compress(content + END, 1))
        with pytest.raises(DataError, match=why):
            open_data(str(tmp_path / "a.tar.gz"))

    def long(name: bytes) -> bytes:
        return member(b"././@LongLink", name + b"\0", b"L") + member(b"x")

    refused(long(b"a" * 5000 + b".png"), "paths of over 4,096 letters")
    refused(long(b"a/" * 70 + b"b.png"), "a path of over 64 folders")
    monkeypatch.setattr(unpacking, "MOST_FEW", 10)
    refused(member(b"a.png") * 100, r"holds over \d+ members in \d+ bytes")


def test_members_of_a_zip_that_share_their_bytes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MOST_FREE", 1 << 24)
    raw = bytes(9000)
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = pack.compress(raw) + pack.flush()
    sizes = (zlib.crc32(raw), len(body), len(raw))
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 0, *sizes, 5, 0) + b"a.png" + body
    n = 5000
    rows = b"".join(
        struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 0, *sizes, 9, 0, 0, 0, 0, 0, 0) + b"%05x.png" % i
        for i in range(n)
    )
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, n, n, len(rows), len(local), 0)
    (tmp_path / "a.zip").write_bytes(local + rows + end)
    with pytest.raises(DataError, match="refused as a bomb"):
        open_data(str(tmp_path / "a.zip"))


def test_a_zip_that_is_not_packed_by_deflate_says_so(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as file:
        file.writestr("a.png", encoded(noise(1)))
    with pytest.raises(DataError, match="is packed in another way than by deflate: pack the zip again"):
        open_data(str(tmp_path / "a.zip"))


# ---- Parquet ---------------------------------------------------------------------------------------------------------
def table(path: Path, column: pa.Array, **how: object) -> Path:
    pq.write_table(pa.table({"image": column}), path, **how)
    return path


def test_a_value_that_rows_share_counts_for_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MOST_FREE", 1 << 24)
    value = pa.array([bytes(8 << 20)])
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1000, np.int32)), value)
    path = table(tmp_path / "a.parquet", column, compression="zstd")
    assert path.stat().st_size < 5000
    with pytest.raises(DataError, match="refused as a bomb"):
        open_data(str(path))


def test_a_value_that_repeats_the_one_before_counts_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MOST_FREE", 1 << 24)
    encoding = {"use_dictionary": False, "column_encoding": {"image": "DELTA_BYTE_ARRAY"}}
    path = table(tmp_path / "a.parquet", pa.array([bytes(1 << 20)] * 40), compression="zstd", **encoding)
    with pytest.raises(DataError, match="refused as a bomb"):
        open_data(str(path))


def test_a_page_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", pa.array([bytes(80 << 20)]), compression="gzip", use_dictionary=False)
    with pytest.raises(DataError, match=r"a page of [\d,]+ bytes that unpacks to 83,886,[\d,]+: it is refused"):
        open_data(str(path))


def test_rows_and_the_footer_are_bounded(tmp_path: Path) -> None:
    n = 200_000
    shared = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int8)), pa.array([encoded(noise(1))]))
    with pytest.raises(DataError, match=r"holds over [\d,]+ rows in [\d,]+ bytes: it is refused as a bomb"):
        open_data(str(table(tmp_path / "a.parquet", shared)))
    schema = pa.schema([("image", pa.binary())], metadata={"x": "y" * (1 << 20)})
    pq.write_table(pa.table({"image": [encoded(noise(1))]}, schema=schema), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"has a footer of [0-9,]+ bytes, too large for its"):
        open_data(str(tmp_path / "b.parquet"))


def test_pages_of_every_form_are_read_as_before(tmp_path: Path) -> None:
    pictures = [encoded(noise(i)) for i in range(300)]
    for i, how in enumerate(
        (
            {"compression": "snappy"},
            {"compression": "zstd", "data_page_version": "2.0"},
            {"compression": "none", "use_dictionary": False, "data_page_size": 500},
            {"compression": "gzip", "row_group_size": 70, "write_page_checksum": True},
        )
    ):
        path = table(tmp_path / f"{i}.parquet", pa.array(pictures), **how)
        data = open_data(str(path))
        assert len(data) == 300
        assert not data.found["bad"]["count"]


def test_a_matlab_file_is_bounded(tmp_path: Path) -> None:
    for split in ("train", "test"):
        header = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM"
        (tmp_path / f"{split}_32x32.mat").write_bytes(header + struct.pack("<II", 1, 0) * 5000)
    with pytest.raises(DataError, match="it has over 1,000 elements"):
        open_data(str(tmp_path))
