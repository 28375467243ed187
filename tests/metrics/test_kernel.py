from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from ganvas.errors import DataError
from ganvas.metrics import kernel
from ganvas.metrics.extractors import Extractor
from ganvas.metrics.kernel import KernelDistance
from ganvas.metrics.rows import Rows

TOOL = KernelDistance("kd", Extractor("none", nn.Identity(), 8, lambda x: x, lambda net, x: x, {}))


def features(n: int, dims: int, seed: int, mean: float = 0.0) -> Tensor:
    return torch.randn(n, dims, generator=torch.Generator().manual_seed(seed)) + mean


def by_definition(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Gretton et al. 2012, equation 3, pair by pair."""
    k = lambda a, b: (np.dot(a, b) / len(a) + 1) ** 3
    m, n = len(x), len(y)
    within_x = sum(k(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    within_y = sum(k(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return within_x + within_y - 2 * sum(k(a, b) for a in x for b in y) / (m * n)


@given(m=st.integers(2, 9), n=st.integers(2, 9), dims=st.integers(1, 5), seed=st.integers(0, 99))
def test_equals_the_definition(m: int, n: int, dims: int, seed: int) -> None:
    x, y = features(m, dims, seed).double(), features(n, dims, seed + 1, 0.5).double()
    found = kernel.distances(x, y, torch.ones(1, m).double(), torch.ones(1, n).double())
    assert found.item() == pytest.approx(by_definition(x.numpy(), y.numpy()), rel=1e-10, abs=1e-10)


def test_is_the_mean_over_its_subsets_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features as an extractor gives them, float32, against float64 by whole matrices, to 1e-6."""
    a, b = Rows().update(features(2300, 40, 0).relu()), Rows().update(features(1500, 40, 1, 0.1).relu())
    x, y = a.rows.double().numpy(), b.rows.double().numpy()
    monkeypatch.setattr(kernel, "SUBSETS", 7)
    of_x, of_y = (kernel._subsets(1000, len(side), 7, i).bool().numpy() for i, side in enumerate((x, y), 1))
    values = []
    for rows_x, rows_y in zip(of_x, of_y, strict=True):
        p, q = x[rows_x], y[rows_y]
        assert len(p) == len(q) == 1000
        xx, yy, xy = ((u @ v.T / 40 + 1) ** 3 for u, v in ((p, p), (q, q), (p, q)))
        values.append((xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)) / (1000 * 999) - 2 * xy.mean())
    figure = TOOL.distance(a, b)
    assert figure.value == pytest.approx(np.mean(values), rel=1e-6)
    assert figure.std == pytest.approx(np.std(values), rel=1e-6)
    assert figure.recipe["subsets"] == "7 of 1,000, without replacement, seeded"
    assert (figure.n, figure.recipe["images"]) == (1500, [2300, 1500])
    assert "warning" not in figure.recipe
    monkeypatch.setattr(kernel, "BLOCK", 77)
    assert TOOL.distance(a, b).value == pytest.approx(figure.value, rel=1e-12)


def test_many_images_are_a_seeded_part_of_them_and_the_recipe_says_so() -> None:
    class Few(KernelDistance):
        def statistic(self) -> Rows:
            return Rows(30)

    few = Few("kd", TOOL.extractor)
    x, y = features(90, 5, 0), features(40, 5, 1, 1)
    figure = few.distance(few.statistic().update(x), few.statistic().update(y))
    chosen = [few.statistic().update(side).rows for side in (x, y)]
    assert figure.value == TOOL.distance(*(Rows().update(side) for side in chosen)).value
    assert (figure.n, figure.recipe["images"]) == (30, [90, 40])
    assert figure.recipe["features_of"] == "30 of 90 by seed 0 and 30 of 40 by seed 0"


def test_is_unbiased_on_gaussians() -> None:
    """N(0, I) against N(m, I): the expectation, in closed form, is met by the mean of many small sets."""
    dims, n, draws = 3, 6, 2000
    m = np.array([0.6, -0.3, 0.2])

    def expected(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
        """E (x.y / D + 1)^3 of independent x in N(p, I) and y in N(q, I), by the moments of x.y."""
        pq, pp, qq = p @ q, p @ p, q @ q
        first, second = pq, pq**2 + pp + qq + dims
        third = pq**3 + 3 * pq * qq + 3 * pq * (pp + dims + 2)
        return third / dims**3 + 3 * second / dims**2 + 3 * first / dims + 1

    zero = np.zeros(dims)
    truth = expected(m, m) + expected(zero, zero) - 2 * expected(m, zero)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(draws * n, dims, dtype=torch.float64, generator=generator)
    y = torch.randn(draws * n, dims, dtype=torch.float64, generator=generator) + torch.from_numpy(m)
    ones = torch.ones(1, n, dtype=torch.float64)
    for other, wanted in ((y, truth), (x.flip(0), 0.0)):
        found = torch.cat([kernel.distances(a, b, ones, ones) for a, b in zip(x.split(n), other.split(n), strict=True)])
        assert found.mean().item() == pytest.approx(wanted, abs=4 * found.std().item() / draws**0.5)
    assert truth > 0.3


@given(seed=st.integers(0, 99))
@settings(max_examples=10)
def test_small_sets_are_one_subset_whatever_their_order(seed: int) -> None:
    x, y = features(30, 5, seed), features(30, 5, seed + 1, 1)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(seed))
    figure = TOOL.distance(Rows().update(x), Rows().update(y))
    assert figure.value == pytest.approx(by_definition(x.double().numpy(), y.double().numpy()), rel=1e-9)
    assert figure.std is None
    assert TOOL.distance(Rows().update(x[order]), Rows().update(y)).value == pytest.approx(figure.value, rel=1e-9)
    assert figure.recipe["subsets"].startswith("1 of 30")
    assert "30 images hold no subset of 1,000" in figure.recipe["warning"]


def test_too_few_or_broken_images_give_no_number() -> None:
    with pytest.raises(DataError, match="at least 2 images on each side, and has 1"):
        TOOL.distance(Rows().update(features(1, 5, 0)), Rows().update(features(9, 5, 0)))
    broken = features(9, 5, 0)
    broken[4, 2] = torch.inf
    told = TOOL.distance(Rows().update(broken), Rows().update(features(9, 5, 0))).to_json()
    assert (told["value"], told["recipe"]["warning"]) == (None, "some images are not finite")
