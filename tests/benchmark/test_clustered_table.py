"""The AVAE table on a real Dask cluster of processes, one of whose workers is killed in the middle of a cell."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import distributed
import pytest

import slopes
from ganvas.benchmark import cluster
from ganvas.benchmark.grid import avae_table


def kill(worker: int, cells: Path) -> None:
    """Kills a worker when both cells are under way."""
    end = time.monotonic() + 60
    while len(list(cells.glob("*/checkpoint-*"))) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(worker, signal.SIGKILL)


def test_it_equals_the_local_one_though_a_worker_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster, "SETTLE", 2.0)
    data = {"cifar10": str(slopes.write(tmp_path / "cifar"))}
    size = {"models": ["vae", "gan"], "width": 2, "steps": 100}
    options = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "silence_logs": 50}
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, **options) as local:
        with distributed.Client(local, set_as_default=False) as client:
            victim = next(iter(client.run(os.getpid).values()))
        killer = threading.Thread(target=kill, args=(victim, tmp_path / "far" / "cells" / "cifar10"))
        killer.start()
        far = avae_table(tmp_path / "far", data=data, dask=local.scheduler_address, **size)  # type: ignore[arg-type]
        killer.join()
    assert "lost with its worker" in capsys.readouterr().err
    assert not far.failures
    assert [result.step for result in far.results] == [100, 100]
    avae_table(tmp_path / "near", data=data, workers=2, **size)  # type: ignore[arg-type]
    assert (tmp_path / "far" / "table.csv").read_bytes() == (tmp_path / "near" / "table.csv").read_bytes()
