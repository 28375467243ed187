from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ganvas.errors import DataError
from ganvas.metrics.extractors import Extractor
from ganvas.metrics.scores import InceptionScore, Scores, split_of

NOTHING = Extractor("none", nn.Identity(), 8, lambda x: x, lambda net, x: x, {})
TOOL = InceptionScore("inception-score", NOTHING, lambda features: features)


def logits(n: int, classes: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(n, classes, generator=torch.Generator().manual_seed(seed))


def score(x: Tensor) -> float:
    return TOOL.distance(Scores(), Scores().update(x)).value


def test_it_is_one_for_equal_images_and_the_number_of_classes_at_best() -> None:
    classes = 7
    assert score(torch.zeros(70, classes)) == pytest.approx(1, abs=1e-12)
    assert score(logits(1, classes).expand(70, -1)) == pytest.approx(1, abs=1e-12)
    sure = 1e4 * torch.eye(classes)  # certain of a class
    every = torch.stack([sure[i // 10 % classes] for i in range(70 * 10)])  # each split gets as many of each
    assert score(every) == pytest.approx(classes, rel=1e-9)


def test_equals_the_definition_split_by_split() -> None:
    x = logits(237, 11)
    p = torch.softmax(x.double(), 1).numpy()
    splits = split_of(0, 237)
    values = []
    for split in range(10):
        some = p[splits == split]
        marginal = some.mean(0)
        values.append(np.exp(np.mean([(row * np.log(row / marginal)).sum() for row in some])))
    figure = TOOL.distance(Scores().update(logits(50, 11, 1)), Scores().update(x))
    assert figure.value == pytest.approx(np.mean(values), rel=1e-12)
    assert figure.std == pytest.approx(np.std(values), rel=1e-9)
    assert figure.n == 237
    assert figure.parts["reference"] == pytest.approx(score(logits(50, 11, 1)))
    assert figure.recipe["classes"] == 11
    assert "warning" not in figure.recipe


@given(first=st.integers(0, 95), count=st.integers(0, 40))
def test_splits_are_even_and_the_same_however_they_are_asked_for(first: int, count: int) -> None:
    whole = split_of(0, 140)
    assert split_of(first, count).tolist() == whole[first : first + count].tolist()
    assert all(sorted(whole[i : i + 10]) == list(range(10)) for i in range(0, 140, 10))
    assert len({tuple(whole[i : i + 10]) for i in range(0, 140, 10)}) > 10  # no split gets every tenth image


@given(cuts=st.lists(st.integers(0, 64), max_size=6), stop=st.integers(1, 63))
@settings(max_examples=20)
def test_neither_batches_nor_a_stop_on_the_way_change_it(
    cuts: list[int], stop: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    x = logits(64, 5)
    streamed = Scores()
    for part in torch.tensor_split(x, sorted(cuts)):
        streamed.update(part)
    torch.testing.assert_close(streamed.values, Scores().update(x).values, rtol=1e-12, atol=0)
    path = tmp_path_factory.mktemp("scores") / "a.safetensors"
    Scores().update(x[:stop]).save(path)
    torch.testing.assert_close(Scores().load(path).update(x[stop:]).values, streamed.values, rtol=1e-12, atol=0)


def test_memory_does_not_grow_with_the_images() -> None:
    sizes = [sum(value.numel() for value in Scores().update(logits(n, 5)).tensors().values()) for n in (20, 2000)]
    assert sizes == [10 * 5 + 10] * 2


def test_it_needs_two_images_a_split_of_the_set_that_it_judges_alone(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="inception-score needs at least 20 images, and has 19"):
        TOOL.distance(Scores().update(logits(50, 3)), Scores().update(logits(19, 3)))
    figure = TOOL.distance(Scores().update(logits(2, 3)), Scores().update(logits(20, 3)))
    assert figure.parts == {}
    assert "20 images in 10 splits are fewer than 3 classes a split" in figure.recipe["warning"]
    broken = logits(50, 3)
    broken[3, 1] = torch.nan
    assert TOOL.distance(Scores().update(logits(50, 3)), Scores().update(broken)).to_json()["value"] is None
