"""Small sound files of every kind that is read, ways to damage them, and readers of each: what `test_fuzz_readers`
plays.

A change is a pure function of (seed, kind, number), so that whatever fails can be played again.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.io import savemat

import folders
from ganvas.data import open_data
from ganvas.exchange.reading import read
from ganvas.run import Run

Change = Callable[[random.Random, bytes], bytes]
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass(frozen=True)
class Kind:
    """A kind of input. name: of the file, within a folder of its own. content: a sound one. reads: reads what is at a
    path. changes: ways to damage it that know what it is, besides those of bytes."""

    name: str
    content: bytes
    reads: Callable[[Path], object]
    changes: tuple[Change, ...] = ()


# ---- sound inputs ----------------------------------------------------------------------------------------------------
def image(seed: int = 0, mode: str = "RGB") -> Image.Image:
    shape = {"RGB": (8, 8, 3), "RGBA": (8, 8, 4)}.get(mode, (8, 8))
    values = np.random.default_rng(seed).integers(0, 256, shape)
    return Image.fromarray(values.astype(np.uint16 if mode == "I;16" else np.uint8))


def encoded(form: str, seed: int = 0, mode: str = "RGB", **more: Any) -> bytes:
    packed = io.BytesIO()
    image(seed, mode).save(packed, form, **more)
    return packed.getvalue()


MEMBERS = {f"{kind}/{i}.png": encoded("png", i) for i in (1, 0, 2) for kind in "ba"}


def zipped(members: dict[str, bytes] = MEMBERS, way: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", way) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return packed.getvalue()


def taped(members: dict[str, bytes] = MEMBERS, form: int = tarfile.GNU_FORMAT) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=form) as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1.5  # of which pax makes extended headers
            file.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def shard() -> bytes:
    members: dict[str, bytes] = {}
    for i in range(3):
        members |= {f"{i}.png": encoded("png", i), f"{i}.cls": str(i % 2).encode(), f"{i}.json": b'{"label": 1}'}
    return taped(members)


def arrays() -> bytes:
    packed = io.BytesIO()
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    np.savez(packed, images=images, labels=np.arange(4) % 2, classes=np.array(["cat", "dog"]))
    return packed.getvalue()


def array() -> bytes:
    packed = io.BytesIO()
    np.save(packed, np.random.default_rng(0).uniform(-1, 1, (4, 3, 8, 8)).astype(np.float32))
    return packed.getvalue()


def parquet(**how: Any) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    packed = io.BytesIO()
    rows = {"image": [encoded("png", i % 3) for i in range(6)], "label": [i % 2 for i in range(6)]}
    pq.write_table(pa.table(rows), packed, row_group_size=3, **how)
    return packed.getvalue()


def matlab() -> bytes:
    packed = io.BytesIO()
    values = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 4), np.uint8)
    savemat(packed, {"X": values, "y": np.array([[1], [2], [10], [3]], np.uint8)}, do_compression=True)
    return packed.getvalue()


def cifar() -> bytes:
    """A batch of two records of CIFAR-10."""
    return b"".join(bytes([i]) + np.random.default_rng(i).bytes(3072) for i in range(2))


def network(*, old: bool = False) -> bytes:
    packed = io.BytesIO()
    net = {"model.0.weight": torch.ones(4, 3, 4, 4), "model.0.bias": torch.zeros(4), "steps": 3, "l": [0.5, (1, 2)]}
    torch.save(net, packed, _use_new_zipfile_serialization=not old)
    return packed.getvalue()


# ---- readers ---------------------------------------------------------------------------------------------------------
def reads_data(path: Path) -> object:
    """A picture, archive, array or table, alone or in its folder, into a store and a tensor."""
    data = open_data(f"images:{path}")
    return [data.part(split).tensors(np.arange(1)) for split in data.splits]


def reads_folder(path: Path) -> object:
    return reads_data(path.parent)


def reads_run(path: Path) -> object:
    from ganvas.cli.runs import _facts
    from ganvas.report import write_report

    run = Run.open(path.parent)
    return _facts(run, run.info()), write_report(run), run.best()


def loads_run(path: Path) -> object:
    return Run.open(path.parent).load_game()


def reads_checkpoint(path: Path) -> object:
    """The checkpoint that the file is in, its manifest made to fit unless it is that itself."""
    folder = path.parent
    manifest = folder / "manifest.json"
    if path != manifest:
        from ganvas.files import sha256

        told = json.loads(manifest.read_bytes())
        told["files"][path.name] = {"sha256": sha256(path), "bytes": path.stat().st_size}
        manifest.write_text(json.dumps(told))
    run = Run.open(folder.parent)
    run.load_game(warn=str)
    checkpoint = run.latest(str)
    return checkpoint and (checkpoint.weights(), checkpoint.state())


def reads_spec(path: Path) -> object:
    from ganvas.data.spec import parse

    spec = parse(path.read_bytes().decode(errors="surrogateescape"))
    assert parse(str(spec)) == spec or ":" in spec.source
    return spec


# ---- damage ----------------------------------------------------------------------------------------------------------
def flip_bits(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def cut(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data))]


def insert(chance: random.Random, data: bytes) -> bytes:
    place = chance.randrange(len(data))
    return data[:place] + chance.randbytes(chance.choice((1, 4, 64))) + data[place:]


def splice(chance: random.Random, data: bytes) -> bytes:
    """A stretch of it, again somewhere else."""
    start, to = chance.randrange(len(data)), chance.randrange(len(data))
    piece = data[start : start + chance.choice((4, 32, 512))]
    return data[:to] + piece + data[to + (len(piece) if chance.random() < 0.5 else 0) :]


def write_number(chance: random.Random, data: bytes) -> bytes:
    """A number that lengths are spoilt by, of any width and order of bytes, somewhere."""
    width = chance.choice((1, 2, 4, 4, 8))
    value = (chance.choice(NUMBERS) & ((1 << 8 * width) - 1)).to_bytes(width, chance.choice(("little", "big")))
    place = chance.randrange(max(1, len(data) - width))
    return data[:place] + value + data[place + width :]


def erase(chance: random.Random, data: bytes) -> bytes:
    place, n = chance.randrange(len(data)), chance.choice((1, 16, 256))
    return data[:place] + chance.choice((b"\x00", b"\xff", b" "))[:1] * min(n, len(data) - place) + data[place + n :]


BYTES: tuple[Change, ...] = (flip_bits, cut, insert, splice, write_number, erase)


def at_signatures(*signatures: bytes) -> Change:
    """A number written within the header behind one of these signatures."""

    def change(chance: random.Random, data: bytes) -> bytes:
        signature = chance.choice(signatures)
        places = [i for i in range(len(data)) if data.startswith(signature, i)]
        if not places:
            return flip_bits(chance, data)
        place = chance.choice(places) + len(signature)
        header = write_number(chance, data[place : place + 64] or b"\x00")
        return data[:place] + header + data[place + 64 :]

    return change


def in_tar(chance: random.Random, data: bytes) -> bytes:
    """Another size, kind or name in the header of a member, whose checksum fits."""
    places = [i for i in range(0, len(data) - 512, 512) if data[i + 257 : i + 262] == b"ustar"]
    if not places:
        return flip_bits(chance, data)
    place = chance.choice(places)
    header = bytearray(data[place : place + 512])
    what = chance.randrange(3)
    if what == 0:
        header[124:136] = chance.choice(
            (b"77777777777\0", b"00000000000\0", b"\x80" + bytes(7) + b"\xff" * 4, b"-1" * 6)
        )
    elif what == 1:
        header[156:157] = chance.choice((b"L", b"K", b"x", b"g", b"S", b"1", b"2", b"5", b"Z"))
    else:
        header[:100] = chance.choice((b"../up.png", b"/root.png", b"a/" * 50, b"\xff" * 100)).ljust(100, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return data[:place] + bytes(header) + data[place + 512 :]


def repacked(pack: Callable[[bytes], bytes], unpack: Callable[[bytes], bytes], *inner: Change) -> Change:
    """Damage to what is packed, packed again so that it fits."""

    def change(chance: random.Random, data: bytes) -> bytes:
        return pack(chance.choice(inner)(chance, unpack(data)))

    return change


def in_member(chance: random.Random, data: bytes) -> bytes:
    """Damage to one member of a ZIP, its checksum made to fit."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        members = {info.filename: file.read(info) for info in file.infolist()}
        way = file.infolist()[0].compress_type
    name = chance.choice(list(members))
    members[name] = chance.choice(BYTES)(chance, members[name] or b"\x00")
    return zipped(members, chance.choice((way, way, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))


def in_header(chance: random.Random, data: bytes) -> bytes:
    """Another header of an array of the same length."""
    length = struct.unpack("<H", data[8:10])[0]
    header = data[10 : 10 + length].decode()
    what = chance.choice(
        (("'<f4'", chance.choice(("'<f8'", "'|O'", "'<U9'", "'|V0'", "'<M8[s]'", "[('a', '<f4')]"))),
         ("False", "True"),
         ("(4, 3, 8, 8)", chance.choice(("(99999999999, 3, 8, 8)", "(-1, 3, 8, 8)", "()", "(4, 3, 0, 8)", "((" * 200))),
         ("{", chance.choice(("[" * 500, "{" * 99, "1 + ", "")))),
    )  # fmt: skip
    changed = header.replace(*what, 1).encode()
    return data[:8] + struct.pack("<H", len(changed)) + changed + data[10 + length :]


VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        -1,
        0,
        1,
        2,
        3,
        64,
        10**7,
        10**20,
        1.5,
        -1.0,
        1e300,
        "",
        "x",
        "\u0000",
        "\ud800",
        "vae",
        "gan",
    ),
    *([], [[]], [1] * 9, [1], [3, 64, 64], [1, 9, 9], ["x"], {}, {"a": 1}, {"": None}, {"image": [3, 8, 8]}),
    *("9" * 5000, "../..", "digits?size=9", "mixture:ring8"),
)


def in_json(chance: random.Random, data: bytes) -> bytes:
    """Another value, or none, somewhere in JSON, or in a line of it."""
    lines = data.split(b"\n") if b"\n{" in data and data.count(b"\n{") == data.count(b"\n") else [data]
    which = chance.randrange(len(lines))
    try:
        value = json.loads(lines[which])
    except ValueError:
        return flip_bits(chance, data)
    at, steps = value, []
    while isinstance(at, dict | list) and at and (not steps or chance.random() < 0.7):
        key = chance.choice(list(at) if isinstance(at, dict) else range(len(at)))
        steps.append((at, key))
        at = at[key]
    if not steps:
        return flip_bits(chance, data)
    holder, key = steps[-1]
    if chance.random() < 0.2:
        del holder[key]
    else:
        alike = [other for other in VALUES if type(other) is type(holder[key])]  # which gets further
        holder[key] = chance.choice(alike if alike and chance.random() < 0.7 else VALUES)
    lines[which] = json.dumps(value).encode()
    if chance.random() < 0.05:
        lines[which] = chance.choice((b"[" * 100_000, b'{"a":' * 100_000, b"1" * 100_000, b"1e999999"))
    return b"\n".join(lines)


def in_spec(chance: random.Random, data: bytes) -> bytes:
    text = data.decode(errors="surrogateescape")
    parts = text.replace("?", "&").split("&")
    which = chance.randrange(len(parts))
    values = (
        "",
        "0",
        "-1",
        "1e9",
        "nan",
        "9" * 5000,
        "None",
        "a=b",
        "%3F%",
        "1x1x1",
        "[{000..999999999}]",
        "\x00",
        "é",
    )
    parts[which] = parts[which].partition("=")[0] + chance.choice(("=", "==", "")) + chance.choice(values)
    return "?".join([parts[0], "&".join(parts[1:])]).encode(errors="surrogateescape")


# ---- everything ------------------------------------------------------------------------------------------------------
def kinds(run: Path) -> dict[str, Kind]:
    """Every kind of input, by name. run: a trained run, of whose files some are."""
    tar, pax = taped(), taped(form=tarfile.PAX_FORMAT)
    checkpoint = sorted(run.glob("checkpoint-*"))[-1]
    config = (run / "config.json").read_bytes()
    stats = "\n".join(json.dumps(folders.tick(step, g__loss=1.5) | {"health": ["It is."]}) for step in (1, 2, 3))
    metrics = "\n".join(
        json.dumps({"step": 2, "metrics": {"mse": folders.figure(0.5, parts={"a": 1.0})}}) for _ in "ab"
    )
    pictures = {
        "png": encoded("png"),
        "png of 16 bits": encoded("png", mode="I;16"),
        "png with transparency": encoded("png", mode="RGBA"),
        "jpg": encoded("jpeg"),
        "gif": encoded("gif", mode="L"),
        "bmp": encoded("bmp"),
        "tif": encoded("tiff", compression="tiff_lzw"),
        "webp": encoded("webp"),
        "tga": encoded("tga"),
        "ppm": encoded("ppm"),
    }
    signatures = at_signatures(b"IHDR", b"\xff\xc0", b"BM", b"II*\x00")
    made = {
        name: Kind(f"a.{name.partition(' ')[0]}", data, reads_data, (signatures,)) for name, data in pictures.items()
    }

    def saved(name: str, *changes: Change) -> Kind:
        return Kind(f"{checkpoint.name}/{name}", (checkpoint / name).read_bytes(), reads_checkpoint, changes)

    headers = at_signatures(b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06")
    packers: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
        "gz": (gzip.compress, gzip.decompress),
        "bz2": (bz2.compress, bz2.decompress),
        "xz": (lzma.compress, lzma.decompress),
    }
    made |= {
        "zip": Kind("a.zip", zipped(), reads_data, (headers, in_member)),
        "tar": Kind("a.tar", tar, reads_data, (in_tar,)),
        "tar, pax": Kind("a.tar", pax, reads_data, (in_tar,)),
        **{
            f"tar.{way}": Kind(f"a.tar.{way}", pack(tar), reads_data, (repacked(pack, unpack, in_tar, *BYTES),))
            for way, (pack, unpack) in packers.items()
        },
        "npz": Kind("a.npz", arrays(), reads_data, (headers, in_member)),
        "npy": Kind("a.npy", array(), reads_data, (in_header,)),
        "parquet": Kind("a.parquet", parquet(compression="snappy"), reads_data),
        "parquet, gzip": Kind("a.parquet", parquet(compression="gzip", use_dictionary=False), reads_data),
        "parquet, zstd": Kind("a.parquet", parquet(compression="zstd", data_page_version="2.0"), reads_data),
        "webdataset": Kind("a-000.tar", shard(), reads_data, (in_tar,)),
        "cifar": Kind("data_batch_1.bin", cifar(), reads_folder),
        "mat": Kind("train_32x32.mat", matlab(), reads_folder),
        "pth": Kind("a.pth", network(), lambda path: read("G", path), (headers, in_member)),
        "pth, old": Kind("a.pth", network(old=True), lambda path: read("G", path)),
        "config": Kind("config.json", config, reads_run, (in_json, in_json)),
        "config, loaded": Kind("config.json", config, loads_run, (in_json, in_json)),
        "stats": Kind("stats.jsonl", stats.encode(), reads_run, (in_json, in_json)),
        "metrics": Kind("metrics.jsonl", metrics.encode(), reads_run, (in_json, in_json)),
        "best": Kind("best.json", b'{"step":2,"metric":"mse","value":0.5}', reads_run, (in_json,)),
        "manifest": saved("manifest.json", in_json),
        "safetensors": saved("ema.safetensors"),
        "state": saved("state.pt", headers, in_member),
        "spec": Kind(
            "spec",
            b"images:photos?size=64x48&crop=none&holdout=0.1&limit=9&flip=true&max-bad=5%",
            reads_spec,
            (in_spec, in_spec),
        ),
    }
    return made


def prepare(kind: str, folder: Path, run: Path) -> None:
    """Lays out, once, what a file of that kind lies among."""
    if kind in ("config", "config, loaded", "stats", "metrics", "best", "manifest", "safetensors", "state"):
        shutil.copytree(run, folder, dirs_exist_ok=True)
        (folder / ".lock").unlink(missing_ok=True)
    if kind == "cifar":
        for name in ("data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
            (folder / f"{name}.bin").write_bytes(cifar())
    if kind == "mat":
        (folder / "test_32x32.mat").write_bytes(matlab())


def changed(kind: Kind, name: str, number: int, seed: int) -> bytes:
    """The damaged input of that number."""
    chance = random.Random(f"{seed}/{name}/{number}")
    ways = (*BYTES, *kind.changes, *kind.changes)
    data = chance.choice(ways)(chance, kind.content)
    return chance.choice(BYTES)(chance, data or b"\x00") if chance.random() < 0.15 else data
