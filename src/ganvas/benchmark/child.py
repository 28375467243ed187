"""A job as a process that never outlives whoever started it: both ends of it.

The process that starts a job holds one end of a pipe, the job the other, as its stdin; when the pipe closes, for
whatever reason, SIGKILL included, the job sends itself SIGTERM. A job also holds a lock, beside its log, as long as it
lives: when one is started anew while its last process is still saving, it waits for that to end.
"""

from __future__ import annotations

import os
import re
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ganvas.benchmark.jobs import Job, Outcome
from ganvas.console import note
from ganvas.errors import RunError
from ganvas.files import writing

GRACE = 120.0  # seconds that a job has to save what it has, after SIGTERM; then it is killed
PATIENCE = GRACE + 60.0  # seconds that a job waits for its last process: its grace, and for storage to see it gone
PULSE = 0.05  # seconds between looks at a process
NUDGE = 0.2  # seconds for the main thread to reach what it waits for
THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)  # what torch, numpy and those beneath them read

_TAIL = 65_536  # bytes of a log that are looked through for its last line
_LINE = 500  # characters of it that are shown
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\-_])")  # ECMA-48: CSI, OSC, others


# ---- the parent's end ------------------------------------------------------------------------------------------------
def run(job: Job, level: Callable[[], int], threads: int | None = None) -> Outcome:
    """Runs a job to its end; its files and folders need not be there.

    level: how firmly it is asked to end, as in `Stop`, looked at all the while: it gets SIGTERM, and after `GRACE`, or
    at level 2, SIGKILL. threads: that its libraries may use; None leaves that to them.
    """
    began = time.monotonic()
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}  # what it says last is then last in its log
    environment |= {} if threads is None else dict.fromkeys(THREADS, str(threads))
    words = [sys.executable, "-m", __name__, str(_lock(job)), job.module, *job.arguments]
    try:
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with job.log.open("ab") as log:
            first = log.tell()
            process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment,
                start_new_session=True,  # a terminal's Ctrl-C is for us, not for it
            )  # fmt: skip
    except OSError as error:
        sentence = f"It could not be started: {error}; its log is {job.log}."
        return Outcome(job, RunError.exit_code, sentence, time.monotonic() - began)
    asked: float | None = None
    with process:
        while process.poll() is None:
            firmly, now = level(), time.monotonic()
            if firmly and asked is None:
                process.terminate()
                asked = now
            if firmly > 1 or (asked is not None and now - asked > GRACE):
                process.kill()
                process.wait()
            time.sleep(PULSE)
    _sweep(process.pid)
    code = process.returncode
    return Outcome(job, code, _message(job.log, first, code), time.monotonic() - began)


def _lock(job: Job) -> Path:
    return job.log.with_name(f".{job.log.name}.lock")


def _sweep(group: int) -> None:
    """Kills whatever a process that led its group has left there."""
    with suppress(OSError):  # it has left nothing
        os.killpg(group, signal.SIGKILL)


def _message(log: Path, first: int, code: int) -> str:
    """What there is to say of a process that ended with ``code``, its log beginning at byte ``first``."""
    if code == 0:
        return ""
    said = _last_line(log, first)
    if code < 0:
        how = f"It was ended by {signal.Signals(-code).name}"
        how += ", as when memory runs out" if code == -signal.SIGKILL else ""
        return f"{how}; the last that it said: {said}" if said else f"{how}."
    return said or f"It ended with code {code} and said nothing."


def _last_line(log: Path, first: int) -> str:
    """The last line of a log, from byte ``first`` on, that is not empty; without colours, and not too long."""
    try:
        with log.open("rb") as file:
            file.seek(max(first, file.seek(0, os.SEEK_END) - _TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = re.split(r"[\r\n]", _ESCAPES.sub("", text))
    lines = ["".join(c if c.isprintable() else " " for c in line).strip() for line in lines]
    last = next((line for line in reversed(lines) if line), "").removeprefix("ganvas: ")
    return last if len(last) <= _LINE else f"{last[: _LINE - 3]}..."


# ---- the job's own end -----------------------------------------------------------------------------------------------
def main() -> None:
    """``python -m ganvas.benchmark.child LOCK MODULE ARGUMENTS...``: the job, tied to whoever started it."""
    _tie()
    lock, module, *arguments = sys.argv[1:]
    try:
        held = _held(Path(lock))
    except RunError as error:
        note(f"ganvas: {error}")
        sys.exit(error.exit_code)
    with held:
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def _tie() -> None:
    """Has a thread wait for the end of stdin, which nobody writes to: whoever holds its other end has gone."""
    pipe = os.dup(0)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)  # the pipe is not for the program to read, nor for its own children to inherit
    signal.signal(signal.SIGURG, lambda number, frame: None)  # wakes the main thread, and does nothing else
    main = threading.get_ident()

    def wait() -> None:
        while os.read(pipe, 1):
            pass
        signal.pthread_kill(main, signal.SIGTERM)
        time.sleep(NUDGE)  # it may have let this thread run on its way into a wait, just too early to be woken from it
        signal.pthread_kill(main, signal.SIGURG)
        time.sleep(GRACE)  # as long as whoever has gone would have waited
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def _held(lock: Path) -> FileLock:
    """The job's lock. Raises RunError when another process holds it all the while, or when there can be none."""
    held = FileLock(lock, timeout=0)
    with writing(lock):
        try:
            held.acquire()
        except Timeout:
            note(f"waiting for the last process of this job, which holds {lock}")
            try:
                held.acquire(timeout=PATIENCE)
            except Timeout:
                raise RunError(
                    f"Another process has held {lock} for {PATIENCE:.0f} s; wait for it or stop it, and run again."
                ) from None
    return held


if __name__ == "__main__":
    main()
