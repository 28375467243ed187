"""The loop as its users meet it: exact resume after any kind of end, and one clear sentence for what cannot be done."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import folders
from children import differing
from ganvas import games
from ganvas.engine import Engine
from ganvas.errors import Damaged, Diverged, RunError, Stopped, UsageError
from ganvas.files import sha256
from ganvas.run import Run
from ganvas.training import train

FORKSERVER = multiprocessing.get_context("forkserver")  # whose processes have torch at once
SMALL = {"preset": "tiny", "batch_size": 16, "device": "cpu", "quiet": True}
PAIRS = "pairs"  # what `pictured` puts in its place
CASES = [
    *((name, PAIRS if system.game.kinds else "digits?size=32") for name, system in games.systems().items()),
    ("gan", "mixture:ring8"),
]
CADENCE: dict[str, Any] = {"steps": 24, "checkpoint_every": 14, "tick_every": 4}


def train_and_die(system: str, data: str, out: Path, threads: int, cache: Path) -> None:
    """What a process of its own does: it is killed three steps after its checkpoint."""
    os.environ["GANVAS_CACHE"] = str(cache)
    torch.set_num_threads(threads)
    step = Engine.step

    def fatal(self: Engine, batch: Any) -> Any:
        played = step(self, batch)
        if self.clock.step == 17:
            os.kill(os.getpid(), signal.SIGKILL)
        return played

    Engine.step = fatal  # type: ignore[method-assign]
    train(system, data=data, out=out, **CADENCE, **SMALL)


def assert_same(a: Run, b: Run, step: int) -> None:
    """Every tensor of two runs' checkpoints is the same to the bit; else the first that differs is named."""
    one, two = a.latest(), b.latest()
    assert one is not None
    assert two is not None
    assert one.step == two.step == step
    for part in ("weights", "average"):
        ours, theirs = getattr(one, part)(), getattr(two, part)()
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert torch.equal(value, theirs[name]), f"{part}: the first tensor that differs is {name}"
    ours, theirs = one.state()["optimisers"], two.state()["optimisers"]
    for player, optimiser in ours.items():
        for index, moments in optimiser["state"].items():
            for name, value in moments.items():
                other = theirs[player]["state"][index][name]
                assert torch.equal(value, other), f"optimiser of {player}: {name} of weight {index} differs"


def python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **env})


def pictured(data: str, folder: Path) -> str:
    """The data spec; for pairs, that of a folder of them."""
    if data != PAIRS:
        return data
    generator = np.random.default_rng(0)
    for side in ("A", "B"):
        (folder / side).mkdir(parents=True)
        for i in range(6):
            pixels = generator.integers(0, 256, (36, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / side / f"{i}.png")
    return f"{folder}?crop=32&flip=true"


@pytest.mark.parametrize(("system", "data"), CASES)
def test_24_steps_equal_14_and_a_kill_and_10(system: str, data: str, tmp_path: Path, cache: Path) -> None:
    data = pictured(data, tmp_path / "pictures")
    straight = train(system, data=data, out=tmp_path / "a", **CADENCE, **SMALL)
    out = tmp_path / "b"
    process = FORKSERVER.Process(target=train_and_die, args=(system, data, out, torch.get_num_threads(), cache))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    latest = Run.open(out).latest()
    assert latest is not None
    assert latest.step == 14
    resumed = train(system, data=data, out=out, **CADENCE, **SMALL)
    assert_same(straight, resumed, 24)
    rows = [[{k: row[k] for k in ("step", "images", "terms")} for row in run.stats()] for run in (straight, resumed)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_says_where_and_exits_conventionally(number: int, code: int, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "ganvas", "train", "autoencoder", "--data", "digits", "--preset", "tiny",
               "--steps", "100000", "--checkpoint-every", "50000", "--tick-every", "5", "--out", str(out)]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        stats, patience = out / "stats.jsonl", time.monotonic() + 90
        while not (stats.exists() and stats.read_text().count("\n") > 1) and time.monotonic() < patience:
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.1)
        process.send_signal(number)
        _, text = process.communicate(timeout=240)
    assert process.returncode == code, text
    checkpoint = Run.open(out).latest()
    assert checkpoint is not None
    assert str(checkpoint.folder) in text
    assert "Traceback" not in text


def test_a_spent_budget_stops_at_a_checkpoint_and_goes_on_later(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"data": "digits", "out": tmp_path / "a", "steps": 12, "checkpoint_every": 50, **SMALL}
    first = train("vae", minutes=1e-9, **arguments).latest()
    assert first is not None
    assert first.step == 1
    second = train("vae", **arguments)
    straight = train("vae", **{**arguments, "out": tmp_path / "b"})
    assert_same(second, straight, 12)


def test_a_stopped_run_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Engine.step

    def interrupted(self: Engine, batch: Any) -> Any:
        if self.clock.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch)

    monkeypatch.setattr(Engine, "step", interrupted)
    with pytest.raises(Stopped, match="goes on from there") as stopped:
        train("vae", data="digits", out=tmp_path, steps=60, **SMALL)
    assert stopped.value.exit_code == 143
    assert stopped.value.checkpoint == tmp_path / "checkpoint-00000004"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file of a folder, with its bytes and the time it was written."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


@pytest.mark.parametrize(("number", "moment"), [(signal.SIGTERM, 1), (signal.SIGHUP, 4), (signal.SIGINT, 6)])
def test_a_run_that_was_asked_to_stop_ends_as_if_it_never_had(
    number: int, moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may stop where neither a tick nor a checkpoint is due; what it then leaves is not of the finished run."""
    arguments: dict[str, Any] = {
        "data": "mixture:ring8", "steps": 8, "checkpoint_every": 3, "tick_every": 2, "keep": 1, "keep_best": "modes",
        **SMALL,
    }  # fmt: skip
    straight = train("gan", out=tmp_path / "straight", **arguments)
    step = Engine.step

    def interrupted(self: Engine, batch: Any) -> Any:
        if self.clock.step == moment:
            os.kill(os.getpid(), number)
        return step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "step", interrupted)
        with pytest.raises(Stopped) as stopped:
            train("gan", out=tmp_path / "stopped", **arguments)
    assert stopped.value.exit_code == 128 + number
    paused = Run.open(tmp_path / "stopped")
    assert paused.checkpoints()[-1] == moment + 1
    assert [row["step"] for row in paused.stats()][-1] == moment + 1
    assert (paused.folder / "samples" / f"samples-{moment + 1:08d}.png").exists()
    resumed = train("gan", out=tmp_path / "stopped", **arguments)
    assert differing(straight.folder, resumed.folder) == []
    assert [session.from_step for session in resumed.config.provenance] == [0, moment + 1]


def test_a_signal_before_the_first_step_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Engine, batch: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the step went on")

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train("gan", data="mixture:ring8", out=tmp_path, steps=4, **SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "config.json", "data.json", "data.png"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("again", [False, True])
def test_ctrl_c_is_answered_at_once_and_a_second_one_does_not_wait(
    again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    step, save = Engine.step, Run.save
    said = []

    def interrupted(self: Engine, batch: Any) -> Any:
        if self.clock.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
            said.append(capfd.readouterr().err.splitlines()[-1])
        return step(self, batch)

    def saving(self: Run, *arguments: Any, **more: Any) -> Path:
        if again:
            os.kill(os.getpid(), signal.SIGINT)
        return save(self, *arguments, **more)

    monkeypatch.setattr(Engine, "step", interrupted)
    monkeypatch.setattr(Run, "save", saving)
    with pytest.raises(KeyboardInterrupt if again else Stopped):
        train("gan", data="mixture:ring8", out=tmp_path, steps=9, checkpoint_every=9, **{**SMALL, "quiet": False})
    assert said == ["saving; press again to quit without saving"]
    assert Run.open(tmp_path).checkpoints() == ([] if again else [3])
    assert not [path for path in tmp_path.rglob(".*") if path.name != ".lock"]


def test_a_signal_that_is_ignored_does_not_stop_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As SIGHUP is under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    step = Engine.step

    def hung_up(self: Engine, batch: Any) -> Any:
        os.kill(os.getpid(), signal.SIGHUP)
        return step(self, batch)

    monkeypatch.setattr(Engine, "step", hung_up)
    try:
        assert train("gan", data="mixture:ring8", out=tmp_path, steps=4, **SMALL).checkpoints()[-1] == 4
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_folder_that_is_taken_away_ends_training_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, out = Engine.step, tmp_path / "run"

    def moved(self: Engine, batch: Any) -> Any:
        if self.clock.step == 2:
            out.rename(tmp_path / "elsewhere")
            out.mkdir()
        return step(self, batch)

    monkeypatch.setattr(Engine, "step", moved)
    with pytest.raises(RunError, match="removed or replaced while"):
        train("gan", data="mixture:ring8", out=out, steps=4, checkpoint_every=4, tick_every=4, **SMALL)
    assert list(out.glob("checkpoint-*")) == []


# ---- where a run comes from ------------------------------------------------------------------------------------------
def test_a_finished_command_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments: dict[str, Any] = {"data": "mixture:ring8", "out": tmp_path, "steps": 4, "keep_best": "modes", **SMALL}
    train("gan", **arguments)
    before = files(tmp_path)
    monkeypatch.setattr("ganvas.planning.origins", lambda: {"versions": {"torch": "9.9"}, "git": "abc", "dirty": True})
    again = train("gan", **arguments)
    assert files(tmp_path) == before
    assert again.config == Run.open(tmp_path).config


def test_every_call_that_trained_is_listed_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments: dict[str, Any] = {"data": "mixture:ring8", "out": tmp_path, "checkpoint_every": 2, **SMALL}
    first = train("gan", steps=2, **arguments)
    assert [(s.from_step, s.git) for s in first.config.provenance] == [(0, first.config.git)]
    with monkeypatch.context() as patch:  # killed before its first checkpoint
        patch.setattr("ganvas.planning.origins", lambda: {"versions": {}, "git": "lost", "dirty": False})
        patch.setattr(Engine, "step", lambda self, batch: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            train("gan", steps=4, **arguments)
    assert Run.open(tmp_path).config.git == first.config.git
    monkeypatch.setattr("ganvas.planning.origins", lambda: {"versions": {}, "git": "def", "dirty": True})
    second = train("gan", steps=4, **arguments)
    assert [(s.from_step, s.git, s.dirty) for s in second.config.provenance[1:]] == [(2, "def", True)]
    assert second.config.provenance[0] == first.config.provenance[0]
    assert (second.config.git, second.config.dirty) == ("def", True)
    assert Run.open(tmp_path).config == second.config


def test_divergence_stops_with_player_step_and_last_good_checkpoint(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"data": "digits", "out": tmp_path, "steps": 40, "checkpoint_every": 4, **SMALL}

    def poisoned(self: Engine, batch: Any) -> Any:
        if self.clock.step == 6:
            batch = {**batch, "image": batch["image"] * float("nan")}
        return step(self, batch)

    step = Engine.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "step", poisoned)
        with pytest.raises(Diverged, match=r"step 6.*checkpoint-00000004") as diverged:
            train("autoencoder", **arguments)
    assert diverged.value.exit_code == 3
    good = Run.open(tmp_path).latest()
    assert good is not None
    assert all(value.isfinite().all() for value in good.weights().values() if value.is_floating_point())


def test_weights_that_are_not_finite_are_never_a_checkpoint(tmp_path: Path) -> None:
    """A step may spoil the weights whose gradient was still finite."""
    arguments: dict[str, Any] = {"data": "digits", "out": tmp_path, "checkpoint_every": 1, "steps": 3, **SMALL}
    with pytest.raises(Diverged, match="left the finite numbers by step 1; there is no checkpoint yet"):
        train("autoencoder", lr=1e38, **arguments)
    assert Run.open(tmp_path).checkpoints() == []


def test_ticks_before_a_first_checkpoint_are_not_counted_twice(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"data": "digits", "out": tmp_path, "steps": 8, "tick_every": 2, **SMALL}
    step = Engine.step

    def fatal(self: Engine, batch: Any) -> Any:
        if self.clock.step == 5:
            raise MemoryError
        return step(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "step", fatal)
        with pytest.raises(MemoryError):
            train("autoencoder", checkpoint_every=8, **arguments)
    run = train("autoencoder", checkpoint_every=8, **arguments)
    assert [row["step"] for row in run.stats()] == [2, 4, 6, 8]


def test_a_signal_at_the_last_step_finds_the_run_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = Run.save

    def interrupted(self: Run, step: int, **parts: Any) -> Path:
        os.kill(os.getpid(), signal.SIGINT)
        return save(self, step, **parts)

    monkeypatch.setattr(Run, "save", interrupted)
    run = train("autoencoder", data="digits", out=tmp_path, steps=2, checkpoint_every=2, **SMALL)
    assert run.checkpoints() == [2]


def test_a_second_process_on_a_run_is_refused(tmp_path: Path) -> None:
    run = train("autoencoder", data="digits", out=tmp_path, steps=2, **SMALL)
    with Run.locked(run.folder):
        again = f"train('autoencoder', data='digits', out={str(tmp_path)!r}, steps=3, **{SMALL!r})"
        other = python(f"from ganvas.training import train; {again}")
    assert other.returncode != 0
    assert "RunError" in other.stderr
    assert run.config.steps == 2


def test_init_starts_from_another_run_and_lists_what_is_fresh(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = train("vae", data="digits", out=tmp_path / "a", steps=3, **SMALL)
    arguments: dict[str, Any] = {"data": "digits", "steps": 1, **SMALL, "quiet": False}
    second = train("avae", out=tmp_path / "b", init=tmp_path / "a", **arguments)
    text = capsys.readouterr().err
    assert "started from" in text
    assert "starting fresh" in text
    assert second.config.init == str(tmp_path / "a")
    assert first.config.init is None


def test_keep_best_marks_the_best_checkpoint_and_keeps_it(tmp_path: Path) -> None:
    run = train(
        "autoencoder", data="digits", out=tmp_path, steps=12, checkpoint_every=3, keep=1, keep_best="mse", **SMALL
    )
    best = run.best()
    assert best is not None
    assert best["metric"] == "mse"
    assert best["step"] in run.checkpoints()


def test_only_its_own_score_of_a_checkpoint_decides_which_is_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between a checkpoint and its score, and an evaluation on other data before training goes on."""
    arguments: dict[str, Any] = {"data": "digits", "steps": 6, "checkpoint_every": 3, "keep_best": "mse", **SMALL}
    straight = train("autoencoder", out=tmp_path / "straight", **arguments).best()

    def killed(*arguments: Any, **more: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(Run, "mark_best", killed)
        with pytest.raises(SystemExit):
            train("autoencoder", out=tmp_path / "run", **arguments)
    run = Run.open(tmp_path / "run")
    (run.folder / "metrics.jsonl").unlink()
    run.record(3, {"mse": folders.figure(1e-9)})
    assert train("autoencoder", out=run.folder, **arguments).best() == straight


def test_a_term_that_was_not_played_is_passed_over_and_a_misspelt_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments: dict[str, Any] = {"data": "mixture:ring8", "steps": 4, "checkpoint_every": 1, "tick_every": 1, **SMALL}
    arguments |= {"quiet": False}
    late = train("gan", out=tmp_path / "late", keep_best="generator/fool", critic_steps=3, **arguments)
    assert "generator/fool was not logged since the last tick" in capsys.readouterr().err
    logged = {row["step"]: row["terms"]["generator/fool"] for row in late.stats() if "generator/fool" in row["terms"]}
    assert 0 < len(logged) < 4
    best = late.best()
    assert best is not None
    assert best["value"] == min(logged.values())
    with pytest.raises(
        UsageError, match=r"generator/fol: nothing of that name is logged: did you mean 'generator/fool'"
    ):
        train("gan", out=tmp_path / "bad", keep_best="generator/fol", **arguments)


@pytest.mark.parametrize(("metric", "pick"), [("elbo", max), ("valid/elbo", max), ("valid/autoencoder/kl", min)])
def test_keep_best_knows_which_way_is_better(metric: str, pick: Any, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"data": "digits", "out": tmp_path, "steps": 8, "checkpoint_every": 2, **SMALL}
    run = train("vae", keep_best=metric, **arguments)
    measured = [row["metrics"]["elbo"]["value"] for row in run.metrics()]
    logged = [row["terms"][metric] for row in run.stats() if metric in row["terms"]]
    best = run.best()
    assert best is not None
    assert best["value"] == pick(measured if metric == "elbo" else logged)


def test_new_numbers_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [train("autoencoder", data="digits", steps=1, new=True, **SMALL).folder for _ in range(2)]
    assert folders == [Path("runs/autoencoder-digits"), Path("runs/autoencoder-digits-2")]


@pytest.mark.parametrize(
    "state", [{"step": 6}, {"step": 6, "optimisers": 3}, {"step": 6, "optimisers": {}, "sums": {}}]
)
def test_a_state_that_is_not_of_this_run_is_damage(state: dict[str, Any], trained: Any, tmp_path: Path) -> None:
    folder = trained.copy("autoencoder", tmp_path / "run")
    checkpoint = folder / "checkpoint-00000006"
    torch.save(state, checkpoint / "state.pt")
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    size = (checkpoint / "state.pt").stat().st_size
    manifest["files"]["state.pt"] = {"sha256": sha256(checkpoint / "state.pt"), "bytes": size}
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))
    more: dict[str, Any] = {"preset": "tiny", "steps": 8, "checkpoint_every": 6, "batch_size": 32, "quiet": True}
    with pytest.raises(Damaged, match="checkpoint-00000006 does not hold what this run saves"):
        train("autoencoder", data="digits?limit=96", out=folder, device="cpu", **more)
