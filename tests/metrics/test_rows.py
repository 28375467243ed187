from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ganvas.errors import Damaged
from ganvas.metrics.rows import Rows


def numbered(n: int) -> Tensor:
    """Features that say which image they are of."""
    return torch.arange(n, dtype=torch.float32)[:, None].expand(-1, 3)


def taken(rows: Rows) -> list[int]:
    return rows.rows[:, 0].int().tolist()


@given(cuts=st.lists(st.integers(0, 60), max_size=9), most=st.integers(1, 70), seed=st.integers(0, 9))
def test_what_is_taken_does_not_depend_on_the_batches(cuts: list[int], most: int, seed: int) -> None:
    whole = Rows(most, seed).update(numbered(60))
    streamed = Rows(most, seed)
    for part in torch.tensor_split(numbered(60), sorted(cuts)):
        streamed.update(part)
    assert taken(streamed) == taken(whole) == sorted(set(taken(whole)))
    assert (streamed.n, len(taken(streamed))) == (60, min(60, most))


def test_every_image_is_as_likely_as_any_other() -> None:
    """Of 40 images 10 at a time: each is taken in a quarter of 800 draws, within five standard deviations."""
    counts = np.zeros(40)
    for seed in range(800):
        rows = Rows(10, seed)
        for part in numbered(40).split(7):
            rows.update(part)
        counts[taken(rows)] += 1
    assert np.abs(counts - 200).max() < 5 * np.sqrt(800 * 0.25 * 0.75)


def test_holds_no_more_than_twice_what_it_takes() -> None:
    rows = Rows(10)
    for part in numbered(1000).split(5):
        rows.update(part)
        assert sum(len(chunk) for chunk in rows._rows) <= 20
    assert rows.told() == "10 of 1,000 by seed 0"
    assert Rows(10).update(numbered(3)).told() == "all 3"


@settings(max_examples=10)
@given(first=st.integers(0, 50), second=st.integers(0, 50))
def test_goes_on_from_a_file_as_if_it_had_never_stopped(
    first: int, second: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.safetensors"
    x = numbered(first + second + 1)
    Rows(12, recipe={"extractor": "alex"}).update(x[: first + 1]).save(path)
    again = Rows(12).load(path)
    assert (again.recipe, again.n) == ({"extractor": "alex"}, first + 1)
    assert taken(again.update(x[first + 1 :])) == taken(Rows(12).update(x))


def test_other_rows_and_changed_bytes_are_not_taken_for_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.safetensors"
    Rows(12).update(numbered(20)).save(path)
    with pytest.raises(Damaged, match="does not hold features"):
        Rows(13).load(path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1  # one bit of one number
    path.write_bytes(content)
    with pytest.raises(Damaged, match="its content is not what was written"):
        Rows(12).load(path)
    path.write_bytes(content[:-20])
    with pytest.raises(Damaged, match=r"rows\.safetensors"):
        Rows(12).load(path)
