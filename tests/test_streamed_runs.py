"""Runs on streamed sets: exact resume after a kill, and all that is done with a run."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from ganvas.calibrate import calibrate_run
from ganvas.comparison import compare
from ganvas.data import open_data
from ganvas.data import stream as room
from ganvas.engine import Engine
from ganvas.errors import DataError, RunError
from ganvas.evaluation import evaluate
from ganvas.run import Run
from ganvas.training import train

ARGUMENTS: dict[str, Any] = {"preset": "tiny", "steps": 20, "checkpoint_every": 10, "tick_every": 5, "batch_size": 16,
                             "device": "cpu", "quiet": True}  # fmt: skip
KILLED = """
import os, signal, sys
import torch
torch.set_num_threads({threads})
from ganvas.data import stream
from ganvas.engine import Engine
from ganvas.training import train
stream.WINDOW_ROWS = (48, 48)
step = Engine.step
def fatal(self, batch):
    played = step(self, batch)
    if self.clock.step == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return played
Engine.step = fatal
train("vae", data={data!r}, out={out!r}, **{arguments!r})
"""


def encoded(i: int) -> bytes:
    """A picture of its own, of 16x16 in grey."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(i).integers(0, 256, (16, 16), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two hundred pictures in three files for training and forty for testing, row groups of 25, windows of 48 rows."""
    rows = {"train-000-of-003": range(70), "train-001-of-003": range(70, 140), "train-002-of-003": range(140, 200),
            "test-000-of-001": range(200, 240)}  # fmt: skip
    (tmp_path / "set").mkdir()
    for name, some in rows.items():
        table = pa.table({"image": pa.array([encoded(i) for i in some]), "label": [i % 3 for i in some]})
        pq.write_table(table, tmp_path / "set" / f"{name}.parquet", row_group_size=25)
    monkeypatch.setattr(room, "WINDOW_ROWS", (48, 48))
    return tmp_path / "set"


STOPPED = """
import os, signal, time
from ganvas.data import stream
from ganvas.data.parquet import _Pictures
from ganvas.engine import Engine
from ganvas.errors import Stopped
from ganvas.training import train
stream.WINDOW_ROWS = (2000, 2000)
pictures, step = _Pictures.read, Engine.step
slow = False
def read(self, rows):
    for block in pictures(self, rows):
        time.sleep(2 * slow * (len(rows) > 1500))  # a whole window, as over a line
        yield block
def interrupted(self, batch):
    global slow
    played = step(self, batch)
    if self.clock.step == 3:
        slow = True
        os.kill(os.getpid(), signal.SIGINT)
    return played
_Pictures.read, Engine.step = read, interrupted
try:
    train("autoencoder", data={data!r}, out={out!r}, **{arguments!r})
except Stopped as error:
    print(error, time.time())
"""


def test_an_interrupted_run_ends_at_once_with_a_checkpoint_whatever_is_still_to_be_read(tmp_path: Path) -> None:
    table = pa.table({"image": pa.array([encoded(i % 50) for i in range(6000)])})
    pq.write_table(table, tmp_path / "train.parquet", row_group_size=100)
    out, arguments = tmp_path / "run", {**ARGUMENTS, "batch_size": 512}
    code = STOPPED.format(data=f"{tmp_path}/train.parquet?stream=true", out=str(out), arguments=arguments)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    took = time.time() - float(ended.stdout.split()[-1])
    assert "Stopped by SIGINT" in ended.stdout, ended.stderr
    assert Run.open(out).checkpoints() == [3]
    assert took < 10  # to read a window of 2000 rows, a block of 64 in two seconds, would be another minute


def same(a: Run, b: Run) -> bool:
    """Whether the newest checkpoints of two runs are equal to the bit."""
    one, two = a.latest(), b.latest()
    assert one is not None
    assert two is not None
    pairs = [(one.weights(), two.weights()), (one.average(), two.average())]
    return one.step == two.step and all(torch.equal(x[name], y[name]) for x, y in pairs for name in x)


def test_20_steps_equal_13_and_a_kill_and_a_resume(folder: Path, tmp_path: Path) -> None:
    data, out = f"{folder}/*.parquet?stream=true&flip=true&channels=grey", tmp_path / "b"
    straight = train("vae", data=data, out=tmp_path / "a", **ARGUMENTS)
    code = KILLED.format(threads=torch.get_num_threads(), data=data, out=str(out), arguments=ARGUMENTS)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    killed = Run.open(out).latest()
    assert killed is not None
    assert killed.step == 10
    assert same(straight, train("vae", data=data, out=out, **ARGUMENTS))

    # what else is done with a run
    assert any(name.startswith("valid/") for name in straight.stats()[-1]["terms"])
    assert {path.name for path in (straight.folder / "samples").iterdir()} >= {
        *("samples-00000020.png", "reconstructions-00000020.png"),
    }
    stored = evaluate(straight, data=f"{folder}?channels=grey", metrics=["mse", "psnr"], n=30)
    for name, figure in evaluate(straight, metrics=["mse", "psnr"], n=30).items():
        assert figure.value == stored[name].value
        assert figure.n == 30
    assert calibrate_run(straight, n=64, device="cpu").name == "checkpoint-00000020"
    assert straight.info()["data"] == f"{folder}/*.parquet?flip=true&channels=grey&stream=true"


def test_a_changed_source_is_said_and_the_run_goes_on(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = {**ARGUMENTS, "data": f"{folder}?stream=true", "out": tmp_path / "run", "minutes": 1e-9}
    train("autoencoder", **arguments)
    (folder / "train-002-of-003.parquet").unlink()
    run = train("autoencoder", **{**arguments, "quiet": False})
    clause = f"the content of {folder}?stream=true has changed since: the run goes on, but not to the same bits"
    assert f"note: {clause}." in capsys.readouterr().err
    assert run.config.fingerprint == open_data(f"{folder}?stream=true").fingerprint
    train("autoencoder", **{**arguments, "quiet": False})
    assert "has changed" not in capsys.readouterr().err  # it is the run's source now
    with pytest.raises(RunError, match="the data was"):
        train("autoencoder", **{**arguments, "data": str(folder)})


def test_data_that_breaks_in_the_middle_is_said_with_the_checkpoint_to_go_on_from(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Engine.step

    def breaks(self: Engine, batch: Any) -> Any:
        if self.clock.step == 11:
            for path in folder.glob("train-*"):
                path.unlink()
        return step(self, batch)

    monkeypatch.setattr(Engine, "step", breaks)
    arguments = {**ARGUMENTS, "data": f"{folder}?stream=true", "out": tmp_path / "run", "steps": 100}
    with pytest.raises(
        DataError, match=r"parquet is gone: check the path; the last checkpoint is .*-00000010, from whi"
    ):
        train("autoencoder", **arguments)


def test_a_run_goes_on_with_files_that_were_copied_elsewhere(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = {**ARGUMENTS, "out": tmp_path / "run", "minutes": 1e-9}
    train("autoencoder", data=f"{folder}?stream=true", **arguments)
    there = Path(shutil.copytree(folder, tmp_path / "copy"))
    with_times = train("autoencoder", data=f"{there}?stream=true", **{**arguments, "quiet": False})
    assert "has changed since" not in capsys.readouterr().err
    assert with_times.config.data == f"{folder}?stream=true"
    os.utime(there / "train-000-of-003.parquet", ns=(0, 10**15))
    train("autoencoder", data=f"{there}?stream=true", **{**arguments, "quiet": False})
    assert "has changed since: the run goes on, but not to the same bits" in capsys.readouterr().err


def test_statistics_of_a_streamed_set_are_of_what_its_files_hold_now(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANVAS_WEIGHTS", str(shared / "weights"))

    def write(first: int) -> None:  # of one size and at one time, whatever they hold
        for i in range(8):
            pixels = np.random.default_rng(first + i).integers(0, 256 - first, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{i}.bmp")
            os.utime(tmp_path / f"{i}.bmp", ns=(0, 0))

    streamed, other = f"{tmp_path}?stream=true", "photos?limit=8&size=8"
    values = []
    for first in (0, 200):
        write(first)
        monkeypatch.setenv("GANVAS_CACHE", str(tmp_path / ".cache"))
        found = compare(streamed, other, metrics=["fd-squeeze"], device="cpu")["fd-squeeze"].value
        monkeypatch.setenv("GANVAS_CACHE", str(tmp_path / f".fresh-{first}"))
        assert found == compare(streamed, other, metrics=["fd-squeeze"], device="cpu")["fd-squeeze"].value
        values.append(found)
    assert values[0] != values[1]
    assert open_data(streamed).content is None
