"""Mixtures: the density is the one that it says, and samples follow it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import chisquare, kstest, multivariate_normal

from ganvas.errors import UsageError
from ganvas.ops.mixtures import MIXTURES, Mixture, mixture

every_mixture = pytest.mark.parametrize("name", MIXTURES)
coordinate = st.floats(-3, 3)


def by_scipy(known: Mixture, points: np.ndarray) -> np.ndarray:
    """The log-density, from SciPy's Gaussians."""
    each = [multivariate_normal(centre, known.sigma**2 * np.eye(2)).logpdf(points) for centre in known.centres.numpy()]
    return logsumexp(each, axis=0) - math.log(len(each))


@every_mixture
@given(st.lists(st.tuples(coordinate, coordinate), min_size=2, max_size=8))
@settings(deadline=None, max_examples=25)
def test_the_log_density_is_scipys(name: str, points: list[tuple[float, float]]) -> None:
    known, x = mixture(name), np.array(points)
    np.testing.assert_allclose(known.log_density(torch.tensor(x)).numpy(), by_scipy(known, x), rtol=1e-10, atol=1e-8)


def test_the_log_density_by_hand() -> None:
    """At a centre of ring8 the seven others are 38 sigma and more away: 1/8 of one Gaussian's peak."""
    at_centre, far = mixture("ring8").log_density(torch.tensor([[2.0, 0.0], [102.0, 0.0]], dtype=torch.float64))
    peak = -math.log(8) - math.log(2 * math.pi * 0.02**2)
    assert at_centre.item() == pytest.approx(peak, abs=1e-12)
    assert far.item() == pytest.approx(peak - 100**2 / (2 * 0.02**2), rel=1e-12)  # 12.5 million nats: no underflow


@every_mixture
def test_the_density_integrates_to_one(name: str) -> None:
    """Sums over a grid finer than sigma are exact for Gaussians, to rounding."""
    known = mixture(name)
    step = known.sigma * 0.8
    reach = known.centres.abs().max().item() + 9 * known.sigma
    line = torch.arange(-reach, reach, step, dtype=torch.float64)
    total = sum(known.log_density(torch.cartesian_prod(part, line)).exp().sum().item() for part in line.split(64))
    assert total * step**2 == pytest.approx(1, abs=1e-6)


@every_mixture
def test_samples_have_the_moments_and_the_modes(name: str) -> None:
    known, n = mixture(name), 40_000
    points = known.sample(n, seed=3)
    assert (points.dtype, points.shape, points.device.type) == (torch.float32, (n, 2), "cpu")
    centres = known.centres.numpy()
    covariance = np.cov(centres.T, bias=True) + known.sigma**2 * np.eye(2)
    spread = np.sqrt(np.diag(covariance) / n)
    assert (np.abs(points.numpy().mean(0) - centres.mean(0)) < 4 * spread).all()
    np.testing.assert_allclose(np.cov(points.numpy().T), covariance, atol=0.03 * covariance.max())
    if name != "spiral":  # whose modes overlap
        apart = np.linalg.norm(points.numpy()[:, None] - centres, axis=2)
        counts = np.bincount(apart.argmin(1), minlength=len(centres))
        assert chisquare(counts).pvalue > 1e-3
        squares = (apart.min(1) / known.sigma) ** 2  # of a 2-d Gaussian: twice an exponential variable
        assert kstest(squares / 2, "expon").pvalue > 1e-3


def test_the_entropy_of_samples_is_that_of_modes_far_apart() -> None:
    for name, modes in (("ring8", 8), ("grid25", 25)):
        known = mixture(name)
        surprise = -known.log_density(known.sample(40_000, seed=0)).mean().item()
        assert surprise == pytest.approx(math.log(modes) + 1 + math.log(2 * math.pi * known.sigma**2), abs=0.02)


def test_samples_depend_on_the_seed_alone() -> None:
    known = mixture("grid25")
    first = known.sample(10, seed=1)
    torch.rand(3)
    assert torch.equal(first, known.sample(10, seed=1))
    assert not torch.equal(first, known.sample(10, seed=2))


def test_the_mixtures_are_those_of_the_literature() -> None:
    ring, grid, spiral = (mixture(name) for name in ("ring8", "grid25", "spiral"))
    assert (ring.sigma, grid.sigma) == (0.02, 0.05)
    assert torch.allclose(ring.centres.norm(dim=1), torch.tensor(2.0, dtype=torch.float64))
    assert torch.allclose(
        ring.centres.roll(1, 0).sub(ring.centres).norm(dim=1), torch.tensor(4 * math.sin(math.pi / 8)).double()
    )
    assert {tuple(centre) for centre in grid.centres.tolist()} == {
        (2.0 * i, 2.0 * j) for i in range(-2, 3) for j in range(-2, 3)
    }
    steps = spiral.centres.diff(dim=0).norm(dim=1)[10:]
    assert steps.max() < 3 * spiral.sigma  # close enough to look like one curve
    assert steps.max() < 1.5 * steps.min()


def test_another_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'ring8'"):
        mixture("ring9")
