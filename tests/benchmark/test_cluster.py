"""Jobs on a real Dask cluster of processes, whose workers are killed on the way."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import distributed
import pytest
from watching import HERE, alive, chore, noted, processes, rows, until

import ganvas
from ganvas.benchmark import cluster
from ganvas.benchmark.child import THREADS
from ganvas.benchmark.cluster import dask
from ganvas.errors import UsageError

CLIENT = """
import sys
from pathlib import Path
from watching import chore
from ganvas.benchmark.cluster import dask
from ganvas.benchmark.jobs import Interrupted
folder = Path(sys.argv[2])
jobs = [chore(folder, "work", folder / name, 60, 0.5, name=name) for name in "abc"]
try:
    for outcome in dask(jobs, address=sys.argv[1], folder=folder):
        print("outcome", outcome)
except Interrupted as stopped:
    print(stopped)
    sys.exit(stopped.exit_code)
"""


@pytest.fixture(scope="module")
def local() -> Iterator[distributed.LocalCluster]:
    """Two workers of three threads each, as processes that are started anew when they die."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(HERE))
        options = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "silence_logs": 50}
        with distributed.LocalCluster(n_workers=2, threads_per_worker=3, **options) as local:
            yield local


@pytest.fixture(scope="module")
def address(local: distributed.LocalCluster) -> str:
    return local.scheduler_address


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests are impatient, and their processes find `chores`."""
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    for name, seconds in {"PULSE": 0.1, "CONNECT": 0.4, "SETTLE": 0.5, "ARRIVAL": 10}.items():
        monkeypatch.setattr(cluster, name, seconds)


# ---- running them ----------------------------------------------------------------------------------------------------
def test_a_worker_has_one_job_at_a_time_with_all_its_threads(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them fails, and leaves the others. Paths of this machine's working folder become absolute."""
    monkeypatch.chdir(tmp_path)
    jobs = [chore(tmp_path, "work", tmp_path / name, 0.4, name=name) for name in "abcd"]
    jobs += [chore(Path(), "say", 3, "", "ganvas: no such data\\n", name="e")]
    jobs += [chore(tmp_path, "tell", tmp_path / "f.json", name="f")]
    outcomes = {outcome.job: outcome for outcome in dask(jobs, address=address, folder=tmp_path)}
    assert outcomes.keys() == set(jobs)
    assert {job.name: (o.code, o.message) for job, o in outcomes.items() if o.code} == {"e": (3, "no such data")}
    facts = json.loads((tmp_path / "f.json").read_text())
    assert facts["threads"] == dict.fromkeys(THREADS, "3")
    spans = sorted((begin[3], begin[2], end[2]) for begin, end in (rows(tmp_path / name) for name in "abcd"))
    assert len({worker for worker, _, _ in spans}) == 2
    assert all(a[0] != b[0] or a[2] <= b[1] for a, b in pairwise(spans))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".shared")]


# ---- workers that die ------------------------------------------------------------------------------------------------
def test_a_job_whose_worker_is_killed_is_run_again_when_its_last_process_has_saved(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """That process takes a while to save, and holds a lock meanwhile, on which the next would fail."""
    job = chore(tmp_path, "work", tmp_path / "a", 0, 1.5, "kill")
    (outcome,) = dask([job], address=address, folder=tmp_path)
    assert (outcome.job, outcome.code, outcome.message) == (job, 0, "")
    began, saved, again, ended = rows(tmp_path / "a")
    assert [row[0] for row in (began, saved, again, ended)] == ["began", "saved", "began", "ended"]
    assert began[1] == saved[1] != again[1] == ended[1]
    assert began[3] != again[3]  # another worker
    assert not alive(began[3])
    assert "waiting for the last process of this job" in job.log.read_text()
    assert "a: lost with its worker tcp://127.0.0.1:" in capsys.readouterr().err


def test_a_job_that_loses_worker_after_worker_is_a_failure_of_its_own(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "LOSSES", 1)
    jobs = [
        chore(tmp_path, "work", tmp_path / "a", 60, 0, "always"),
        chore(tmp_path, "work", tmp_path / "b", 0, name="b"),
    ]
    outcomes = {outcome.job.name: outcome for outcome in dask(jobs, address=address, folder=tmp_path)}
    until(lambda: noted(tmp_path / "a") == ["began", "saved"] * 2)
    assert outcomes["b"].code == 0
    assert noted(tmp_path / "b") == ["began", "ended"]
    assert outcomes["a"].code == 1
    assert outcomes["a"].message.startswith("It lost 2 workers, one after the other, the last one tcp://127.0.0.1:")


def test_a_job_that_somebody_else_asks_to_end_is_run_again(address: str, tmp_path: Path) -> None:
    """As when a machine is taken away: what runs on it gets SIGTERM."""
    job, file = chore(tmp_path, "work", tmp_path / "a", 1), tmp_path / "a"

    def terminate() -> None:
        until(lambda: noted(file) == ["began"])
        subprocess.run(["kill", "-TERM", *map(str, processes(file))], check=True)

    thread = threading.Thread(target=terminate)
    thread.start()
    (outcome,) = dask([job], address=address, folder=tmp_path)
    thread.join()
    assert outcome.code == 0
    assert noted(file) == ["began", "saved", "began", "ended"]


# ---- workers that come later -----------------------------------------------------------------------------------------
@pytest.fixture
def stale(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine that has another ganvas."""
    package = tmp_path / "elsewhere" / "ganvas"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("__version__ = '0.0.1'")
    return {"PYTHONPATH": str(package.parent)}


def test_a_worker_that_comes_later_is_used_if_it_is_fit(
    local: distributed.LocalCluster, tmp_path: Path, stale: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    files = {name: tmp_path / name for name in "abc"}
    jobs = [chore(tmp_path, "work", file, 0 if name == "c" else 60, name=name) for name, file in files.items()]
    words = [
        "-m",
        "distributed.cli.dask_worker",
        local.scheduler_address,
        "--host",
        "127.0.0.1",
        "--no-nanny",
        "--no-dashboard",
    ]
    with subprocess.Popen([sys.executable, *words], env=stale, stderr=subprocess.PIPE) as unfit:

        def more() -> None:
            until(lambda: len(local.scheduler.workers) == 3)
            local.scale(3)

        thread = threading.Thread(target=more)
        with closing(dask(jobs, address=local.scheduler_address, folder=tmp_path)) as outcomes:
            thread.start()
            assert next(outcomes).job.name == "c"
        thread.join()
        with pytest.raises(UsageError, match=r"worker tcp://127.0.0.1:\d+ cannot load ganvas .*No module named"):
            next(dask(jobs, address=local.scheduler_address, folder=tmp_path))
        unfit.terminate()
        unfit.communicate()
    assert "cannot load ganvas" in capsys.readouterr().err
    assert len({row[3] for file in files.values() for row in rows(file)}) == 3
    assert [noted(files[name]) for name in "ab"] == [["began", "saved"]] * 2
    local.scale(2)


# ---- how they are stopped --------------------------------------------------------------------------------------------
def test_closing_lets_what_is_under_way_save(address: str, tmp_path: Path) -> None:
    file = tmp_path / "a"
    jobs = [chore(tmp_path, "work", file, 60, 0.5), chore(tmp_path, "say", 0, name="b")]
    with closing(dask(jobs, address=address, folder=tmp_path)) as outcomes:
        assert next(outcomes).job.name == "b"
        until(lambda: noted(file) == ["began"])
    assert noted(file) == ["began", "saved"]
    assert not any(map(alive, processes(file)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_job_outlives_who_sent_it(address: str, tmp_path: Path, number: signal.Signals) -> None:
    words = [sys.executable, "-c", CLIENT, address, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        files = [tmp_path / "a", tmp_path / "b"]
        until(lambda: [noted(file) for file in files] == [["began"]] * 2)
        client.send_signal(number)
        out, err = client.communicate(timeout=240)
    if number == signal.SIGKILL:  # the cluster finds out
        until(lambda: not any(alive(pid) for file in files for pid in processes(file)))
    else:
        assert client.returncode == 128 + number
        said = f"Stopped by {number.name}; what was under way has ended; the same command goes on from there.\n"
        assert (out, err) == (said, "")
    assert not any(alive(pid) for file in files for pid in processes(file))
    assert [noted(file) for file in files] == [["began", "saved"]] * 2
    assert not (tmp_path / "c").exists()


# ---- what is refused before the first job ----------------------------------------------------------------------------
def refused(tmp_path: Path, address: str, folder: Path | None = None) -> str:
    job = chore(tmp_path, "work", tmp_path / "a", 0)
    with pytest.raises(UsageError) as error:
        next(dask([job], address=address, folder=folder or tmp_path))
    assert not job.log.exists()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("tcp://127.0.0.1:9", "Timed out trying to connect"),
        ("nonsense", "missing port number"),
        ("", "missing port number"),
        ("pigeon://127.0.0.1:9", "unknown address scheme 'pigeon'"),
    ],
)
def test_an_address_where_nobody_answers(tmp_path: Path, address: str, reason: str) -> None:
    said = refused(tmp_path, address)
    assert said.startswith(f"No Dask scheduler answers at {address!r} ({reason}")
    assert said.endswith("; start one with dask scheduler, or mend --dask.")


def test_an_address_where_somebody_else_answers_or_nobody_in_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        said = refused(tmp_path, f"tcp://127.0.0.1:{silent.getsockname()[1]}")
    assert "(it does not answer within " in said


def test_a_cluster_without_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "ARRIVAL", 0.2)
    with distributed.LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as empty:
        said = refused(tmp_path, empty.scheduler_address)
    assert said.endswith("has no worker; start some with dask worker.")


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs a path that is another folder to each process")
def test_a_folder_that_workers_do_not_share(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = refused(tmp_path, address, Path("/proc/self/cwd/out"))
    assert said.startswith("The worker tcp://127.0.0.1:")
    assert "does not share the folder (No such file or directory)" in said
    assert said.endswith("instead of /proc/self/cwd/out.")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_cannot_be_made(address: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = refused(tmp_path, address, tmp_path / "file" / "out")
    assert said.startswith(f"{tmp_path / 'file' / 'out'} cannot be written: ")


@pytest.mark.parametrize("name", ["ganvas", "Python", "torch"])
def test_other_versions(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    theirs = cluster.versions()
    monkeypatch.setattr(cluster, "versions", lambda: theirs | {name: "9.9"})
    said = refused(tmp_path, address)
    assert f"has {name} {theirs[name]}, this machine has 9.9; install the same on both." in said


def test_versions_are_those_that_are_here() -> None:
    import torch

    here = cluster.versions()
    assert here["ganvas"] == ganvas.__version__
    assert torch.__version__.startswith(here["torch"])
    assert sys.version.startswith(here["Python"])


def test_a_library_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert refused(tmp_path, "tcp://127.0.0.1:9").endswith("pip install 'ganvas[cluster]'.")
