"""Jobs on one machine: real processes and real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from watching import HERE, alive, chore, noted, processes, rows, until

from ganvas.benchmark import child, workers
from ganvas.benchmark.jobs import Job
from ganvas.benchmark.workers import local
from ganvas.errors import UsageError

PARENT = """
import sys
from pathlib import Path
from watching import chore
from ganvas.benchmark.jobs import Interrupted
from ganvas.benchmark.workers import local
folder, saving = Path(sys.argv[1]), sys.argv[2]
jobs = [chore(folder, "work", folder / name, 60, saving, name=name) for name in "abc"]
try:
    for outcome in local(jobs, workers=2):
        print("outcome", outcome)
except Interrupted as stopped:
    print(stopped)
    sys.exit(stopped.exit_code)
"""


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))


def told(folder: Path, workers: int, count: int) -> list[dict[str, object]]:
    """What each of so many jobs was given."""
    jobs = [chore(folder, "tell", folder / f"{i}.json", name=str(i)) for i in range(count)]
    assert [outcome.code for outcome in local(jobs, workers=workers)] == [0] * count
    return [json.loads((folder / f"{i}.json").read_text()) for i in range(count)]


# ---- running them ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("count", "limit", "threads"),
    [(3, None, "2"), (2, None, "3"), (2, "2", "2"), (2, "64", "3"), (1, None, None), (1, "5", "5")],
)
def test_cores_are_shared_out_among_those_that_work_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, limit: str | None, threads: str | None
) -> None:
    """Six cores, three workers, and perhaps fewer jobs; a limit that is set holds. One alone is left to itself."""
    monkeypatch.setattr(workers, "cores", lambda: 6)
    for name in child.THREADS:
        monkeypatch.delenv(name, raising=False)
    if limit is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", limit)
    for facts in told(tmp_path, 3, count):
        given = facts["threads"]
        assert isinstance(given, dict)
        assert given.get("OMP_NUM_THREADS") == threads
        if count > 1:
            assert given == dict.fromkeys(child.THREADS, threads)


def test_cores_are_those_of_this_process() -> None:
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert 1 <= workers.cores() <= available


def test_a_job_has_its_words_a_session_of_its_own_and_nothing_to_read(tmp_path: Path) -> None:
    (facts,) = told(tmp_path, 1, 1)
    assert facts["argv"] == ["tell", str(tmp_path / "0.json")]
    assert facts["session"] == facts["pid"]  # a terminal's Ctrl-C does not come to it
    assert facts["input"] == ""


def test_jobs_begin_in_order_and_one_that_fails_leaves_the_others(tmp_path: Path) -> None:
    jobs = [chore(tmp_path, "say", int(name == "b"), f"I am {name}\\n", name=name) for name in "abcd"]
    outcomes = list(local(jobs, workers=1))
    assert [(outcome.job, outcome.code, outcome.message) for outcome in outcomes] == [
        (job, int(job.name == "b"), "I am b" if job.name == "b" else "") for job in jobs
    ]
    assert all(0 < outcome.seconds < 60 for outcome in outcomes)
    assert [job.log.read_text() for job in jobs] == [f"I am {job.name}\n" for job in jobs]


def test_several_work_at_once_and_are_told_of_as_they_end(tmp_path: Path) -> None:
    """The second ends first; the third begins when it has."""
    files = {name: tmp_path / name for name in "abc"}
    jobs = [chore(tmp_path, "work", file, {"a": 1}.get(name, 0), name=name) for name, file in files.items()]
    assert [outcome.job.name for outcome in local(jobs, workers=2)] == ["b", "c", "a"]
    (began, ended), other = ([when for _, _, when, _ in rows(files[name])] for name in "ac")
    assert began < other[0] < ended


@pytest.mark.parametrize("workers", [0, -3])
def test_a_number_of_workers_that_is_none_is_refused(workers: int) -> None:
    with pytest.raises(UsageError, match=f"--workers must be at least 1, not {workers}"):
        next(local([], workers=workers))


def test_no_jobs_are_no_outcomes() -> None:
    assert list(local([], workers=4)) == []


# ---- what is said of failures ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["epoch 1\\n", "ganvas: there is no such data.\\n"], "there is no such data."),
        (["out\\n", "err\\n\\n  \\n"], "err"),
        (["out\\n", "\\x1b[1;31mred\\x1b[0m and \\x1b]8;;x\\x07linked\\n"], "red and linked"),
        (["", "10%\\r90%\\rlost the line\\r\\n"], "lost the line"),
        (["", "no end of line"], "no end of line"),
        (["", "tab\\tand bell\\a"], "tab and bell"),
        (["", "x" * 3000], "x" * 497 + "..."),
        ([], "It ended with code 3 and said nothing."),
    ],
)
def test_a_failure_is_told_by_its_last_line(tmp_path: Path, texts: list[str], message: str) -> None:
    job = chore(tmp_path, "say", 3, *texts)
    job.log.parent.mkdir()
    job.log.write_text("said by the last attempt\n")
    (outcome,) = local([job], workers=1)
    assert (outcome.code, outcome.message) == (3, message)
    assert job.log.read_text().startswith("said by the last attempt\n")


@pytest.mark.parametrize(
    ("number", "texts", "message"),
    [
        (9, ["step 9\\n"], "It was ended by SIGKILL, as when memory runs out; the last that it said: step 9"),
        (11, [], "It was ended by SIGSEGV."),
    ],
)
def test_a_job_that_is_killed_is_told_by_the_signal(
    tmp_path: Path, number: int, texts: list[str], message: str
) -> None:
    (outcome,) = local([chore(tmp_path, "say", -number, *texts)], workers=1)
    assert (outcome.code, outcome.message) == (-number, message)


def test_a_job_that_cannot_be_started_is_a_failure_like_others(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where the folder of logs should be")
    fine = Job("b", "chores", ("say", "0"), tmp_path / "b.log")
    nowhere = Job("c", "no.such.module", (), tmp_path / "c.log")
    first, second, third = local([chore(tmp_path, "say", 0), fine, nowhere], workers=1)
    assert (first.code, second.code, third.code) == (2, 0, 1)
    assert first.message.startswith("It could not be started: ")
    assert str(tmp_path / "logs") in first.message
    assert "No module named 'no'" in third.message


# ---- how they are stopped --------------------------------------------------------------------------------------------
def test_closing_lets_what_is_under_way_save_and_begins_nothing_more(tmp_path: Path) -> None:
    first, *files = (tmp_path / name for name in "abcd")
    jobs = [chore(tmp_path, "work", first, 0), *(chore(tmp_path, "work", f, 60, 0.3, name=f.name) for f in files)]
    with closing(local(jobs, workers=2)) as outcomes:
        assert next(outcomes).job.name == "a"
        until(lambda: noted(files[0]) == noted(files[1]) == ["began"])
    assert [noted(file) for file in files] == [["began", "saved"], ["began", "saved"], []]
    assert not any(alive(pid) for file in files[:2] for pid in processes(file))


def test_who_will_not_end_is_killed_with_all_that_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "GRACE", 0.3)
    file = tmp_path / "pids"
    jobs = [chore(tmp_path, "say", 0), chore(tmp_path, "stubborn", file, name="b")]
    with closing(local(jobs, workers=2)) as outcomes:
        next(outcomes)
        until(file.exists)
        until(file.read_text)
    pids = [int(pid) for pid in file.read_text().split()]
    assert len(pids) == 2
    until(lambda: not any(map(alive, pids)))


@pytest.fixture
def parent(tmp_path: Path) -> subprocess.Popen[str]:
    """A process with two jobs under way that need a while to save, and a third that waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), "0.6"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until(lambda: noted(tmp_path / "a") == noted(tmp_path / "b") == ["began"])
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_no_job_outlives_its_parent_and_each_saves_first(
    tmp_path: Path, parent: subprocess.Popen[str], number: signal.Signals
) -> None:
    parent.send_signal(number)
    out, err = parent.communicate(timeout=240)
    jobs = [tmp_path / "a", tmp_path / "b"]
    if number == signal.SIGKILL:  # they find out by themselves
        assert parent.returncode == -number
        until(lambda: not any(alive(pid) for file in jobs for pid in processes(file)))
    else:
        assert parent.returncode == 128 + number
        said = f"Stopped by {number.name}; what was under way has ended; the same command goes on from there.\n"
        assert (out, err) == (said, "")
    assert [noted(file) for file in jobs] == [["began", "saved"]] * 2
    assert not any(alive(pid) for file in jobs for pid in processes(file))
    assert not (tmp_path / "c").exists()


def test_a_second_interrupt_does_not_wait(tmp_path: Path, parent: subprocess.Popen[str]) -> None:
    parent.send_signal(signal.SIGINT)
    time.sleep(0.2)
    parent.send_signal(signal.SIGINT)
    _, err = parent.communicate(timeout=240)
    assert parent.returncode == -signal.SIGINT  # as Python ends by a Ctrl-C that nobody catches
    assert err.endswith("KeyboardInterrupt\n")
    assert noted(tmp_path / "a") == noted(tmp_path / "b") == ["began"]
    assert not any(alive(pid) for name in "ab" for pid in processes(tmp_path / name))


def test_a_job_started_anew_waits_for_its_last_process_to_end(
    tmp_path: Path, parent: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is still saving, and holds a lock on which another would fail."""
    parent.kill()
    parent.communicate()
    job = chore(tmp_path, "work", tmp_path / "a", 0)
    (outcome,) = local([job], workers=1)
    assert (outcome.code, outcome.message) == (0, "")
    assert noted(tmp_path / "a") == ["began", "saved", "began", "ended"]
    assert job.log.read_text().startswith("waiting for the last process of this job")


def test_it_does_not_wait_for_ever(tmp_path: Path) -> None:
    file = tmp_path / "a"
    job = chore(tmp_path, "work", file)
    impatient = "import sys; from ganvas.benchmark import child; child.PATIENCE = 0.2; child.main()"
    with closing(local([chore(tmp_path, "say", 0, name="b"), job], workers=2)) as outcomes:
        next(outcomes)
        until(lambda: noted(file) == ["began"])
        lock = job.log.with_name(".a.log.lock")
        words = [sys.executable, "-c", impatient, str(lock), "chores", "say", "0"]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            said = process.stderr.read()
    assert process.returncode == 2
    assert said.splitlines()[-1].startswith(f"ganvas: Another process has held {lock} for 0 s; ")
