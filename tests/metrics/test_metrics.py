from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganvas.errors import MissingWeights, UsageError
from ganvas.metrics import COMPARES, LARGER_IS_BETTER, NAMES, TABLE, Figure, metric, subset


@pytest.mark.parametrize("name", NAMES)
def test_every_name_gives_its_metric_or_says_what_it_lacks(name: str) -> None:
    if TABLE[name].weights:
        with pytest.raises(MissingWeights, match="ganvas fetch"):
            metric(name)
        return
    found = metric(name)
    assert found.name == name
    assert found.compares == COMPARES[name]
    assert metric(name) is not found  # nobody measures into another's sums


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'psnr'"):
        metric("psrn")
    assert set(NAMES) > LARGER_IS_BETTER


def test_a_figure_is_json_whatever_its_value() -> None:
    for value, told in ((1.5, 1.5), (math.nan, None), (math.inf, None)):
        figure = Figure(value, value, 3, {"range": [-1, 1]}, {"part": value})
        assert json.loads(json.dumps(figure.to_json(), allow_nan=False)) == {
            "value": told, "std": told, "n": 3, "recipe": {"range": [-1, 1]}, "parts": {"part": told},
        }  # fmt: skip


@given(n=st.integers(0, 60), total=st.integers(0, 60), seed=st.integers(0, 2**40))
def test_a_subset_is_a_pure_function_of_its_arguments(n: int, total: int, seed: int) -> None:
    rows = subset(n, total, seed=seed)
    assert len(rows) == min(n, total)
    assert np.array_equal(rows, subset(n, total, seed=seed))
    assert np.array_equal(rows, np.unique(rows))
    assert all(0 <= row < total for row in rows)


def test_a_subset_is_the_same_on_every_machine() -> None:
    """A golden value: NumPy's own choice may change from one version to the next, and figures with it."""
    assert subset(5, 100, seed=0).tolist() == [14, 44, 67, 93, 94]


def test_another_seed_takes_other_rows() -> None:
    assert not np.array_equal(subset(50, 1000, seed=0), subset(50, 1000, seed=1))
