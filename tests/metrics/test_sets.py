"""One pass over a set of images for all metrics that share an extractor, kept whatever it gathers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ganvas.errors import DataError
from ganvas.metrics import FrechetDistance, SetMetric, gather
from ganvas.metrics.extractors import Extractor
from ganvas.metrics.kernel import KernelDistance
from ganvas.metrics.neighbours import NeighbourMetric
from ganvas.metrics.scores import InceptionScore


class Counted(nn.Module):
    """Pixels as features, counting the images that went through."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return x.flatten(1)


def tools(name: str = "pixels") -> tuple[Counted, list[SetMetric[Any]]]:
    net = Counted()
    extractor = Extractor(name, net, 12, lambda x: x, lambda net, x: net(x), {"features": "pixels"})
    return net, [
        FrechetDistance("fd", extractor),
        KernelDistance("kd", extractor),
        NeighbourMetric("precision", extractor),
        NeighbourMetric("coverage", extractor),
        InceptionScore("score", extractor, lambda x: 3 * x),
    ]


def images(n: int, seed: int) -> Tensor:
    return torch.rand(n, 3, 2, 2, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_each_image_goes_through_a_shared_net_once_and_alike_statistics_are_one() -> None:
    net, metrics = tools()
    real = gather(metrics, images(40, 0).split(7))
    assert net.seen == 40
    assert real["kd"] is real["precision"] is real["coverage"]
    fake = gather(metrics, images(30, 1).split(11))
    for metric in metrics:
        figure = metric.distance(real[metric.name], fake[metric.name])
        assert figure.recipe["images"] == [40, 30]
        assert figure.recipe["features"] == "pixels"
        alone = metric.distance(metric.statistics([images(40, 0)]), metric.statistics([images(30, 1)]))
        assert alone.value == pytest.approx(figure.value, rel=1e-9)


@given(batch=st.integers(1, 40), seed=st.integers(0, 99))
@settings(max_examples=15)
def test_no_figure_depends_on_batches_and_no_distance_on_the_order(batch: int, seed: int) -> None:
    _, metrics = tools()
    x, y = images(40, seed), images(40, seed + 1) * 0.8  # of one size: the kernel distance takes all of them
    order = torch.randperm(40, generator=torch.Generator().manual_seed(seed))
    fake = gather(metrics, [y])
    whole, cut, mixed = (gather(metrics, batches) for batches in ([x], x.split(batch), x[order].split(9)))
    for metric in metrics:
        found = [metric.distance(side[metric.name], fake[metric.name]).value for side in (whole, cut, mixed)]
        assert found[1] == pytest.approx(found[0], rel=1e-9)
        assert found[2] == pytest.approx(found[0], rel=1e-9)  # the score is of the other side


def test_what_is_kept_is_read_and_what_is_not_is_gathered_in_one_pass(cache: Path) -> None:
    def unseen() -> Iterator[Tensor]:
        raise AssertionError("read though everything is kept")
        yield

    net, metrics = tools("kept pixels")
    first = gather(metrics[:1], [images(25, 0)], fingerprint="these")
    assert net.seen == 25
    every = gather(metrics, [images(25, 0)], fingerprint="these")  # moments are there, rows and scores are not
    assert net.seen == 50
    again = gather(metrics, unseen(), fingerprint="these")
    fake = gather(metrics, [images(25, 1)])
    for metric in metrics:
        values = {metric.distance(side[metric.name], fake[metric.name]).value for side in (every, again)}
        assert len(values) == 1
    assert torch.equal(first["fd"].covariance, every["fd"].covariance)
    assert {file.parent.name for file in cache.glob("*/*.safetensors")} >= {"moments", "features", "scores"}
    before = net.seen
    gather(metrics, [images(25, 2)], fingerprint="others")
    gather(tools("other pixels")[1], [images(25, 0)], fingerprint="these")
    assert net.seen == before + 25


def test_images_that_do_not_fit_are_one_sentence() -> None:
    _, metrics = tools()
    with pytest.raises(DataError, match=r"one set has images of 2x2 and of 3x2: ask for a common size"):
        gather(metrics, [images(3, 0), torch.zeros(2, 3, 2, 3)])
    with pytest.raises(DataError, match="There are no images to measure"):
        gather(metrics, [])
    small, large = gather(metrics, [images(30, 0)]), gather(metrics, [torch.rand(30, 3, 4, 4)])
    for metric in metrics:
        with pytest.raises(DataError, match=r"the size of these is \[2, 2\] and \[4, 4\]: bring both to one size"):
            metric.distance(small[metric.name], large[metric.name])
