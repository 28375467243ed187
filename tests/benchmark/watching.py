"""Jobs of `chores`, and looks at the processes that they are."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psutil

from ganvas.benchmark.jobs import Job

HERE = Path(__file__).parent  # what PYTHONPATH must hold for a process to find `chores`


def chore(folder: Path, action: str, *arguments: object, name: str = "a") -> Job:
    """A job of an action of `chores`, its log in ``folder``."""
    return Job(name, "chores", (action, *map(str, arguments)), folder / "logs" / f"{name}.log")


def rows(file: Path) -> list[tuple[str, int, float, int]]:
    """What happened to a piece of `chores.work`, in order: what, in which process, when, and who had started it."""
    found = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    return [(what, int(pid), float(when), int(parent)) for what, pid, when, parent in found]


def noted(file: Path) -> list[str]:
    """Only what happened."""
    return [row[0] for row in rows(file)]


def processes(file: Path) -> set[int]:
    """The processes that worked on it."""
    return {row[1] for row in rows(file)}


def alive(pid: int) -> bool:
    """Whether a process is there, and not merely unburied."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(seen: Callable[[], object], seconds: float = 30.0) -> None:
    """Waits for something to be so."""
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
