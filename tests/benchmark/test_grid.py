"""The AVAE table from the command line: whole, killed twice, bounded in minutes, and with cells that fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

import slopes
from ganvas.benchmark import cell as cells
from ganvas.benchmark.grid import avae_table
from ganvas.errors import DataError, RunError, UsageError
from ganvas.files import atomic
from ganvas.training import train


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return slopes.write(tmp_path_factory.mktemp("data") / "cifar")


def words(data: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "ganvas", "benchmark", "avae-table", "--data", f"cifar10={data}", "--out", str(out),
            "--width", "2", *more]  # fmt: skip


def run(data: Path, out: Path, *more: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(words(data, out, *more), capture_output=True, text=True, timeout=240)
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of two models, run at one go; 100 steps, so that there is time to kill another."""
    out = tmp_path_factory.mktemp("whole") / "table"
    run(data, out, "--models", "vae,gan", "--steps", "100", "--workers", "2")
    return out


def test_a_table_killed_twice_ends_as_one_that_was_not(data: Path, whole: Path, tmp_path: Path) -> None:
    out, more = tmp_path / "table", ("--models", "vae,gan", "--steps", "100")
    for number, name in ((signal.SIGKILL, "vae-0"), (signal.SIGTERM, "gan-0")):
        process = subprocess.Popen(words(data, out, *more), stderr=subprocess.PIPE, text=True, start_new_session=True)
        cell = out / "cells" / "cifar10" / name
        deadline = time.monotonic() + 60
        while not (cell / "checkpoint-00000020").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        _, said = process.communicate(timeout=240)
        assert process.returncode == (-signal.SIGKILL if number is signal.SIGKILL else 143), said
        assert cells.read(cell) is None  # it was in the middle
    ended = run(data, out, *more, "--json")
    assert "1 of 2 cells are finished" in ended.stderr
    assert (out / "table.csv").read_bytes() == (whole / "table.csv").read_bytes()
    logs = sorted((out / "logs").glob("*.log"))
    assert "resuming" in "".join(log.read_text() for log in logs)
    found = json.loads(ended.stdout)
    assert [(c["model"], c["seed"], c["steps"]) for c in found["cells"]] == [("vae", 0, 100), ("gan", 0, 100)]


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_the_pages_are_there_with_their_sheets(whole: Path) -> None:
    found = json.loads((whole / "table.json").read_text())
    (value,) = [c["metrics"]["mse"]["value"] for c in found["cells"] if c["model"] == "vae"]
    markdown, html = (whole / "table.md").read_text(), (whole / "table.html").read_text()
    assert f"| VAE | {value:.3f} | 100 |" in markdown
    assert f"{value:.3f}" in html
    assert "statistics of each batch of 64" in markdown
    assert "--models vae,gan --width 2 --steps 100" in markdown
    with (
        Image.open(whole / "cifar10-samples.png") as samples,
        Image.open(whole / "cifar10-reconstructions.png") as pairs,
    ):
        assert samples.size[0] > 10 * 64
        assert samples.size[1] == pairs.size[1]  # two models; the images and one


def test_finished_cells_are_not_run_again(data: Path, whole: Path) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in whole.rglob("cell.json")}
    assert len(stamps) == 2
    more = ("--models", "vae,gan", "--steps", "100")
    assert "2 of 2 cells are finished" in run(data, whole, *more).stderr
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("cell.json")} == stamps


def test_cells_that_fail_are_named_and_the_others_go_on(data: Path, tmp_path: Path) -> None:
    """One holds another run; the folder of another cannot be written: it is a file."""
    out, folder = tmp_path / "table", tmp_path / "table" / "cells" / "cifar10"
    train(
        "vae", data=str(data), preset="avae-table", width=2, steps=3, precision="fp32", out=folder / "vae-0", quiet=True
    )
    (folder / "bigan-0").write_text("")
    ended = run(data, out, "--models", "vae,bigan,gan", "--steps", "2", "--json", code=2)
    assert "vae on cifar10, seed 0 failed: " in ended.stderr
    found = json.loads(ended.stdout)
    assert [c["model"] for c in found["cells"]] == ["gan"]
    assert "holds another run: steps was 3, now 2" in found["failed"]["vae on cifar10, seed 0"]
    assert "bigan-0" in found["failed"]["bigan on cifar10, seed 0"]
    assert "| VAE |  | failed |" in (out / "table.md").read_text()


def test_spent_minutes_leave_a_table_of_what_was_reached(data: Path, tmp_path: Path) -> None:
    out, more = tmp_path / "table", ("--models", "vae,gan", "--steps", "100000")
    began = time.monotonic()
    found = json.loads(run(data, out, *more, "--minutes", "0.3", "--json").stdout)
    took = time.monotonic() - began
    assert [c["model"] for c in found["cells"]] == ["vae", "gan"]
    assert all(1 <= c["steps"] < 100_000 for c in found["cells"])
    assert found["cells"][0]["seconds"]["training"] < 12  # half of the 18 s is the other's
    assert 10 < took < 200
    assert f"| {found['cells'][0]['steps']:,} |" in (out / "table.md").read_text()
    assert "steps)" in found["orderings"]["cifar10"][0]["why"]


def test_a_table_of_another_size_is_left_alone(data: Path, whole: Path) -> None:
    before = (whole / "table.md").read_bytes()
    with pytest.raises(RunError, match="holds a table of width 2 and 100 steps, not of 4 and 100"):
        avae_table(whole, data={"cifar10": str(data)}, models=["vae"], width=4, steps=100)
    assert (whole / "table.md").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"models": ["vea"]}, r"no model 'vea': did you mean 'vae'\?"),
        ({"data": {"cifar": None}}, r"no data set 'cifar': did you mean 'cifar10'\?"),
        ({"profile": "gpu"}, "no profile 'gpu'"),
        ({"seeds": 0}, "--seeds must be at least 1, not 0"),
        ({"workers": 0}, "--workers must be at least 1"),
        ({"minutes": 0.0}, "--minutes must be positive"),
        ({"dask": "tcp://127.0.0.1:1", "workers": 2}, "--workers is for this machine"),
    ],
)
def test_mistakes_are_one_sentence_before_anything_is_written(
    arguments: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=sentence):
        avae_table(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_data_without_a_test_split_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no test split, which cifar10 is scored on"):
        avae_table(tmp_path / "out", data={"cifar10": str(data / "train.npz")})


def test_a_folder_with_something_elses_table_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text('{"rows": []}')
    with pytest.raises(RunError, match=r"is no table of ours"):
        avae_table(tmp_path, data={"cifar10": str(data)}, models=["vae"], steps=2, width=2)


def test_one_process_at_a_time_works_on_a_table(data: Path, whole: Path) -> None:
    from filelock import FileLock

    with FileLock(whole / ".lock"), pytest.raises(RunError, match="Another process is at work"):
        avae_table(whole, data={"cifar10": str(data)})


def test_a_result_answers_only_the_cell_that_it_is_of(whole: Path) -> None:
    found = cells.read(whole / "cells" / "cifar10" / "vae-0")
    assert found is not None
    same = msgspec.structs.replace(found.cell, folder="/elsewhere", spec="/there")
    assert found.answers(same)
    for change in ({"seed": 1}, {"width": 4}, {"fingerprints": ("x", "y")}, {"metrics": (*found.cell.metrics, "fid")}):
        assert not found.answers(msgspec.structs.replace(found.cell, **change))


def test_a_torn_result_is_none(tmp_path: Path) -> None:
    with atomic(tmp_path / cells.RESULT) as part:
        part.write_text("{")
    assert cells.read(tmp_path) is None
    assert os.listdir(tmp_path) == [cells.RESULT]
