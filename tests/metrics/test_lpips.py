from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import precision
from ganvas.errors import DataError, MissingWeights
from ganvas.metrics import metric
from ganvas.metrics.lpips import LPIPS, LPIPSNet
from ganvas.metrics.pairs import PairMetric
from ganvas.nets.features import FeatureStack


@pytest.fixture
def trained(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANVAS_WEIGHTS", str(shared / "weights"))


def documented() -> tuple[Tensor, Tensor]:
    """The input of torchmetrics' documentation: two draws of [2, 3, 100, 100]."""
    generator = torch.Generator().manual_seed(42)
    x, y = (torch.rand(2, 3, 100, 100, generator=generator) * 2 - 1 for _ in range(2))
    return x, y


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    ("name", "values"), [("lpips-squeeze", (0.1023802, 0.0937736)), ("lpips-alex", (0.1311690, 0.1419626))]
)
def test_golden_values(name: str, values: tuple[float, float]) -> None:
    x, y = documented()
    for i, value in enumerate(values):
        m = metric(name)
        assert isinstance(m, PairMetric)
        m.update(x[i : i + 1], y[i : i + 1])
        assert m.figure().value == pytest.approx(value, abs=1e-6)
    m.update(x, y)
    assert m.figure().n == 3
    assert len(m.figure().recipe["sha256"]) == 64


def net(kind: str) -> LPIPSNet:
    torch.manual_seed(0)
    stack = FeatureStack(kind)
    return LPIPSNet(stack, [torch.rand(c) for c in stack.channels]).eval()


@pytest.mark.parametrize("kind", ["alex", "squeeze", "vgg"])
def test_equals_the_formula_written_out(kind: str) -> None:
    """Equation 1 by loops over maps, in float64, with random weights."""
    ours = net(kind)
    x, y = (torch.rand(3, 3, 40, 36, generator=torch.Generator().manual_seed(i)) * 2 - 1 for i in range(2))
    found = LPIPS("lpips", ours).measure(x, y)[:, 0]

    @torch.inference_mode()
    def by_hand(bare: Any, x: Tensor, y: Tensor) -> Tensor:
        total = torch.zeros(3, dtype=x.dtype)
        for a, b, w in zip(bare.stack(x), bare.stack(y), bare.linear, strict=True):
            a, b = (m / m.square().sum(1, keepdim=True).sqrt() for m in (a, b))
            for channel, weight in enumerate(w):
                total += weight * (a[:, channel] - b[:, channel]).square().mean((1, 2))
        return total

    expected = by_hand(net(kind).double(), x.double(), y.double())
    within = precision.allowed(by_hand(net(kind), x, y), expected)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=within)


def test_is_a_distance_of_images_seen_in_any_batch_on_grey_too() -> None:
    m = LPIPS("lpips", net("squeeze"))
    x, y = (torch.rand(5, 1, 32, 32, generator=torch.Generator().manual_seed(i)) * 2 - 1 for i in range(2))
    forth, back = m.measure(x, y), m.measure(y, x)
    torch.testing.assert_close(forth, back)
    assert m.measure(x, x).abs().max() == 0
    torch.testing.assert_close(forth, torch.cat([m.measure(a, b) for a, b in zip(x.split(2), y.split(2), strict=True)]))
    torch.testing.assert_close(forth, m.measure(x.expand(-1, 3, -1, -1), y.expand(-1, 3, -1, -1)))


def test_black_images_have_a_distance() -> None:
    ours = net("alex")
    for parameter in ours.stack.parameters():
        torch.nn.init.zeros_(parameter)  # every feature is zero: the unit vectors must not be NaN
    x = -torch.ones(1, 3, 32, 32)
    assert LPIPS("lpips", ours).measure(x, -x).item() == 0


def test_too_small_images_are_refused_with_the_least_size() -> None:
    x = torch.zeros(2, 3, 30, 64)
    with pytest.raises(DataError, match="at least 31 x 31 pixels, and these have 64 x 30"):
        LPIPS("lpips-alex", net("alex")).update(x, x)


@pytest.mark.usefixtures("trained")
def test_without_vgg_one_line_and_the_others_run() -> None:
    with pytest.raises(MissingWeights, match=r"vgg16-397923af\.pth") as caught:
        metric("lpips-vgg")
    assert "\n" not in str(caught.value)
    assert metric("lpips-squeeze").name == "lpips-squeeze"
