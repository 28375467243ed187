"""What train, info, runs, calibrate and report do with runs."""

from __future__ import annotations

import dataclasses
import re
import shlex
import time
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import numpy as np
import pytest
import torch
from said import Command, Refusal

import folders
from ganvas import games
from ganvas.errors import MissingWeights, UsageError
from ganvas.run import Run
from ganvas.training import train
from trained import DIGITS, Trained
from translators import Translators

TINY = ["--preset", "tiny", "--batch-size", "16", "--device", "cpu"]
RING = ["train", "gan", "--data", "mixture:ring8", *TINY]


def states(folder: Path) -> dict[str, Any]:
    """Everything that a run's newest checkpoint holds, flat."""
    checkpoint = Run.open(folder).latest()
    assert checkpoint is not None
    found: dict[str, Any] = {"step": checkpoint.step}
    waiting = [("weights", checkpoint.weights()), ("average", checkpoint.average()), ("state", checkpoint.state())]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{name}/{key}", item) for key, item in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(f"{name}/{i}", item) for i, item in enumerate(value)]
        else:
            found[name] = value
    return found


def assert_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        same = torch.equal(value, b[name]) if isinstance(value, torch.Tensor) else value == b[name]
        assert same, name


# ---- train -----------------------------------------------------------------------------------------------------------
def test_training_says_where_and_the_same_command_goes_on(ganvas_cli: Command, here: Path) -> None:
    command = [*RING, "--steps", "5", "--checkpoint-every", "2"]
    said = ganvas_cli(*command)
    assert said.out == "runs/gan-mixture-ring8\n"
    assert "step 5/5" in said.err
    again = ganvas_cli(*command, "--json")
    assert "is trained: 5 of 5 steps" in again.err
    assert again.json["step"] == 5
    assert (again.json["command"], again.json["run"], again.json["system"]) == (
        "train",
        "runs/gan-mixture-ring8",
        "gan",
    )
    assert ganvas_cli(*command, "--new").out == "runs/gan-mixture-ring8-2\n"
    assert_same(states(here / "runs/gan-mixture-ring8"), states(here / "runs/gan-mixture-ring8-2"))


def test_a_spent_budget_is_a_checkpoint_and_the_same_command_ends_alike(ganvas_cli: Command, here: Path) -> None:
    said = ganvas_cli(*RING, "--steps", "6", "--out", "a", "--minutes", "0.000001", "--json")
    assert said.json["step"] == 1
    assert said.json["next"].startswith("ganvas train gan --data mixture:ring8 ")
    assert "The budget is spent at step 1 of 6; the same command goes on." in said.err
    ganvas_cli(*RING, "--steps", "6", "--out", "a")
    ganvas_cli(*RING, "--steps", "6", "--out", "b")
    assert_same(states(here / "a"), states(here / "b"))


def test_a_dry_run_prints_the_settings_and_writes_nothing(ganvas_cli: Command, here: Path) -> None:
    command = ["train", "avae", "--data", DIGITS, "--no-xi", "--latent-weight", "none", "--beta", "2", "--dry-run"]
    config = ganvas_cli(*command, "--json").json["config"]
    assert list(here.iterdir()) == []
    assert msgspec.json.decode(ganvas_cli(*command).out) == config
    small, defaults = games.system("avae").preset("small")  # the first of the table
    assert config["leaves"] == dataclasses.asdict(small) | {"xi": False, "latent_weight": None, "beta": 2.0}
    assert config["changed"] == ["xi", "latent_weight", "beta"]
    assert (config["preset"], config["steps"], config["batch_size"]) == ("small", *defaults.values())
    assert (config["data"], config["schema"]["image"], config["seed"]) == (DIGITS, [1, 32, 32], 0)


@pytest.mark.parametrize("preset", ["paper", "avae-table", "tiny"])
@pytest.mark.parametrize("form", ["--preset {}", "--preset={}"])
def test_a_presets_row_is_where_flags_start_from(ganvas_cli: Command, preset: str, form: str) -> None:
    words = ["train", "avae", "--data", DIGITS, *form.format(preset).split(), "--latent", "7", "--dry-run", "--json"]
    config = ganvas_cli(*words).json["config"]
    row, defaults = games.system("avae").preset(preset)
    assert config["leaves"] == dataclasses.asdict(row) | {"latent": 7}
    assert config["changed"] == ["latent"]
    assert (config["steps"], config["batch_size"]) == (defaults["steps"], defaults["batch_size"])


def changed(value: Any, kind: Any) -> list[Any]:
    """Other values of a setting, of every sort that its type allows."""
    members = get_args(kind) if type(kind) is not type and get_origin(kind) is not Literal else (kind,)
    found: list[Any] = []
    for member in members:
        if get_origin(member) is Literal:
            found += get_args(member)
        elif member is bool:
            found += [True, False]
        elif member is type(None):
            found += [None]
        else:
            found += [{int: 3, float: 0.125}[member]]
    return [other for other in found if other != value]


@pytest.mark.parametrize("name", games.names())
def test_the_command_that_info_gives_resumes_whatever_was_set(
    ganvas_cli: Command, here: Path, translators: Translators, name: str
) -> None:
    """Every setting on its own, each of its values: the next command reads back as the same settings."""
    system = games.system(name)
    tiny, _ = system.preset("tiny")
    data = translators.data(system.game.kinds) if system.game.kinds else DIGITS
    count = 0
    for leaf, kind in get_type_hints(system.config).items():
        for value in changed(getattr(tiny, leaf), kind):
            folder = here / f"{leaf} {count}"
            try:
                config = system.configure({**dataclasses.asdict(tiny), leaf: value})
                if hasattr(config, "resolved"):
                    config.resolved(None)
            except (UsageError, MissingWeights):  # it contradicts another setting, or needs what is not at hand
                continue
            settings = {**dataclasses.asdict(tiny), leaf: value}
            run = folders.build(folder, system=name, leaves=settings, changed=[leaf], data=data, preset="tiny")
            words = shlex.split(run.commands()[0])
            assert words.pop(0) == "ganvas"
            words[words.index("--out") + 1] = f"{leaf} {count} again"
            config = ganvas_cli(*words, "--dry-run", "--json").json["config"]
            assert config["leaves"] == msgspec.to_builtins(settings)
            assert config["changed"] == [leaf]
            count += 1
    assert count >= 4


def test_switches_that_may_be_left_open_are_spelt_in_every_way(ganvas_cli: Command) -> None:
    def read(*words: str) -> Any:
        said = ganvas_cli("train", "dcgan", "--data", DIGITS, *words, "--dry-run", "--json")
        return said.json["config"]["leaves"]["batch_norm_critic"]

    assert read() is None
    for words in (["--batch-norm-critic"], ["--batch-norm-critic", "true"], ["--batch-norm-critic=True"]):
        assert read(*words) is True
    for words in (["--no-batch-norm-critic"], ["--batch-norm-critic", "false"]):
        assert read(*words) is False
    assert read("--batch-norm-critic", "--batch-norm-critic", "none") is None


# ---- info, runs ------------------------------------------------------------------------------------------------------
def test_info_tells_what_a_run_is_and_commands_that_work(ganvas_cli: Command, trained: Trained, here: Path) -> None:
    for system in ("avae", "vae", "autoencoder", "dcgan", "gan"):
        folder = trained.copy(system, here / f"{system}'s run")
        page = ganvas_cli("info", folder).out
        assert re.search(rf"^system       {system}, preset tiny", page, re.M)
        assert re.search(r"^steps        6 of 6 in 0:", page, re.M)
        found = ganvas_cli("info", folder, "--json").json
        assert (found["step"], found["steps"], found["verbs"]) == (6, 6, list(games.system(system).verbs))
        assert found["checkpoints"] == ([3, 6] if system == "gan" else [6])
        commands = Run.open(folder).commands()
        assert found["next"] == commands[0]
        for command in commands:
            assert f" {command}\n" in page  # whole, to be copied
            words = shlex.split(command)[1:]
            ganvas_cli(*words, *(["-n", "12"] if words[0] in ("sample", "reconstruct", "evaluate") else []))


def test_runs_are_a_table_with_their_figures(ganvas_cli: Command, here: Path) -> None:
    first = folders.build(here / "runs" / "a", 10, 20)
    folders.build(here / "runs" / "deep" / "b", system="gan", data="mixture:ring8")
    first.append(folders.tick(20, critic__real=0.5))
    first.record(20, {"mse": folders.figure(0.125), "psnr": folders.figure(None)})
    found = ganvas_cli("runs", "--json").json["runs"]
    assert [(row["run"], row["step"], row["system"]) for row in found] == [
        ("runs/a", 20, "vae"), ("runs/deep/b", 0, "gan"),
    ]  # fmt: skip
    assert found[0]["metrics"]["psnr"]["value"] is None
    header, one, two = ganvas_cli("runs").out.splitlines()
    assert header.split() == ["run", "system", "data", "steps", "time", "MB", "metrics"]
    assert one.split()[:4] == ["runs/a", "vae", "digits", "20/30"]
    assert one.endswith("mse 0.125  psnr not finite")
    assert two.split()[0] == "runs/deep/b"
    assert ganvas_cli("runs", "runs/deep").out.splitlines()[1].startswith("runs/deep/b")


def test_a_folder_without_runs_says_so(ganvas_cli: Command, here: Path) -> None:
    (here / "runs").mkdir()
    assert ganvas_cli("runs").out == "There is no run in runs.\n"
    assert ganvas_cli("runs", "--json").json["runs"] == []


def test_a_broken_run_does_not_hide_the_others(ganvas_cli: Command, here: Path) -> None:
    folders.build(here / "runs" / "a", 10)
    folders.build(here / "runs" / "b", 10)
    (here / "runs" / "b" / "config.json").write_text("{")
    said = ganvas_cli("runs", "--json")
    assert [row["run"] for row in said.json["runs"]] == ["runs/a"]
    assert "runs/b/config.json cannot be read" in said.err


# ---- damage ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("command", ["sample RUN -n 9 --out a.npz", "evaluate RUN -n 9", "calibrate RUN -n 32"])
def test_a_damaged_checkpoint_is_passed_over_and_said(
    ganvas_cli: Command, trained: Trained, here: Path, command: str
) -> None:
    folder = trained.copy("gan", here / "run")
    folders.flip(folder / "checkpoint-00000006" / "ema.safetensors")
    said = ganvas_cli(*command.replace("RUN", "run").split(), "--json")
    assert "checkpoint-00000006 is damaged (ema.safetensors is not what was written" in said.err
    assert "using checkpoint-00000003" in said.err
    assert len([line for line in said.err.splitlines() if not line.startswith("read ")]) == 1
    if command.startswith("sample"):
        game: Any = Run.open(folder).load_game(warn=lambda _: None)
        with np.load("a.npz") as arrays:
            assert np.array_equal(arrays["vectors"], game.sample(9).numpy())


@pytest.mark.parametrize(
    "command", ["sample RUN --out a.npz", "evaluate RUN", "calibrate RUN", f"{' '.join(RING)} --steps 6 --out RUN"]
)
def test_damage_beyond_use_is_exit_4(refused: Refusal, trained: Trained, here: Path, command: str) -> None:
    folder = trained.copy("gan", here / "run")
    (folder / ".lock").touch()
    folders.flip(folder / "checkpoint-00000006" / "ema.safetensors")
    (folder / "checkpoint-00000003" / "manifest.json").write_text("{")
    sentence = refused(*command.replace("RUN", "run").replace("--batch-size 16", "--batch-size 32").split(), code=4)
    assert "checkpoint-00000006 is damaged" in sentence
    assert "no other checkpoint is whole" in sentence


# ---- calibrate, report -----------------------------------------------------------------------------------------------
def test_calibrating_changes_the_averages_statistics_alone_and_training_goes_on_alike(
    ganvas_cli: Command, trained: Trained, here: Path
) -> None:
    settings: dict[str, Any] = {"preset": "tiny", "data": DIGITS, "batch_size": 16, "device": "cpu", "quiet": True}
    for name in ("plain", "calibrated"):
        train("dcgan", out=here / name, steps=3, checkpoint_every=3, **settings)
    before = states(here / "calibrated")
    said = ganvas_cli("calibrate", "calibrated", "-n", "40", "--json")
    checkpoint = Run.open(here / "calibrated").latest()
    assert checkpoint is not None
    assert checkpoint.calibrated
    assert said.json["checkpoint"] == "calibrated/checkpoint-00000003"
    assert said.json["n"] == 40
    after = states(here / "calibrated")
    differing = {name for name in before if not np.array_equal(before[name], after[name])}
    assert differing
    assert all(re.search(r"^average/G\..*(running_|num_batches)", name) for name in differing)
    for name in ("plain", "calibrated"):
        train("dcgan", out=here / name, steps=5, checkpoint_every=5, **settings)
    assert_same(states(here / "plain"), states(here / "calibrated"))


def test_a_report_is_written_and_named(ganvas_cli: Command, trained: Trained, here: Path) -> None:
    trained.copy("avae", here / "run")
    found = ganvas_cli("report", "run", "--json").json
    assert (found["run"], found["report"]) == ("run", "run/report.html")
    first = (here / "run" / "report.html").stat().st_mtime_ns
    time.sleep(0.01)
    assert ganvas_cli("report", "run").out == "run/report.html\n"
    assert (here / "run" / "report.html").stat().st_mtime_ns > first
    assert "avae" in (here / "run" / "report.html").read_text()
