"""Maps against loops over pixels."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import toys
from ganvas.nets.maps import REGIONS, edges, one_hot, pooled

F64 = torch.float64


@st.composite
def maps(draw: st.DrawFn, most: int, dtype: torch.dtype) -> Tensor:
    """Integers [B, H, W], many of them alike, the greatest perhaps ``most - 1``."""
    n, h, w = (draw(st.integers(1, most_of)) for most_of in (3, 5, 6))
    ids = draw(st.lists(st.integers(0, most - 1), min_size=1, max_size=4))
    picks = draw(st.lists(st.sampled_from(ids), min_size=n * h * w, max_size=n * h * w))
    return torch.tensor(picks, dtype=dtype).view(n, h, w)


@settings(max_examples=60)
@given(labels=maps(256, torch.uint8), classes=st.integers(1, 255))
def test_one_hot_is_1_at_the_class_and_0_of_what_is_none(labels: Tensor, classes: int) -> None:
    found = one_hot(labels, classes, F64)
    assert found.dtype == F64
    want = torch.zeros(len(labels), classes, *labels.shape[1:], dtype=F64)
    for b, rows in enumerate(labels.tolist()):
        for i, row in enumerate(rows):
            for j, label in enumerate(row):
                if label < classes:
                    want[b, label, i, j] = 1
    assert torch.equal(found, want)


def test_void_is_no_class_and_maps_are_channels_last() -> None:
    found = one_hot(torch.tensor([[[0, 2], [255, 1]]], dtype=torch.uint8), 3)
    assert found[0, :, 1, 0].tolist() == [0, 0, 0]
    assert found.is_contiguous(memory_format=torch.channels_last)
    both = torch.cat([found, edges(torch.zeros(1, 2, 2, dtype=torch.int32))], 1)
    assert both.is_contiguous(memory_format=torch.channels_last)


@settings(max_examples=60)
@given(instances=maps(70_000, torch.int32))
def test_edges_are_where_a_neighbour_differs(instances: Tensor) -> None:
    found = edges(instances, F64)
    n, h, w = instances.shape
    assert found.shape == (n, 1, h, w)
    for b, rows in enumerate(instances.tolist()):
        for i in range(h):
            for j in range(w):
                around = [(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)]
                met = any(rows[y][x] != rows[i][j] for y, x in around if 0 <= y < h and 0 <= x < w)
                assert found[b, 0, i, j].item() == met


@settings(max_examples=60)
@given(regions=st.one_of(maps(256, torch.uint8), maps(REGIONS, torch.int32)), channels=st.integers(1, 3))
def test_pooled_is_the_mean_of_each_region_of_each_image(regions: Tensor, channels: int) -> None:
    n, h, w = regions.shape
    features = torch.randn(n, channels, h, w, generator=torch.Generator().manual_seed(0), requires_grad=True)
    found = pooled(features, regions)
    assert found.dtype == features.dtype
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    (slope,) = torch.autograd.grad((found * weights).sum(), features)
    for b in range(n):
        for region in regions[b].unique().tolist():
            inside = regions[b] == region
            for c in range(channels):
                values = [Fraction(value) for value in features[b, c][inside].tolist()]  # exactly
                want = torch.full((len(values),), float(sum(values) / len(values)))
                assert torch.equal(found[b, c][inside], want)
                back = weights[b, c][inside].mean().expand(len(values))  # the mean of what comes back
                torch.testing.assert_close(slope[b, c][inside], back)


def test_a_large_region_loses_nothing_to_rounding() -> None:
    """A million numbers near 1: a running sum in float32 would be off in the fourth digit."""
    features = 1 + torch.rand(1, 1, 1000, 1000, generator=torch.Generator().manual_seed(0)) * 1e-3
    mean = pooled(features, torch.zeros(1, 1000, 1000, dtype=torch.uint8))
    assert (mean.double() - features.double().mean()).abs().max() < 1e-7


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_nothing_waits_for_a_value(dtype: torch.dtype) -> None:
    with toys.fake_tensors():
        ids = torch.zeros(2, 8, 8, dtype=dtype)
        assert one_hot(ids, 4).shape == (2, 4, 8, 8)
        assert edges(ids).shape == (2, 1, 8, 8)
        assert pooled(torch.zeros(2, 3, 8, 8), ids).shape == (2, 3, 8, 8)
