from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawing import noise, write
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ganvas.data import Batches, Dataset, Order, open_data
from ganvas.data import batches as room
from ganvas.errors import UsageError


# ---- the order -------------------------------------------------------------------------------------------------------
@given(n=st.integers(1, 40), batch=st.integers(1, 100), seed=st.integers(0, 2**31), epochs=st.integers(1, 4))
@settings(deadline=None)
def test_every_row_comes_once_an_epoch_and_nothing_is_dropped(n: int, batch: int, seed: int, epochs: int) -> None:
    order = Order(n, batch, seed)
    steps = -(-epochs * n // batch)
    batches = [order.rows(step) for step in range(steps)]
    assert all(rows.shape == (batch,) for rows in batches)
    joined = np.concatenate(batches)
    for epoch in range(epochs):
        assert sorted(joined[epoch * n : (epoch + 1) * n]) == list(range(n))


@given(n=st.integers(1, 40), batch=st.integers(1, 50), seed=st.integers(0, 9), steps=st.lists(st.integers(0, 10**6)))
@settings(deadline=None)
def test_the_order_is_a_pure_function_of_seed_and_step(n: int, batch: int, seed: int, steps: list[int]) -> None:
    order = Order(n, batch, seed)
    rows = {step: order.rows(step).copy() for step in steps}
    for step in reversed(steps):
        assert np.array_equal(order.rows(step), rows[step])
        assert np.array_equal(Order(n, batch, seed).rows(step), rows[step])
    with pytest.raises(ValueError, match="read-only"):  # nobody can change it for those who come later
        Order(n, 1, seed).rows(0)[0] = 0


def test_seeds_and_epochs_differ_and_the_size_of_the_batch_does_not_matter() -> None:
    orders = [Order(50, 50, seed).rows(step).tolist() for seed in range(4) for step in range(4)]
    assert len({tuple(rows) for rows in orders}) == 16
    joined = [
        np.concatenate([Order(50, batch, 3).rows(step) for step in range(300 // batch)]) for batch in (5, 30, 150)
    ]
    assert np.array_equal(joined[0], joined[1])
    assert np.array_equal(joined[0], joined[2])


def test_every_row_is_equally_often_in_every_place() -> None:
    rows = np.stack([Order(10, 10, seed).rows(0) for seed in range(4000)])
    counts = np.stack([np.bincount(rows[:, place], minlength=10) for place in range(10)])
    assert np.abs(counts - 400).max() < 100  # five standard deviations


def test_the_order_is_the_same_for_ever() -> None:
    """Runs resume under other versions of NumPy: these were drawn once, and must not change."""
    drawn = [[4, 0, 9, 3, 8, 6], [5, 2, 7, 1, 4, 5], [9, 3, 2, 4, 8, 1]]
    assert [Order(10, 6, 0).rows(step).tolist() for step in (0, 1, 10**9)] == drawn


# ---- batches ---------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arrays") / "a.npz"
    np.savez(path, images=noise(1, 37, 4, 5, 3), labels=np.arange(37) % 3)
    return path


@pytest.fixture
def dataset(path: Path) -> Dataset:
    return open_data(str(path))


def by_fields(batch: dict[str, Tensor]) -> dict[str, Any]:
    return {name: values.tolist() for name, values in batch.items()}


def test_a_batch_has_the_rows_of_its_step(dataset: Dataset) -> None:
    batches = Batches(dataset, 10, seed=3)
    for step in (0, 3, 5):
        rows = Order(37, 10, 3).rows(step)
        batch = batches(step)
        expected = noise(1, 37, 4, 5, 3)[rows].astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1
        np.testing.assert_allclose(batch["image"].numpy(), expected, atol=1e-6)
        assert batch["label"].tolist() == (rows % 3).tolist()


@pytest.mark.parametrize(("batch", "steps"), [(1, 37), (10, 3), (37, 1), (38, 1), (500, 1)])
def test_an_epoch_has_its_whole_batches_and_at_least_one(batch: int, steps: int, dataset: Dataset) -> None:
    batches = Batches(dataset, batch, seed=0)
    assert batches.steps_per_epoch == steps
    assert len(batches(7)["image"]) == batch


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("world", [2, 3, 6])
def test_ranks_part_the_whole_batch(world: int, flip: bool, dataset: Dataset) -> None:
    whole = Batches(dataset, 18, seed=5, flip=flip)
    ranks = [Batches(dataset, 18, seed=5, rank=rank, world=world, flip=flip) for rank in range(world)]
    for step in (0, 2, 9):
        parts = [batches(step) for batches in ranks]
        assert [len(part["label"]) for part in parts] == [18 // world] * world
        for name, values in whole(step).items():
            assert torch.equal(torch.cat([part[name] for part in parts]), values)
    assert {batches.steps_per_epoch for batches in ranks} == {2}


@pytest.mark.parametrize(("batch", "world"), [(0, 1), (-4, 2), (7, 2), (2, 4)])
def test_a_batch_that_ranks_cannot_share_is_refused(batch: int, world: int, dataset: Dataset) -> None:
    with pytest.raises(UsageError, match=f"A batch of {batch} does not split over {world} ranks"):
        Batches(dataset, batch, seed=0, world=world)


# ---- flips -----------------------------------------------------------------------------------------------------------
def flipped(batches: Batches, step: int) -> list[bool]:
    """Which images of a batch are mirrored; all of them are one or the other."""
    plain = Batches(batches.dataset, batches.batch_size, seed=batches.seed, flip=False)(step)["image"]
    found = []
    for image, straight in zip(batches(step)["image"], plain, strict=True):
        assert torch.equal(image, straight) != torch.equal(image, straight.flip(2))
        found.append(torch.equal(image, straight.flip(2)))
    return found


def test_flips_are_a_fair_coin_of_seed_step_and_row(dataset: Dataset) -> None:
    coins = {
        (seed, step): flipped(Batches(dataset, 64, seed=seed, flip=True), step) for seed in (0, 1) for step in (0, 1)
    }
    assert len({tuple(coin) for coin in coins.values()}) == 4
    assert all(15 <= sum(coin) <= 49 for coin in coins.values())  # four standard deviations
    again = Batches(dataset, 64, seed=1, flip=True)
    assert [flipped(again, step) for step in (1, 0, 1)] == [coins[1, 1], coins[1, 0], coins[1, 1]]


def test_flips_are_as_the_spec_says_unless_told_otherwise(path: Path) -> None:
    straight, mirrored = open_data(str(path)), open_data(f"{path}?flip=true")
    assert not any(flipped(Batches(straight, 64, seed=0), 0))
    assert any(flipped(Batches(mirrored, 64, seed=0), 0))
    assert not any(flipped(Batches(mirrored, 64, seed=0, flip=False), 0))
    (chunk,) = mirrored.chunks(64)  # nobody mirrors what is measured
    assert torch.equal(chunk["image"], next(straight.chunks(64))["image"])


def test_a_flip_leaves_the_store_alone(dataset: Dataset) -> None:
    before = dataset.pixels(np.arange(37))
    for step in range(5):
        Batches(dataset, 37, seed=0, flip=True)(step)["image"].zero_()
    assert np.array_equal(dataset.pixels(np.arange(37)), before)


# ---- tensors ---------------------------------------------------------------------------------------------------------
def test_every_byte_has_its_exact_number_between_minus_one_and_one(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(256, dtype=np.uint8).reshape(1, 16, 16))
    image = open_data(str(tmp_path / "a.npy")).tensors(np.arange(1))["image"]
    assert image.dtype == torch.float32
    assert (image.min().item(), image.max().item()) == (-1, 1)
    values = image.flatten().double()
    assert torch.equal(((values + 1) * 127.5).round(), torch.arange(256).double())
    torch.testing.assert_close(values, torch.arange(256).double() / 127.5 - 1, atol=1e-7, rtol=0)


def test_images_lie_channels_last_and_labels_are_whole_numbers(dataset: Dataset) -> None:
    batch = dataset.tensors(np.array([5, 5, 0]))
    assert batch["image"].shape == (3, 3, 4, 5)
    assert batch["image"].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch["image"][0], batch["image"][1])
    assert batch["label"].dtype == torch.int64
    assert batch["label"].tolist() == [2, 2, 0]


@pytest.mark.parametrize(
    ("size", "n", "lengths"), [(10, None, [10, 10, 10, 7]), (37, 99, [37]), (4, 6, [4, 2]), (5, 0, [])]
)
def test_chunks_are_the_first_rows_in_order(size: int, n: int | None, lengths: list[int], dataset: Dataset) -> None:
    chunks = list(dataset.chunks(size, n))
    assert [len(chunk["label"]) for chunk in chunks] == lengths
    labels = [label for chunk in chunks for label in chunk["label"].tolist()]
    assert labels == [i % 3 for i in range(sum(lengths))]


def test_a_step_far_away_costs_no_more_than_the_first(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    real: Callable[..., Any] = room._permutation
    monkeypatch.setattr(room, "_permutation", lambda n, seed, epoch, side: drawn.append(epoch) or real(n, seed, epoch))
    batches = Batches(dataset, 10, seed=0)
    for step in range(10**6, 10**6 + 4):
        batches(step)
    assert drawn == [10**7 // 37, 10**7 // 37 + 1]


def test_rows_of_a_folder_come_with_their_names(tmp_path: Path) -> None:
    data = open_data(str(write(tmp_path, {name: noise(i) for i, name in enumerate(["a b.png", "é.png", "日本.png"])})))
    assert data.names(np.array([2, 0, 1])) == ["日本.png", "a b.png", "é.png"]
