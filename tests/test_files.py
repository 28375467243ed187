"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganvas.errors import RunError
from ganvas.files import (
    _beside,
    atomic,
    atomic_folder,
    cache_folder,
    clear_leftovers,
    discard,
    holding,
    leftovers,
    make_folder,
    remove,
    sha256,
)


def tree(folder: Path) -> dict[str, str]:
    """The files below a folder and what they hold, hidden ones included."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_file_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    with atomic(path) as part:
        assert part.suffix == ".html"  # writers read the format off it
        part.write_text("half")
        assert not path.exists()
        part.write_text("whole")
    assert tree(tmp_path) == {"new/report.html": "whole"}


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("old")

    def interrupted() -> None:
        with atomic(path) as part:
            part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert tree(tmp_path) == {"config.json": "old"}


@pytest.mark.parametrize("before", [None, "folder", "file"])
def test_a_folder_takes_the_place_of_whatever_was_there(before: str | None, tmp_path: Path) -> None:
    path = tmp_path / "store"
    if before == "folder":
        (path / "deep").mkdir(parents=True)
        (path / "deep" / "old").write_text("old")
    elif before == "file":
        path.write_text("old")
    was = tree(tmp_path)
    with atomic_folder(path, replace=True) as part:
        (part / "deep").mkdir()
        (part / "deep" / "new").write_text("new")
        assert {name: text for name, text in tree(tmp_path).items() if text != "new"} == was
    assert tree(tmp_path) == {"store/deep/new": "new"}
    assert [found.name for found in tmp_path.iterdir()] == ["store"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_takes_a_name_has_reached_the_disk(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a power cut could leave the name and not the content. Then the folder is flushed, which holds the name."""
    events: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        events.append("flush folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "flush file")
        sync(handle)

    def replaced(source: Path, target: Path) -> None:
        events.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    if kind == "file":
        with atomic(tmp_path / "it") as part:
            part.write_text("whole")
        assert events == ["flush file", "rename", "flush folder"]
    else:
        with atomic_folder(tmp_path / "it") as part:
            (part / "a.weights").write_text("whole")
        assert events == ["flush file", "flush folder", "rename", "flush folder"]


def test_a_folder_that_fails_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.mkdir()
    (path / "old").write_text("old")

    def refused() -> None:
        with atomic_folder(path) as part:
            (part / "new").write_text("new")
            raise OSError("refused")

    with pytest.raises(OSError, match="refused"):
        refused()
    assert tree(tmp_path) == {"store/old": "old"}
    assert [found.name for found in tmp_path.iterdir()] == ["store"]


names = st.text(st.characters(codec="utf-8", exclude_characters="/\0\n"), min_size=1, max_size=40).filter(
    lambda name: name not in (".", "..") and len(name.encode()) < 200
)


@given(names)
@settings(deadline=None, max_examples=200)
def test_what_a_kill_leaves_is_found_with_the_name_it_was_meant_for(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    folder = tmp_path_factory.mktemp("left")
    for why, meant in (("part", folder / name), ("old", folder / name), ("gone", None)):
        left = _beside(folder / name, why)
        left.write_text("half")
        assert leftovers(folder) == [(left, meant)]
        remove(left)
    assert list(folder.iterdir()) == []


def test_what_was_to_be_replaced_comes_before_what_was_to_replace_it(tmp_path: Path) -> None:
    for _ in range(20):
        for why in ("part", "old"):
            _beside(tmp_path / "c", why).mkdir()
    assert [path.suffix for path, _ in leftovers(tmp_path)] == [".old"] * 20 + [".part"] * 20


@pytest.mark.parametrize("name", ["config.json", ".lock", ".hidden.part", ".a.1234567.part.json", ".a.12345678.party"])
def test_other_files_are_no_leftovers(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("a user's")
    assert leftovers(tmp_path) == []


def test_removing_takes_files_folders_and_links_but_not_what_a_link_points_to(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "data").write_text("data")
    folder, file, link, dead = (tmp_path / name for name in ("folder", "file.txt", "link", "dead"))
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "x").write_text("x")
    file.write_text("x")
    link.symlink_to(kept)
    dead.symlink_to(tmp_path / "nowhere")
    for path in (folder, file, link, dead, tmp_path / "absent"):
        remove(path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert tree(tmp_path) == {"kept/data": "data"}


def test_a_removed_folder_is_never_seen_half_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint"
    path.mkdir()
    (path / "weights").write_text("w")

    def killed(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        remove(path)
    monkeypatch.undo()
    assert not path.exists()
    ((left, meant),) = leftovers(tmp_path)
    assert (left / "weights").exists()
    assert meant is None


def test_digests_are_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_cache_lies_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("GANVAS_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path in cache_folder().parents
    assert cache_folder().name == "ganvas"


# ---- what comes into the way -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["folder", "file"])
@pytest.mark.parametrize("before", [False, True])
def test_a_folder_never_takes_the_place_of_what_came_meanwhile(before: bool, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    if before:
        path.mkdir()

    def works() -> None:
        with atomic_folder(path) as part:
            (part / "ours").write_text("ours")
            if kind == "folder":
                path.mkdir(exist_ok=True)
                (path / "theirs").write_text("weeks of work")
            else:
                if before:
                    path.rmdir()
                path.write_text("weeks of work")

    with pytest.raises(OSError, match="something else has come to lie there meanwhile"):
        works()
    assert tree(tmp_path) == {"out/theirs" if kind == "folder" else "out": "weeks of work"}
    assert [found.name for found in tmp_path.iterdir()] == ["out"]


def test_an_empty_folder_and_a_link_to_one_are_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    with atomic_folder(tmp_path / "link") as part:
        (part / "new").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "empty" / "new").read_text() == "new"


def test_the_folder_that_one_stands_in_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="works in"), atomic_folder(Path()):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    for name in ("a" * 255, "ü" * 125 + ".html"):
        with atomic(tmp_path / name) as part:
            part.write_text("whole")
        assert (tmp_path / name).read_text() == "whole"


@pytest.mark.parametrize("writer", [atomic, atomic_folder])
def test_a_folder_that_goes_meanwhile_is_an_error(
    writer: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganvas.files.make_folder", lambda path: None)
    with pytest.raises(FileNotFoundError), writer(tmp_path / "gone" / "page"):
        pass


# ---- what the dead leave ---------------------------------------------------------------------------------------------
WRITES = """
import sys
from pathlib import Path
from ganvas.files import atomic, atomic_folder
folder = Path(sys.argv[1])
with atomic(folder / "page.html") as page, atomic_folder(folder / "out") as out:
    page.write_text("half")
    (out / "a.png").write_text("half")
    print("writing", flush=True)
    sys.stdin.read()
"""


def test_what_a_living_process_writes_stays_and_what_a_dead_one_wrote_goes(tmp_path: Path) -> None:
    words = [sys.executable, "-c", WRITES, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        half = {path.name for path in tmp_path.iterdir()}
        assert len(half) == 2
        for path, _ in leftovers(tmp_path):
            discard(path)
        with atomic(tmp_path / "other"):
            pass
        assert {path.name for path in tmp_path.iterdir()} == half | {"other"}
        writer.kill()
        writer.wait()
    with atomic_folder(tmp_path / "more"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"other", "more"}


def test_what_was_to_be_replaced_is_not_cleared_where_its_replacement_never_came(tmp_path: Path) -> None:
    old, part = _beside(tmp_path / "store", "old"), _beside(tmp_path / "store")
    for path in (old, part):
        path.mkdir()
    clear_leftovers(tmp_path)
    assert {path for path, _ in leftovers(tmp_path)} == {old, part}
    (tmp_path / "store").mkdir()
    clear_leftovers(tmp_path)
    assert leftovers(tmp_path) == []


def test_without_locks_only_what_is_old_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    young, old = _beside(tmp_path / "young"), _beside(tmp_path / "old")
    for path in (young, old):
        path.write_text("half")
    os.utime(old, (0, 0))
    with atomic(tmp_path / "new"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {young.name, "new"}


# ---- what reaches the disk -------------------------------------------------------------------------------------------
def refusing(call: Callable[..., Any], number: int, refuses: Callable[..., bool]) -> Callable[..., Any]:
    """A call of the system that fails with an error of that number for some arguments."""

    def called(*args: Any, **more: Any) -> Any:
        if refuses(*args):
            raise OSError(number, os.strerror(number))
        return call(*args, **more)

    return called


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("name", ["open", "fsync"])
def test_what_cannot_be_flushed_is_an_error(
    name: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "page").write_text("old")

    def fails() -> None:
        with atomic(tmp_path / "page") as part:
            part.write_text("new")
            monkeypatch.setattr(os, name, refusing(getattr(os, name), number, lambda *args: True))

    with pytest.raises(OSError, match=os.strerror(number)):
        fails()
    monkeypatch.undo()
    assert tree(tmp_path) == {"page": "old"}


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_flush_folders_is_left_alone(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = refusing(os.fsync, number, lambda handle: stat.S_ISDIR(os.fstat(handle).st_mode))
    monkeypatch.setattr(os, "fsync", folder)
    with atomic(tmp_path / "page") as part:
        part.write_text("new")
    assert tree(tmp_path) == {"page": "new"}


def test_the_entries_of_new_folders_are_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(os.fstat(handle).st_ino))
    make_folder(tmp_path / "runs" / "a" / "samples")
    assert flushed == [path.stat().st_ino for path in (tmp_path / "runs" / "a", tmp_path / "runs", tmp_path)]
    make_folder(tmp_path / "runs" / "a")
    assert len(flushed) == 3


# ---- one process at a time -------------------------------------------------------------------------------------------
def test_deleting_the_lock_lets_nobody_in(tmp_path: Path) -> None:
    with holding(tmp_path, "busy") as check:
        (tmp_path / ".lock").unlink()
        with pytest.raises(RunError, match="busy"), holding(tmp_path, "busy"):
            pass
        check()
        assert (tmp_path / ".lock").exists()
    with holding(tmp_path, "busy"):
        pass


def test_a_folder_that_was_replaced_is_no_longer_held(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with holding(folder, "busy") as check:
        check()
        folder.rename(tmp_path / "elsewhere")
        with pytest.raises(RunError, match="removed or replaced"):
            check()
        folder.mkdir()
        with holding(folder, "busy"), pytest.raises(RunError, match="removed or replaced"):
            check()
