"""What a run is asked to be: what makes no sense is refused before anything is written, and what may change does."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ganvas
from ganvas import planning
from ganvas.errors import MissingWeights, RunError, UsageError
from ganvas.planning import plan
from ganvas.training import train

SMALL = {"preset": "tiny", "batch_size": 16, "device": "cpu", "quiet": True}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"system": "avea"}, "avae"),
        ({"preset": "smal"}, "small"),
        ({"widht": 3}, "width"),
        ({"device": "cuda:99"}, "not there|no device"),
        ({"device": "tpu"}, "no device"),
        ({"precision": "fp64"}, "precision"),
        ({"batch_size": 0}, "at least 1"),
        ({"accumulate": 3}, "split"),
        ({"keep_best": "msee"}, "keep-best"),
        ({"keep_best": "elbo"}, "has no elbo"),
        ({"keep_best": "modes"}, "has no modes"),
        ({"keep_best": "valid/critc/real"}, "critic"),
        ({"keep_best": "valid/accuracy"}, "how training goes, not how good the results are"),
        ({"keep_best": "critic/gradient_norm"}, "how training goes"),
        ({"lr": float("inf")}, "finite"),
        ({"beta": float("nan")}, "finite|number"),
    ],
)
def test_bad_usage_is_one_sentence(change: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"system": "avae", "data": "digits", "out": tmp_path / "run", **SMALL, **change}
    arguments.pop("quiet")
    with pytest.raises(UsageError, match=sentence):
        plan(arguments.pop("system"), **arguments)
    assert not (tmp_path / "run").exists()


def test_changed_settings_are_refused_by_name_and_harmless_ones_are_not(tmp_path: Path) -> None:
    train("vae", data="digits", out=tmp_path, steps=4, **SMALL)
    for change, named in [({"seed": 1}, "seed"), ({"batch_size": 8}, "batch size"), ({"beta": 3.0}, "beta"),
                          ({"data": "digits?size=16"}, "data")]:  # fmt: skip
        with pytest.raises(RunError, match=named):
            train("vae", **{"data": "digits", "out": tmp_path, "steps": 4, **SMALL, **change})
    with pytest.raises(RunError, match="system"):
        train("autoencoder", data="digits", out=tmp_path, steps=4, **SMALL)


def test_a_run_without_a_schedule_may_be_made_longer(tmp_path: Path) -> None:
    train("autoencoder", data="digits", out=tmp_path, steps=4, **SMALL)
    longer = train("autoencoder", data="digits", out=tmp_path, steps=6, tick_every=3, keep=1, **SMALL)
    assert longer.checkpoints() == [6]
    assert longer.config.steps == 6


def test_other_steps_are_refused_where_a_schedule_depends_on_them(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {**SMALL, "preset": "avae-table", "width": 2, "latent": 4, "data": "digits"}
    train("vae", out=tmp_path, steps=2, **arguments)
    with pytest.raises(RunError, match="schedule") as refused:
        train("vae", out=tmp_path, steps=3, **arguments)
    words = shlex.split(str(refused.value).partition("own: ")[2].partition(" (in Python")[0])
    assert words[:2] == ["ganvas", "train"]
    flags = dict(zip(words[3::2], words[4::2], strict=True))
    assert (flags["--steps"], flags["--init"], flags["--width"]) == ("3", str(tmp_path), "2")
    assert flags["--out"] == f"{tmp_path}-2"
    assert f"init={str(tmp_path)!r}, out={flags['--out']!r}" in str(refused.value)


def test_a_run_is_never_taken_back(tmp_path: Path) -> None:
    train("autoencoder", data="digits", out=tmp_path, steps=4, **SMALL)
    with pytest.raises(RunError, match=r"at step 4 already.*--init"):
        train("autoencoder", data="digits", out=tmp_path, steps=2, **SMALL)


def test_a_logged_name_of_held_out_rows_needs_some(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((20, 16, 16, 1), np.uint8))
    asked: dict[str, Any] = {"preset": "tiny", "keep_best": "valid/autoencoder/l1", "out": tmp_path / "run"}
    with pytest.raises(UsageError, match="no test split"):
        plan("autoencoder", data=str(tmp_path / "a.npy"), **asked)
    assert plan("autoencoder", data=f"{tmp_path}/a.npy?holdout=0.2", **asked).config.keep_best


def test_a_metric_to_keep_the_best_by_must_be_at_hand(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match="ganvas fetch alexnet"):
        plan("avae", data="digits", preset="tiny", keep_best="fd-alex", out=tmp_path / "run")


def test_data_of_another_kind_than_a_system_trains_on_is_refused_and_a_layout_read_as_it_prefers(
    tmp_path: Path,
) -> None:
    for side in ("trainA", "trainB"):
        (tmp_path / "both" / side).mkdir(parents=True)
        for name in ("a", "b"):
            Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "both" / side / f"{name}.png")
    read = {
        system: plan(system, data=str(tmp_path / "both"), preset="tiny", out=tmp_path / "run", batch_size=2)
        for system in ("cyclegan", "pix2pix", "autoencoder")
    }
    assert {system: made.dataset.kind for system, made in read.items()} == {
        "cyclegan": "unpaired", "pix2pix": "paired", "autoencoder": "images",
    }  # fmt: skip
    assert read["cyclegan"].config.data == f"unpaired:{tmp_path}/both"
    with pytest.raises(UsageError, match="cyclegan trains on unpaired or paired data, and digits is images data"):
        plan("cyclegan", data="digits", preset="tiny", out=tmp_path / "run")
    with pytest.raises(UsageError, match=r"pix2pix trains on .*, and unpaired:.* is unpaired data"):
        plan("pix2pix", data=f"unpaired:{tmp_path}/both", preset="tiny", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_same_rows_by_another_path_are_the_same_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", generator.integers(0, 256, (40, 16, 16, 1), dtype=np.uint8))
    monkeypatch.chdir(tmp_path)
    run = train("autoencoder", data="a.npy", out="run", steps=2, **SMALL)
    again = train("autoencoder", data=f"{tmp_path}/a.npy", out="run", steps=3, **SMALL)
    assert again.config.data == run.config.data == "a.npy"
    with pytest.raises(RunError, match="the data"):
        train("autoencoder", data="a.npy?flip=true", out="run", steps=3, **SMALL)


def test_the_precision_of_a_run_goes_with_it_to_another_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {"data": "digits", "preset": "tiny", "out": tmp_path}
    with monkeypatch.context() as patch:
        patch.setattr(planning, "named_device", lambda name: "cuda")
        there = planning.opened(plan("autoencoder", **asked))[0].config
    assert (there.device, there.precision) == ("cuda", "bf16")
    run, inexact = planning.opened(plan("autoencoder", **asked))
    assert (run.config.device, run.config.precision) == ("cpu", "bf16")
    assert len(inexact) == 1
    assert "device was cuda" in inexact[0]


def test_resuming_does_not_forget_what_a_run_started_from(tmp_path: Path) -> None:
    train("vae", data="digits", out=tmp_path / "a", steps=2, **SMALL)
    train("vae", data="digits", out=tmp_path / "b", steps=2, init=tmp_path / "a", checkpoint_every=1, **SMALL)
    assert train("vae", data="digits", out=tmp_path / "b", steps=2, **SMALL).config.init == str(tmp_path / "a")


# ---- what is odd, and what is no option at all -----------------------------------------------------------------------
def doubtful(tmp_path: Path, data: str, **asked: Any) -> str:
    """What a plan says of itself, in one text."""
    asked = {"preset": "small", "steps": 2_000, "batch_size": 8, "system": "autoencoder"} | asked
    return "; ".join(plan(asked.pop("system"), data=data, out=tmp_path / "run", device="cpu", **asked).doubts)


def test_odd_but_legal_requests_are_doubted(tmp_path: Path) -> None:
    image = Image.fromarray(np.zeros((32, 32, 3), np.uint8))
    image.save(tmp_path / "one.png")
    assert "has 1 image to train on; a model learns so few by heart" in doubtful(tmp_path, str(tmp_path / "one.png"))
    assert "has 9 images to train on" in doubtful(tmp_path, "digits?limit=9")
    assert "a batch of 64 is larger than the 9 images" in doubtful(tmp_path, "digits?limit=9", batch_size=64)
    assert doubtful(tmp_path, "digits") == ""
    assert "20 steps of 8 see 160 of the 1,437 images" in doubtful(tmp_path, "digits", steps=20)
    assert "the preset tiny is for tests" in doubtful(tmp_path, "digits", preset="tiny", steps=20)


def test_folders_that_are_published_unpaired_are_doubted_as_pairs(tmp_path: Path) -> None:
    image = Image.fromarray(np.zeros((32, 32, 3), np.uint8))
    for layout in ("trainA", "trainB", "pairs/A", "pairs/B"):
        for i in range(60):
            path = tmp_path / "zoo" / layout / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    (tmp_path / "zoo" / "pairs").rename(tmp_path / "pairs")
    zoo, how = str(tmp_path / "zoo"), {"batch_size": 1, "preset": "small"}
    assert "is read as pairs: trainA/ and trainB/ by the same name" in doubtful(tmp_path, zoo, system="pix2pix", **how)
    assert doubtful(tmp_path, f"paired:{zoo}", system="pix2pix", **how) == ""
    assert doubtful(tmp_path, str(tmp_path / "pairs"), system="pix2pix", **how) == ""
    assert doubtful(tmp_path, zoo, system="cyclegan", **how) == ""


def test_doubts_are_told_before_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = {"preset": "tiny", "steps": 1, "out": tmp_path / "run", "device": "cpu"}
    train("autoencoder", "digits?limit=9", **asked)
    assert "note: digits?limit=9 has 9 images to train on" in capsys.readouterr().err
    train("autoencoder", "digits?limit=9", **{**asked, "out": tmp_path / "quiet"}, quiet=True)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "train needs data, such as ganvas.train"),
        ({"data": None}, "train needs data"),
        ({"data": 3}, "data must be a data spec"),
        ({"system": 3, "data": "digits"}, "system must be a name such as 'avae', not 3: one of autoencoder, "),
        *(({"data": "digits", name: "x"}, f"{name} must be a whole number, not 'x'")
          for name in ("steps", "seed", "batch_size", "accumulate", "checkpoint_every", "keep", "tick_every")),
        ({"data": "digits", "steps": 2.5}, "steps must be a whole number, not 2.5"),
        ({"data": "digits", "seed": None}, "seed must be a whole number, not None"),
        ({"data": "digits", "steps": True}, "steps must be a whole number, not True"),
        ({"data": "digits", "preset": 3}, "preset must be text, not 3"),
        ({"data": "digits", "new": "yes"}, "new must be True or False, not 'yes'"),
        ({"data": "digits", "out": 3}, "out must be the path of a run, not 3"),
        ({"data": "digits", "minutes": "x"}, "minutes must be positive, not x"),
    ],
)  # fmt: skip
def test_arguments_from_python_of_another_type_are_refused_in_a_sentence(arguments: dict[str, Any], says: str) -> None:
    arguments = {"system": "avae"} | arguments
    with pytest.raises(UsageError, match=says):
        train(arguments.pop("system"), **arguments)


def test_numbers_of_numpy_paths_and_runs_are_taken(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "one.png")
    first = train("autoencoder", tmp_path / "one.png", preset="tiny", steps=np.int64(1), out=tmp_path / "a", quiet=True)
    again = train(
        "autoencoder", tmp_path / "one.png", preset="tiny", steps=1, init=first, out=tmp_path / "b", quiet=True
    )
    assert again.config.init == str(tmp_path / "a")
    assert repr(first) == f"<Run {tmp_path / 'a'}: autoencoder on {tmp_path / 'one.png'}, step 1 of 1>"
    assert repr(ganvas.runs(tmp_path)) == f"{first!r}\n{again!r}"
    assert repr(ganvas.runs(tmp_path / "none")) == "no runs"
    assert repr(ganvas.load(tmp_path / "a")).startswith(f"Autoencoder({tmp_path / 'one.png'} 3x32x32, width 2, ")
    assert len(repr(ganvas.systems()).splitlines()) == len(ganvas.systems())


@pytest.mark.parametrize("kind", ["part", "gone"])
def test_a_config_that_a_kill_left_half_written_is_cleared(kind: str, tmp_path: Path) -> None:
    (tmp_path / f".config.0123abcd.{kind}.json").write_text("{")
    train("gan", data="mixture:ring8", out=tmp_path, steps=1, **SMALL)
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".config")]


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"WORLD_SIZE": "4"}, "WORLD_SIZE is 4, but RANK and MASTER_ADDR and MASTER_PORT are not set"),
        ({"WORLD_SIZE": "x"}, "WORLD_SIZE is x, but"),
        ({"WORLD_SIZE": "x", "RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "WORLD_SIZE must be a number"),
        ({"WORLD_SIZE": "2", "RANK": "one", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "RANK must be a number"),
    ],
)
def test_half_an_announcement_of_ranks_is_refused(
    environment: dict[str, str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=sentence):
        plan("gan", data="mixture:ring8", preset="tiny", out=tmp_path / "run")


def test_a_scheduler_that_counts_one_process_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert train("gan", data="mixture:ring8", out=tmp_path, steps=1, **SMALL).config.world == 1
