"""What is no regular file, too large or nested too deep is bad input, never a wait or a crash."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

import folders
from ganvas.bounds import TooLarge, decode_json, read_json, read_lines, read_regular, unlike_file
from ganvas.checkpoint import verified
from ganvas.data import open_data
from ganvas.errors import Damaged, DataError, GanvasError
from ganvas.exchange.reading import read
from ganvas.files import sha256
from ganvas.run import Run

SUFFIXES = (".zip", ".tar", ".tar.gz", ".npz", ".npy", ".parquet", ".png", ".pth")


def strange(path: Path, kind: str) -> str:
    """Makes what is no regular file; what it is called."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(path.parent)  # the path of a socket is short
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
        os.chdir(here)
    else:
        path.symlink_to("/dev/zero")
    return f"a {kind}"


@pytest.fixture(params=["pipe", "socket", "device"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_is_no_file_is_refused_and_not_waited_for(kind: str, tmp_path: Path) -> None:
    said = strange(tmp_path / "x", kind)
    for reads in (lambda path: read_regular(path, 9), read_json, sha256, lambda path: list(read_lines(path))):
        with pytest.raises(OSError, match=f"it is {said}, not a file"):
            reads(tmp_path / "x")
    assert unlike_file(os.stat(tmp_path / "x")) == said
    assert unlike_file(os.stat(tmp_path)) is None


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_as_data_or_weights_it_is_one_sentence(suffix: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    said = strange(path, kind)
    with pytest.raises(DataError, match=said):
        read("G", path) if suffix == ".pth" else open_data(f"images:{path}")


@pytest.mark.parametrize("name", ["config.json", "stats.jsonl", "metrics.jsonl", "best.json"])
def test_in_a_run_folder_it_is_one_sentence(name: str, kind: str, tmp_path: Path) -> None:
    run = folders.build(tmp_path / "run")
    (run.folder / name).unlink(missing_ok=True)
    said = strange(run.folder / name, kind)
    with pytest.raises(GanvasError, match=f"{name} cannot be read: it is {said}, not a file; (restore it|mend that)"):
        Run.open(run.folder).info()


@pytest.mark.parametrize("name", ["manifest.json", "weights.safetensors", "state.pt"])
def test_in_a_checkpoint_it_is_damage(name: str, kind: str, tmp_path: Path) -> None:
    run = folders.build(tmp_path / "run", 3)
    folder = run.folder / "checkpoint-00000003"
    (folder / name).unlink()
    said = strange(folder / name, kind)
    with pytest.raises(Damaged, match=f"{name} cannot be read: it is {said}"):
        verified(folder, 3)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(10))
    assert len(read_regular(tmp_path / "a", 10)) == 10
    with pytest.raises(TooLarge, match="it has over 9 bytes"):
        read_regular(tmp_path / "a", 9)


@pytest.mark.parametrize("deep", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000])
def test_json_that_is_nested_too_deep_does_not_read(deep: bytes) -> None:
    with pytest.raises(ValueError, match=r"nested too deep|truncated"):
        decode_json(deep)


def test_a_line_that_is_too_long_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one\n" + b"x" * 30 + b"\n12345\n" + b"y" * 30)
    assert list(read_lines(tmp_path / "a", 5)) == [b"one", b"", b"12345", b""]
