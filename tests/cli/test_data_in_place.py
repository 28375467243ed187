"""Working in the folder of the data itself: what the commands write there is never taken for data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from said import Command


def draw(folder: Path, *names: str) -> None:
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (32, 32, 3), np.uint8)).save(folder / name)


LAYOUTS = {
    "flat": ("vae", [f"{i}.png" for i in range(8)]),
    "splits and classes": ("vae", [f"{s}/{c}/{i}.png" for s in ("Train", "Test") for c in "xy" for i in range(4)]),
    "two sets": ("cyclegan", [f"{s}/{i}.png" for s in ("trainA", "trainB") for i in range(4)]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_run_resumes_in_the_folder_of_its_data(layout: str, ganvas_cli: Command, here: Path) -> None:
    system, names = LAYOUTS[layout]
    draw(here, *names)
    first = ganvas_cli("data", ".", "--out", "contact-data.png", "--json").json
    train = ["train", system, "--data", ".", "--preset", "tiny", "--batch-size", "2", "--device", "cpu"]
    ganvas_cli(*train, "--steps", "1")
    if system == "vae":
        ganvas_cli("sample", "runs/vae-data", "-n", "4", "--out", "grid.png")
        ganvas_cli("sample", "runs/vae-data", "-n", "4", "--out", "samples")
        ganvas_cli("reconstruct", "runs/vae-data", names[0], "--out", "again.jpg")
    else:
        ganvas_cli("translate", "runs/cyclegan-data", names[0], "--out", "other")
    for _ in range(2):
        assert "is trained: 1 of 1 steps" in ganvas_cli(*train, "--steps", "1").err
    second = ganvas_cli("data", ".", "--json").json
    for fact in ("kind", "splits", "classes", "fingerprint"):
        assert second[fact] == first[fact]
    left = {one["reason"] for one in second["left_out"]}
    assert {"a run of ganvas", "a sheet drawn by ganvas", "made by ganvas"} <= left
    said = ganvas_cli("data", ".").out
    assert f"a run of ganvas (1): runs/{system}-data/" in said


def test_what_a_flat_split_lacks_is_said(ganvas_cli: Command, here: Path, refused: Command) -> None:
    draw(here / "pets", *(f"train/{c}/{i}.png" for c in ("cat", "dog") for i in range(4)), "test/1.png", "test/2.png")
    note = "The split test has no class folders: it has no labels."
    assert f"notes        {note}\n" in ganvas_cli("data", "pets").out
    train = ["train", "vae", "--conditional", "--preset", "tiny", "--steps", "1", "--batch-size", "2"]
    said = ganvas_cli(*train, "--data", "pets")
    assert "no labels in its split test" in said.err
    (here / "pets/train").rename(here / "pets/val")
    (here / "pets/test").rename(here / "pets/train")
    assert "has none. The split train has no class folders" in refused(*train, "--data", "pets", "--new")


def test_a_lone_image_of_ours_beside_the_data_is_none_of_it(ganvas_cli: Command, here: Path) -> None:
    draw(here, *LAYOUTS["flat"][1])
    train = [
        "train",
        "dcgan",
        "--data",
        ".",
        "--preset",
        "tiny",
        "--batch-size",
        "2",
        "--steps",
        "1",
        "--out",
        "../run",
    ]
    ganvas_cli(*train)
    ganvas_cli("sample", "../run", "-n", "1", "--out", "one.png")
    assert "is trained: 1 of 1 steps" in ganvas_cli(*train).err
    (left,) = ganvas_cli("data", ".", "--json").json["left_out"]
    assert (left["reason"], left["names"]) == ("made by ganvas", ["one.png"])
