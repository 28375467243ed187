"""Every command says what it read and what it left out, once, and keeps it: no file is skipped without a word."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from said import Command

import ganvas
from ganvas.evaluation import evaluate
from ganvas.run import Run
from trained import Trained
from translators import Translators, noise, save


@pytest.fixture
def mixed(here: Path) -> Path:
    """Six images of 20x16 to 25x16, the fourth of which cannot be read, and a text beside them."""
    for i in range(6):
        save(here / "d" / f"{i}.png", noise(i, 16, 20 + i))
    (here / "d" / "3.png").write_bytes(b"<html>404</html>")
    (here / "d" / "note.txt").write_text("hello")
    return here / "d"


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


LEFT = "cannot be read (1: 3.png: not a picture that can be read)"


def fields(command: Command, *words: str | Path) -> tuple[dict[str, Any], str]:
    said = command(*words, "--json")
    return json.loads(said.out), said.err


def test_training_and_measuring_tell_what_they_read_and_keep_it(ganvas_cli: Command, mixed: Path) -> None:
    train = ["train", "vae", "--data", "d?size=16", "--preset", "tiny", "--steps", "1", "--out", "run"]
    found, err = fields(ganvas_cli, *train)
    read = "read d?size=16: 5 images; 5 sizes from 20x16 to 25x16; center crop to 16x16, RGB"
    assert read in err.splitlines()
    assert f"left out of d?size=16: {LEFT}" in err
    assert ".txt" in err
    (kept,) = found["reading"]
    assert kept["left_out"][0] == {
        "reason": "cannot be read",
        "count": 1,
        "names": ["3.png: not a picture that can be read"],
    }
    run = Run.open("run")
    assert run.reading() == kept
    assert size(Path("run/data.png"))[0] > 16
    assert run.config.data_root == os.getcwd()
    found, err = fields(ganvas_cli, "evaluate", "run", "--metrics", "MSE, mae")
    assert read in err.splitlines()
    assert list(found["metrics"]) == ["mse", "mae"]
    assert found["reading"][0]["left_out"][0]["count"] == 1
    assert run.metrics()[-1]["reading"] == kept
    page = (Path(json.loads(ganvas_cli("report", "run", "--json").out)["report"])).read_text()
    assert "cannot be read (1: 3.png" in page
    assert 'alt="Data' in page
    ganvas_cli(*train)  # resumed: said again, once
    ganvas_cli("calibrate", "run", "-n", "4")


@pytest.mark.parametrize("verb", ["encode", "reconstruct", "calibrate", "evaluate", "compare"])
def test_other_data_is_told_with_the_runs_size(
    ganvas_cli: Command, trained: Trained, mixed: Path, verb: str, here: Path
) -> None:
    run = trained.copy("autoencoder", here / "run")
    words: list[str | Path] = [verb, "run", *(["--data"] if verb in ("calibrate", "evaluate") else []), "d"]
    words += {"encode": ["--out", "c.npz"], "reconstruct": ["--out", "r"], "calibrate": ["-n", "4"]}.get(verb, [])
    if verb == "compare":
        words = ["compare", trained("dcgan"), "d", "--metrics", "fd-digits"]
        run = trained("dcgan")
    err = ganvas_cli(*words).err
    where = run if verb == "compare" else "run"
    done = f"center crop to 32x32, gray, as the images of {where}"
    assert f"read d?size=32&channels=grey: 5 images; 5 sizes from 20x16 to 25x16; {done}" in err.splitlines()
    assert err.count(LEFT) == 1


def test_one_image_is_told_and_leaves_nothing(ganvas_cli: Command, trained: Trained, here: Path, cache: Path) -> None:
    for i in range(2):
        save(here / f"{i}.png", noise(i, 40, 40))
    before = set(cache.glob("*/*"))
    words = ["--from", "0.png", "--to", "1.png", "--out", "walk.png", "--frames", "2"]
    err = ganvas_cli("interpolate", trained("autoencoder"), *words).err
    assert [line.split("; ")[0] for line in err.splitlines()] == [
        f"read {i}.png?size=32&channels=grey: 1 image" for i in range(2)
    ]
    ganvas_cli("traverse", trained("autoencoder"), "--image", "0.png", "--out", "t.png")
    ganvas_cli("encode", trained("autoencoder"), ".", "--out", "codes.npz")
    ganvas_cli("reconstruct", trained("autoencoder"), "0.png", "--out", "again.png")
    assert {path for path in cache.glob("*/*") if path.suffix != ".lock"} <= before


def test_a_run_and_a_missing_partner_are_told(ganvas_cli: Command, here: Path) -> None:
    for side in "AB":
        for i in range(3):
            save(here / "pairs" / side / f"{i}.png", noise(i))
    save(here / "pairs/A/lonely.png", noise(9))
    words = ["train", "pix2pix", "--data", "pairs", "--preset", "tiny", "--steps", "1", "--out", "run"]
    err = ganvas_cli(*words).err
    assert "has no partner (1: A/lonely.png)" in err
    assert "has no partner (1: A/lonely.png)" in ganvas_cli(*words, "--dry-run").err


def test_a_set_that_is_read_twice_by_one_command_is_told_once(ganvas_cli: Command, mixed: Path) -> None:
    err = ganvas_cli("compare", "d", "d", "--metrics", "mse psnr").err
    assert err.count("read d: 5 images; 5 sizes from 20x16 to 25x16; each kept at its own size, RGB") == 1


def test_python_may_ask_for_quiet(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run.open(trained("vae"))
    capsys.readouterr()
    evaluate(run, metrics=["mse"], n=4, device="cpu", quiet=True)
    ganvas.compare("digits?limit=4", "digits?limit=4", metrics=["mse"], device="cpu", quiet=True)
    assert capsys.readouterr().err == ""
    assert ganvas.load(run).training is False


# ---- where the data of a run lies ------------------------------------------------------------------------------------
@pytest.fixture
def project(ganvas_cli: Command, here: Path) -> Path:
    """A run of 48x48 images cropped to 40 and resized to 16, whose path is relative."""
    for i in range(8):
        save(here / "faces" / f"{i}.png", noise(i, 48, 48))
    ganvas_cli("train", "autoencoder", "--data", "faces?size=16&crop=40&holdout=0.3", "--preset", "tiny", "--steps",
               "1", "--batch-size", "2", "--out", "run")  # fmt: skip
    return here


SPELLINGS = ["faces", "./faces", "images:faces", "faces/", "{here}/faces", "../here/faces", "link", "faces?holdout=0.3"]


@pytest.mark.parametrize("spelled", SPELLINGS)
def test_a_run_on_its_own_data_however_spelled_has_its_own_preparation(
    ganvas_cli: Command, project: Path, spelled: str
) -> None:
    (project / "link").symlink_to(project / "faces")
    spec = spelled.format(here=project)
    own, other = (fields(ganvas_cli, "evaluate", "run", "--metrics", "mse", *more) for more in ([], ["--data", spec]))
    assert own[0]["metrics"]["mse"]["value"] == other[0]["metrics"]["mse"]["value"]
    assert other[0]["metrics"]["mse"]["recipe"]["split"] == "test"  # as it was held out
    assert "center crop of 40x40 resized to 16x16, RGB" in other[1]


def test_another_folder_of_the_same_name_is_not_the_runs_own(
    ganvas_cli: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(4):
        save(project / "sub/faces" / f"{i}.png", noise(i, 48, 48))
    monkeypatch.chdir(project / "sub")
    _, err = fields(ganvas_cli, "evaluate", "../run", "--data", "faces", "--metrics", "mse")
    assert "read faces?size=16&channels=rgb: 4 images; 48x48; resized to 16x16, RGB, as the images of ../run" in err


def test_a_run_knows_its_data_from_any_folder(
    ganvas_cli: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = fields(ganvas_cli, "evaluate", "run", "--metrics", "mse")[0]["metrics"]["mse"]["value"]
    (project / "sub").mkdir()
    monkeypatch.chdir(project / "sub")
    found, err = fields(ganvas_cli, "evaluate", "../run", "--metrics", "mse")
    assert found["metrics"]["mse"]["value"] == value
    assert "its content has changed" not in err
    shown = fields(ganvas_cli, "info", "../run")[0]
    assert shown["data"].startswith(f"{project}/faces?")
    assert f"ganvas reconstruct ../run '{project}/faces?" in ganvas_cli("info", "../run").out
    assert fields(ganvas_cli, "evaluate", "../run", "--data", "../faces?holdout=0.3", "--metrics", "mse")[0]["metrics"][
        "mse"]["value"] == value  # fmt: skip


def test_a_project_that_moved_resumes_and_measures_and_data_that_is_gone_is_said(
    ganvas_cli: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = project.parent / "moved"
    shutil.move(project, moved)
    monkeypatch.chdir(moved)
    ganvas_cli("evaluate", "run", "--metrics", "mse")
    ganvas_cli("train", "autoencoder", "--data", "faces?size=16&crop=40&holdout=0.3", "--preset", "tiny", "--steps",
               "2", "--batch-size", "2", "--out", "run")  # fmt: skip
    assert Run.open("run").config.data_root == str(moved)
    (moved / "sub").mkdir()
    monkeypatch.chdir(moved / "sub")
    ganvas_cli("train", "autoencoder", "--data", "../faces?size=16&crop=40&holdout=0.3", "--preset", "tiny", "--steps",
               "3", "--batch-size", "2", "--out", "../run")  # fmt: skip
    config = Run.open("../run").config
    assert (config.data.partition("?")[0], config.data_root) == ("faces", str(moved))
    shutil.rmtree(moved / "faces")
    err = ganvas_cli("evaluate", "../run", "--metrics", "mse", code=2).err
    assert f"was trained on faces?size=16&crop=40&holdout=0.3, relative to {moved}" in err.replace("holdout=0.3&", "")\
        or f"relative to {moved}, and there is nothing there now: name its data with --data." in err  # fmt: skip


# ---- what is translated ----------------------------------------------------------------------------------------------
def test_a_translation_says_what_was_done_to_its_images_and_how_to_keep_them(ganvas_cli: Command, here: Path) -> None:
    for i in range(3):
        for side in "AB":
            save(here / f"d/train{side}/{i}.png", noise(i, 48, 48))
    save(here / "new/wide.png", noise(7, 40, 120))
    save(here / "new/tall.png", noise(8, 72, 40))
    ganvas_cli("train", "cyclegan", "--data", "d?load_size=36&crop=32", "--preset", "tiny", "--steps", "1", "--out",
               "run")  # fmt: skip
    err = ganvas_cli("translate", "run", "new", "--out", "square").err
    done = "stretched to 32x32, as this run was trained; ?crop=none keeps each image's size"
    assert f"read new: 2 images; 2 sizes from 40x72 to 120x40; {done}" in err
    assert {size(path) for path in Path("square").iterdir()} == {(32, 32)}
    ganvas_cli("translate", "run", "new?crop=none", "--out", "own")
    assert sorted(size(path) for path in Path("own").iterdir()) == [(40, 72), (120, 40)]
    assert "crop=none" in ganvas_cli("translate", "--help").out


def test_an_imported_cyclegan_keeps_the_size_of_its_input_unless_told_otherwise(
    ganvas_cli: Command, translators: Translators, here: Path
) -> None:
    ganvas_cli("export", translators("cyclegan"), "--to", "published", "--out", "files")
    file = next(Path("files").rglob("*G_A.pth"))
    ganvas_cli("import", "--as", "cyclegan", f"G_A={file}", "--out", "free")
    ganvas_cli("import", "--as", "cyclegan", f"G_A={file}", "--size", "64", "--out", "sized")
    save(here / "in/photo.png", noise(1, 50, 70))
    sizes = {}
    for run, spec in (("free", "in"), ("sized", "in"), ("free", "in?load_size=48x40")):
        said = ganvas_cli("translate", run, spec, "--out", f"out{len(sizes)}")
        sizes[run, spec] = size(Path(f"out{len(sizes)}/photo.png")), said.err
    assert [size for size, _ in sizes.values()] == [(70, 50), (64, 64), (48, 40)]
    assert "kept at their own size" in sizes["free", "in"][1]
    assert "stretched to 64x64" in sizes["sized", "in"][1]


def test_an_imported_net_alone_is_measured_alone(ganvas_cli: Command, translators: Translators, here: Path) -> None:
    ganvas_cli("export", translators("cyclegan"), "--to", "published", "--out", "files")
    for i in range(4):
        for side in "AB":
            save(here / f"apples/train{side}/{i}.png", noise(i, 40, 40))
    for part, back in (("G_A", ""), ("G_B", "-BtoA")):
        file = next(Path("files").rglob(f"*{part}.pth"))
        ganvas_cli("import", "--as", "cyclegan", f"{part}={file}", "--out", part)
        data = ["--data", "apples?size=32"]
        found, _ = fields(ganvas_cli, "evaluate", part, *data, "--metrics", "fd-digits", "-n", "2")
        assert list(found["metrics"]) == [f"fd-digits{back}"]
        err = ganvas_cli("evaluate", part, *data, "--metrics", "cycle", code=2).err
        lacks = "G_B" if part == "G_A" else "G_A"
        assert f"was imported without {lacks}: there is no way back to measure cycle on" in err


def test_names_of_metrics_may_be_in_any_case_and_apart_by_spaces(ganvas_cli: Command, here: Path) -> None:
    np.savez(here / "a.npz", images=np.zeros((3, 4, 4, 3), np.uint8))
    found, _ = fields(ganvas_cli, "compare", "a.npz", "a.npz", "--metrics", "MSE mae,  Psnr")
    assert list(found["metrics"]) == ["mse", "mae", "psnr"]
    assert "did you mean 'psnr'" in ganvas_cli("compare", "a.npz", "a.npz", "--metrics", "PSNT", code=2).err
