from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor

from ganvas.metrics import FrechetDistance, digits, metric
from ganvas.nets.features import digest


@pytest.fixture(scope="module")
def real() -> Tensor:
    """The digits shown at 32 x 32, [1797, 1, 32, 32] in [-1, 1]."""
    images = torch.from_numpy(load_digits().images).float()[:, None] / 8 - 1
    return F.interpolate(images, (32, 32), mode="bilinear")


def test_is_trained_once_well_and_says_so(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in cache.glob("classifiers/*"):
        file.unlink()
    before = torch.get_rng_state()
    net, accuracy = digits.classifier()
    assert torch.equal(before, torch.get_rng_state())
    assert accuracy > 0.95
    assert f"test accuracy {accuracy:.1%}" in capsys.readouterr().err
    again, kept = digits.classifier()
    assert capsys.readouterr().err == ""
    assert kept == accuracy
    assert digest(again.state_dict()) == digest(net.state_dict())
    (file,) = cache.glob("classifiers/*")
    file.write_bytes(file.read_bytes()[:100])  # damaged: trained again, to the same bits
    assert digest(digits.classifier()[0].state_dict()) == digest(net.state_dict())


def test_tells_digits_from_what_they_are_not(real: Tensor) -> None:
    fd = metric("fd-digits")
    assert isinstance(fd, FrechetDistance)
    even, odd = fd.statistics(real[0::2].split(64)), fd.statistics(real[1::2].split(100))
    same = fd.distance(even, odd)
    ones = fd.distance(even, fd.statistics([real[1::2][load_digits().target[1::2] == 1]]))
    noise = fd.distance(even, fd.statistics([torch.rand(800, 1, 32, 32) * 2 - 1]))
    assert 5 * same.value < ones.value
    assert 5 * same.value < noise.value
    assert fd.distance(even, even).value == pytest.approx(0, abs=1e-9)
    assert same.recipe["accuracy"] > 0.95
    assert "warning" not in same.recipe


def test_takes_colours_and_any_size(real: Tensor) -> None:
    fd = metric("fd-digits")
    assert isinstance(fd, FrechetDistance)
    grey = fd.extractor(real[:4])
    torch.testing.assert_close(fd.extractor(real[:4].expand(-1, 3, -1, -1)), grey, rtol=1e-4, atol=1e-4)
    larger = fd.extractor(F.interpolate(real[:4], (64, 64), mode="bilinear"))
    assert F.cosine_similarity(larger, grey).min() > 0.9
