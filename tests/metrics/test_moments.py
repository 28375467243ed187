from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ganvas.errors import Damaged
from ganvas.metrics.moments import Moments


def vectors(n: int, dims: int, seed: int, mean: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, dims, generator=generator) @ torch.randn(dims, dims, generator=generator) + mean


def close(a: Moments, b: Moments, tolerance: float = 1e-10) -> None:
    assert a.n == b.n
    torch.testing.assert_close(a.mean, b.mean, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(a.covariance, b.covariance, rtol=tolerance, atol=tolerance)


@given(cuts=st.lists(st.integers(0, 50), max_size=6), dims=st.integers(1, 6), seed=st.integers(0, 99))
def test_any_batches_in_any_order_give_the_same(cuts: list[int], dims: int, seed: int) -> None:
    x = vectors(50, dims, seed)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(seed))
    streamed = Moments()
    for part in torch.tensor_split(x[order], sorted(cuts)):
        streamed.update(part)
    close(streamed, Moments().update(x))
    np.testing.assert_allclose(streamed.mean, x.double().mean(0), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(
        streamed.covariance, np.cov(x.double().numpy(), rowvar=False).reshape(dims, dims), rtol=1e-10, atol=1e-10
    )


@given(sizes=st.tuples(*[st.integers(0, 9)] * 3), seed=st.integers(0, 99))
def test_merging_is_associative_and_commutative(sizes: tuple[int, int, int], seed: int) -> None:
    parts = [vectors(n, 3, seed + i, mean=5.0 * i) for i, n in enumerate(sizes)]

    def of(i: int) -> Moments:
        return Moments().update(parts[i])

    if sum(sizes) < 2:
        return
    whole = Moments().update(torch.cat(parts))
    close(whole, of(0).merge(of(1)).merge(of(2)), 1e-8)
    close(whole, of(0).merge(of(1).merge(of(2))), 1e-8)
    close(whole, of(2).merge(of(0)).merge(of(1)), 1e-8)


def test_a_large_mean_beside_a_small_deviation_costs_no_digits() -> None:
    x = torch.randn(10_000, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 1e-3 + 1e6
    moments = Moments()
    for part in x.split(64):
        moments.update(part)
    centred = x - x.mean(0)
    torch.testing.assert_close(moments.covariance, centred.T @ centred / (len(x) - 1), rtol=1e-9, atol=1e-15)
    naive = (x.T @ x - len(x) * torch.outer(x.mean(0), x.mean(0))) / (len(x) - 1)
    assert (naive - moments.covariance).abs().max() > 1e-6  # what the pilot is for


def test_merging_leaves_the_other_alone() -> None:
    first, second = Moments().update(torch.ones(3, 2)), Moments()
    second.merge(first).update(torch.zeros(3, 2))
    assert first.n == 3
    assert first.mean.tolist() == [1, 1]
    assert first.covariance.abs().max() == 0


def test_one_vector_has_no_covariance() -> None:
    assert Moments().update(torch.ones(1, 2)).covariance.isnan().all()


def test_saves_and_loads_every_bit(tmp_path: Path) -> None:
    moments = Moments({"extractor": "alex", "size": [64, 64]}).update(vectors(20, 5, 0)).update(vectors(7, 5, 1))
    moments.save(tmp_path / "deep" / "a.safetensors")
    read = Moments().load(tmp_path / "deep" / "a.safetensors")
    assert read.recipe == moments.recipe
    close(read, moments, 0)
    close(read.update(vectors(4, 5, 2)), moments.update(vectors(4, 5, 2)), 0)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    Moments().update(torch.ones(3, 2)).save(path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(Damaged, match=r"a\.safetensors"):
        Moments().load(path)
