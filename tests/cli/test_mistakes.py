"""Mistakes: one sentence on stderr that says what to do, exit 2, and nothing written."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from said import Command, Refusal

import folders
from ganvas import games
from ganvas.cli import run
from ganvas.cli.flags import LARGEST_SEED
from ganvas.data import keys as data_keys
from trained import Trained

LONG = "x" * 300  # longer than a file name may be


# ---- words that no command knows -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("smaple runs/a --out a.png", "no command 'smaple': did you mean 'sample'? (one of: systems, data, "),
        ("--out a.png sample", "no command '--out'"),
        ("train avea --data digits", "no system 'avea': did you mean 'avae'? (one of: "),
        ("train --data digits avae", "Name the system before its flags"),
        ("train avae --data digits --preset smal", "no preset 'smal': did you mean 'small'? (one of: "),
        ("train avae --data digits --widht 3", "no flag --widht: did you mean --width?"),
        ("train avae --widht 3", "no flag --widht: did you mean --width?"),
        ("train autoencoder --data digits --batchsize=3", "no flag --batchsize: did you mean --batch-size?"),
        ("sample runs/a --out a.png --sede 3", "no flag --sede: did you mean --seed?"),
        ("sample runs/a --out a.png -N 3", "no flag -N: did you mean -n?"),
        ("compare a b --metric mse", "no flag --metric: did you mean --metrics?"),
        ("train avae --data digits?siez=3", "no key 'siez': did you mean 'size'?"),
        ("train avae --data digitz", "no data 'digitz': it is neither a file or folder nor a named set; did you mean"),
        ("data mixture:ring9", "no mixture 'ring9': did you mean 'ring8'?"),
        ("data mixtures:ring8", "no kind of data 'mixtures': did you mean 'mixture'?"),
        ("compare digits digits --metrics ssmi", "no metric 'ssmi': did you mean 'ssim'?"),
        ("compare digits digits --metrics modes", "no metric 'modes'"),  # which is of points
        ("train avae --data digits --keep-best sim", "--keep-best 'sim' is neither a metric (mse, "),
        ("fetch cifar", "nothing called 'cifar' to fetch: did you mean 'cifar10'?"),
        ("interpolate runs/a --out a.png --path slrp", "--path cannot be 'slrp': did you mean 'slerp'? (one of: "),
        ("train avae --data digits --latent-loss nl", "--latent-loss cannot be 'nl': did you mean 'nll'? (one of: "),
        ("train avae --data digits --device gpu", "no device 'gpu': auto, cpu, cuda or mps"),
        ("train avae --data digits --precision fp16", "--precision cannot be 'fp16': did you mean 'bf16'?"),
    ],
)  # fmt: skip
def test_unknown_names_are_answered_with_the_nearest(refused: Refusal, words: str, says: str) -> None:
    assert says in refused(*words.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("train dcgan --data digits --lr 0.001", "no flag --lr: did you mean --lr-critic or --lr-generator? (see"),
        ("train dcgan --data digits --beta 0.5", "no flag --beta: did you mean --beta1 or --beta2? (see"),
        ("train dcgan --data digits --size 64", "no flag --size: size is a key of the data: --data 'SPEC?size=64'"),
        ("train dcgan --data digits --size=64", "no flag --size: size is a key of the data: --data 'SPEC?size=64'"),
        ("train dcgan --data digits --image-size 64", "size is a key of the data: --data 'SPEC?size=64' (see"),
        ("train dcgan --data digits --load-size 64", "load_size is a key of the data: --data 'SPEC?load_size=64' (see"),
        ("train dcgan --data digits --hflip", "flip is a key of the data: --data 'SPEC?flip=true' (see"),
        ("encode runs/a b --out a.npz --split test", "split is a key of the data: 'INPUT?split=test' (see"),
        ("data digits --limit 9", "limit is a key of the data: 'SPEC?limit=9' (see"),
        ("train dcgan --data digits --epochs 5", "did you mean --steps, of which an epoch has as many as the data has"),
        ("train dcgan --data digits --gpus 0", "no flag --gpus: did you mean --device? (see"),
        ("train dcgan --data digits --resume", "no flag --resume: the same command as before resumes a run (see"),
        ("train cyclegan --data digits --latent 5", "no flag --latent; ganvas train autoencoder, ganvas train avae, "),
        ("train dcgan --data digits --class 3", "no flag --class; ganvas sample, ganvas interpolate, ganvas traverse"),
        ("report runs/a --out x", "no flag --out: the report is written into the run folder, as RUN/report.html (see"),
        ("evaluate runs/a --out x", "no flag --out: figures go to stdout and into the run folder; with --json as one"),
        ("sample runs/a --out a.png --metrics mse", "no flag --metrics; ganvas evaluate, ganvas compare have it (see"),
        ("sample runs/a --out a.png --qqq", "There is no flag --qqq (see ganvas sample --help)."),
    ],
)  # fmt: skip
def test_flags_that_belong_elsewhere_are_sent_there(refused: Refusal, words: str, says: str) -> None:
    assert says in refused(*words.split())


@pytest.mark.parametrize("key", data_keys())
@pytest.mark.parametrize(
    "command",
    ["train vae --data digits", "evaluate runs/a", "calibrate runs/a", "data digits", "encode runs/a b --out a.npz",
     "reconstruct runs/a b --out a", "translate runs/a b --out a", "sample runs/a --out a"],
)  # fmt: skip
def test_a_key_of_the_data_given_as_a_flag_is_sent_to_the_data(refused: Refusal, command: str, key: str) -> None:
    said = refused(*command.split(), f"--{key}", "7")
    if command.startswith("sample"):
        assert f"{key} is a key of the data" in said or "did you mean --c" in said
    else:
        assert f"{key} is a key of the data: " in said
        assert f"?{key}=7'" in said


def test_switches_may_be_written_with_underscores(ganvas_cli: Command) -> None:
    for word, value in (
        ("--batch_norm_critic", True),
        ("--no_batch_norm_critic", False),
        ("--no-batch-norm-critic", False),
    ):
        config = ganvas_cli(
            "train", "dcgan", "--data", "digits?limit=9", "--preset", "tiny", word, "--dry-run", "--json"
        )
        assert config.json["config"]["leaves"]["batch_norm_critic"] is value


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("train avae", "ganvas train avae needs --data SPEC (see ganvas train avae --help)."),
        ("sample", "ganvas sample needs RUN and --out PATH (see ganvas sample --help)."),
        ("compare a", "ganvas compare needs B (see ganvas compare --help)."),
        ("data", "ganvas data needs SPEC (see ganvas data --help)."),
        ("sample runs/a --out", "--out needs a value (see ganvas sample --help)."),
        ("sample runs/a --out --seed 3", "--out needs a value (see ganvas sample --help)."),
        ("sample runs/a --out a.png -n", "-n/--count needs a value (see ganvas sample --help)."),
        ("sample runs/a --out a.png -n 2.5", "-n/--count: '2.5' is not a whole number (or none) (see "),
        ("sample runs/a --out a.png --seed x", f"--seed: 'x' is not a whole number from 0 to {LARGEST_SEED} (see "),
        ("sample runs/a --out a.png --seed -1", f"--seed: '-1' is not a whole number from 0 to {LARGEST_SEED} (see "),
        (f"train gan --data digits --seed {2**63}", f"--seed: '{2**63}' is not a whole number from 0 to "),
        ("train avae --data digits --lr fast", "--lr: 'fast' is not a number (see ganvas train avae --help)."),
        ("train dcgan --data digits --batch-norm-critic=yes", "'yes' is not true or false (or none) (see "),
        ("info a b c", "ganvas info does not expect b, c (see ganvas info --help)."),
        ("info a -- --b", "ganvas info does not expect --b (see ganvas info --help)."),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_flags_that_do_not_fit_are_one_plain_sentence_in_every_terminal(
    refused: Refusal, words: str, says: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library that reads the flags draws its boxes by the encoding of stdout."""
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    assert says in refused(*words.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("train avae --data digits --width 0", "width of avae must be a whole number >= 1, not 0"),
        ("train avae --data digits --beta -1", "beta of avae must be a number >= 0.0, not -1.0"),
        ("train avae --data digits --beta nan", "beta of avae must be finite, not nan"),
        ("train avae --data digits --lr inf", "lr of avae must be finite, not inf"),
        ("train avae --data digits --steps 0", "--steps must be at least 1, not 0"),
        ("train avae --data digits --minutes 0", "--minutes must be positive, not 0.0"),
        ("train avae --data digits --minutes nan", "--minutes must be positive, not nan"),
        ("train avae --data digits --batch-size 7 --accumulate 2", "does not split into 1 ranks x 2 shares"),
        ("train dcgan --data digits --r1 1 --batch-norm-critic", "cannot have batch norm"),
        (
            "train dcgan --data digits --loss hinge --label-smoothing 0.1",
            "label_smoothing is for the loss bce",
        ),
        ("train vae --data mixture:ring8", "vae learns from images; this data has none"),
        ("train vae --data digits?size=33", "Images of 33x33 do not fit these nets"),
        ("train vae --data photos?limit=20 --conditional", "needs classes, and this data has none"),
        ("train gan --data digits --init nowhere", "There is no run nowhere: ganvas train makes one"),
        ("runs nowhere", "There is no folder nowhere"),
        (f"runs {LONG}", "There is no folder xxx"),
        ("info nowhere", "There is no run nowhere: ganvas train makes one"),
        (f"info {LONG}", "File name too long"),
        ("compare digits digits --metrics ,", "--metrics takes one or more names"),
        ("compare digits digits -n 1", "-n must be at least 2, not 1"),
        ("data digits --out sheet.npz", "--out takes an image (.png, .jpg, .webp)"),
        (f"data digits --out {LONG}.png", "File name too long"),
        ("train gan --data digits --dry-run --device cuda:1000", "There is no device 'cuda:1000'"),
        ("train gan --data digits --dry-run --device cpu:1", "The device 'cpu:1' is not there on this machine"),
    ],
)
def test_values_that_make_no_sense_are_refused_before_anything_is_written(
    refused: Refusal, words: str, says: str
) -> None:
    assert says in refused(*words.split())


# ---- on runs ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("system", "words", "says"),
    [
        ("avae", "sample RUN --out a.png -n 0", "-n must be at least 1, not 0"),
        ("avae", "sample RUN --out a.png -n -5", "-n must be at least 1, not -5"),
        ("avae", "encode RUN digits --out a.npz -n 0", "-n must be at least 1, not 0"),
        ("avae", "reconstruct RUN digits --out a.png -n 0", "-n must be at least 1, not 0"),
        ("avae", "calibrate RUN -n 0", "-n must be at least 1, not 0"),
        ("avae", "evaluate RUN -n 1", "-n must be at least 2, not 1"),
        ("avae", "sample RUN --out a.png --class 3", "knows no class '3': it was not trained with --conditional"),
        ("vae", "sample RUN --out a.png --class 10", "knows no class '10': one of: 0, 1, "),
        ("vae", "sample RUN --out a.png --class -1", "knows no class '-1': one of: 0, 1, "),
        ("vae", "interpolate RUN --out a.png --class three", "knows no class 'three': one of: 0, 1, "),
        ("vae", "reconstruct RUN photo.png --out a.png", "needs a class of each image (0, 1, "),
        ("avae", "sample RUN --out a.png --truncation 0", "--truncation must be positive, not 0.0"),
        ("avae", "sample RUN --out a.png --truncation nan", "--truncation must be positive, not nan"),
        ("avae", "sample RUN --out a.png --device cpu:", "no device 'cpu:'"),
        ("autoencoder", "sample RUN --out a.png", "a run of autoencoder, which cannot sample: it has encode, decode, "),
        ("dcgan", "encode RUN digits --out a.npz", "a run of dcgan, which cannot encode: it has sample, prior, decode"),
        ("dcgan", "reconstruct RUN digits --out a", "a run of dcgan, which cannot reconstruct"),
        ("avae", "interpolate RUN --from photo.png --out a.png", "--from and --to go together: give both, or neither"),
        ("avae", "interpolate RUN --to photo.png --out a.png", "--from and --to go together: give both, or neither"),
        ("avae", "interpolate RUN --from photo.png --to photo.png --seeds 1,2 --out a.png", "or --seeds, not both"),
        ("avae", "interpolate RUN --from nowhere.png --to photo.png --out a.png", "There is no data 'nowhere.png'"),
        ("dcgan", "interpolate RUN --from photo.png --to photo.png --out a.png", "encodes no image: use seeds"),
        ("autoencoder", "interpolate RUN --out a.png", "no prior to draw codes from: give --from IMAGE --to IMAGE"),
        ("autoencoder", "traverse RUN --out a.png", "no prior to draw a code from: give --image FILE"),
        ("gan", "interpolate RUN --out a.png", "makes points, not pictures: use sample"),
        ("gan", "traverse RUN --out a.png", "makes points, not pictures: use sample"),
        ("avae", "interpolate RUN --frames 1 --out a.gif", "--frames must be at least 2, not 1"),
        ("avae", "interpolate RUN --seeds 3 --out a.gif", "two or more whole numbers such as 0,1,2, not '3'"),
        ("avae", "interpolate RUN --seeds 1,-2 --out a.gif", "two or more whole numbers such as 0,1,2, not '1,-2'"),
        ("avae", "traverse RUN --dims 0 --out a.png", "--dims must be at least 1, not 0"),
        ("avae", "reconstruct RUN digits?size=64 --out a.png", "takes grey images of 32x32: leave size and channels"),
        ("avae", "reconstruct RUN mixture:ring8 --out a.png", "takes image [1, 32, 32], and mixture:ring8 has vector"),
        ("avae", "encode RUN digits?split=tset --out a.npz", "no split 'tset': did you mean 'test'?"),
        ("avae", "evaluate RUN --metrics fd-alx", "no metric 'fd-alx': did you mean 'fd-alex'?"),
        ("avae", "evaluate RUN --metrics elbo", "has no elbo: one of: mse, "),
        ("gan", "evaluate RUN --metrics mse", "has no mse: one of: modes"),
        ("gan", "evaluate RUN --data digits", "takes vector [2], and digits has image [1, 32, 32]"),
        ("gan", "compare RUN digits", "draws no samples of images"),
        ("avae", "compare RUN RUN --metrics mse", "Samples have no partners to be compared with, as mse would"),
        ("avae", "train vae --data digits?limit=96 --preset tiny --out RUN", "the system was avae, now vae"),
        ("avae", "train avae --data digits?limit=96 --preset tiny --steps 7 --out RUN", "steps was 6, now 7"),
        ("avae", "train avae --data digits?limit=96 --preset tiny --no-xi --out RUN", "xi was True, now False"),
    ],
)  # fmt: skip
def test_what_a_run_cannot_do_is_said(
    refused: Refusal, trained: Trained, here: Path, system: str, words: str, says: str
) -> None:
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(here / "photo.png")
    assert says in refused(*(str(trained(system)) if word == "RUN" else word for word in words.split()))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("sample RUN --out photo.png/a.png", "photo.png/a.png cannot be written: "),
        ("sample RUN --out photo.png/a", "photo.png/a cannot be written: Not a directory; choose another --out"),
        ("encode RUN digits?limit=9 --out photo.png/a.npz", "photo.png/a.npz cannot be written: "),
        ("interpolate RUN --out photo.png/a.gif", "photo.png/a.gif cannot be written: "),
        ("traverse RUN --out photo.png/a.png", "photo.png/a.png cannot be written: "),
        ("data digits?limit=9 --out photo.png/a.png", "photo.png/a.png cannot be written: "),
        ("train autoencoder --data digits?limit=9 --out photo.png/run", "photo.png/run cannot be written: "),
        ("train autoencoder --data digits?limit=9 --out full", "full is not empty and holds no run"),
        ("sample RUN --out full", "full is a folder with something in it: choose a new one for --out"),
        ("reconstruct RUN digits?limit=9 --out full", "full is a folder with something in it"),
        ("sample RUN --out full.png", "full.png is a folder: choose another name for --out"),
        (
            "sample RUN --out a.bmp",
            "--out takes an image (.png, .jpg, .webp), or arrays (.npz), or a folder",
        ),
        (
            "sample RUN --out a.gif",
            "--out takes an image (.png, .jpg, .webp), or arrays (.npz), or a folder",
        ),
        ("encode RUN digits?limit=9 --out a.png", "--out takes arrays (.npz)"),
        (
            "interpolate RUN --out a",
            "--out takes an image (.png, .jpg, .webp), or a film (.gif)",
        ),
        ("traverse RUN --out a.npz", "--out takes an image (.png, .jpg, .webp)"),
        (f"sample RUN --out {LONG}", "File name too long"),
    ],
)
def test_what_cannot_be_written_is_said_and_what_is_in_the_way_stays(
    refused: Refusal, trained: Trained, here: Path, words: str, says: str
) -> None:
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(here / "photo.png")
    for folder in ("full", "full.png"):
        (here / folder).mkdir()
        (here / folder / "thesis.txt").write_text("dear")
    before = (here / "photo.png").read_bytes()
    assert says in refused(*(str(trained("avae")) if word == "RUN" else word for word in words.split()))
    assert (here / "photo.png").read_bytes() == before
    assert (here / "full" / "thesis.txt").read_text() == "dear"


@pytest.mark.parametrize("command", ["sample FOLDER --out a.png", "info FOLDER", "evaluate FOLDER", "report FOLDER"])
def test_a_folder_that_is_no_run_is_said_to_be_none(refused: Refusal, here: Path, command: str) -> None:
    (here / "photos").mkdir()
    assert "photos is not a run folder: it has no config.json" in refused(*command.replace("FOLDER", "photos").split())
    assert "There is no run a.txt: ganvas train makes one" in refused(*command.replace("FOLDER", "a.txt").split())
    for i in range(6):
        folders.build(here / f"runs/r{i}")
    said = refused(*command.replace("FOLDER", "runs/r9").split())
    assert said.startswith("There is no run runs/r9: there are runs/r")
    assert said.count("runs/r") == 5
    assert said.endswith(" and 2 more.")


@pytest.mark.parametrize("command", ["sample RUN --out a.png", "evaluate RUN", "calibrate RUN -n 8"])
def test_a_run_without_a_checkpoint_is_told_to_train_first(refused: Refusal, here: Path, command: str) -> None:
    folders.build(here / "young", leaves={}, schema={"image": [1, 32, 32], "label": []}, data="digits")
    (here / "young" / ".lock").touch()
    assert "young has no checkpoint yet; train it first" in refused(*command.replace("RUN", "young").split())


def test_settings_refuse_what_a_system_has_no_use_for_in_every_system(refused: Refusal) -> None:
    for name in games.names():
        assert f"ganvas train {name} --help" in refused("train", name, "--data", "digits", "--no-such-thing")


# ---- words at random -------------------------------------------------------------------------------------------------
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0/~\\")
WORD = st.text(LETTERS, max_size=12).filter(lambda word: word == "" or word.strip(". "))  # not the folder above
KNOWN = st.sampled_from(
    ["--json", "--help", "--out", "--out=a.png", "--out=a", "-n", "-n3", "--seed", "--no-json", "--", "-", "--=", "-h",
     "sheet.png", "runs", "runs/young", "runs/young/config.json", "digits?limit=3", "mixture:ring8?limit=9", "digits?",
     "digits?limit=", "images:", "2", "-1", "1e99", "none", LONG],
)  # fmt: skip


@given(st.sampled_from(["info", "runs", "data"]), st.lists(KNOWN | WORD, max_size=5))
@example("data", ["mixture:ring8?limit=9", "--json"])
@example("info", ["runs/young"])
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_words_are_a_bug(here: Path, command: str, words: list[str]) -> None:
    if not (here / "runs").exists():
        folders.build(here / "runs" / "young")
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([command, *words])
    assert code in (0, 2), err.getvalue()
    assert "Traceback" not in out.getvalue() + err.getvalue()
    assert (out.getvalue() == "") == (code == 2)
    assert ("ganvas: " in err.getvalue()) == (code == 2)


def test_a_bug_of_ours_is_owned_up_to(ganvas_cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise ZeroDivisionError("a system too many")

    monkeypatch.setattr(games, "systems", broken)
    said = ganvas_cli("systems", code=1)
    assert said.err == "ganvas: a bug of ours: ZeroDivisionError: a system too many (--debug shows where)\n"
