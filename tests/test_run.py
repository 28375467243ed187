"""A run folder: what it takes, what it survives, what it says of itself."""

from __future__ import annotations

import errno
import json
import math
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import folders
import ganvas.run
from ganvas import games
from ganvas.errors import Damaged, RunError
from ganvas.files import sha256
from ganvas.run import Run, load, runs
from ganvas.schema import Schema


def python(code: str, *arguments: object) -> str:
    """What a fresh interpreter prints."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- the folder ------------------------------------------------------------------------------------------------------
def test_a_run_is_read_as_it_was_made(tmp_path: Path) -> None:
    config = folders.config(leaves={"betas": [0.5, 0.999], "clip": None, "ümlaut": "√"}, changed=["clip"], git="abc")
    made = Run.create(tmp_path / "deep" / "run", config)
    assert Run.exists(made.folder)
    assert Run.open(made.folder).config == made.config == config
    longer = msgspec.structs.replace(config, steps=60)
    assert made.amend(longer).config == Run.open(made.folder).config == longer


@pytest.mark.parametrize("make", [Run.create, lambda folder, config: Run.locked(folder).__enter__()])
def test_a_folder_of_something_else_is_refused_and_left_alone(make: Any, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    (tmp_path / "file").write_text("text")
    for name, sentence in {
        "photos": "is not empty and holds no run",
        "file": "cannot be written: Not a directory",
        "file/run": "cannot be written: Not a directory",
        "a" * 300: "cannot be written: File name too long",
    }.items():
        with pytest.raises(RunError, match=f"{sentence}; choose another --out") as refused:
            make(tmp_path / name, folders.config())
        assert refused.value.exit_code == 2
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["cat.jpg", "file", "photos"]


def test_a_folder_that_holds_a_run_is_not_made_again(tmp_path: Path) -> None:
    run = folders.build(tmp_path)
    with pytest.raises(RunError, match="holds a run already; resume it"):
        Run.create(tmp_path, folders.config(seed=3))
    assert Run.open(tmp_path).config == run.config


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "is not a run folder: it has no config.json"),
        (b"", "truncated"),
        (b"not json", "malformed"),
        (b"\xff\xfe\x00", "malformed"),
        (b"[1, 2]", "Expected `object`, got `array`"),
        (b"{}", "missing required field `system`"),
        (b'{"format": 2, "ganvas": "9.1"}', r"format 2 by ganvas 9\.1.*use that version"),
        (b'{"format": "one"}', "format one"),
        ({"seed": "0"}, r"Expected `int`, got `str` - at `\$\.seed`"),
        ({"steps": -1}, r"`int` >= 0 - at `\$\.steps`"),
        ({"schema": {"image": "1x32x32"}}, r"Expected `array`, got `str` - at `\$\.schema"),
        ({"classes": None}, r"at `\$\.classes`"),
    ],
)
def test_a_config_that_cannot_be_used_is_one_sentence(text: Any, sentence: str, tmp_path: Path) -> None:
    if isinstance(text, dict):
        folders.build(tmp_path)
        folders.rewrite(tmp_path / "config.json", **text)
    elif text is not None:
        (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(RunError, match=sentence) as refused:
        Run.open(tmp_path)
    assert refused.value.exit_code == 2
    assert str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)


HOLD = """
import sys, time
from ganvas.run import Run
with Run.locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_refuses_a_second_holder_and_dies_with_its_process(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "run"], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="Another process is training in"), Run.locked(tmp_path / "run"):
            pass
        holder.kill()  # SIGKILL: it can clear nothing away
        holder.wait()
        with Run.locked(tmp_path / "run"):
            with pytest.raises(RunError, match="Another process"), Run.locked(tmp_path / "run"):
                pass
            Run.create(tmp_path / "run", folders.config())  # the lock itself is not in its way
    with Run.locked(tmp_path / "run"):
        pass


# ---- checkpoints -----------------------------------------------------------------------------------------------------
def test_the_newest_checkpoint_is_used(tmp_path: Path) -> None:
    run = folders.build(tmp_path)
    assert run.latest() is None
    assert run.checkpoints() == []
    for step in (10, 9, 100_000_000, 30):  # by number, not by name
        folders.save(run, step)
    (tmp_path / "checkpoint-final").mkdir()
    (tmp_path / "checkpoint-12").mkdir()
    assert run.checkpoints() == [9, 10, 30, 100_000_000]
    assert folders.value(run, warn=pytest.fail) == 100_000_000


@pytest.mark.parametrize("name", ["weights.safetensors", "ema.safetensors", "state.pt", "manifest.json"])
@pytest.mark.parametrize("harm", [folders.flip, Path.unlink])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(name: str, harm: Any, tmp_path: Path) -> None:
    run = folders.build(tmp_path, 10, 20, 30)
    harm(tmp_path / "checkpoint-00000030" / name)
    heard: list[str] = []
    assert folders.value(run, warn=heard.append) == 20
    (sentence,) = heard
    assert "checkpoint-00000030 is damaged (" in sentence
    assert name in sentence or name == "manifest.json"  # a flip there may be in what it says of another file
    assert "using checkpoint-00000020" in sentence


def test_when_all_are_damaged_there_is_nothing_to_use(tmp_path: Path) -> None:
    run = folders.build(tmp_path, 10, 20)
    for step in (10, 20):
        folders.flip(tmp_path / f"checkpoint-{step:08d}" / "state.pt")
    with pytest.raises(Damaged, match=r"checkpoint-00000020 is damaged.*no other checkpoint is whole") as damaged:
        run.latest(warn=pytest.fail)
    assert damaged.value.exit_code == 4
    folders.save(run, 20)  # resumed from elsewhere: a whole one takes the place of a damaged one
    assert folders.value(run, warn=pytest.fail) == 20


def test_a_checkpoint_that_goes_while_it_is_read_is_not_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that trains writes the next and removes the old while another reads."""
    run, trainer = folders.build(tmp_path, 10), Run.open(tmp_path)
    verified = ganvas.run.verified

    def slow(folder: Path, step: int) -> Any:
        if step == 10:
            folders.save(trainer, 20, keep=1)
        return verified(folder, step)

    monkeypatch.setattr(ganvas.run, "verified", slow)
    assert folders.value(run, warn=pytest.fail) == 20


def test_the_last_are_kept_and_the_best(tmp_path: Path) -> None:
    run = folders.build(tmp_path)
    kept = []
    for step, error in zip((10, 20, 30, 40, 50), (5.0, 3.0, 4.0, 2.0, 9.0), strict=True):
        folders.save(run, step, keep=2)
        run.mark_best(step, "mse", error, larger_is_better=False)
        kept.append(run.checkpoints())
    assert kept == [[10], [10, 20], [20, 30], [20, 30, 40], [40, 50]]
    assert run.best() == {"step": 40, "metric": "mse", "value": 2.0}


def test_later_checkpoints_found_damaged_do_not_push_out_whole_ones(tmp_path: Path) -> None:
    run = folders.build(tmp_path, 10, 20, 100)
    folders.flip(tmp_path / "checkpoint-00000100" / "state.pt")
    folders.save(run, 30, keep=2)  # resumed at 20
    assert run.checkpoints() == [20, 30, 100]
    assert folders.value(run, warn=lambda _: None) == 30


@pytest.mark.parametrize("larger", [True, False])
def test_the_best_must_be_beaten_by_a_finite_value_of_the_same_metric(larger: bool, tmp_path: Path) -> None:
    run = folders.build(tmp_path, 10, 20, 30)
    sign = 1.0 if larger else -1.0
    run.mark_best(10, "m", sign * 2, larger_is_better=larger)
    for worse in (sign * 1, sign * 2, math.nan, sign * math.inf):
        run.mark_best(20, "m", worse, larger_is_better=larger)
        assert run.best() == {"step": 10, "metric": "m", "value": sign * 2}
    run.mark_best(20, "m", sign * 3, larger_is_better=larger)
    assert run.best() == {"step": 20, "metric": "m", "value": sign * 3}
    run.mark_best(30, "other", -sign * 9, larger_is_better=larger)  # another question: the old answer is none to it
    assert run.best() == {"step": 30, "metric": "other", "value": -sign * 9}


@pytest.mark.parametrize("text", [b"", b"{", b'{"step": "x"}', b'{"step": 77, "metric": "m", "value": 1.0}'])
def test_a_best_that_cannot_be_read_or_is_gone_is_none(text: bytes, tmp_path: Path) -> None:
    run = folders.build(tmp_path, 10)
    (tmp_path / "best.json").write_bytes(text)
    assert run.best() is None


def test_a_best_that_cannot_be_opened_is_an_error_and_its_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = folders.build(tmp_path, 10, 20)
    run.mark_best(10, "mse", 0.5, larger_is_better=False)
    read = ganvas.run.read_json

    def refused(path: Path, kind: Any) -> Any:
        if path.name == "best.json":
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return read(path, kind)

    monkeypatch.setattr(ganvas.run, "read_json", refused)
    with pytest.raises(RunError, match=r"best\.json cannot be read: Too many open files"):
        run.prune(20, 1)
    with pytest.raises(RunError, match=r"best\.json cannot be read"):
        run.mark_best(20, "mse", 0.9, larger_is_better=False)
    monkeypatch.undo()
    assert run.checkpoints() == [10, 20]
    assert run.best() == {"step": 10, "metric": "mse", "value": 0.5}


# ---- kills -----------------------------------------------------------------------------------------------------------
KILLS = """
import os, shutil, signal, sys
from pathlib import Path
import safetensors.torch, torch
import folders
from ganvas.run import Run
from ganvas.files import sha256  # imports are over before a child is killed
torch.set_num_threads(1)
os.fsync = lambda handle: None  # what SIGKILL interrupts has reached the kernel
root = Path(sys.argv[1])
folders.build(root / "start", 10, 20)
TOUCHES = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}

def doomed(last):
    touched = iter(range(10_000))
    def hook(event, arguments):
        if event in TOUCHES and next(touched) == last:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

def work(run):
    folders.save(run, 20, value=21.0)
    folders.save(run, 30, keep=1)

work(Run.open(shutil.copytree(root / "start", root / "rehearsal")))
for last in range(10_000):
    folder = shutil.copytree(root / "start", root / f"{last:04d}")
    child = os.fork()
    if child == 0:
        run = Run.open(folder)
        doomed(last)
        work(run)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
"""


def test_a_kill_before_any_touch_of_the_disk_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    """A process that replaces a checkpoint, writes the next and clears the old away is killed before each time that it
    opens, renames or removes anything. A reader finds a whole checkpoint at once, never an older one than after an
    earlier kill; the process that takes over clears away what is half-written, and goes on."""
    python(KILLS, tmp_path)
    killed = sorted(path for path in tmp_path.iterdir() if path.name.isdecimal())
    assert len(killed) > 40
    found = []
    for folder in killed:
        run = Run.open(folder)
        found.append(folders.value(run, warn=pytest.fail))
        with Run.locked(folder):
            run.recover()
            assert folders.hidden(folder) == []
            assert folders.value(run, warn=pytest.fail) == found[-1]
            folders.save(run, 40, keep=1)
        assert run.checkpoints() == [40]
    assert found == sorted(found)
    assert set(found) == {20.0, 21.0, 30.0}


def test_recovering_leaves_a_users_files_alone(tmp_path: Path) -> None:
    run = folders.build(tmp_path, 10)
    (tmp_path / "samples").mkdir()
    mine = [".notes", "notes.txt", "samples/.keep", "samples/samples-00000010.png"]
    for name in mine:
        (tmp_path / name).write_text("mine")
    for name in (
        ".config.0123abcd.part.json",
        ".checkpoint-00000020.0123abcd.gone",
        "samples/.samples-00000020.0123abcd.part.png",
    ):
        (tmp_path / name).write_text("half")
    run.recover()
    assert folders.hidden(tmp_path) == [".keep", ".notes"]
    assert [(tmp_path / name).read_text() for name in mine] == ["mine"] * 4
    assert run.checkpoints() == [10]


# ---- figures ---------------------------------------------------------------------------------------------------------
ROWS = [folders.tick(5, critic__real=0.5, kl=None), folders.tick(10, critic__real=0.25), folders.tick(15, kl=1e-300)]


@given(cut=st.integers(min_value=0))
@settings(deadline=None, max_examples=60)
def test_a_torn_line_costs_itself_alone(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    run = folders.build(tmp_path_factory.mktemp("torn"))
    for row in ROWS:
        run.append(row)
    file = run.folder / "stats.jsonl"
    whole = file.read_bytes()
    torn = whole[: cut % (len(whole) + 1)]
    file.write_bytes(torn)
    left = ROWS[: len([line for line in torn.split(b"\n") if line in whole.split(b"\n")[:3]])]
    assert run.stats() == left
    run.append(folders.tick(20, kl=2.0))
    run.append(folders.tick(25, kl=3.0))
    assert run.stats() == [*left, folders.tick(20, kl=2.0), folders.tick(25, kl=3.0)]


def test_ticks_after_a_checkpoint_are_cut(tmp_path: Path) -> None:
    run = folders.build(tmp_path)
    run.cut(10)  # there is nothing yet
    assert not (tmp_path / "stats.jsonl").exists()
    for row in ROWS:
        run.append(row)
    with (tmp_path / "stats.jsonl").open("ab") as file:
        file.write(b'{"step": 20, "ter')
    run.cut(10)
    assert run.stats() == ROWS[:2]
    assert (tmp_path / "stats.jsonl").read_bytes().count(b"\n") == 2


@pytest.mark.parametrize(
    "line",
    [b"", b"null", b"7", b"\xff", b'{"step": 5}', b'{"step": "5", "terms": {}}', b'{"step": 5, "terms": []}'],
)
def test_lines_that_are_no_ticks_are_left_out(line: bytes, tmp_path: Path) -> None:
    run = folders.build(tmp_path)
    run.append(ROWS[0])
    with (tmp_path / "stats.jsonl").open("ab") as file:
        file.write(line + b"\n")
    run.append(ROWS[1])
    assert run.stats() == ROWS[:2]


def test_figures_are_json_that_any_reader_takes(tmp_path: Path) -> None:
    """What is not finite is null; NumPy's numbers are numbers."""
    run = folders.build(tmp_path)
    run.append(folders.tick(5, a=math.nan, b=math.inf, c=np.float32(0.5), d=np.float64("nan")))  # type: ignore[arg-type]
    run.record(5, {"fd-alex": folders.figure(math.nan), "mse": folders.figure(0.5)})
    strict = json.loads((tmp_path / "stats.jsonl").read_text(), parse_constant=pytest.fail)
    assert strict["terms"] == {"a": None, "b": None, "c": 0.5, "d": None}
    assert run.metrics() == [{"step": 5, "metrics": {"fd-alex": folders.figure(None), "mse": folders.figure(0.5)}}]


# ---- what it is for --------------------------------------------------------------------------------------------------
def test_info_says_what_there_is(tmp_path: Path) -> None:
    run = folders.build(tmp_path / "run")
    fresh = run.info()
    assert (fresh["step"], fresh["seconds"], fresh["health"], fresh["checkpoints"]) == (0, 0.0, [], [])
    for row in ROWS:
        run.append(row | {"health": ["it is ill"]})
    folders.save(run, 10)
    folders.save(run, 30)
    run.record(10, {"mse": folders.figure(0.5), "mae": folders.figure(0.4)})
    run.record(30, {"mse": folders.figure(0.25)})
    run.mark_best(30, "mse", 0.25, larger_is_better=False)
    info = run.info()
    assert (info["step"], info["steps"], info["seconds"], info["checkpoints"]) == (30, 30, 1.5, [10, 30])
    assert {name: figure["value"] for name, figure in info["metrics"].items()} == {"mse": 0.25, "mae": 0.4}
    assert info["best"] == {"step": 30, "metric": "mse", "value": 0.25}
    assert info["health"] == ["it is ill"]
    assert info["bytes"] == sum(path.stat().st_size for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert info["next"].startswith("ganvas sample")  # for it is trained
    assert fresh["next"].startswith("ganvas train")


def test_information_does_not_wait_for_torch(tmp_path: Path) -> None:
    folders.build(tmp_path / "a", 10)
    code = "import sys; from ganvas.run import runs; print([run.info()['step'] for run in runs(sys.argv[1])])"
    assert python(f"{code}; print('torch' in sys.modules)", tmp_path) == "[10]\nFalse\n"


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).map(lambda word: "x" + word)


@given(folder=words, data=words, leaf=words)
@settings(deadline=None, max_examples=60)
def test_commands_say_to_a_shell_what_the_run_was_told(folder: str, data: str, leaf: str) -> None:
    leaves = {"latent_loss": leaf, "xi": False, "conditional": True, "lr": 2e-4, "betas": [0.5, 0.9], "width": 4}
    changed = ["latent_loss", "xi", "conditional", "betas"]
    config = folders.config(data=data, leaves=leaves, changed=changed, shares=2, compile=True, keep_best="valid/a/kl")
    train, *others = [shlex.split(command) for command in Run(Path(folder), config).commands()]
    path = str(Path(folder))
    assert train[:3] == ["ganvas", "train", "vae"]
    flags = [["--data", data], ["--preset", "tiny"], ["--steps", "30"], ["--batch-size", "16"], ["--seed", "0"]]
    flags += [["--precision", "fp32"], ["--accumulate", "2"], ["--compile"], ["--keep-best", "valid/a/kl"]]
    flags += [["--latent-loss", leaf], ["--no-xi"], ["--conditional"], ["--betas", "0.5", "0.9"], ["--out", path]]
    assert train[3:] == [word for flag in flags for word in flag]
    assert ["ganvas", "reconstruct", path, data, "--out", "reconstructions.png"] in others
    assert ["ganvas", "report", path] in others


def test_a_real_shell_runs_a_command_and_nothing_else(tmp_path: Path) -> None:
    data = f"a'b $(touch {tmp_path}/ran) `touch {tmp_path}/ran`; touch {tmp_path}/ran\nlast?size=32&flip=true"
    command = Run(Path("runs/it's"), folders.config(data=data)).commands()[0]
    shell = ["sh", "-c", f"ganvas() {{ printf '%s|' \"$@\"; }}; {command}"]
    said = subprocess.run(shell, capture_output=True, text=True, check=True).stdout
    assert said.split("|")[:4] == ["train", "vae", "--data", data]
    assert said.split("|")[-2] == "runs/it's"
    assert not (tmp_path / "ran").exists()


def test_commands_follow_the_verbs_and_a_trained_run_is_not_trained_again(tmp_path: Path) -> None:
    run = folders.build(tmp_path / "run", 20, verbs=["encode"])
    kinds = [command.split()[1] for command in run.commands()]
    assert kinds == ["train", "evaluate", "report"]
    folders.save(run, 30)
    assert [command.split()[1] for command in run.commands()] == ["evaluate", "report"]


def test_runs_are_found_at_any_depth_and_other_configs_are_not_runs(tmp_path: Path) -> None:
    folders.build(tmp_path / "b")
    folders.build(tmp_path / "a" / "deep", 10)
    folders.build(tmp_path / ".hidden")
    (tmp_path / "a" / "deep" / "checkpoint-00000010" / "config.json").write_text("{}")
    for name, text in (("site", '{"name": "app"}'), ("list", "[]"), ("none", "{")):  # other people's
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
    heard: list[str] = []
    assert [run.folder for run in runs(tmp_path, heard.append)] == [tmp_path / "a" / "deep", tmp_path / "b"]
    assert heard == []
    (tmp_path / "none" / "stats.jsonl").write_text("")
    folders.rewrite(folders.build(tmp_path / "future", 10).folder / "config.json", format=9)
    found = [run.folder.name for run in runs(tmp_path, heard.append)]
    assert found == ["deep", "b"]
    assert len(heard) == 2
    assert "format 9" in heard[0]
    assert str(tmp_path / "none") in heard[1]
    assert [run.folder for run in runs(tmp_path / "b")] == [tmp_path / "b"]
    assert runs(tmp_path / "nowhere") == []


# ---- games -----------------------------------------------------------------------------------------------------------
def trained(folder: Path) -> Run:
    """A run of a real, small game, whose averaged weights are all a half and whose raw ones are all ones."""
    leaves = {"width": 2, "latent": 3}
    run = folders.build(folder, leaves=leaves)
    game = run.build_game()
    raw, average = ({name: torch.full_like(v, x) for name, v in game.state_dict().items()} for x in (1.0, 0.5))
    folders.save(run, 10, weights=raw, average=average)
    return run


def test_a_game_is_loaded_with_its_averaged_weights_ready_for_use(tmp_path: Path) -> None:
    run = trained(tmp_path / "run")
    for raw, number in ((False, 0.5), (True, 1.0)):
        game = load(run.folder, raw=raw)
        weights = list(game.parameters())
        assert all(bool((weight == number).all()) for weight in weights)
        assert not any(weight.requires_grad for weight in weights)
        assert not any(module.training for module in game.modules())
        assert any(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights if weight.ndim == 4)
    x = torch.zeros(2, 1, 32, 32)
    assert game.reconstruct(x).shape == x.shape


def test_a_run_without_checkpoint_cannot_be_loaded(tmp_path: Path) -> None:
    folders.build(tmp_path)
    with pytest.raises(RunError, match="has no checkpoint yet; train it first"):
        load(tmp_path)
    with pytest.raises(RunError, match=r"There is no run .*nowhere"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"system": "vea"}, "did you mean 'vae'"),
        ({"leaves": {"width": "four"}}, "width"),
        ({"leaves": {"widht": 4}}, "width"),
        ({"leaves": {"width": 3, "latent": 3}}, "does not fit vae: size mismatch"),
        ({"schema": {"image": [3, 32, 32]}}, "does not fit vae: size mismatch"),
    ],
)
def test_a_run_that_does_not_fit_says_what_does_not(change: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    run = trained(tmp_path)
    folders.rewrite(run.folder / "config.json", **({"leaves": {"width": 2, "latent": 3}} | change))
    with pytest.raises(RunError, match=sentence) as refused:
        load(tmp_path)
    assert "\n" not in str(refused.value)


def test_the_game_is_the_one_that_the_config_says(tmp_path: Path) -> None:
    run = folders.build(tmp_path, leaves={"width": 2, "latent": 5})
    built, want = run.build_game(), games.system("vae").build({"width": 2, "latent": 5}, Schema({"image": (1, 32, 32)}))
    shapes = [{name: value.shape for name, value in game.state_dict().items()} for game in (built, want)]
    assert shapes[0] == shapes[1]


# ---- what others wrote -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "line",
    [
        '{"step":30,"terms":{}}',
        '{"step":30,"images":1,"seconds":"x","terms":{}}',
        '{"step":30,"images":1,"seconds":-1,"terms":{}}',
        '{"step":30,"images":1,"seconds":1,"terms":{"a":"b"}}',
        '{"step":30,"images":1,"seconds":1,"terms":{},"health":3}',
        '{"step":-30,"images":1,"seconds":1,"terms":{}}',
        '{"step":1e999,"images":1,"seconds":1,"terms":{}}',
        "[" * 100_000,
    ],
)
def test_a_row_of_other_types_is_left_out(line: str, tmp_path: Path) -> None:
    run = folders.build(tmp_path / "run")
    run.append(ROWS[0])
    with (run.folder / "stats.jsonl").open("a") as file:
        file.write(f"{line}\n")
    run.append(ROWS[1])
    assert run.stats() == ROWS[:2]


@pytest.mark.parametrize(
    "figure", [1, {"n": 1}, {"value": [], "n": 1}, {"value": 1, "n": "x"}, {"value": 1, "parts": 3}]
)
def test_a_figure_of_other_types_is_left_out(figure: object, tmp_path: Path) -> None:
    run = folders.build(tmp_path / "run")
    (run.folder / "metrics.jsonl").write_text(json.dumps({"step": 4, "metrics": {"mse": figure}}) + "\n")
    run.record(4, {"mae": folders.figure(0.5)})
    assert list(run.info()["metrics"]) == ["mae"]


@pytest.mark.parametrize(
    ("field", "shape"),
    [
        ("image", []),
        ("image", [1, 8]),
        ("image", [1, 8, 8, 8]),
        ("image", [1, 10**9, 8]),
        ("vector", [10**12]),
        ("A", [3]),
    ],
)
def test_a_schema_that_no_data_has_is_refused(field: str, shape: list[int], tmp_path: Path) -> None:
    run = folders.build(tmp_path / "run")
    config = json.loads((run.folder / "config.json").read_text())
    config["schema"][field] = shape
    (run.folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=rf"config\.json cannot be read: its schema gives {field}"):
        Run.open(run.folder)


def test_a_config_of_a_larger_net_than_the_checkpoint_is_refused_unbuilt(trained: Any, tmp_path: Path) -> None:
    folder = trained.copy("autoencoder", tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    for width in (20_000, 10_000_000):
        config["leaves"]["width"] = width
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(RunError, match=r"config\.json describes no net of autoencoder"):
            Run.open(folder).load_game()


def test_a_checkpoint_that_is_a_link_to_nowhere_is_passed_over(tmp_path: Path) -> None:
    run = folders.build(tmp_path / "run", 3)
    (run.folder / "checkpoint-00000009").symlink_to("/nowhere")
    said: list[str] = []
    latest = run.latest(said.append)
    assert latest is not None
    assert latest.step == 3
    assert "checkpoint-00000009 is damaged (manifest.json is missing)" in said[0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ema.safetensors", b"garbage"),
        ("ema.safetensors", b""),
        ("ema.safetensors", b"\xff" * 64),
        ("state.pt", b"PK\x03\x04garbage"),
        ("state.pt", b""),
        ("state.pt", b"\x80\x02]."),
    ],
)
def test_a_file_that_fits_its_manifest_and_is_none_of_ours_is_damage(name: str, content: bytes, tmp_path: Path) -> None:
    run = folders.build(tmp_path / "run", 3)
    folder = run.folder / "checkpoint-00000003"
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {"sha256": sha256(folder / name), "bytes": len(content)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    latest = run.latest()
    assert latest is not None
    with pytest.raises(Damaged, match=rf"{name} was not written by ganvas"):
        latest.average() if name.startswith("ema") else latest.state()


@pytest.mark.parametrize("name", ["../up", "/dev/zero", "a\0b"])
def test_a_manifest_that_names_files_elsewhere_is_damage(name: str, tmp_path: Path) -> None:
    run = folders.build(tmp_path / "run", 3)
    file = run.folder / "checkpoint-00000003" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["files"][name] = {"sha256": "", "bytes": 0}
    file.write_text(json.dumps(manifest))
    with pytest.raises(Damaged, match="which is no file of a checkpoint"):
        run.latest()
