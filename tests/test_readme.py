"""The README is a test: its commands and its Python run as they stand, only shorter and on pictures made here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ganvas
from ganvas.cli import run
from ganvas.nets.isola import ResnetGenerator

README = (Path(__file__).parents[1] / "README.md").read_text()
PHOTOGRAPHS = "~/Pictures/holidays"
SHORTER = {
    "--minutes 60": "--minutes 60 --preset tiny --steps 3",
    "--conditional": "--conditional --preset tiny --steps 3",
    "-n 64": "-n 16",
    "'horse2zebra?load_size=286&crop=256&flip=true'": "'horse2zebra?load_size=36&crop=32&flip=true' "
    "--preset tiny --steps 3",
    "'facades?side-by-side=AB'": "'facades?side-by-side=AB' --preset tiny --steps 3",
    "'streets?scale_width=1024&crop=512&flip=true'": "'streets?scale_width=64&crop=32&flip=true' "
    "--preset tiny --steps 3",
    "--data cifar10=data/cifar10": "--data 'cifar10=digits?limit=100' --models vae --width 2 --steps 2",
}


def blocks(language: str) -> Iterator[str]:
    """The code blocks of a language, in order."""
    yield from re.findall(rf"```{language}\n(.*?)```", README, re.S)


def commands() -> list[list[str]]:
    """The words of every `ganvas` command in the README's blocks."""
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("ganvas ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.fixture
def holidays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a folder of photographs as a camera leaves them."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    folder = Path(PHOTOGRAPHS).expanduser()
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for i in range(20):
        pixels = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        size = (320, 240) if i % 3 else (240, 320)
        Image.fromarray(pixels).resize(size).save(folder / f"IMG_{i:04d}.JPG", "jpeg")
    (folder / "notes.txt").write_text("not a picture")
    return tmp_path


@pytest.fixture
def domains(holidays: Path) -> Path:
    """Beside the holidays: two domains, pairs side by side, label maps and their photographs, a published generator."""
    generator = np.random.default_rng(1)
    folders = ("horse2zebra/trainA", "horse2zebra/trainB", "horse2zebra/testA", "horse2zebra/testB", "facades/train",
               "streets/train_label", "streets/train_img", "streets/test_label", "streets/test_img")  # fmt: skip
    for folder in folders:
        (holidays / folder).mkdir(parents=True)
        for i in range(1, 5):
            size = (48, 64) if "streets" in folder else (32, 64) if "facades" in folder else (40, 40)
            pixels = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
            if folder.endswith("_label"):
                pixels = np.kron(generator.integers(0, 3, (3, 4), dtype=np.uint8), np.ones((16, 16), np.uint8))
                pixels[:16, :48] = np.repeat(np.arange(3, dtype=np.uint8), 16)  # every class is in every map
            Image.fromarray(pixels).save(holidays / folder / f"{i:04d}.png")
    Image.new("RGB", (40, 40)).save(holidays / "horse.jpg")
    torch.save(ResnetGenerator(3, 3, 4, blocks=6).state_dict(), holidays / "latest_net_G.pth")
    return holidays


def test_every_command_does_what_it_says(
    domains: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GANVAS_CACHE", str(domains / "cache"))  # other tests leave names there that are not UTF-8
    ran = commands()
    assert len(ran) >= 10
    for words in ran:
        line = shlex.join(words)
        for long, short in SHORTER.items():
            line = line.replace(long, short)
        assert run(shlex.split(line)) == 0, (line, capsys.readouterr().err)
        if "--out" in words and words[0] != "train":
            assert (domains / words[words.index("--out") + 1]).stat().st_size > 0
    assert (domains / "runs/dcgan-holidays/report.html").is_file()


def test_its_python_runs(holidays: Path) -> None:
    (code,) = blocks("python")
    scope: dict[str, object] = {}
    exec(code.replace("steps=500", "steps=3").replace('preset="small"', 'preset="tiny"'), scope)
    assert scope["x"].shape == (64, 1, 32, 32)  # type: ignore[attr-defined]
    assert (holidays / "runs/a/config.json").is_file()


def test_it_names_every_system_and_no_other() -> None:
    named = re.findall(r"^\| `([\w-]+)` \|", README.partition("## Set up")[0], re.M)
    assert sorted(named) == sorted(ganvas.systems())


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (Path(__file__).parents[1] / target).exists(), target
