"""The commands import and export, and what can be done with a run that was imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from said import Command, Refusal

import ganvas
import translation_originals as originals
from layouts import coarse, filled, patches, resnet, save, unet

NARROW = ("--width", "4", "--critic-width", "4")  # of what no file is given for


def photo(path: Path, width: int, height: int, mode: str = "RGB") -> Path:
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def pixels_of(path: Path) -> NDArray[Any]:
    with Image.open(path) as image:
        return np.array(image).astype(np.float32)


@pytest.fixture
def official(here: Path, ganvas_cli: Command) -> Path:
    """An imported run of a CycleGAN's one direction, for pictures of 32x32."""
    save(here / "G.pth", resnet(3, 3, 4, 6))
    ganvas_cli("import", "--as", "cyclegan", "G_A=G.pth", "--out", "official", "--size", "32", *NARROW[2:])
    return here / "official"


def test_import_says_where_the_run_is_and_what_it_is_of(ganvas_cli: Command, here: Path, official: Path) -> None:
    told = ganvas_cli("info", "official").out
    digest = "f" * 64
    assert "imported     G_A from a file of SHA-256 " in told
    assert "no G_B: what needs it is refused" in told
    assert "ganvas train cyclegan --data SPEC --preset paper" in told
    assert "--init official" in told
    assert "steps" not in told.splitlines()[3]
    assert len(told.partition("SHA-256 ")[2].split()[0]) == len(digest)
    save(here / "D.pth", patches(3, 4))
    said = ganvas_cli("import", "G_A=G.pth", "--out", "two", "--as=cyclegan", "D_A=D.pth", "--json").json
    assert (said["command"], said["run"], said["step"]) == ("import", "two", 0)
    assert {part: bool(digest) for part, digest in said["imported"].items()} == {
        "G_A": True, "G_B": False, "D_A": True, "D_B": False}  # fmt: skip
    assert {row["run"] for row in ganvas_cli("runs", ".", "--json").json["runs"]} == {"official", "two"}
    table = ganvas_cli("runs", ".").out
    assert (table.count("imported"), "0/0" in table) == (4, False)  # twice as data, twice as steps
    assert ganvas_cli("report", "official").out.strip() == "official/report.html"
    page = (here / "official" / "report.html").read_text()
    assert "without G_B, D_A, D_B" in page
    assert "of 0" not in page


def test_only_nets_that_a_file_was_given_for_take_space_and_loads_agree(here: Path, official: Path) -> None:
    file = here / "G.pth"
    assert sum(path.stat().st_size for path in official.rglob("*") if path.is_file()) < 1.2 * file.stat().st_size
    games = [ganvas.load(official, raw=raw) for raw in (False, False, True)]
    first = games[0].state_dict()
    assert any(name.startswith("D_A.") for name in first)
    for game in games[1:]:
        assert all(torch.equal(value, first[name]) for name, value in game.state_dict().items())


@torch.no_grad()
def test_an_imported_run_translates_as_the_originals_test_script(
    ganvas_cli: Command, here: Path, official: Path
) -> None:
    """Pictures are stretched to the size, translated in one direction, and saved under their names."""
    (here / "shots").mkdir()
    for name, size in {"wide": (48, 32), "same": (32, 32)}.items():
        photo(here / "shots" / f"{name}.png", *size)
    ganvas_cli("translate", "official", "shots", "--out", "made")
    assert sorted(path.name for path in (here / "made").iterdir()) == ["same.png", "wide.png"]
    with Image.open(here / "made" / "wide.png") as wide:
        assert wide.size == (32, 32)
    original = originals.ResnetGenerator(3, 3, 4, 6)
    original.load_state_dict(filled(resnet(3, 3, 4, 6)))
    pixels = torch.from_numpy(pixels_of(here / "shots" / "same.png")).permute(2, 0, 1)[None]
    made = original(pixels / 127.5 - 1)[0].permute(1, 2, 0)
    found = pixels_of(here / "made" / "same.png")
    assert np.abs(found - ((made + 1) * 127.5).numpy()).max() < 1


def test_a_grey_net_is_given_grey_pictures(ganvas_cli: Command, here: Path) -> None:
    save(here / "G.pth", unet(1, 3, 4, 5))
    photo(here / "photo.png", 32, 32)
    ganvas_cli("import", "--as", "pix2pix", "G=G.pth", "--out", "run", "--size", "32", *NARROW[2:])
    ganvas_cli("translate", "run", "photo.png", "--out", "made.png")
    assert (here / "made.png").is_file()


def test_export_reports_how_alike_the_files_are(ganvas_cli: Command, here: Path, official: Path) -> None:
    said = ganvas_cli("export", "official", "--to", "published", "--out", "files")
    assert "latest_net_G_A.pth  G_A, 36 tensors of " in said.out
    assert said.out.splitlines()[-1] == "files"
    assert sorted(path.name for path in (here / "files").iterdir()) == ["README.txt", "latest_net_G_A.pth"]
    told = ganvas_cli("export", "official", "--to", "published", "--out", "more", "--json").json
    assert [part["part"] for part in told["parts"]] == ["G_A"]
    assert told["parts"][0]["difference"] < 1e-5
    exported = torch.load(here / "files" / "latest_net_G_A.pth", weights_only=True)
    first = torch.load(here / "G.pth", weights_only=True)
    assert all(torch.equal(exported[key], first[key]) for key in first)


def test_what_an_imported_run_has_not_is_one_sentence(refused: Refusal, here: Path, official: Path) -> None:
    photo(here / "photo.png", 32, 32)
    for words, sentence in {
        "translate official photo.png --direction BtoA --out a.png": "without the net that translates BtoA",
        "translate official photo.png --cycle --out a.png": "without the net that translates BtoA",
        "sample official --out a.png": "which cannot sample",
        "evaluate official": "was imported and has no data of its own: name some with --data",
        "calibrate official": "was imported and has no data of its own",
        "train cyclegan --data photos --out official": "holds imported weights and is not trained in: start a run from",
        "export official --to published --out official": "official is not empty; choose another --out",
    }.items():
        assert sentence in refused(*words.split())


def test_a_wrong_import_is_one_sentence(refused: Refusal, here: Path) -> None:
    save(here / "G.pth", resnet(3, 3, 4, 2))
    save(here / "HD.pth", coarse(36, 3, 4, 2, 1))
    (here / "cut.pth").write_bytes((here / "G.pth").read_bytes()[:900])
    (here / "page.pth").write_text("<!DOCTYPE html>")
    for words, (code, sentence) in {
        "--out run": (2, "usage: ganvas import --as SYSTEM PART=FILE ... --out RUN"),
        "--as": (2, "usage: ganvas import"),
        "--as vae G=G.pth --out run": (2, "vae"),
        "--as cyclegan --out run": (2, "Name at least one part of cyclegan"),
        "--as cyclegan G_A=G.pth": (2, "needs --out RUN"),
        "--as cyclegan G.pth --out run": (2, "PART=FILE"),
        "--as cyclegan G_A=G.pth G_A=G.pth --out run": (2, "G_A is given twice"),
        "--as cyclegan G_A=G.pth --out run --colour 3": (2, "There is no flag --colour"),
        "--as cyclegan G_A=G.pth --out run --width 64": (2, "width is 4 in G.pth, not 64: remove --width"),
        "--as cyclegan G_A=G.pth --out run --dropout": (2, "dropout is False in G.pth, not True: remove --dropout"),
        "--as cyclegan G_A=G.pth --out run --size 0": (2, "--size takes a side in pixels or WIDTHxHEIGHT"),
        "--as cyclegan G_A=none.pth --out run": (2, "none.pth cannot be read: No such file"),
        "--as cyclegan G_A=cut.pth --out run": (4, "cut.pth is cut short"),
        "--as cyclegan G_A=page.pth --out run": (2, "page.pth was not written by torch.save"),
        "--as pix2pixhd G=HD.pth --out run": (2, "say --labels 36 (36 labels), --labels 35 (35 labels + edges)"),
    }.items():
        assert sentence in refused("import", *words.split(), code=code)


def test_the_help_names_systems_parts_and_their_flags(ganvas_cli: Command) -> None:
    page = ganvas_cli("import", "--help").out
    for line in ("cyclegan   G_A G_B D_A D_B, of ", "pix2pixhd  G D E, of ", "dcgan      G D, of "):
        assert f"  {line}" in page
    for name in ("cyclegan", "pix2pix", "pix2pixhd", "dcgan"):
        page = ganvas_cli("import", "--as", name, "--help").out
        assert all(flag in page for flag in ("PART=FILE", "--out", "--as", "--labels", "--size", "--width"))
        assert "default: none" not in page.partition(f"{name} options")[0]
