"""Training as it is meant: minutes, not seconds. `make test-slow` runs these."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganvas.data import open_data
from ganvas.evaluation import evaluate
from ganvas.training import train

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_small_gan_finds_every_mode_of_the_ring(seed: int, tmp_path: Path) -> None:
    run = train("gan", data="mixture:ring8", preset="small", seed=seed, out=tmp_path, device="cpu", quiet=True)
    modes = evaluate(run, device="cpu")["modes"]
    assert modes.value == modes.parts["of"] == 8
    assert modes.parts["high_quality"] >= 0.8


def test_the_small_avae_reconstructs_digits(tmp_path: Path) -> None:
    """On average black is 0.86 away from a digit, and the mean digit 0.23."""
    run = train("avae", data="digits", preset="small", out=tmp_path, device="cpu", quiet=True)
    assert evaluate(run, metrics=["mse"], device="cpu")["mse"].value < 0.15


def scenes(folder: Path, n: int, split: str) -> None:
    """Label maps of discs and bands, each with its scene: sky above, ground below, discs of a colour of their own."""
    generator = np.random.default_rng([n, len(split)])
    y, x = np.mgrid[:32, :32]
    for i in range(n):
        horizon, cx, cy, r = generator.integers([12, 6, 6, 4], [22, 26, 26, 8])
        labels = (y >= horizon).astype(np.uint8)
        labels[(x - cx) ** 2 + (y - cy) ** 2 < r**2] = 2
        colours = np.array([[110, 160, 230], [90, 120, 50], [220, 40, 40]])[labels]
        noise = generator.normal(0, 6, (32, 32, 3))
        for name, pixels in (("label", labels), ("img", (colours + noise).clip(0, 255).astype(np.uint8))):
            (folder / f"{split}_{name}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{split}_{name}" / f"{i:03d}.png")


@pytest.mark.parametrize("name", ["pix2pix", "pix2pixhd"])
def test_label_maps_become_scenes(name: str, tmp_path: Path) -> None:
    """The mean picture of the set is at 13 dB."""
    scenes(tmp_path / "data", 100, "train")
    scenes(tmp_path / "data", 20, "test")
    leaves = {"perceptual": "none", "width": 16, "downs": 2, "encoder_downs": 2} if name == "pix2pixhd" else {}
    run = train(name, data=str(tmp_path / "data"), steps=600, out=tmp_path / "run", device="cpu", quiet=True, **leaves)
    assert evaluate(run, metrics=["psnr"], device="cpu")["psnr"].value > 20


def test_cyclegan_learns_the_other_colour(tmp_path: Path) -> None:
    """Red discs on grey, and blue ones: most of the way from source to floor, there and back again."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    for side, colour in (("trainA", (200, 60, 50)), ("trainB", (50, 70, 200))):
        (tmp_path / "data" / side).mkdir(parents=True)
        for i in range(100):
            cx, cy, r = generator.integers([8, 8, 5], [24, 24, 9])
            pixels = np.full((32, 32, 3), 128.0)
            pixels[(x - cx) ** 2 + (y - cy) ** 2 < r**2] = colour
            pixels += generator.normal(0, 6, pixels.shape)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / "data" / side / f"{i:03d}.png")
    run = train("cyclegan", data=str(tmp_path / "data"), preset="small", steps=800, out=tmp_path / "run", device="cpu",
                quiet=True, width=16, critic_width=16, blocks=2)  # fmt: skip
    game = run.load_game()
    x = open_data(str(tmp_path / "data"), prefer=("unpaired",)).domain("A").tensors(np.arange(20))["image"]
    y = game.translate(x)
    inside = x[:, 0] - x[:, 2] > 0.5  # the disc
    assert (y[:, 2] - y[:, 0])[inside].mean() > 0.4
    assert (game.translate(y, direction="BtoA") - x).abs().mean() < 0.1
