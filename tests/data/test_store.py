from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawing import encoded, noise, sentence, without_stores, write
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ganvas.cache import MANIFEST
from ganvas.data import building, open_data
from ganvas.data.mapped import VERIFIED
from ganvas.data.source import in_memory
from ganvas.data.store import DTYPES, Building, Column, Store, obtain, place_of
from ganvas.errors import DataError


@pytest.fixture(autouse=True)
def stores(cache: Path) -> Path:
    """The folder of stores, empty."""
    without_stores(cache)
    return cache / "stores"


def test_what_was_built_before_there_was_another_way_to_resize_is_still_found(stores: Path) -> None:
    for key in ("", "?resize=bicubic&crop=centre", "?crop=centre"):
        open_data(f"digits{key}")
    address = [1, [["digits", 1], [None, "centre", None, None, None, False]]]  # format, source, preparation
    digest = hashlib.sha256(json.dumps(address).encode()).hexdigest()
    assert [path.name for path in stores.iterdir() if path.is_dir()] == [digest[:32]]
    open_data("digits?resize=bilinear")
    assert sum(path.is_dir() for path in stores.iterdir()) == 2


# ---- columns ---------------------------------------------------------------------------------------------------------
SHAPES = npst.array_shapes(min_dims=0, max_dims=2, max_side=3)


@st.composite
def ragged(draw: st.DrawFn) -> list[list[np.ndarray]]:
    """Groups of rows of different length, of one dtype and inner shape."""
    dtype, shape = draw(st.sampled_from(DTYPES)), draw(SHAPES)
    row = st.integers(0, 4).flatmap(lambda n: npst.arrays(dtype, (n, *shape)))
    return draw(st.lists(st.lists(row, max_size=4), min_size=1, max_size=4))


@given(ragged(), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_rows_of_different_length_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[np.ndarray]], number: int
) -> None:
    rows = [row for group in groups for row in group]
    first = rows[0] if rows else np.zeros((0, 2), np.int16)
    folder = tmp_path_factory.mktemp("ragged")
    with Building(folder) as store:
        store.found["number"] = number
        for group in groups:
            store.column("x", first.dtype.name, first.shape[1:], ragged=True).append_rows(group)
    opened = Store(folder)
    assert opened.found == {"number": number}
    column = opened.columns["x"]
    assert len(column) == len(rows)
    for i, row in enumerate(rows):
        assert column[i].dtype == row.dtype
        np.testing.assert_array_equal(column[i], row)
    with pytest.raises(TypeError, match="do not stack"):
        column.take(np.arange(1))


@given(st.data(), st.sampled_from(DTYPES), SHAPES, st.lists(st.integers(0, 3), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_rows_of_one_shape_come_back_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, dtype: str, shape: tuple[int, ...], sizes: list[int]
) -> None:
    blocks = [data.draw(npst.arrays(dtype, (n, *shape))) for n in sizes]
    folder = tmp_path_factory.mktemp("plain")
    with Building(folder) as store:
        for block in blocks:  # in whatever order its values lie in memory
            store.column("x", dtype, shape).append(np.asfortranarray(block))
    whole, column = np.concatenate(blocks), Store(folder).columns["x"]
    assert len(column) == len(whole)
    rows = data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=6)) if len(whole) else []
    taken = column.take(np.array(rows, np.int64))
    np.testing.assert_array_equal(taken, whole[rows])
    assert taken.dtype == np.dtype(dtype)
    assert taken.flags.writeable  # a copy


def test_a_column_takes_nothing_but_its_own_kind(tmp_path: Path) -> None:
    with Building(tmp_path) as store:
        plain, lists = store.column("a", "uint8", (2,)), store.column("b", "int64", ragged=True)
        for wrong in (np.zeros((1, 3), np.uint8), np.zeros((1, 2), np.int64), np.zeros(2, np.uint8)):
            with pytest.raises(TypeError):
                plain.append(wrong)
        with pytest.raises(TypeError):
            plain.append_rows([])
        with pytest.raises(TypeError):
            lists.append(np.zeros(1, np.int64))
        with pytest.raises(TypeError, match="a column of float64"):
            store.column("c", "float64")
    assert {name: len(column) for name, column in Store(tmp_path).columns.items()} == {"a": 0, "b": 0}


def test_the_fingerprint_is_of_the_contents_of_columns(tmp_path: Path) -> None:
    def fingerprint(name: str, split: str, values: list[int], lengths: list[int], cut: int = 2, *more: Any) -> str:
        with Building(tmp_path / name) as store:
            rows = np.split(np.array(values, np.int32), np.cumsum(lengths)[:-1])
            for some in (rows[:cut], rows[cut:]):
                store.column(f"{split}.x", "int32", ragged=True).append_rows(some)
        return Store(tmp_path / name).fingerprint([f"{split}.x"], *more)

    for name in "abcdef":
        (tmp_path / name).mkdir()
    first = fingerprint("a", "train", [1, 2, 3], [2, 0, 1])
    assert fingerprint("b", "test", [1, 2, 3], [2, 0, 1], 1) == first
    others = [
        fingerprint("c", "train", [1, 2, 4], [2, 0, 1]),
        fingerprint("d", "train", [1, 2, 3], [2, 1, 0]),
        fingerprint("e", "train", [1, 2, 3], [2, 1]),
        fingerprint("f", "train", [1, 2, 3], [2, 0, 1], 2, "more"),
    ]
    assert len({first, *others}) == 5


# ---- built once ------------------------------------------------------------------------------------------------------
class Work:
    """Builds a store of a few numbers, and counts how often."""

    def __init__(self, value: int = 7) -> None:
        self.value, self.times = value, 0

    def __call__(self, store: Building) -> None:
        self.times += 1
        store.describe("some photos", "")
        store.column("train.x", "int32", (2,)).append(np.full((3, 2), self.value, np.int32))
        store.column("train.name", "uint8", ragged=True).append_rows([np.arange(5, dtype=np.uint8)])


def values(store: Store) -> set[int]:
    assert store.columns["train.name"][0].tolist() == [0, 1, 2, 3, 4]
    return set(np.unique(store.columns["train.x"].take(np.arange(3))).tolist())


def test_a_store_is_built_once_for_each_address(stores: Path) -> None:
    work, other = Work(1), Work(2)
    address = {"source": ["here", 1.5, None], "how": {"size": [1, 2]}}
    assert [values(obtain(address, work)) for _ in range(3)] == [{1}] * 3
    assert values(obtain({"how": {"size": [1, 2]}, "source": ["here", 1.5, None]}, work)) == {1}
    assert values(obtain({"source": ["there", 1.5, None], "how": {"size": [1, 2]}}, other)) == {2}
    assert (work.times, other.times) == (1, 1)
    assert len([path for path in stores.iterdir() if path.is_dir()]) == 2


def test_the_place_of_a_store_is_that_of_its_files_whatever_is_in_them() -> None:
    folder = ["folder", "/photos", [("a.png", 10, 1), ("b.png", 20, 2)]]
    place = place_of([folder, [None, 64, None]])
    assert place_of([["folder", "/photos", [("a.png", 11, 3)]], [None, 64, None]]) == place
    assert place_of([["folder", "/photos", []], [None, 64, None]]) == place
    others: list[Any] = [
        [["folder", "/others", folder[2]], [None, 64, None]],
        [["group", "/photos", folder[2]], [None, 64, None]],
        [folder, [64, None, None]],
        [folder, [None, 64, None], ["range", "0..1"]],
    ]
    assert len({place, *map(place_of, others)}) == 5
    assert place_of(["arrays", {"train": [["/a.npy", 1, 2]]}]) == place_of(["arrays", {"train": [["/a.npy", 3, 4]]}])
    assert place_of(["arrays", {"train": [["/a.npy", 1, 2]]}]) != place_of(["arrays", {"train": [["/b.npy", 1, 2]]}])


def shorten(path: Path, by: int = 1) -> None:
    path.write_bytes(path.read_bytes()[:-by])


def edited(folder: Path) -> None:
    """The manifest with another number in it, still JSON."""
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["columns"]["train.x"]["rows"] = 2
    (folder / MANIFEST).write_text(json.dumps(manifest))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a column cut short": lambda folder: shorten(folder / "train.x.bin"),
    "a column that goes on": lambda folder: (folder / "train.x.bin").write_bytes(bytes(25)),
    "a column gone": lambda folder: (folder / "train.x.bin").unlink(),
    "offsets cut short": lambda folder: shorten(folder / "train.name.offsets.bin", 8),
    "offsets gone": lambda folder: (folder / "train.name.offsets.bin").unlink(),
    "no manifest": lambda folder: (folder / MANIFEST).unlink(),
    "an empty manifest": lambda folder: (folder / MANIFEST).write_bytes(b""),
    "a manifest cut short": lambda folder: shorten(folder / MANIFEST, 9),
    "a manifest of bytes": lambda folder: (folder / MANIFEST).write_bytes(b"\xff\xfe\x00"),
    "a manifest of another kind": lambda folder: (folder / MANIFEST).write_text("[1, 2]"),
    "an edited manifest": edited,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_store_is_built_anew(damage: Callable[[Path], object], stores: Path) -> None:
    work = Work()
    obtain("address", work)
    (folder,) = (path for path in stores.iterdir() if path.is_dir())
    damage(folder)
    assert [values(obtain("address", work)) for _ in range(2)] == [{7}] * 2
    assert work.times == 2
    assert [path for path in stores.iterdir() if path.is_dir()] == [folder]


FILES = ["train.x.bin", "train.name.bin", "train.name.offsets.bin"]


def flip(path: Path) -> None:
    """Flips one bit of a file in its place."""
    with path.open("r+b") as file:
        content = bytearray(file.read())
        content[len(content) // 2] ^= 1
        file.seek(0)
        file.write(content)


def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The columns whose every byte is looked at from now on."""
    seen: list[str] = []
    real = Column.is_whole

    def watched(column: Column) -> bool:
        seen.append(column.files[0].path.name)
        return real(column)

    monkeypatch.setattr(Column, "is_whole", watched)
    return seen


@pytest.mark.parametrize("keep_times", [False, True])
@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("file", FILES)
def test_a_flipped_bit_is_found_by_whoever_opens_the_store(
    file: str, verify: bool, keep_times: bool, stores: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = Work()
    obtain("address", work)
    (folder,) = stores.iterdir()
    settle(folder)
    obtain("address", work)
    assert work.times == 1
    before = (folder / file).stat()
    flip(folder / file)
    if keep_times:
        os.utime(folder / file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert values(obtain("address", work, verify=verify)) == {7}
    assert work.times == 2
    assert "what the cache kept of some photos was damaged, and is read anew" in capsys.readouterr().err


def settle(folder: Path) -> None:
    """Waits until the file system's clock tells later writes from those of the store, and has it looked at then."""
    time.sleep(0.1)
    Store(folder)


def test_every_byte_is_looked_at_once_and_then_now_and_then(stores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work()
    obtain("address", work)
    (folder,) = stores.iterdir()
    settle(folder)
    seen = hashed(monkeypatch)
    for _ in range(3):
        obtain("address", work)
        obtain("address", work, verify=True)
    assert seen == []
    now = time.time()
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: now + 2 * 86_400)
        obtain("address", work)
        assert seen == []
        obtain("address", work, verify=True)  # as training does
        assert sorted(seen) == ["train.name.bin", "train.x.bin"]
        patch.setattr("time.time", lambda: now + 8 * 86_400)
        obtain("address", work)
        assert len(seen) == 4
    os.utime(folder / "train.x.bin")
    obtain("address", work)
    assert len(seen) == 6
    for content in (b"", b"{", b"[" * 100_000, b"[1]", b"\xff"):
        (folder / VERIFIED).write_bytes(content)
        obtain("address", work)
    assert len(seen) == 16
    assert work.times == 1


# ---- changed while it is open ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [0, 1, 5000])
def test_a_store_that_is_cut_short_while_it_is_read_is_said_and_read_anew(size: int, stores: Path) -> None:
    def build(store: Building) -> None:
        store.column("train.x", "uint8", (64, 64)).append(np.ones((9, 64, 64), np.uint8))
        store.column("train.ragged", "uint8", ragged=True).append_rows([np.ones(9000, np.uint8)] * 9)

    opened = obtain("address", build)
    (folder,) = stores.iterdir()
    plain, ragged = opened.columns["train.x"], opened.columns["train.ragged"]
    for column, reads in ((plain, [lambda: plain[8], lambda: plain.take(np.arange(9)), plain.all]),
                          (ragged, [lambda: ragged[8]])):  # fmt: skip
        os.truncate(column.files[-1].path, size)
        for read in reads:
            with pytest.raises(DataError, match=r"was changed or cut short .* run the same command again") as caught:
                read()
            sentence(caught.value)
    assert obtain("address", build).columns["train.x"].all().sum() == 9 * 64 * 64
    assert list(stores.iterdir()) == [folder]


def test_a_store_that_is_written_to_while_it_is_read_is_said(stores: Path) -> None:
    opened = obtain("address", Work())
    (folder,) = stores.iterdir()
    os.utime(folder / "train.x.bin", (5, 5))  # touched: its contents are the same
    assert values(opened) == {7}
    flip(folder / "train.x.bin")
    os.utime(folder / "train.x.bin", (6, 6))
    with pytest.raises(DataError, match="was changed or cut short"):
        values(opened)


def test_what_is_open_can_be_read_on_when_it_is_removed(stores: Path) -> None:
    opened = obtain("address", Work())
    (folder,) = stores.iterdir()
    shutil.rmtree(folder)
    assert values(opened) == {7}


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, DataError, ZeroDivisionError])
def test_an_interrupted_build_leaves_nothing(interruption: type[BaseException], stores: Path) -> None:
    def interrupted(store: Building) -> None:
        Work()(store)
        raise interruption

    with pytest.raises(interruption):
        obtain("address", interrupted)
    assert list(stores.iterdir()) == []
    assert values(obtain("address", Work())) == {7}


def test_an_interrupted_reading_of_pictures_leaves_nothing(
    stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {f"{i:03d}.png": noise(i) for i in range(200)})
    decode = building.decode

    def interrupted(picture: Any, *preparation: Any) -> Any:
        if picture.name == "150.png":
            raise KeyboardInterrupt
        return decode(picture, *preparation)

    with monkeypatch.context() as patch:
        patch.setattr(building, "decode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            open_data(str(tmp_path))
    assert list(stores.iterdir()) == []
    assert len(open_data(str(tmp_path))) == 200


SCRIPT = """
import sys, time, types
import numpy as np
import ganvas
sys.modules["ganvas.data"] = alone = types.ModuleType("ganvas.data")  # without its other modules: torch takes seconds
alone.__path__ = [ganvas.__path__[0] + "/data"]
from ganvas.data.store import obtain

def build(store):
    with open(sys.argv[1], "a") as log:
        log.write(sys.argv[2] + "\\n")
    store.column("x", "int64").append(np.arange(1000))
    if sys.argv[2] == "killed":
        print("building", flush=True)
        time.sleep(600)
    time.sleep(0.3)

print(int(obtain("address", build).columns["x"].take(np.arange(1000)).sum()))
"""


def test_of_processes_at_once_one_builds_even_after_one_was_killed(stores: Path, tmp_path: Path) -> None:
    def start(name: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / "log"), name]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))

    with start("killed") as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "building\n"
        with start("one") as one, start("other") as other:
            killed.kill()
            assert [process.communicate(timeout=240)[0] for process in (one, other)] == ["499500\n"] * 2
    built = (tmp_path / "log").read_text().split()
    assert sorted(built) in (["killed", "one"], ["killed", "other"])
    (folder,) = stores.iterdir()  # nothing of the killed one, and no lock
    assert (folder / MANIFEST).is_file()


# ---- where it cannot be --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("cache_is", ["a file", "under a file", "no place"])
def test_a_cache_that_cannot_be_written_says_so(cache_is: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    place = {"a file": "file", "under a file": "file/cache", "no place": "/proc/nowhere/cache"}[cache_is]
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path / place))
    with pytest.raises(DataError, match=r"cannot be written \(.+\): make room, or set GANVAS_CACHE") as caught:
        open_data("digits")
    assert str(tmp_path / place) in sentence(caught.value)


@contextmanager
def full_disk(free: int) -> Iterator[None]:
    """No file can grow over so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_nothing_and_says_so(stores: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", noise(1, 100, 64, 64, 3))
    with full_disk(500_000), pytest.raises(DataError, match=r"cannot be written \(.+\): make room"):
        open_data(str(tmp_path / "a.npy"))
    assert list(stores.iterdir()) == []
    assert len(open_data(str(tmp_path / "a.npy"))) == 100


def test_what_was_built_is_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    spec = str(write(tmp_path, {"a.png": noise(1)}))
    open_data(spec)
    with full_disk(0):
        assert np.array_equal(open_data(spec).pixels(np.arange(1)), [noise(1)])


def test_a_source_that_goes_away_is_named_not_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "packed.zip"

    def gone(*args: Any) -> Any:
        raise FileNotFoundError(2, "No such file or directory", str(path))

    import zipfile

    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.png", encoded(noise(1)))
    monkeypatch.setattr(building, "choose", gone)
    with pytest.raises(DataError, match=r"packed\.zip cannot be read: No such file") as caught:
        open_data(str(path))
    sentence(caught.value)


def test_rows_in_memory_are_read_in_the_order_asked() -> None:
    numbers = np.arange(1000)
    rows = np.array([3, 5, 999])
    assert np.concatenate(list(in_memory(numbers)(rows))).tolist() == [3, 5, 999]
