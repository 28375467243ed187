"""Training as it is meant: minutes, not seconds. `make test-slow` runs these."""

from __future__ import annotations

from pathlib import Path

import pytest

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
