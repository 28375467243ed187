"""Jobs on this machine, several at a time, its cores shared out among them."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Generator, Sequence
from queue import Empty, SimpleQueue

from ganvas.benchmark.child import PULSE, run
from ganvas.benchmark.jobs import Job, Outcome, Stop
from ganvas.errors import UsageError


def local(jobs: Sequence[Job], *, workers: int) -> Generator[Outcome, None, None]:
    """Runs jobs, ``workers`` at a time and in their order; yields how each ended, as they end.

    A job that fails leaves the others as they are. With several at a time each has its share of the cores, and no more
    threads than an ``OMP_NUM_THREADS`` that is set. Close the iterator (``with contextlib.closing(...)``) when leaving
    early: whatever is under way is then asked to save what it has, and waited for. So it is after SIGINT and SIGTERM,
    for which Interrupted is raised; a second one kills at once. No job outlives this process.

    Raises UsageError for a number of workers that is none.
    """
    if workers < 1:
        raise UsageError(f"--workers must be at least 1, not {workers}.")
    workers = min(workers, len(jobs))
    threads = _share(workers) if workers > 1 else None
    stop, waiting = Stop(), deque(jobs)
    ended: SimpleQueue[Outcome | Exception] = SimpleQueue()

    def work() -> None:
        while not stop.level:
            try:
                job = waiting.popleft()
            except IndexError:
                return
            try:
                ended.put(run(job.starting(len(waiting) + 1, workers), lambda: stop.level, threads))
            except Exception as error:
                ended.put(error)

    with stop.heard():
        crew = [threading.Thread(target=work, name=f"job-{i}", daemon=True) for i in range(workers)]
        try:
            for thread in crew:
                thread.start()
            for _ in jobs:
                outcome = _next(ended, stop)
                if isinstance(outcome, Exception):
                    raise outcome
                yield outcome
            stop.check()
        finally:
            stop.ask()
            for thread in crew:
                thread.join()


def _next(ended: SimpleQueue[Outcome | Exception], stop: Stop) -> Outcome | Exception:
    """What ends next. Looks up now and then: a crew that was asked to end brings nothing more."""
    while True:
        try:
            outcome = ended.get(timeout=PULSE)
        except Empty:
            stop.check()
            continue
        stop.check()
        return outcome


def cores() -> int:
    """The cores that this process may use, by its affinity and its container's quota."""
    import joblib

    return joblib.cpu_count()


def _share(workers: int) -> int:
    """Threads for each of so many processes."""
    share = max(1, cores() // workers)
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, int(limit)) if limit.isdecimal() and int(limit) else share
