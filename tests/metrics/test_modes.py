from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ganvas.errors import DataError, UsageError
from ganvas.metrics.modes import Modes
from ganvas.ops.mixtures import mixture


@pytest.mark.parametrize(("name", "modes"), [("ring8", 8), ("grid25", 25)])
def test_the_mixtures_own_points_cover_everything(name: str, modes: int) -> None:
    figure = Modes().figure(mixture(name).sample(40_000, seed=0), name)
    assert (figure.value, figure.parts["of"], figure.n) == (modes, modes, 40_000)
    assert figure.parts["high_quality"] == pytest.approx(1 - math.exp(-4.5), abs=2e-3)  # Rayleigh within 3 sigma
    assert figure.parts["kl"] == pytest.approx((modes - 1) / (2 * 40_000), rel=1)  # expectation of the plug-in estimate


def test_collapse_on_one_mode() -> None:
    points = mixture("ring8").centres[3].repeat(2500, 1).float()
    figure = Modes().figure(points, "ring8")
    assert figure.value == 1
    assert figure.parts["high_quality"] == 1
    assert figure.parts["kl"] == pytest.approx(math.log(8), rel=1e-12)


@pytest.mark.parametrize(("copies", "covered"), [(4, 0), (5, 8)])
def test_a_mode_is_covered_from_five_points_on(copies: int, covered: int) -> None:
    points = mixture("ring8").centres.repeat(copies, 1)
    figure = Modes().figure(points, "ring8")
    assert figure.value == covered
    assert figure.parts["kl"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("sigmas", "quality"), [(2.999, 1), (3.001, 0)])
def test_high_quality_is_within_three_sigma(sigmas: float, quality: float) -> None:
    known = mixture("grid25")
    points = known.centres.repeat(5, 1) + torch.tensor([0.6, 0.8], dtype=torch.float64) * sigmas * known.sigma
    figure = Modes().figure(points, "grid25")
    assert figure.parts["high_quality"] == quality
    assert figure.value == 25 * quality
    assert figure.parts["kl"] == pytest.approx(0, abs=1e-12)  # the histogram is of all points


@given(st.lists(st.integers(0, 7), min_size=1, max_size=40))
def test_kl_is_that_of_the_histogram(modes: list[int]) -> None:
    figure = Modes().figure(mixture("ring8").centres[modes], "ring8")
    shares = [modes.count(k) / len(modes) for k in range(8)]
    assert figure.parts["kl"] == pytest.approx(sum(p * math.log(8 * p) for p in shares if p), abs=1e-12)
    assert figure.value == sum(modes.count(k) >= 5 for k in range(8))


def test_points_that_are_not_finite_are_near_no_mode_and_are_said() -> None:
    points = mixture("ring8").centres.repeat(10, 1)
    points[:8] = torch.nan
    figure = Modes().figure(points, "ring8")
    assert figure.value == 8
    assert figure.parts["high_quality"] == pytest.approx(0.9)
    assert "8 of 80 points" in figure.recipe["warning"]
    nothing = Modes().figure(torch.full((4, 2), torch.inf), "ring8").to_json()
    assert nothing["value"] == 0
    assert nothing["parts"]["kl"] is None


def test_bad_input_is_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'ring8'"):
        Modes().figure(torch.zeros(3, 2), "ring9")
    for points in (torch.zeros(3, 5), torch.zeros(0, 2), torch.zeros(3)):
        with pytest.raises(DataError, match=r"\[N, 2\]"):
            Modes().figure(points, "ring8")
