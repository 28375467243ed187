from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import precision
from ganvas.errors import DataError
from ganvas.metrics import extractors, frechet
from ganvas.metrics.frechet import FrechetDistance
from ganvas.metrics.moments import Moments
from ganvas.metrics.sets import gather
from ganvas.nets.features import FeatureStack


def psd(dims: int, rank: int, generator: np.random.Generator) -> Tensor:
    root = generator.standard_normal((dims, rank))
    return torch.from_numpy(root @ root.T / rank)


@given(dims=st.integers(1, 12), rank=st.integers(1, 12), seed=st.integers(0, 999))
@settings(deadline=None)
def test_equals_the_definition_by_a_general_matrix_root(dims: int, rank: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    a, b = psd(dims, rank, generator), psd(dims, dims, generator)  # a is of any rank, also deficient
    m, k = (torch.from_numpy(generator.standard_normal(dims)) for _ in range(2))
    product = (a @ b).numpy()
    root = scipy.linalg.sqrtm(product + 1e-14 * np.eye(dims) * np.trace(product))
    expected = float((m - k).square().sum() + a.trace() + b.trace()) - 2 * np.trace(root).real
    assert frechet.distance(m, a, k, b) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert frechet.distance(m, a, k, b) == pytest.approx(frechet.distance(k, b, m, a), rel=1e-12, abs=1e-12)


@given(st.lists(st.tuples(*[st.floats(-3, 3), st.floats(0, 3)] * 2), min_size=1, max_size=9))
def test_equals_the_closed_form_where_covariances_commute(rows: list[tuple[float, float, float, float]]) -> None:
    """N(m, s^2) and N(k, t^2) in each axis: the sum of (m - k)^2 + (s - t)^2; and any rotation keeps it."""
    m, s, k, t = torch.tensor(rows, dtype=torch.float64).T
    generator = torch.Generator().manual_seed(len(rows))
    rotation = torch.linalg.qr(torch.randn(len(rows), len(rows), dtype=torch.float64, generator=generator)).Q
    a, b = (rotation @ (v * v).diag() @ rotation.T for v in (s, t))
    expected = ((m - k).square() + (s - t).square()).sum().item()
    assert frechet.distance(rotation @ m, a, rotation @ k, b) == pytest.approx(expected, rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("n", [60, 500])
def test_equals_float64_to_a_millionth_given_features(n: int) -> None:
    """Features as an extractor gives them, float32 and above zero, fewer and more of them than dimensions."""
    generator = torch.Generator().manual_seed(n)
    mix = torch.randn(96, 96, generator=generator) / 96**0.5
    x, y = ((torch.randn(n, 96, generator=generator) @ mix + shift).relu() for shift in (0.3, 0.5))
    (m, a), (k, b) = ((v.mean(0), np.cov(v, rowvar=False)) for v in (x.double().numpy(), y.double().numpy()))
    if n > 96:
        root = np.trace(scipy.linalg.sqrtm(a @ b)).real
    else:  # of covariances F'F and G'G of low rank: the singular values of F G', and no root at all
        f, g = ((v - v.mean(0)) / (n - 1) ** 0.5 for v in (x.double().numpy(), y.double().numpy()))
        root = scipy.linalg.svdvals(f @ g.T).sum()
    expected = np.square(m - k).sum() + np.trace(a) + np.trace(b) - 2 * root
    moments = [Moments(), Moments()]
    for side, features in zip(moments, (x, y), strict=True):
        for part in features.split(17):
            side.update(part)
    tool = FrechetDistance("fd", extractors.from_stack(FeatureStack("squeeze").eval(), "an untrained net"))
    figure = tool.distance(*moments)
    assert figure.value == pytest.approx(expected, rel=1e-6)
    assert ("warning" in figure.recipe) == (n <= 96)


def test_a_set_is_at_no_distance_from_itself_at_any_rank() -> None:
    generator = np.random.default_rng(0)
    for rank in (3, 60, 128):
        covariance, mean = psd(128, rank, generator) * 100, torch.zeros(128, dtype=torch.float64)
        assert frechet.distance(mean, covariance, mean, covariance) < 1e-9 * covariance.trace()


@pytest.fixture(scope="module")
def fd() -> FrechetDistance:
    """The distance over an untrained SqueezeNet whose weights keep the scale of what goes through: all but training."""
    torch.manual_seed(0)
    net = FeatureStack("squeeze").eval()
    for weight in net.parameters():
        if weight.ndim == 4:
            torch.nn.init.kaiming_normal_(weight)
    return FrechetDistance("fd-squeeze", extractors.from_stack(net, "an untrained net"))


def images(n: int, seed: int, *shape: int) -> Tensor:
    return torch.rand(n, *(shape or (3, 32, 32)), generator=torch.Generator().manual_seed(seed)) * 2 - 1


@given(batch=st.integers(1, 12))
@settings(max_examples=4, deadline=None)
def test_the_value_does_not_depend_on_the_batch_size(fd: FrechetDistance, batch: int) -> None:
    a, b = images(12, 0), images(12, 1) * 0.5
    whole = fd.distance(fd.statistics([a]), fd.statistics([b])).value
    assert fd.distance(fd.statistics(a.split(batch)), fd.statistics(b.split(7))).value == pytest.approx(whole, rel=1e-4)


def test_equals_a_derivation_of_its_own(fd: FrechetDistance) -> None:
    """Features by the bare net, numpy's covariance and a general matrix root."""
    sides = images(40, 0), images(40, 1) * 0.3

    def by_hand(dtype: torch.dtype) -> float:
        net = FeatureStack("squeeze").to(dtype)
        net.load_state_dict(fd.extractor.net.state_dict())
        statistics = []
        for x in sides:
            grid = torch.nn.functional.interpolate(((x + 1) * 127.5).round().to(dtype), (64, 64), mode="bilinear")
            with torch.inference_mode():
                features = net(grid / 127.5 - 1)[-1].mean((2, 3)).double().numpy()
            statistics.append((features.mean(0), np.cov(features, rowvar=False)))
        (m, a), (k, b) = statistics
        root = scipy.linalg.sqrtm(a @ b + 1e-18 * np.eye(512)).real
        return float(np.square(m - k).sum() + np.trace(a) + np.trace(b) - 2 * np.trace(root))

    single, expected = (torch.tensor(by_hand(dtype), dtype=torch.float64) for dtype in (torch.float32, torch.float64))
    found = fd.distance(fd.statistics([sides[0]]), fd.statistics([sides[1]]))
    assert found.value == pytest.approx(expected.item(), abs=precision.allowed(single, expected))
    assert found.n == 40
    assert "40 images do not span 512 dimensions" in found.recipe["warning"]


def test_a_set_against_itself_and_the_recipe(fd: FrechetDistance) -> None:
    side = fd.statistics([images(30, 0)])
    figure = fd.distance(side, fd.statistics(images(30, 0).split(4)))
    assert figure.value == pytest.approx(0, abs=1e-6 * side.covariance.trace().item())
    told = figure.to_json()
    assert told["std"] is None
    assert told["recipe"]["extractor"] == "squeeze"
    assert len(told["recipe"]["sha256"]) == 64
    assert told["recipe"]["covariance"] == "n-1"
    assert told["recipe"]["images"] == [30, 30]
    assert "parts" not in told


def test_samples_measure_like_the_same_samples_saved(fd: FrechetDistance) -> None:
    x = images(16, 3)
    saved = ((x + 1) * 127.5).round().to(torch.uint8).float() / 127.5 - 1
    assert torch.equal(fd.extractor(x), fd.extractor(saved))


def test_small_images_of_any_size_meet_at_64_and_larger_ones_must_agree(fd: FrechetDistance) -> None:
    small, grey = fd.statistics([images(4, 0)]), fd.statistics([images(4, 1, 1, 48, 20)])
    assert fd.distance(small, grey).recipe["size"] == [64, 64]
    large = fd.statistics([images(2, 2, 3, 80, 72)])
    with pytest.raises(DataError, match=r"\[64, 64\] and \[80, 72\]"):
        fd.distance(small, large)
    assert fd.distance(large, fd.statistics([images(3, 5, 3, 80, 72)])).recipe["size"] == [80, 72]


def test_bad_sets_are_refused(fd: FrechetDistance) -> None:
    one, two = fd.statistics([images(1, 0)]), fd.statistics([images(2, 0)])
    with pytest.raises(DataError, match="at least 2 images on each side, and has 1"):
        fd.distance(one, two)
    with pytest.raises(DataError, match="no images"):
        fd.statistics([])
    with pytest.raises(DataError, match="images of 32x32 and of 80x72: ask for a common size"):
        fd.statistics([images(2, 0), images(2, 0, 3, 72, 80)])
    with pytest.raises(DataError, match="grey or RGB"):
        fd.statistics([images(2, 0, 2, 32, 32)])
    with pytest.raises(DataError, match="grey or RGB"):
        fd.statistics([torch.zeros(2, 3, 32, 32, dtype=torch.uint8)])


def test_images_of_several_sizes_are_each_prepared_from_their_own(fd: FrechetDistance) -> None:
    """Under 64 pixels all are looked at at 64x64, whatever their own size and however they are batched."""
    a, b, c = images(3, 0), images(4, 1, 3, 40, 24), images(2, 2)
    mixed, one = fd.statistics([[a, b], c]), fd.statistics([a, b, c])
    alone = torch.cat([fd.extractor(batch) for batch in (a, b, c)]).double().mean(0)
    assert (mixed.n, one.n) == (9, 9)
    torch.testing.assert_close(mixed.mean, alone, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(one.covariance, mixed.covariance, rtol=1e-5, atol=1e-8)


def test_images_that_are_not_finite_give_no_number_and_say_why(fd: FrechetDistance) -> None:
    broken = images(4, 0)
    broken[2, 0, 3, 3] = torch.nan
    told = fd.distance(fd.statistics([broken]), fd.statistics([images(4, 1)])).to_json()
    assert told["value"] is None
    assert "not finite" in told["recipe"]["warning"]


def test_moments_are_kept_under_fingerprint_and_extractor(fd: FrechetDistance, cache: Path) -> None:
    asked = []

    def batches() -> Iterator[Tensor]:
        asked.append(1)
        yield images(3, 0)

    first = fd.statistics(batches(), fingerprint="a set")
    assert torch.equal(fd.statistics(batches(), fingerprint="a set").covariance, first.covariance)
    assert len(asked) == 1
    fd.statistics(batches(), fingerprint="another set")
    other = FrechetDistance("fd-other", extractors.from_stack(FeatureStack("squeeze").eval(), "another net"))
    other.statistics(batches(), fingerprint="a set")
    assert len(asked) == 3
    for file in (cache / "moments").iterdir():
        content = bytearray(file.read_bytes())
        content[-5] ^= 1  # one bit of one number
        file.write_bytes(content)
    assert torch.equal(fd.statistics(batches(), fingerprint="a set").covariance, first.covariance)
    assert len(asked) == 4


def test_several_metrics_share_one_pass(fd: FrechetDistance) -> None:
    alex = FrechetDistance("fd-alex", extractors.from_stack(FeatureStack("alex").eval(), "an untrained net"))
    sides = (images(6, seed) for seed in range(2))  # can be walked once only
    found: dict[str, Moments] = gather([fd, alex], sides)
    assert {name: (m.n, m.dims) for name, m in found.items()} == {"fd-squeeze": (12, 512), "fd-alex": (12, 256)}
