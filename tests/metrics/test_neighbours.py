from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from ganvas.errors import DataError
from ganvas.metrics import neighbours
from ganvas.metrics.extractors import Extractor
from ganvas.metrics.neighbours import NeighbourMetric, Neighbours
from ganvas.metrics.rows import Rows

NOTHING = Extractor("none", nn.Identity(), 8, lambda x: x, lambda net, x: x, {})
NAMES = ("precision", "recall", "density", "coverage")


def measured(reals: Tensor, fakes: Tensor) -> Neighbours:
    a, b = Rows().update(reals), Rows().update(fakes)
    return Neighbours(*(NeighbourMetric(name, NOTHING).distance(a, b).value for name in NAMES))


def by_definition(x: NDArray[np.float64], y: NDArray[np.float64]) -> Neighbours:
    """The equations of both papers, point by point; whole numbers, so that nothing is rounded."""

    def square(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
        return float(((p - q) ** 2).sum())

    def radius(i: int, of: NDArray[np.float64], k: int) -> float:
        return sorted(square(of[i], of[j]) for j in range(len(of)) if j != i)[k - 1]

    def ball(p: NDArray[np.float64], i: int, of: NDArray[np.float64], k: int) -> bool:
        return square(p, of[i]) <= radius(i, of, k)

    return Neighbours(
        precision=float(np.mean([any(ball(p, i, x, 3) for i in range(len(x))) for p in y])),
        recall=float(np.mean([any(ball(p, i, y, 3) for i in range(len(y))) for p in x])),
        density=sum(ball(p, i, x, 5) for p in y for i in range(len(x))) / (5 * len(y)),
        coverage=float(np.mean([any(ball(p, i, x, 5) for p in y) for i in range(len(x))])),
    )


points = st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=6, max_size=14)


@given(points, points, st.integers(1, 9))
@settings(max_examples=60)
def test_equal_the_definitions_with_ties_and_doubles(
    reals: list[tuple[int, int]], fakes: list[tuple[int, int]], block: int
) -> None:
    """A grid is full of points on rims and of points that lie on each other."""
    x, y = (torch.tensor(side, dtype=torch.float32) for side in (reals, fakes))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "BLOCK", block)
        found = measured(x, y)
    expected = by_definition(x.double().numpy(), y.double().numpy())
    assert found == expected


@given(seed=st.integers(0, 99), scale=st.sampled_from([1e-3, 1.0, 1e3]), shift=st.sampled_from([0.0, 100.0]))
@settings(max_examples=20)
def test_neither_order_nor_a_motion_nor_a_scale_changes_them(seed: int, scale: float, shift: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(40, 6, generator=generator), torch.randn(30, 6, generator=generator) * 0.7
    turned = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q
    order_x, order_y = torch.randperm(40, generator=generator), torch.randperm(30, generator=generator)
    moved = [((side.double() @ turned + shift) * scale).float() for side in (x[order_x], y[order_y])]
    found, again = measured(x, y), measured(moved[0], moved[1])
    for name in NAMES:
        assert getattr(again, name) == pytest.approx(getattr(found, name), abs=0.04), name  # a point on a rim may move


def test_clusters_far_apart_are_told_as_they_are() -> None:
    """Reals in two clusters, fakes in one of them and in a third: half are precise, half the reals are found."""
    generator = torch.Generator().manual_seed(0)
    here, there, elsewhere = (torch.randn(50, 4, generator=generator) + centre for centre in (0, 100, 200))
    again = torch.randn(50, 4, generator=generator)
    found = measured(torch.cat([here, there]), torch.cat([again, elsewhere]))
    assert found.precision == pytest.approx(0.5, abs=0.05)
    assert found.recall == pytest.approx(0.5, abs=0.08)
    assert found.coverage == pytest.approx(0.5, abs=0.03)
    assert found.density == pytest.approx(0.5, abs=0.15)
    far = measured(here, elsewhere)
    assert far == Neighbours(0, 0, 0, 0)


def test_a_set_lies_within_itself_though_all_its_points_be_on_rims() -> None:
    """Features far from zero and close to each other, where distances lose digits; and one image many times."""
    x = torch.randn(300, 64, generator=torch.Generator().manual_seed(0)) * 1e-2 + 30
    found = measured(x, x.clone())
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    assert found.density == pytest.approx(6 / 5)  # every ball holds its centre and five others
    same = torch.full((20, 64), 0.1)
    assert measured(same, same) == Neighbours(1, 1, 20 / 5, 1)


def test_distances_are_computed_once_for_all_four(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for name in ("nearest", "compare"):
        real = getattr(neighbours, name)
        monkeypatch.setattr(neighbours, name, lambda *a, real=real, name=name: asked.append(name) or real(*a))
    generator = torch.Generator().manual_seed(0)
    a, b, c = (Rows().update(torch.randn(20, 4, generator=generator)) for _ in range(3))
    tools = [NeighbourMetric(name, NOTHING) for name in NAMES]
    first = [tool.distance(a, b) for tool in tools]
    assert asked == ["nearest", "nearest", "compare"]
    other = [tool.distance(a, c).value for tool in tools]
    assert asked[3:] == ["nearest", "compare"]
    assert other != [figure.value for figure in first]
    a.update(torch.rand(4, 4))  # goes on
    assert [tool.distance(a, c).value for tool in tools] != other
    assert asked[5:] == ["nearest", "compare"]
    assert [figure.recipe["k"] for figure in first] == [3, 3, 5, 5]
    assert first[0].recipe["features_of"] == "all 20 and all 20"


@pytest.mark.parametrize(("name", "least"), [("precision-alex", 4), ("recall", 4), ("density", 6), ("coverage", 6)])
def test_fewer_images_than_neighbours_are_refused(name: str, least: int) -> None:
    tool = NeighbourMetric(name, NOTHING)
    enough, few = Rows().update(torch.rand(least, 3)), Rows().update(torch.rand(least - 1, 3))
    assert tool.distance(enough, enough).value > 0
    with pytest.raises(DataError, match=f"{name} needs at least {least} images on each side, and has {least - 1}"):
        tool.distance(enough, few)
