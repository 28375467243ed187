"""Jobs on a Dask cluster that is running already, whoever started it: SLURM, Kubernetes, a cloud, or somebody by hand.

Each worker has one job at a time, with all of its threads: a job is a process that would fill the machine, whatever
number of small tasks the worker would take. So jobs are handed out here, to workers by name, and not by the scheduler;
which also sees to it that a lost worker's job goes to another, and that a worker which comes later is looked at before
it gets one.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import signal
import time
import uuid
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ganvas
from ganvas.benchmark.child import GRACE, run
from ganvas.benchmark.jobs import Job, Outcome, Stop
from ganvas.console import note
from ganvas.errors import RunError, UsageError
from ganvas.files import writing

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT = 15.0  # seconds for a scheduler to answer
ARRIVAL = 60.0  # seconds for a first worker to come
SETTLE = 10.0  # seconds for shared storage to show what another machine wrote
ANSWER = 30.0  # seconds for a worker to answer
LOSSES = 3  # workers that a job may lose; the next one that it loses is laid to the job
PULSE = 0.25  # seconds between looks at the cluster
TERMINATED = (128 + signal.SIGTERM, -signal.SIGTERM)  # how a job ends for somebody who takes its machine away


def dask(jobs: Sequence[Job], *, address: str, folder: Path) -> Generator[Outcome, None, None]:
    """Runs jobs on the Dask cluster whose scheduler is at ``address``; yields how each ended, as they end.

    folder: on storage that all workers share, where jobs write; there already, or made. Whatever is in a job's
    arguments must hold on every worker: absolute paths above all.

    A job whose worker is lost, or that is asked to end by whoever takes its machine away, is run again on another; it
    begins when its last process has ended. A job that fails, or that loses worker after worker, leaves the others as
    they are. Close the iterator when leaving early: whatever is under way is then asked to save what it has, and
    waited for. So it is after SIGINT and SIGTERM, for which Interrupted is raised; a second one does not wait. When
    this process dies, or the worker, the job ends by itself.

    Before the first job, raises UsageError where the library is missing, nobody answers at the address or no worker is
    there, where a worker has other versions than this machine, or does not share the folder; later, RunError when the
    cluster is gone. A worker that comes later and does not fit is named, and not used.
    """
    waiting, lost, stop = deque(jobs), Counter[Job](), Stop()
    under_way: dict[str, _Task] = {}  # by worker
    with _connected(address) as client, _meeting(folder.absolute()) as meeting:
        crew = _Crew(client, address, meeting)
        crew.gather()
        with stop.heard():
            try:
                while waiting or under_way:
                    stop.check()
                    present, ended = crew.present(), []
                    for task in [task for task in under_way.values() if task.over(present)]:
                        del under_way[task.worker]
                        outcome = task.outcome() if task.worker in present else None
                        task.future.cancel()  # or Dask would run it again, as soon as the worker that holds it is lost
                        if outcome is None:
                            lost[task.job] += 1
                            outcome = task.given_up() if lost[task.job] > LOSSES else None
                        if outcome is None:
                            note(f"{task.job.name}: lost with its worker {task.worker}, will be run again")
                            waiting.appendleft(task.job)
                        else:
                            ended.append(outcome)
                    for worker in present:
                        if waiting and worker not in under_way:
                            left = len(waiting) + len(under_way)
                            under_way[worker] = _Task.begun(client, waiting.popleft(), worker, left, len(present))
                    yield from ended
                    if not ended:
                        time.sleep(PULSE)
                stop.check()
            finally:
                _end(client, {task.worker: task.future for task in under_way.values()}, stop)


# ---- here ------------------------------------------------------------------------------------------------------------
@contextmanager
def _connected(address: str) -> Iterator[Client]:
    """A client of the scheduler at ``address``. Raises UsageError when there is none, or no library for it."""
    try:
        import distributed
    except ImportError:
        raise UsageError("--dask needs the library distributed: pip install 'ganvas[cluster]'.") from None
    try:
        with ThreadPoolExecutor(1) as own:  # this thread may have a loop that runs already, as in a notebook
            own.submit(asyncio.run, _knock(address)).result()
        client = distributed.Client(address, timeout=CONNECT, set_as_default=False)
    except Exception as error:  # nobody there, or somebody else; no address at all; no certificates
        reason = str(error) or type(error).__name__
        raise UsageError(
            f"No Dask scheduler answers at {address!r} ({reason}); start one with dask scheduler, or mend --dask."
        ) from error
    with closing(client):
        yield client


async def _knock(address: str) -> None:
    """Raises OSError when nobody answers. A client that found that out would be left half-made, and block others."""
    from distributed import Security
    from distributed.comm import connect

    security = Security().get_connection_args("client")
    try:
        async with asyncio.timeout(2 * CONNECT):  # for the whole; connecting has its own
            comm = await connect(address, timeout=CONNECT, **security)
    except TimeoutError:
        raise TimeoutError(f"it does not answer within {2 * CONNECT:.0f} s") from None
    await comm.close()


@contextmanager
def _meeting(folder: Path) -> Iterator[Path]:
    """A folder in ``folder``, with a file ``here``, for workers to be met in."""
    meeting = folder / f".shared-{uuid.uuid4().hex}"
    with writing(folder, "choose another folder", UsageError):
        meeting.mkdir(parents=True)
    try:
        with writing(folder, "choose another folder", UsageError):
            _write(meeting / "here", meeting.name)
        yield meeting
    finally:
        shutil.rmtree(meeting, ignore_errors=True)


class _Crew:
    """The workers of a cluster that are fit: of the same versions as this machine, and sharing the folder."""

    def __init__(self, client: Client, address: str, meeting: Path) -> None:
        self.client, self.address, self.meeting = client, address, meeting
        self.fit: set[str] = set()
        self.unfit: set[str] = set()
        self.alone = False

    def gather(self) -> None:
        """Waits for the first workers. Raises UsageError when none comes, or the scheduler or a worker is not fit."""
        try:
            theirs = self.client.run_on_scheduler(versions, callback_timeout=ANSWER)  # it, too, unpacks jobs
        except Exception as error:  # whatever went wrong there
            raise UsageError(_cannot_load(f"scheduler {self.address}", error)) from error
        if flaw := _differs(f"scheduler {self.address}", {**theirs, "torch": versions()["torch"]}):  # it trains nothing
            raise UsageError(flaw)
        end = time.monotonic() + ARRIVAL
        while not self.fit:
            for flaw in self._meet(self._workers()):
                raise UsageError(flaw)
            if time.monotonic() > end:
                raise UsageError(f"The Dask cluster at {self.address} has no worker; start some with dask worker.")
            if not self.fit:
                time.sleep(PULSE)

    def present(self) -> list[str]:
        """The workers that are there and fit; new ones are met first."""
        workers = self._workers()
        for flaw in self._meet(workers):
            note(f"note: {flaw}")
        present = [worker for worker in workers if worker in self.fit]
        if not present and not self.alone:
            note(f"no worker is left at {self.address}: waiting for one")
        self.alone = not present
        return present

    def _workers(self) -> list[str]:
        try:
            return list(self.client.nthreads())
        except (OSError, RuntimeError) as error:
            raise RunError(
                f"The Dask scheduler at {self.address} is gone ({error}); when it is back, the same command goes on."
            ) from error

    def _meet(self, workers: Iterable[str]) -> Iterator[str]:
        """Meets those workers that are new. A sentence for each that is not fit."""
        for worker in sorted(set(workers) - self.fit - self.unfit):
            flaw = self._flaw(worker)
            if flaw is not None:
                (self.unfit if flaw else self.fit).add(worker)
            if flaw:
                yield flaw

    def _flaw(self, worker: str) -> str | None:
        """Why a worker is not fit; empty if it is; None if it has just gone."""
        who, seconds = f"worker {worker}", ANSWER + SETTLE
        try:
            answer = self.client.run(
                examine, str(self.meeting), SETTLE, workers=[worker], on_error="return", callback_timeout=seconds
            ).get(worker)
        except TimeoutError:
            return f"The {who} does not answer within {seconds:.0f} s; start it again."
        except OSError:  # the scheduler has gone, which shows presently
            return None
        if answer is None or isinstance(answer, OSError):
            return None
        if isinstance(answer, Exception):
            return _cannot_load(who, answer)
        if flaw := _differs(who, answer):
            return flaw
        shared = f"give a folder on storage that all workers share, under one name, instead of {self.meeting.parent}"
        if answer["trouble"]:
            return f"The {who} does not share the folder ({answer['trouble']}); {shared}."
        end = time.monotonic() + SETTLE
        while not (self.meeting / answer["wrote"]).exists():
            if time.monotonic() > end:
                return f"What the {who} wrote into the folder does not come here; {shared}."
            time.sleep(PULSE)
        return ""


def _cannot_load(who: str, error: Exception) -> str:
    reason = f"{type(error).__name__}: {error}"
    return f"The {who} cannot load ganvas {ganvas.__version__} ({reason}); install there what this machine has."


def _differs(who: str, theirs: dict[str, str]) -> str:
    """A sentence when ``theirs`` are not the `versions` here."""
    for name, ours in versions().items():
        if theirs.get(name) != ours:
            return f"The {who} has {name} {theirs.get(name)}, this machine has {ours}; install the same on both."
    return ""


@dataclass(frozen=True)
class _Task:
    """A job that a worker was given."""

    job: Job
    worker: str
    future: Future
    began: float  # on the monotonic clock

    @classmethod
    def begun(cls, client: Client, job: Job, worker: str, left: int, at_once: int) -> _Task:
        """Gives a job to a worker, when so many are left, with those under way, and so many workers there."""
        key = f"{job.name}-{uuid.uuid4().hex}"
        there = replace(job.starting(left, at_once), log=job.log.absolute())
        future = client.submit(attempt, there, key, key=key, workers=[worker], allow_other_workers=False, pure=False)
        return cls(job, worker, future, time.monotonic())

    def over(self, present: Sequence[str]) -> bool:
        return self.worker not in present or self.future.status != "pending"

    def outcome(self) -> Outcome | None:
        """How the job ended; None if it has not, for its worker is about to be lost."""
        from distributed import KilledWorker

        if self.future.status == "error":
            error = self.future.exception(timeout=ANSWER)
            if isinstance(error, KilledWorker):
                return None
            return self._failed(f"The worker {self.worker} could not run it: {type(error).__name__}: {error}")
        if self.future.status != "finished":
            return None
        try:
            outcome: Outcome = self.future.result(timeout=ANSWER)
        except Exception:  # its worker, which held it, has just gone
            return None
        return None if outcome.code in TERMINATED else replace(outcome, job=self.job)

    def given_up(self) -> Outcome:
        lost = f"It lost {LOSSES + 1} workers, one after the other, the last one {self.worker}"
        return self._failed(f"{lost}: does it need more memory than they have?")

    def _failed(self, sentence: str) -> Outcome:
        return Outcome(self.job, 1, sentence, time.monotonic() - self.began)


def _end(client: Client, under_way: dict[str, Future], stop: Stop) -> None:
    """Asks the jobs under way to save what they have and end, and waits for that, unless a signal says not to."""
    keys = [future.key for future in under_way.values()]
    end = time.monotonic() + GRACE + ANSWER
    with suppress(Exception):  # where the cluster goes away meanwhile, the jobs end by themselves
        if keys:
            client.cancel(list(under_way.values()))
        while keys and stop.level < 2 and time.monotonic() < end:
            workers = [worker for worker in client.nthreads() if worker in under_way]
            left = client.run(running, keys, workers=workers, on_error="ignore", callback_timeout=ANSWER)
            if not any(left.values()):
                break
            time.sleep(PULSE)


# ---- on a worker -----------------------------------------------------------------------------------------------------
_RUNNING: set[Any] = set()  # the keys of this worker's jobs under way


def versions() -> dict[str, str]:
    """What must be the same everywhere: a torch built for another device is."""
    try:
        torch = metadata.version("torch").partition("+")[0]
    except metadata.PackageNotFoundError:
        torch = "none"
    return {"ganvas": ganvas.__version__, "Python": ".".join(platform.python_version_tuple()[:2]), "torch": torch}


async def examine(meeting: str, seconds: float) -> dict[str, str]:
    """This worker's `versions`; ``wrote``, the name of the file that it put into the folder, having read the one that
    is there, which may take some seconds to be seen; ``trouble``, why it could not."""
    folder, answer = Path(meeting), versions() | {"wrote": uuid.uuid4().hex, "trouble": ""}
    end = time.monotonic() + seconds
    try:
        while not (folder / "here").exists() and time.monotonic() < end:
            await asyncio.sleep(PULSE)
        _write(folder / answer["wrote"], (folder / "here").read_text())
    except OSError as error:
        answer["trouble"] = error.strerror or str(error)
    return answer


def running(keys: Sequence[Any]) -> int:
    """How many of these jobs are under way on this worker."""
    return len(_RUNNING.intersection(keys))


def attempt(job: Job, key: str) -> Outcome:
    """The task: the job as a child process, until it ends, or the task is not wanted any more, or the worker closes."""
    from distributed import get_worker

    worker = get_worker()

    def level() -> int:
        task = worker.state.tasks.get(key)
        wanted = task is not None and task.state in ("executing", "long-running")
        return int(not wanted or worker.status.name in ("closing", "closed", "failed"))

    _RUNNING.add(key)
    try:
        return run(job, level, worker.state.nthreads)
    finally:
        _RUNNING.discard(key)


def _write(path: Path, text: str) -> None:
    """Writes a file so that other machines see it."""
    with path.open("x") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
