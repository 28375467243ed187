"""Jobs, how they ended, and how a process that runs them is asked to stop. Knows nothing of what a job does.

`ganvas.benchmark.workers` runs jobs on this machine, `ganvas.benchmark.cluster` on a Dask cluster; both start every
job as a process of its own, as `ganvas.benchmark.child` says.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ganvas.errors import GanvasError
from ganvas.signals import firm, handled, leave_terminal


@dataclass(frozen=True)
class Job:
    """A program to run: ``python -m MODULE ARGUMENTS...``. Elsewhere than here, paths among them must be absolute."""

    name: str  # as messages name it: "avae-nll on cifar10, seed 0"
    module: str
    arguments: tuple[str, ...]
    log: Path  # what it says on stdout and stderr is added here; a job's own, for it also names the job's lock
    timed: bool = False  # whether it is told, as its last word, how many rounds of jobs are left, with its own

    def starting(self, left: int, at_once: int) -> Job:
        """The job as it starts, when ``left`` jobs, itself among them, are to be run, so many at once."""
        rounds = math.ceil(left / max(1, at_once))
        return replace(self, arguments=(*self.arguments, str(rounds))) if self.timed else self


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    job: Job
    code: int  # the program's exit code; negative: the signal that ended it; 2 where it could not be started
    message: str  # the last line that it said, the sentence of a failure; "" where it ended well
    seconds: float


class Interrupted(GanvasError):  # noqa: N818 - a state, named as users say it
    """A signal asked for an end, and every job under way has ended."""

    def __init__(self, number: int) -> None:
        name = signal.Signals(number).name
        super().__init__(f"Stopped by {name}; what was under way has ended; the same command goes on from there.")
        self.exit_code = 128 + number


class Stop:
    """How firmly jobs are asked to end. Takes no lock, so that a signal's handler may come anywhere."""

    def __init__(self) -> None:
        self._asked = False
        self._signals: list[int] = []

    @property
    def level(self) -> int:
        """0: not at all; 1: to save what they have; 2: at once."""
        return min(2, max(self._asked, len(self._signals)))

    def ask(self) -> None:
        """Asks them to save what they have and end."""
        self._asked = True

    def check(self) -> None:
        """Raises Interrupted when a signal has asked for the end."""
        if self._signals:
            raise Interrupted(self._signals[0])

    @contextmanager
    def heard(self) -> Iterator[None]:
        """While the block runs, SIGINT, SIGTERM and SIGHUP ask for the end, a `firm` second one for an end at once;
        that one then acts, after the block, as if nobody had caught it. In a thread other than the main one, signals
        stay as they are."""

        def hear(number: int, frame: Any) -> None:
            if number == signal.SIGHUP:
                leave_terminal()
            if not self._signals or firm(self._signals[0], number):
                self._signals.append(number)

        try:
            with handled(hear):
                yield
        finally:
            if self.level == 2:
                signal.raise_signal(self._signals[-1])
