"""Commands in forked children of one warm process, so that kills and faults hit the work itself; and whether two run
folders are the same.

The campaigns that use it run in an interpreter of their own: a child must be forked of one thread.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

import ganvas


def warm(root: Path) -> None:
    """Imports all that a command may want, and trains a run, for the sake of what is imported only then."""
    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(ganvas.__path__, "ganvas."):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except ImportError:  # of an extra
                continue
    ganvas.train("gan", data="mixture:ring8", preset="tiny", steps=1, device="cpu", out=root / "warm", quiet=True)


def spawn(words: Sequence[str | Path], log: Path, prepare: Callable[[], None] | None = None) -> int:
    """Starts ``ganvas WORDS`` as a child, which says everything into ``log``; returns its id."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        os.setsid()
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGHUP):  # which whoever started the campaign may have ignored
            signal.signal(number, signal.SIG_DFL)
        from ganvas.cli import run

        if prepare is not None:
            prepare()
        code = run([str(word) for word in words])
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
        code = 98
    finally:
        os._exit(code & 0xFF)


def wait(child: int, seconds: float) -> int | None:
    """A child's exit code, or minus the signal that ended it; None when it is not over after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            return None
        time.sleep(0.001)


def finish(words: Sequence[str | Path], log: Path, prepare: Callable[[], None] | None = None) -> int | None:
    """Runs a command to its end; None where it hangs."""
    child = spawn(words, log, prepare)
    code = wait(child, 300)
    if code is None:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return code


# ---- the same --------------------------------------------------------------------------------------------------------
def differing(one: Path, two: Path) -> list[str]:
    """In what two run folders differ; the time that training took, the calls that it took and the folder's own name
    are not looked at."""
    names = [sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) for folder in (one, two)]
    if names[0] != names[1]:
        lacks, more = set(names[0]) - set(names[1]), set(names[1]) - set(names[0])
        return [f"lacks {sorted(lacks)}, has {sorted(more)}"]
    found = []
    for name in names[0]:
        a, b = one / name, two / name
        if a.is_dir() or a.name == "manifest.json":  # that one holds digests of archives
            continue
        if not same(a, b):
            found.append(f"{name} differs")
    return found


def same(a: Path, b: Path) -> bool:
    """Whether two files of run folders hold the same."""
    if a.suffix == ".safetensors":
        return alike(load_file(a), load_file(b))
    if a.suffix == ".pt":
        return alike(torch.load(a, weights_only=True), torch.load(b, weights_only=True))
    if a.suffix == ".jsonl":
        return rows(a) == rows(b)
    if a.name == "config.json":
        ours, theirs = (json.loads(path.read_bytes()) | {"provenance": None} for path in (a, b))
        return bool(ours == theirs)
    if a.name == "report.html":
        written = re.compile(
            rb"\d\d? \w+ \d{4}, \d\d:\d\d|[\d.]+<small>MB"
        )  # the page before it counts in its run's size
        return written.sub(b"", a.read_bytes()) == written.sub(b"", b.read_bytes())
    return a.read_bytes() == b.read_bytes()


def alike(a: Any, b: Any) -> bool:
    """Whether two structures hold the same numbers, to the bit."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(alike(value, b[key]) for key, value in a.items())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()
    return bool(a == b)


def rows(file: Path) -> list[Any]:
    """The lines of a file of figures, without what a clock or the folder's name says."""
    found = [json.loads(line) for line in file.read_text().splitlines()]
    for row in found:
        row.pop("seconds", None)
        for figure in row.get("metrics", {}).values():
            figure["recipe"].pop("run")
    return found


def hidden(folder: Path) -> list[str]:
    """What lies half-written in or beside a run folder; locks are no such thing."""
    return sorted(
        str(path) for path in [*folder.rglob(".*"), *folder.parent.glob(f".{folder.name}.*")] if path.name != ".lock"
    )
