"""What data, evaluate and compare print."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from said import Command, Refusal

import paintings
from ganvas.evaluation import evaluate
from trained import Trained


def pictures(folder: Path, *names: str) -> str:
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (20, 30, 3), np.uint8)).save(folder / name)
    return str(folder)


# ---- evaluate, compare -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("system", "names"),
    [("avae", "mse,psnr"), ("vae", "elbo"), ("autoencoder", "mse"), ("dcgan", "fd-digits"), ("gan", "modes")],
)
def test_figures_come_with_their_recipes(ganvas_cli: Command, trained: Trained, system: str, names: str) -> None:
    words = ["evaluate", trained(system), "--metrics", names, "-n", "40", "--seed", "1"]
    found = ganvas_cli(*words, "--json").json
    assert (found["command"], found["run"]) == ("evaluate", str(trained(system)))
    expected = evaluate(trained(system), metrics=names.split(","), n=40, seed=1, device="cpu")
    assert list(found["metrics"]) == list(expected)
    table = " ".join(ganvas_cli(*words).out.split())
    for name, figure in expected.items():
        told = found["metrics"][name]
        assert told["value"] == pytest.approx(figure.value)
        assert told["n"] == 40
        assert set(told) >= {"value", "std", "n", "recipe"}
        assert f"{name} {figure.value:.5g} " in table
        assert all(f"{key}: " in table for key in figure.recipe)
        assert all(f"{part} {value:.5g}" in table for part, value in figure.parts.items())


def test_what_is_not_finite_is_null(ganvas_cli: Command, here: Path) -> None:
    one = pictures(here / "one", "a.png", "b.png")
    found = ganvas_cli("compare", one, one, "--metrics", "psnr,mse", "--json").json["metrics"]
    assert (found["psnr"]["value"], found["mse"]["value"]) == (None, 0)
    assert "psnr inf 2 higher pooled inf " in " ".join(
        ganvas_cli("compare", one, one, "--metrics", "psnr,mse").out.split()
    )


def test_missing_weights_take_a_line_on_stderr_and_the_others_are_measured(
    ganvas_cli: Command, refused: Refusal, here: Path, trained: Trained
) -> None:
    one = pictures(here / "one", "a.png", "b.png")
    said = ganvas_cli("compare", one, one, "--metrics", "lpips-alex,mse", "--json")
    assert list(said.json["metrics"]) == ["mse"]
    assert said.err.startswith("lpips-alex left out: alexnet ")
    assert [line.split()[0] for line in said.err.splitlines()] == ["lpips-alex", "read"]
    for words in (["compare", one, one, "--metrics", "fd-alex"], ["evaluate", trained("avae"), "--metrics", "fd-alex"]):
        assert "is not at hand: run `ganvas fetch alexnet`" in refused(*words)


def test_what_recipes_have_in_common_is_said_once(ganvas_cli: Command, here: Path) -> None:
    one = pictures(here / "one", *(f"{i}.png" for i in range(3)))
    names = "mse,psnr,ssim,fd-digits"
    recipes = ganvas_cli("compare", one, one, "--metrics", names, "--json").json["metrics"]
    table = " ".join(ganvas_cli("compare", one, one, "--metrics", names).out.split())
    assert " all a: " in table
    for key in ("a: ", "b: ", "seed: "):
        assert table.count(f" {key}") == 1
    for figure in recipes.values():
        assert all(f"{key}: " in table for key in figure["recipe"])
    assert table.count("range: ") == 3


def test_figures_come_first_then_warnings_then_recipes(ganvas_cli: Command) -> None:
    words = ["compare", "digits", "digits?split=test", "--metrics", "FD-digits", "-n", "20"]
    head, value, *rest = ganvas_cli(*words).out.splitlines()
    assert head.split() == ["metric", "value", "std", "N", "better"]
    assert value.startswith("fd-digits ")
    assert value.split()[2:] == ["20", "lower"]
    table = " ".join(rest)
    assert table.index("fd-digits: warning: 20 images do not span 64 dimensions") < table.index("recipe")
    assert table.index("recipe") < table.index("extractor: digits")


@pytest.mark.parametrize("words", ["mse,psnr", "mse psnr", "MSE, PSNR,", "mse,mse psnr"])
def test_names_of_metrics_are_separated_by_commas_or_spaces_in_any_case(ganvas_cli: Command, words: str) -> None:
    asked = ["compare", "digits?limit=9", "digits?limit=9", "--json", "--metrics", words]
    assert list(ganvas_cli(*asked).json["metrics"]) == ["mse", "psnr"]


def test_sets_of_different_sizes_are_one_sentence(refused: Refusal, here: Path) -> None:
    one = pictures(here / "one", "a.png")
    (two := here / "two").mkdir()
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(two / "a.png")
    assert f"a.png of {one} is 30x20 in 3 channels, and its partner a.png of {two} is 20x20 in 3" in refused(
        "compare", one, two, "--metrics", "mse"
    )


# ---- data ------------------------------------------------------------------------------------------------------------
def test_a_data_set_is_described_and_drawn(ganvas_cli: Command, here: Path) -> None:
    folder = pictures(here / "pets", "cats/a.png", "cats/b.jpg", "dogs/c.png")
    (here / "pets" / "cats" / "notes.txt").touch()
    (here / "pets" / "dogs" / "broken.png").write_bytes(b"no picture")
    said = ganvas_cli("data", f"{folder}?max-bad=50%&size=16")
    lines = {line[:13].strip(): line[13:] for line in said.out.splitlines()}
    assert lines["read as"] == "images: folder of pictures; 2 classes by folder"
    assert lines["rows"] == "train 3"
    assert lines["a row"] == "image 3x16x16, label number"
    assert lines["classes"] == "cats (2), dogs (1)"
    assert lines["sizes"] == "30x20 (3)"
    assert lines["left out"] == "not an image file (.txt) (1): cats/notes.txt"
    assert lines["bad files"] == "1 of 4, skipped"
    assert "dogs/broken.png: " in said.out
    assert "sheet" not in lines
    assert {path.name for path in here.iterdir()} == {"pets"}  # nothing is written that was not asked for
    found = ganvas_cli("data", f"{folder}?max-bad=50%", "--out", "s.png", "--json").json
    assert (found["kind"], found["rows"], found["sheet"]) == ("images", 3, "s.png")
    with Image.open(here / "s.png") as sheet:
        assert sheet.width > 60
    assert found["classes"] == {"cats": 2, "dogs": 1}
    assert list(found["bad"]["files"]) == ["dogs/broken.png"]
    assert isinstance(found["bad"]["count"], int)


@pytest.mark.parametrize("spec", ["digits?limit=9", "photos?limit=9", "mixture:spiral?limit=9"])
def test_embedded_data_is_described_likewise(ganvas_cli: Command, here: Path, spec: str) -> None:
    found = ganvas_cli("data", spec, "--json", "--out", "sheet.png").json
    assert found["splits"] == {"train": 9, "test": 9}
    assert (here / found["sheet"]).is_file()
    assert "train 9, test 9" in ganvas_cli("data", spec).out


def test_names_in_brackets_and_colons_are_names(ganvas_cli: Command, here: Path, trained: Trained) -> None:
    """Neither markup nor emoji of the library that draws tables."""
    pictures(here / "[bold]", "[/red]a.png", ":smile:.png")
    assert "data         [bold]\n" in ganvas_cli("data", "[bold]").out
    assert "a: [bold], split train" in ganvas_cli("compare", "[bold]", "[bold]", "--metrics", "mse").out
    trained.copy("gan", here / "[/x]:boom:" / "run")
    assert "\n[/x]:boom:/run  gan " in ganvas_cli("runs", "[/x]:boom:").out
    assert "run          [/x]:boom:/run\n" in ganvas_cli("info", "[/x]:boom:/run").out
    assert "[/x]:boom:" in ganvas_cli("evaluate", "[/x]:boom:/run", "-n", "20").out


def test_names_that_are_no_text_are_written_all_the_same(ganvas_cli: Command, refused: Refusal, here: Path) -> None:
    folder = pictures(here / "caf\udce9", "\udcffa.png")
    assert "caf\ufffd" in ganvas_cli("data", folder, "--out", "s.png", "--json").out
    words = ["--data", f"{folder}?size=32", "--preset", "tiny"]
    assert "not UTF-8" in refused("train", "autoencoder", *words)


def test_a_folder_named_as_a_set_is_pointed_out(ganvas_cli: Command, here: Path) -> None:
    pictures(here / "photos", "a.png")
    said = ganvas_cli("data", "photos?limit=4", "--json")
    assert said.err == "note: photos is read as the set of that name; write photos/ for what lies here.\n"
    assert said.json["layout"] == "embedded photographs"
    said = ganvas_cli("data", "photos/", "--json")
    assert (said.err, said.json["rows"]) == ("", 1)


# ---- translations ----------------------------------------------------------------------------------------------------
def test_translations_are_told_by_their_directions_and_by_a_segmenter(
    ganvas_cli: Command, refused: Refusal, here: Path
) -> None:
    sets = paintings.unpaired(here / "sets", trainA=5, trainB=4)
    maps = paintings.labels(here / "maps")
    how = ["--preset", "tiny", "--steps", "1", "--batch-size", "1", "--device", "cpu"]
    ganvas_cli("train", "cyclegan", "--data", sets, "--out", "there", *how)
    found = ganvas_cli("evaluate", "there", "--metrics", "fd-digits", "--json").json["metrics"]
    assert [(name, set(figure["parts"])) for name, figure in found.items()] == [
        ("fd-digits", {"source", "floor"}), ("fd-digits-BtoA", {"source", "floor"})
    ]  # fmt: skip
    table = " ".join(ganvas_cli("evaluate", "there", "--metrics", "fd-digits").out.split())
    assert f"fd-digits-BtoA {found['fd-digits-BtoA']['value']:.5g} 2 lower" in table
    assert "fd-digits-BtoA: warning: 2 images do not span" in table
    assert f" floor {found['fd-digits-BtoA']['parts']['floor']:.5g}" in table
    ganvas_cli("train", "pix2pix", "--data", maps, "--out", "painter", *how)
    (here / "broken.onnx").write_bytes(b"no model")
    words = ["evaluate", "painter", "--metrics", "miou", "--segmenter", "broken.onnx"]
    assert "broken.onnx is no ONNX model" in refused(*words, code=4)
    assert "miou needs a net" in refused("evaluate", "painter", "--metrics", "miou")
