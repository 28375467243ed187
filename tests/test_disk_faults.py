"""A disk that fails at any moment costs one sentence and nothing else: the same command succeeds afterwards.

    python tests/test_disk_faults.py FOLDER COMMAND FIRST STEP ERRORS    faults at every STEPth call, each of the errors

It says what it found as JSON, in its last line.
"""

from __future__ import annotations

import builtins
import errno
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ganvas.files
import slopes
from children import differing, finish, hidden, warm

ERRORS = ("ENOSPC", "EIO", "EMFILE", "EROFS", "EACCES")
CADENCE = ("--preset", "tiny", "--checkpoint-every", "2", "--tick-every", "3", "--seed", "3", "--device", "cpu")
TRAIN = ("gan", "--data", "mixture:ring8", *CADENCE, "--steps", "4", "--keep", "1", "--keep-best", "modes")
COMMANDS: dict[str, tuple[str, ...]] = {  # RUN and OUT stand for the run and for what is written
    "train": ("train", *TRAIN, "--out", "OUT"),
    "evaluate": ("evaluate", "RUN", "--metrics", "modes", "-n", "100"),
    "encode": ("encode", "CODED", "digits?limit=20", "--out", "OUT.npz"),
    "report": ("report", "RUN"),
    "sample": ("sample", "CODED", "-n", "8", "--out", "OUT"),
    "benchmark": (
        "benchmark", "avae-table", "--out", "TABLE", "--data", "SET", "--models", "vae", "--width", "2", "--steps",
        "1", "--seeds", "1",
    ),
}  # fmt: skip


# ---- in an interpreter of its own ------------------------------------------------------------------------------------
open_ = os.open


class Faults:
    """Lets one call fail of those that open, write, flush, rename, make or remove something below a folder.

    met: a file that is made when that call comes.
    """

    def __init__(self, below: Path, at: int, number: int, met: Path) -> None:
        self.below, self.at, self.number, self.calls = os.fspath(below), at, number, itertools.count()
        self.met = met

    def call(self, path: Any) -> None:
        below = isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self.below)
        if below and next(self.calls) == self.at:
            os.close(open_(self.met, os.O_CREAT | os.O_WRONLY))
            raise OSError(self.number, os.strerror(self.number), os.fspath(path))

    def start(self) -> None:
        for name in ("open", "mkdir", "replace", "rename", "unlink", "rmdir", "truncate"):
            setattr(os, name, self._wrapped(getattr(os, name)))
        sync = os.fsync

        def synced(handle: int) -> None:
            self.call(os.readlink(f"/proc/self/fd/{handle}"))
            sync(handle)

        os.fsync = synced
        builtins.open = io.open = self._opened(io.open)
        import safetensors.torch

        save = safetensors.torch.save_file

        def saved(tensors: Any, path: Any, *more: Any) -> None:
            try:
                self.call(path)
            except OSError as error:  # as its writer in Rust puts it
                raise RuntimeError(f"Error while serializing: I/O error: refused (os error {error.errno})") from None
            save(tensors, path, *more)

        safetensors.torch.save_file = saved

    def _wrapped(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(path: Any, *arguments: Any, **more: Any) -> Any:
            self.call(path)
            return call(path, *arguments, **more)

        return called

    def _opened(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Opening, and writing to what was opened: a block at a time, as the system's call does."""
        faults = self

        class Raw(io.FileIO):
            def write(self, data: Any) -> int:
                faults.call(str(self.name))
                return super().write(data)

        def opened(file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None,
                   newline: Any = None, closefd: bool = True, opener: Any = None) -> Any:  # fmt: skip
            ours = isinstance(file, str | os.PathLike) and os.fspath(file).startswith(self.below)
            if not ours:
                return original(file, mode, buffering, encoding, errors, newline, closefd, opener)
            self.call(file)
            if set(mode).isdisjoint("wax+"):
                return original(file, mode, buffering, encoding, errors, newline, closefd, opener)
            raw = Raw(os.fspath(file), mode.replace("b", "").replace("t", ""))
            if buffering == 0:
                return raw
            buffered: Any = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline)

        return opened


def let_fail(root: Path, command: str, first: int, step: int, errors: tuple[str, ...]) -> dict[str, Any]:
    """Runs a command with a fault at its call ``first``, ``first + step``, ..., then without, each time from the same
    start; compares what is there with what the command leaves where nothing fails."""
    log, start, place, straight, met = (root / name for name in ("log", "start", "place", "straight", "met"))
    os.environ["GANVAS_CACHE"] = str(place / "cache")
    start.mkdir()
    if command != "train":
        assert finish(["train", *TRAIN, "--out", start / "run"], log) == 0, log.read_text()
        coded = ["train", "vae", "--data", "digits?limit=96", *CADENCE, "--steps", "1", "--out", start / "coded"]
        assert finish(coded, log) == 0, log.read_text()
    if command == "benchmark":  # its cells are trained by processes of their own: here they are finished already
        slopes.write(start / "cifar")
        fresh(start, place)
        assert finish(words(command, place), log) == 0, log.read_text()
        shutil.copytree(place / "table", start / "table")
    fresh(start, place)
    assert finish(words(command, place), log) == 0, log.read_text()
    place.rename(straight)
    faults, codes = list[str](), Counter[str]()
    for at, name in ((at, name) for at in itertools.count(first, step) for name in errors):
        fresh(start, place)
        met.unlink(missing_ok=True)
        code = finish(words(command, place), log, Faults(place, at, getattr(errno, name), met).start)
        text = log.read_text()
        if not met.exists():
            return {"faults": faults, "codes": codes, "calls": at}
        codes[str(code)] += 1
        *_, last = text.strip().splitlines() or [""]
        told = code == 0 or (last.startswith("ganvas: ") and last.endswith("."))
        found = [] if code in (0, 2, 4) and told and "Traceback" not in text else [f"exit {code}: {text[-400:]}"]
        # What a command does without, and says so (or a report, which shows the sheets that can be read), is no fault.
        without = "not recorded: " in text or "is damaged (" in text or (command == "report" and code == 0)
        if not without:
            if code and (again := finish(words(command, place), log)) != 0:
                found.append(f"the same command again: exit {again}: {log.read_text()[-300:]}")
            found += compare(straight, place)
        faults += [f"{name} at {at}, exit {code}: {one}" for one in found]
        if found:
            print(f"{name} at {at}, exit {code}: {found}", flush=True)
    raise AssertionError


def fresh(start: Path, place: Path) -> None:
    """Makes a place anew."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(start, place)


def words(command: str, place: Path) -> list[str | Path]:
    """A command's words, in a place."""
    named = {"RUN": place / "run", "CODED": place / "coded", "OUT": place / "out", "OUT.npz": place / "out.npz",
             "TABLE": place / "table", "SET": f"cifar10={place / 'cifar'}"}  # fmt: skip
    return [named.get(word, word) for word in COMMANDS[command]]


def compare(one: Path, two: Path) -> list[str]:
    """In what two places differ: in their runs, what was written, and whether anything is half-written."""
    folders = [name for name in ("run", "coded", "out") if (one / name).is_dir()]
    found = [fault for name in folders for fault in differing(one / name, two / name)]
    if (one / "out.npz").exists():
        a, b = np.load(one / "out.npz"), np.load(two / "out.npz")
        found += [f"{name} of out.npz differs" for name in a if not np.array_equal(a[name], b[name])]
    pages = [sorted(path.name for path in (place / "table").glob("*")) for place in (one, two)]
    if pages[0] != pages[1]:
        found.append(f"pages {pages}")
    return found + [
        f"left {path}" for path in hidden(two) if path.endswith((".part", ".old", ".gone")) or ".part." in path
    ]


def main() -> None:
    """See the top of the file."""
    root, command, first, step, errors = sys.argv[1:]
    warm(Path(root))
    found = let_fail(Path(root).resolve(), command, int(first), int(step), tuple(errors.split(",")))
    print(json.dumps(found))


# ---- tests -----------------------------------------------------------------------------------------------------------
Campaign = Callable[..., dict[str, Any]]


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    """Runs this file in an interpreter of its own; returns what it found."""

    def run(*words: object) -> dict[str, Any]:
        paths = [str(Path(__file__).parent), str(Path(ganvas.files.__file__).parents[1])]
        done = subprocess.run(
            [sys.executable, __file__, tmp_path, *map(str, words)],
            capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    return run


@pytest.mark.parametrize(
    ("command", "first", "step", "error"), [("train", 31, 113, "ENOSPC"), ("encode", 7, 53, "EMFILE")]
)
def test_a_fault_of_the_disk_costs_one_sentence(
    campaign: Campaign, command: str, first: int, step: int, error: str
) -> None:
    found = campaign(command, first, step, error)
    assert sum(found["codes"].values()) > 1
    assert found["faults"] == []


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_fault_of_the_disk_costs_more(campaign: Campaign, command: str) -> None:
    found = campaign(command, 0, 1, ",".join(ERRORS))
    assert sum(found["codes"].values()) > 20
    assert found["faults"] == []


if __name__ == "__main__":
    main()
