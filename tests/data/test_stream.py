"""Streamed sets: the same rows as from the store, in an order that is a pure function of seed and step."""

from __future__ import annotations

import os
import shutil
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawing import all_names, encoded, noise, sentence, write
from hypothesis import given, settings
from hypothesis import strategies as st
from sharding import CLASSES, hub_folder, parquet, pictures

from ganvas.data import Batches, Dataset, contact_sheet, open_data
from ganvas.data import parquet as parquet_room
from ganvas.data import stream as room
from ganvas.data.source import Encoded
from ganvas.data.stream import Shuffle, Streamed
from ganvas.errors import DataError, UsageError
from ganvas.streams import Purpose, bits


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parquet in row groups of four, as the Hub has it: 37 rows for training, 6 for testing."""
    files = {f"train-{i:05d}-of-00003.parquet": pictures(n, 20 * i) for i, n in enumerate((14, 9, 14))}
    return hub_folder(tmp_path_factory.mktemp("stream"), {**files, "test-00000-of-00001.parquet": pictures(6, 90)})


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of ten rows."""
    monkeypatch.setattr(room, "WINDOW_ROWS", (10, 10))


# ---- the order -------------------------------------------------------------------------------------------------------
def naive(starts: list[int], n: int, window: int, seed: int, epoch: int) -> list[int]:
    """The order of an epoch, row by row."""

    def shuffled(values: list[Any], index: int) -> list[Any]:
        lots = bits(len(values), seed, epoch, Purpose.ORDER, index).tolist()
        return [value for _, value in sorted(zip(lots, values, strict=True))]

    runs = [list(range(first, last)) for first, last in zip(starts, [*starts[1:], n], strict=True)]
    joined = [row for run in shuffled(runs, 0) for row in run]
    windows = [joined[i : i + window] for i in range(0, n, window)]
    return [row for i, rows in enumerate(windows) for row in shuffled(rows, i + 1)]


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[int], int]:
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=12))
    return np.cumsum([0, *lengths[:-1]]).tolist(), sum(lengths)


@given(layouts(), st.integers(1, 60), st.integers(1, 25), st.integers(0, 2**40), st.data())
@settings(max_examples=60)
def test_batches_are_cut_from_epochs_of_runs_and_windows_joined_end_to_end(
    layout: tuple[list[int], int], window: int, batch: int, seed: int, data: st.DataObject
) -> None:
    starts, n = layout
    order = Shuffle(np.array(starts), n, window, batch, seed)
    steps = 1 + 2 * n // batch
    epochs = range(-(-steps * batch // n))
    joined = [row for epoch in epochs for row in naive(starts, n, min(window, n), seed, epoch)]
    for step in data.draw(st.permutations(range(steps))):  # in any order: nothing is remembered
        assert order.rows(step).tolist() == joined[step * batch : (step + 1) * batch]
    alone = Shuffle(None, n, window, batch, seed)  # every row a run
    assert sorted(row for step in range(n) for row in alone.rows(step).tolist()) == sorted([*range(n)] * batch)


def test_the_order_is_the_same_for_ever() -> None:
    """Golden values: if one of these changes, no streamed run in the world resumes."""
    order = Shuffle(np.array([0, 4, 8, 12]), 15, 6, 5, 7)
    assert [order.rows(step).tolist() for step in (0, 1, 2, 10**9)] == [
        *([9, 0, 1, 8, 2], [3, 10, 14, 4, 11], [13, 12, 6, 7, 5], [13, 9, 8, 11, 10]),
    ]


def test_a_window_holds_what_is_read_in_so_many_bytes_by_the_mean(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = open_data(f"{folder}?stream=true")
    bytes_ = sum(path.stat().st_size for path in folder.iterdir())
    assert data.order(4, 0).size == 37  # all of them: a window may have more
    monkeypatch.setattr(room, "WINDOW_ROWS", (3, 20))
    for of_bytes, rows in ((bytes_ * 5.5 / 43, 5), (1, 3), (1e9, 20)):
        monkeypatch.setattr(room, "WINDOW_BYTES", of_bytes)
        assert open_data(f"{folder}?stream=true").order(4, 0).size == rows


# ---- the same rows as from the store ---------------------------------------------------------------------------------
def layout_of(kind: str, root: Path) -> str:
    """Twelve pictures of three classes in two splits, as a set of that kind; its source."""
    files = {
        f"{split}/{CLASSES[i % 3]}/{i}.png": noise(i) for i in range(12) for split in ["train" if i < 9 else "test"]
    }
    if kind == "parquet":
        return str(
            hub_folder(root, {"train-000-of-001.parquet": pictures(9), "test-000-of-001.parquet": pictures(3, 9)})
        )
    if kind == "folder":
        return str(write(root, files))
    if kind == "webdataset":
        from test_webdataset import samples, shard

        root.mkdir(exist_ok=True)
        shard(root / "train-000.tar", samples(pictures(9)))
        shard(root / "test-000.tar", samples(pictures(3, 9), 9))
        return f"{root}/*.tar"
    from test_archives import pack

    root.mkdir(exist_ok=True)
    return str(pack(root / f"a.{kind}", {name: encoded(pixels) for name, pixels in files.items()}))


@pytest.mark.parametrize("keys", ["", "size=4&channels=grey", "holdout=0.3&limit=5&split=test"])
@pytest.mark.parametrize("kind", ["parquet", "webdataset", "folder", "zip", "tar"])
def test_rows_are_those_of_the_store(kind: str, keys: str, tmp_path: Path) -> None:
    source = layout_of(kind, tmp_path)
    streamed, stored = open_data(f"{source}?{keys}{'&' * bool(keys)}stream=true"), open_data(f"{source}?{keys}")
    assert isinstance(streamed, Streamed)
    assert (streamed.kind, streamed.split, streamed.splits) == (stored.kind, stored.split, stored.splits)
    assert streamed.schema == stored.schema
    for split in stored.splits:
        ours, theirs = streamed.part(split), stored.part(split)
        assert all_names(ours) == all_names(theirs)
        rows = np.random.default_rng(0).integers(0, len(ours), 7)  # any order, some of them twice
        for field, values in theirs.tensors(rows).items():
            assert torch.equal(ours.tensors(rows)[field], values)
        assert np.array_equal(ours.pixels(rows), theirs.pixels(rows))
        assert [len(chunk["image"]) for chunk in ours.chunks(2, 3)] == [2, 1]
        assert ours.pixels(rows[:0]).shape == theirs.pixels(rows[:0]).shape
        assert ours.found["classes"] == theirs.found["classes"]
    assert np.array_equal(contact_sheet(streamed), contact_sheet(stored))
    with pytest.raises(UsageError, match="has no split 'nope'"):
        streamed.part("nope")


def test_nothing_is_written_of_a_streamed_set_but_what_lies_where(folder: Path, cache: Path) -> None:
    shutil.rmtree(cache, ignore_errors=True)
    data = open_data(f"{folder}?stream=true")
    Batches(data, 8, seed=0)(3)
    assert not list(cache.rglob("*"))


def test_pictures_that_differ_are_brought_to_one_size(tmp_path: Path) -> None:
    write(tmp_path, {f"{i:02d}.png": noise(i, 20, 10 + (i == 70), 3) for i in range(72)})
    assert open_data(f"{tmp_path}?stream=true").schema["image"] == (3, 20, 10)  # as the first 64 say
    assert open_data(f"{tmp_path}?stream=true").pixels(np.array([70])).shape == (1, 20, 10, 3)
    write(tmp_path, {"05.png": noise(5, 9, 9, 3)})
    assert open_data(f"{tmp_path}?stream=true").schema["image"] == (3, 64, 64)
    assert open_data(f"{tmp_path}?stream=true&crop=6").schema["image"] == (3, 6, 6)


def test_the_fingerprint_is_of_the_listing(folder: Path, tmp_path: Path) -> None:
    def fingerprint(where: Path, keys: str = "") -> str:
        return open_data(f"{where}?stream=true{keys}").fingerprint

    there = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    before = fingerprint(folder)
    assert fingerprint(there) == before
    different = [fingerprint(folder, keys) for keys in ("&size=4", "&limit=5", "&split=test", "&channels=grey")]
    (there / "train-00000-of-00003.parquet").rename(there / "train-00009-of-00003.parquet")
    different.append(fingerprint(there))
    hub_folder(there, {"train-00009-of-00003.parquet": pictures(13)})
    different.append(fingerprint(there))
    assert len({before, *different}) == len(different) + 1


def test_of_a_file_that_was_written_anew_the_second_part_of_the_fingerprint_changes(tmp_path: Path) -> None:
    for kind in ("parquet", "webdataset", "folder", "zip", "tar"):
        source = layout_of(kind, tmp_path / kind)
        listed, _, times = open_data(f"{source}?stream=true").fingerprint.partition(".")
        some = next(path for path in sorted((tmp_path / kind).rglob("*")) if path.is_file())
        os.utime(some, ns=(0, 10**15))
        now, _, later = open_data(f"{source}?stream=true").fingerprint.partition(".")
        assert (now == listed, later == times) == (True, False), kind


@given(st.lists(st.sampled_from([1, 1, 2, 5, 300]), min_size=1, max_size=12), st.integers(1, 40))
@settings(max_examples=60)
def test_what_is_shown_of_a_large_set_is_as_many_rows_as_asked_for(lengths: list[int], n: int) -> None:
    starts, rows = np.cumsum([0, *lengths[:-1]]).tolist(), sum(lengths)
    data = Streamed.__new__(Streamed)
    data.__dict__ |= {"_starts": np.array(starts), "splits": {"train": rows}, "split": "train"}
    shown = data.spread(n).tolist()
    assert len(shown) == min(n, rows)
    assert shown == sorted(set(shown))
    assert set(shown) <= set(range(rows))


def test_of_one_row_group_the_first_rows_are_shown(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", [encoded(noise(0))] * 600)
    assert open_data(f"{path}?stream=true").spread(64).tolist() == list(range(64))


def test_runs_that_a_window_does_not_hold_are_noted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = parquet(tmp_path / "a.parquet", pictures(40), row_group_size=16)
    for window in (16, 15):
        monkeypatch.setattr(room, "WINDOW_ROWS", (window, window))
        data = open_data(f"{path}?stream=true&holdout=0.1")
        for split in (data, data.part("test"), data):
            split.order(4, 0)
        (*said,) = capsys.readouterr().err.splitlines()
        assert len(said) == (window == 15 and np.diff(data._starts, append=len(data)).max() > 15), said
    data = open_data(f"{path}?stream=true")
    data.order(4, 0)
    data.order(4, 1)
    assert capsys.readouterr().err == (
        f"note: {path} is read in runs of up to 16 rows, of which 15 are shuffled at a time: if neighbours are alike, "
        "as where classes are sorted, shuffle its rows once or write smaller row groups.\n"
    )


# ---- batches ---------------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("narrow")
def test_batches_have_the_rows_of_their_steps_however_they_are_asked_for(folder: Path) -> None:
    data = open_data(f"{folder}?stream=true")
    batches = Batches(data, 8, seed=3)
    assert batches.steps_per_epoch == 4
    for step in [0, 1, 2, 3, 4, 5, 6, 40, 41, 2, 0, 1, 7, 7]:
        expected = data.tensors(batches.order.rows(step))
        for field, values in batches(step).items():
            assert torch.equal(values, expected[field]), (step, field)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("world", [2, 3])
def test_ranks_part_the_whole_batch_and_coins_are_of_the_row(world: int, folder: Path) -> None:
    data = open_data(f"{folder}?stream=true&flip=true")
    whole = Batches(data, 24, seed=5)  # wider than a window
    ranks = [Batches(data, 24, seed=5, rank=rank, world=world) for rank in range(world)]
    for step in (0, 1, 2, 9):
        parts = [batches(step) for batches in ranks]
        for field, values in whole(step).items():
            assert torch.equal(torch.cat([part[field] for part in parts]), values)
    straight = Batches(data, 24, seed=5, flip=False)(9)["image"]
    mirrored = [not torch.equal(a, b) for a, b in zip(whole(9)["image"], straight, strict=True)]
    assert 3 < sum(mirrored) < 21


def test_what_comes_next_is_prepared_meanwhile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = Batches(open_data(f"{folder}?stream=true"), 4, seed=0)
    threads: set[str] = set()
    real = room.decode
    monkeypatch.setattr(room, "decode", lambda *a: threads.add(threading.current_thread().name) or real(*a))
    batches(0)
    patience = time.monotonic() + 30
    while not all(batch.done() for _, batch in batches._arrays._ahead):
        assert time.monotonic() < patience
        time.sleep(0.01)
    assert threads
    assert threading.main_thread().name not in threads
    monkeypatch.setattr(room, "decode", None)
    assert len(batches(1)["image"]) == 4


@pytest.mark.usefixtures("narrow")
def test_a_step_far_away_is_found_without_reading_what_came_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = open_data(f"{folder}?stream=true")
    decoded: list[str] = []
    unpacked: list[int] = []
    decode, batches_of = room.decode, parquet_room._Pictures._batches
    monkeypatch.setattr(room, "decode", lambda picture, *how: decoded.append(picture.name) or decode(picture, *how))
    monkeypatch.setattr(parquet_room._Pictures, "_batches", lambda self, g: unpacked.append(g) or batches_of(self, g))
    batches = Batches(data, 2, seed=0)
    batches(10**6)
    ahead = 1 + room.AHEAD * room.THREADS
    settled(batches._arrays)
    assert set(decoded) <= {name for step in range(ahead) for name in data.names(batches.order.rows(10**6 + step))}
    windows = -(-2 * ahead // 10) + 2  # the first may be met in its middle, and the next is read ahead
    assert len(unpacked) <= windows * (10 // 4 + 2)  # of the row groups that they meet


def test_windows_are_read_ahead_and_let_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "WINDOW_ROWS", (6, 6))
    batches = Batches(open_data(f"{folder}?stream=true"), 3, seed=0)
    for step in range(60):
        batches(step)
        assert len(batches._arrays._windows) <= 3 + room.AHEAD * room.THREADS // 2


def test_large_pictures_make_small_windows_and_few_batches_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large").mkdir()
    for i in range(40):
        (tmp_path / "large" / f"{i}.png").write_bytes(encoded(noise(i)))
        os.truncate(tmp_path / "large" / f"{i}.png", 4 << 20)  # of four mebibytes, as far as a listing tells
    assert open_data(f"{tmp_path / 'large'}?stream=true").order(4, 0).size == 32

    monkeypatch.setattr(room, "WINDOW_BYTES", 1 << 16)
    monkeypatch.setattr(room, "WINDOW_ROWS", (4, 8192))
    monkeypatch.setattr(room, "AHEAD", 64)
    values = [noise(i, 30, 40, 3) for i in range(600)]
    batches = Batches(open_data(f"{parquet(tmp_path / 'a.parquet', values)}?stream=true"), 4, seed=0)
    most = 0
    for step in range(150):
        batches(step)
        windows = [window.result() for window in list(batches._arrays._windows.values())]
        most = max(most, sum(len(picture.data) for window in windows for picture in window.values()))
    batches.close()
    assert 0 < most <= 3.5 * (1 << 16)


@pytest.mark.parametrize("kind", ["parquet", "folder", "tar"])
def test_a_short_pass_reads_and_decodes_the_rows_it_gives_and_no_others(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = open_data(f"{layout_of(kind, tmp_path / 'set')}?stream=true")
    decoded: list[str] = []
    read: list[int] = []
    decode, reading = room.decode, Streamed.read
    monkeypatch.setattr(room, "decode", lambda picture, *how: decoded.append(picture.name) or decode(picture, *how))
    monkeypatch.setattr(Streamed, "read", lambda self, rows, *how: read.extend(rows) or reading(self, rows, *how))
    for window, batch, steps in ((4, 2, 1), (4, 2, 3), (4, 3, 4), (9, 20, 2)):  # of nine rows
        monkeypatch.setattr(room, "WINDOW_ROWS", (window, window))
        batches = Batches(data.part("train"), batch, seed=1)
        expected = [batches(step) for step in range(steps)]
        batches.close()
        settled(batches._arrays)
        decoded.clear()
        read.clear()
        for ours, theirs in zip(batches.first(steps), expected, strict=True):
            assert torch.equal(ours["image"], theirs["image"])
        wanted = np.concatenate([batches.order.rows(step) for step in range(steps)])
        assert sorted(decoded) == sorted(data.names(wanted))
        assert sorted(read) == sorted(wanted)


def settled(feed: room.Feed) -> None:
    """Waits for the threads of a feed."""
    feed._reader.shutdown()
    feed._decoders.shutdown()


def test_a_feed_that_is_closed_stops_reading_and_decoding(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started, go_on = threading.Event(), threading.Event()
    blocks: list[int] = []

    def read(rows: Any) -> Any:
        for row in rows.tolist():
            blocks.append(row)
            started.set()
            go_on.wait(30)
            yield [Encoded(str(row), encoded(noise(row)), 0)]

    data = open_data(f"{folder}?stream=true")
    data._part = replace(data._part, read=read)
    batches = Batches(data, 4, seed=0)
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            batches(0)
        except BaseException as error:
            failed.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    assert started.wait(30)
    batches.close()
    go_on.set()
    settled(batches._arrays)
    asking.join(30)
    assert len(blocks) == 1
    assert len(failed) == 1  # and does not wait for ever
    assert (batches._arrays._windows, len(batches._arrays._ahead)) == ({}, 0)


def test_memory_does_not_grow_with_the_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "WINDOW_ROWS", (64, 64))

    def peak(n: int) -> int:
        path = parquet(tmp_path / f"{n}.parquet", [encoded(noise(0, 40, 40, 3))] * n, row_group_size=50)
        data = open_data(f"{path}?stream=true")
        tracemalloc.start()
        try:
            batches = Batches(data, 16, seed=0)
            for step in range(n // 16):
                batches(step)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(64)  # what is imported and kept
    assert peak(800) < 1.3 * peak(200)


def test_warnings_of_odd_files_are_silenced_while_they_are_decoded_and_no_longer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, odd = room.decode, "PIL.TiffImagePlugin"

    def warns(*arguments: Any) -> Any:
        time.sleep(0.01)
        warnings.warn_explicit("odd", UserWarning, "file", 1, module=odd)
        return decode(*arguments)

    before = list(warnings.filters)
    monkeypatch.setattr(room, "decode", warns)
    data = open_data(f"{folder}?stream=true")
    batches = Batches(data, 20, seed=0)
    for step in range(3):
        batches(step)
        data.pixels(np.arange(20))
    batches.close()
    settled(batches._arrays)
    assert list(warnings.filters) == before
    with pytest.raises(UserWarning):
        warnings.warn_explicit("odd", UserWarning, "file", 1, module=odd)


# ---- what cannot be read ---------------------------------------------------------------------------------------------
def with_bad(tmp_path: Path, *bad: int, keys: str = "") -> Dataset:
    values = [b"no picture" if i in bad else noise(i) for i in range(12)]
    return open_data(f"{parquet(tmp_path / 'a.parquet', values, [i % 5 for i in range(12)])}?stream=true{keys}")


def test_a_picture_that_cannot_be_read_gives_its_place_to_the_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = with_bad(tmp_path, 3, 4, 11, keys="&max-bad=25%")
    batch = data.arrays(np.arange(12))
    instead = [0, 1, 2, 5, 5, 5, 6, 7, 8, 9, 10, 0]
    assert batch["image"].tolist() == [noise(i).tolist() for i in instead]
    assert batch["label"].tolist() == [i % 5 for i in instead]
    assert capsys.readouterr().err.count("a.parquet/000003 cannot be read (not a picture that can be read)") == 1
    assert data.found["bad"]["count"] == 3
    data.arrays(np.arange(12))
    assert capsys.readouterr().err == ""  # it was said


@pytest.mark.parametrize(("bad", "keys"), [((1, 2), ""), ((1,), "&strict=true"), ((1,), "&max-bad=0")])
def test_more_of_them_than_allowed_are_an_error_in_training_too(
    bad: tuple[int, ...], keys: str, tmp_path: Path
) -> None:
    for ask in (lambda data: data.arrays(np.arange(12)), lambda data: Batches(data, 12, seed=0)(0)):
        with pytest.raises(DataError, match=r"of 12 pictures in .*a\.parquet cannot be read") as caught:
            ask(with_bad(tmp_path, *bad, keys=keys))
        sentence(caught.value)


def test_a_batch_without_a_single_picture_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of 2 pictures can be read"):
        with_bad(tmp_path, 3, 4, keys="&max-bad=50%").arrays(np.array([3, 4]))


def test_a_file_that_goes_or_breaks_meanwhile_is_named(tmp_path: Path) -> None:
    sources: dict[str, Callable[[], Path]] = {
        "a.parquet": lambda: parquet(tmp_path / "a.parquet", pictures(6)),
        "set-000.tar": lambda: Path(layout_of("tar", tmp_path)).rename(tmp_path / "set-000.tar"),
    }
    for name, make in sources.items():
        for damage in (Path.unlink, lambda path: path.write_bytes(b"no longer" * 999)):
            path = make()
            data = open_data(f"{path}?stream=true")
            batches = Batches(data, 4, seed=0)
            damage(path)
            with pytest.raises(DataError, match=name) as caught:
                batches(0)
            sentence(caught.value)


@pytest.mark.parametrize("source", ["digits", "photos", "a.npz", "a.tar.gz"])
def test_what_cannot_be_streamed_is_answered_with_what_can(source: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=noise(1, 4, 8, 8, 3))
    if source == "a.tar.gz":
        layout_of("tar.gz", tmp_path)
    where = source if (tmp_path / source).exists() is False else tmp_path / source
    with pytest.raises(
        DataError, match=r"cannot be streamed, as .*Parquet files.* can: leave stream=true away"
    ) as caught:
        open_data(f"{where}?stream=true")
    sentence(caught.value)
