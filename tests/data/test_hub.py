"""The Hub through the real library: a folder laid out like a set of the Hub needs no network."""

from __future__ import annotations

import os
import re
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawing import all_names, encoded, everything, noise, sentence, write
from sharding import CLASSES, hub_folder, pictures

from ganvas.data import Batches, hub, open_data, parquet
from ganvas.data.source import Source
from ganvas.data.spec import parse
from ganvas.data.stream import streamed
from ganvas.errors import DataError

os.environ["HF_HUB_OFFLINE"] = "1"  # read when `datasets` is imported, which no module does before its first use

FILES = {
    "data/train-00000-of-00002.parquet": pictures(6),
    "data/train-00001-of-00002.parquet": pictures(3, 6),
    "data/test-00000-of-00001.parquet": pictures(3, 9),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hub_folder(tmp_path_factory.mktemp("hub") / "set", FILES)


def test_a_set_reads_as_its_files_do_from_the_store_and_streamed(folder: Path) -> None:
    for more in ("", "?stream=true"):
        there, here = open_data(f"hub:{folder}{more}"), open_data(f"{folder}{more}")
        assert there.splits == here.splits == {"train": 9, "test": 3}
        assert there.schema == here.schema
        assert there.schema.classes == CLASSES
        assert there.fingerprint == here.fingerprint
        for split in there.splits:
            ours = [data.part(split).arrays(np.arange(3)) for data in (there, here)]
            assert all(np.array_equal(ours[0][name], ours[1][name]) for name in ("image", "label"))
    assert everything(open_data(f"hub:{folder}")).tolist() == [pixels.tolist() for pixels in pictures(9)]
    assert str(parse(f"hub:{folder}?stream=true&size=8")) == f"hub:{folder}?size=8&stream=true"


def test_what_was_prepared_is_found_again_and_what_changed_is_read_again(tmp_path: Path) -> None:
    hub_folder(tmp_path / "set", {"train-00000-of-00001.parquet": pictures(3)})
    first = open_data(f"hub:{tmp_path / 'set'}")
    assert first.fingerprint == open_data(f"hub:{tmp_path / 'set'}").fingerprint
    hub_folder(tmp_path / "set", {"train-00000-of-00001.parquet": pictures(4)})
    assert len(open_data(f"hub:{tmp_path / 'set'}")) == 4


def test_a_set_of_plain_files_is_read_by_its_folders(tmp_path: Path) -> None:
    write(tmp_path / "set", {f"train/{kind}/{i}.png": noise(i) for i in range(3) for kind in ("b", "a")})
    data = open_data(f"hub:{tmp_path / 'set'}")
    assert data.schema.classes == ("a", "b")
    assert everything(data).tolist() == [noise(i).tolist() for i in range(3)] * 2
    assert all_names(data)[0] == "train/000000"
    with pytest.raises(DataError, match="cannot be streamed, as only a set that is kept as Parquet can"):
        open_data(f"hub:{tmp_path / 'set'}?stream=true")


def test_of_several_configurations_one_is_named(tmp_path: Path) -> None:
    hub_folder(tmp_path, {"a/train-00000-of-00001.parquet": pictures(3), "b/train-00000-of-00001.parquet": pictures(2)})
    card = "---\nconfigs:\n- config_name: small\n  data_files: b/*\n- config_name: large\n  data_files: a/*\n---\n"
    (tmp_path / "README.md").write_text(card)
    assert len(open_data(f"hub:{tmp_path}?config=small")) == 2
    assert len(open_data(f"hub:{tmp_path}?config=large&stream=true")) == 3
    for spec, says in (("", r"has several configurations: add config=NAME, one of: small, large"),
                       ("?config=smal", "has no configuration 'smal': .*did you mean 'small'")):  # fmt: skip
        with pytest.raises(DataError, match=says) as caught:
            open_data(f"hub:{tmp_path}{spec}")
        sentence(caught.value)


def test_a_mistake_of_our_own_is_not_told_as_one_of_the_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "columns", lambda *arguments: {}["a mistake"])
    with pytest.raises(KeyError, match="a mistake"):
        open_data(f"hub:{folder}?limit=7")  # of which there is no store yet


def test_the_extra_names_the_libraries_that_are_imported_and_no_others() -> None:
    root = Path(__file__).resolve().parents[2]
    extra = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]["hub"]
    sources = "".join(path.read_text() for path in (root / "src").rglob("*.py"))
    assert {re.split("[<>=]", one)[0] for one in extra} == set(re.findall(r'library\(f?"(\w+)', sources))


# ---- files elsewhere -------------------------------------------------------------------------------------------------
def test_files_of_another_system_are_streamed_with_labels_that_come_along(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import fsspec

    far = fsspec.filesystem("memory")
    for name in FILES:
        far.pipe(f"/user/set@0123abcd/{name}", (folder / name).read_bytes())
    address = "memory://user/set@0123abcd/data"
    files = {split: f"{address}/{split}-*" for split in ("test", "train")}
    builder = datasets.load_dataset_builder("parquet", data_files=files, cache_dir=str(tmp_path))
    source = hub._files(builder, "user/set")
    assert [about[:2] for about in source.listing] == [(name, (folder / name).stat().st_size) for name in FILES]
    keys = "stream=true&size=6x5"
    data, near = streamed(source, parse(f"hub:user/set?{keys}")), open_data(f"hub:{folder}?{keys}")
    assert data.schema == near.schema
    assert data.splits == near.splits
    for step in range(4):
        ours, theirs = Batches(data, 4, seed=0)(step), Batches(near, 4, seed=0)(step)
        assert all(np.array_equal(ours[name], theirs[name]) for name in ("image", "label"))

    def lost(*path: str, **how: str) -> None:
        raise Exception("the line is dead")  # of no kind: networks raise anything

    with monkeypatch.context() as patch:
        patch.setattr(far, "open", lost)
        patch.setattr(parquet, "PATIENCE", (0, 0))
        with pytest.raises(DataError, match=r"could not be read \(the line is dead\): check the network and try again"):
            data.part("test").pixels(np.arange(1))
    far.rm("/user", recursive=True)
    with pytest.raises(DataError, match=r"test-00000-of-00001\.parquet is gone"):
        data.part("test").pixels(np.arange(1))


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Callable[..., Source]]]:
    """A file system far away, and the source of files that are written there."""
    import fsspec

    system = fsspec.filesystem("memory")
    monkeypatch.setattr(parquet, "PATIENCE", (0, 0))

    def far(version: str, *paths: Path) -> Source:
        for path in paths:
            system.pipe(f"/line/set@0/{path.name}", path.read_bytes())
        shards = [replace(hub._shard(f"memory://line/set@0/{path.name}", ""), written=version) for path in paths]
        return parquet.parquet(shards, version, "hub:line")

    yield system, far
    system.rm("/line", recursive=True)


def test_footers_are_asked_for_together_and_once_a_version(
    folder: Path, line: tuple[Any, Callable[..., Source]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, far = line
    source = far("1", *(folder / name for name in FILES))
    together, real = threading.Barrier(len(FILES), timeout=240), parquet._asked
    monkeypatch.setattr(parquet, "_asked_once", lru_cache(lambda shard: (together.wait(), real(shard))[1]))
    part = source.scan().parts["train"]  # waits for ever if one is asked for after another
    opened: list[dict[str, Any]] = []
    arrow = pq.ParquetFile
    monkeypatch.setattr(pq, "ParquetFile", lambda file, **how: opened.append(how) or arrow(file, **how))
    source.scan()
    list(part.read(np.arange(9)))
    assert all(how["metadata"] is not None for how in opened if how["pre_buffer"])
    assert len(opened) == 2 + 3  # the first labels of each split, and the row groups of four in files of six and three


def test_a_line_that_breaks_for_a_moment_is_tried_again_from_where_it_broke(
    tmp_path: Path, line: tuple[Any, Callable[..., Source]], monkeypatch: pytest.MonkeyPatch
) -> None:
    system, far = line
    monkeypatch.setattr(parquet, "MOST_AT_ONCE", 1)
    source = far("2", hub_folder(tmp_path, {"train-000-of-001.parquet": pictures(9)}) / "train-000-of-001.parquet")
    broken = iter([True, True, False] * 3)  # for the footer, the first labels and the first pictures
    real, batches, failed = system.open, pq.ParquetFile.iter_batches, []

    def opened(*path: str, **how: Any) -> Any:
        if next(broken, False):
            raise OSError("reset by peer")
        return real(*path, **how)

    def broke(self: Any, *sizes: int, **how: Any) -> Iterator[Any]:
        for i, batch in enumerate(batches(self, *sizes, **how)):
            if i == 2 and not failed:
                failed.append(i)
                raise OSError("reset by peer")
            yield batch

    monkeypatch.setattr(system, "open", opened)
    part = source.scan().parts["train"]
    list(part.read(np.arange(4, 6)))
    assert next(broken, None) is None
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", broke)
    part = source.scan().parts["train"]
    read = [(picture.data, picture.label) for block in part.read(np.arange(9)) for picture in block]
    assert (read, failed) == ([(encoded(pixels), i % 3) for i, pixels in enumerate(pictures(9))], [2])


@pytest.mark.parametrize(("missing", "says"), [(None, "no label"), (-1, "the label -1, which is no class")])
def test_a_row_without_a_label_far_into_a_set_is_named_with_what_to_do(
    missing: int | None, says: str, tmp_path: Path, line: tuple[Any, Callable[..., Source]]
) -> None:
    path = hub_folder(tmp_path, {"train-00000-of-00001.parquet": pictures(9)}) / "train-00000-of-00001.parquet"
    table = pq.read_table(path)
    labels = pa.array([0, 1, 2, 0, 1, 2, missing, 0, 1])
    pq.write_table(table.set_column(1, table.schema.field(1), labels), path, row_group_size=3)
    data = streamed(line[1](f"3{missing}", path), parse("hub:line?stream=true&size=6x5"))
    assert data.tensors(np.arange(6))["label"].tolist() == [0, 1, 2] * 2
    with pytest.raises(DataError) as caught:
        data.arrays(np.arange(9))
    assert sentence(caught.value) == (
        f"train-00000-of-00001.parquet/000006, in split train, has {says}: leave stream=true away, and the set is read "
        "whole, without labels where some rows lack one."
    )


# ---- what is not to be had -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nobody/nothing", "The Hub cannot be reached for 'nobody/nothing', and it was not downloaded before"),
        ("nothing", "The Hub cannot be reached for 'nothing'"),
        ("/no/such/folder", "cannot be read: Couldn't find any data file"),
    ],
)
@pytest.mark.parametrize("stream", ["", "?stream=true"])
def test_a_set_that_is_not_to_be_had_is_answered_in_a_sentence(name: str, says: str, stream: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        open_data(f"hub:{name}{stream}")
    sentence(caught.value)


def test_code_of_a_set_is_never_run(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/set.py").write_text("raise SystemExit('ran')")
    with pytest.raises(DataError, match="scripts are no longer supported"):
        open_data(f"hub:{tmp_path / 'set'}")


def test_a_set_without_pictures_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\na,1\n")
    with pytest.raises(DataError, match=r"has no column of pictures.*text"):
        open_data(f"hub:{tmp_path}")


def test_without_the_library_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"hub: needs datasets: pip install 'ganvas\[hub\]'\."):
        open_data(f"hub:{folder}")


def test_bars_are_as_they_were(folder: Path) -> None:
    import datasets

    for before in (datasets.enable_progress_bars, datasets.disable_progress_bars):
        before()
        was = datasets.are_progress_bars_disabled()
        open_data(f"hub:{folder}")
        assert datasets.are_progress_bars_disabled() == was
