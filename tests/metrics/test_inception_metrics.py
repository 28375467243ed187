"""What is measured in Inception's features: from images to figures, over random weights in a published file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import precision
import published
from ganvas import weights
from ganvas.metrics import extractors, gather, metric
from ganvas.metrics.extractors import Extractor
from ganvas.metrics.rows import Rows
from ganvas.nets import inception

SIDE = 155  # instead of 299: a quarter of the work
FILE = "weights-inception-2015-12-05-6726825d.pth"
NAMES = ["fid", "kid", "inception-score", "precision", "recall", "density", "coverage"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    torch.save(published.weights(), folder / FILE)
    return folder


@pytest.fixture
def file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second published file, which counts as whole."""
    monkeypatch.setenv("GANVAS_WEIGHTS", str(folder))
    row = weights.TABLE["inception"]
    files = ((row.files[0]), (FILE, weights.sha256(folder / FILE)))
    monkeypatch.setitem(weights.TABLE, "inception", weights.Published(row.what, row.url, row.megabytes, files))


def images(n: int, seed: int) -> Tensor:
    """Smooth coloured images [n, 3, 24, 20] in [-1, 1], not at 8-bit levels."""
    coarse = torch.rand(n, 3, 5, 5, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(coarse, (24, 20), mode="bilinear")


def prepared(recipe: str, x: Tensor) -> Tensor:
    """Written out in float64: bytes, then the size and the range of each library."""
    counts = ((x + 1) * 127.5).round().double()
    if recipe == "inception":
        for dim in (2, 3):
            place = torch.arange(SIDE).double() * x.shape[dim] / SIDE
            low = place.long()
            high = (low + 1).clamp(max=x.shape[dim] - 1)
            share = (place - low).view(-1, *[1] * (3 - dim))
            counts = counts.index_select(dim, low) * (1 - share) + counts.index_select(dim, high) * share
    elif recipe == "inception-torch":
        return 2 * F.interpolate(counts / 255, (SIDE, SIDE), mode="bilinear", align_corners=False) - 1
    else:
        large = [
            [
                np.asarray(Image.fromarray(c.float().numpy()).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
                for c in image
            ]
            for image in counts
        ]
        counts = torch.from_numpy(np.clip(np.stack(large), 0, 255)).double()
    return (counts - 128) / 128


@pytest.mark.usefixtures("file")
@pytest.mark.parametrize("recipe", ["inception", "inception-torch", "inception-clean"])
def test_features_equal_an_independent_float64_computation(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = images(1, 0)
    exact = {name: value.double() for name, value in published.weights().items()}
    with torch.inference_mode():
        expected = published.features(exact, prepared(recipe, x))
    extractor = extractors.inception(recipe)
    assert extractor.describe(x)["size"] == [299, 299]
    monkeypatch.setattr(inception, "SIDE", SIDE)
    found = extractor(x)
    assert found.dtype == torch.float32
    with torch.inference_mode():
        single = published.features(published.weights(), prepared(recipe, x).float())
    within = precision.allowed(single, expected)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=within)
    torch.testing.assert_close(extractor(x[:, :1]), extractor(x[:, :1].expand(-1, 3, -1, -1)), rtol=0, atol=within)
    others = {"inception", "inception-torch", "inception-clean"} - {recipe}
    assert all(
        (extractors.inception(other).prepare(x) - prepared(recipe, x)).abs().mean() > 1e-3 for other in others
    )  # what is compared above is not the same for all


@pytest.mark.usefixtures("file")
def test_one_pass_serves_all_and_the_recipes_say_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inception, "SIDE", 107)  # a tenth of the work
    tools: list[Any] = [metric(name) for name in NAMES]
    assert len({id(tool.extractor) for tool in tools}) == 1
    torch_, clean = (metric(f"fid-{kind}").extractor for kind in ("torch", "clean"))  # type: ignore[union-attr]
    assert torch_.net is clean.net is tools[0].extractor.net
    seen: list[int] = []
    call = Extractor.__call__
    monkeypatch.setattr(Extractor, "__call__", lambda self, x: seen.append(len(x)) or call(self, x))
    real = gather(tools, images(6, 0).split(4))
    fake = gather(tools, images(20, 1).split(18))
    assert seen == [4, 2, 18, 2]
    figures = {tool.name: tool.distance(real[tool.name], fake[tool.name]) for tool in tools if tool.name != "fid"}
    for figure in figures.values():
        assert figure.recipe["extractor"] == "inception"
        assert figure.recipe["features"] == "average pool of the Inception net of 2015-12-05, 2048-d"
        assert figure.recipe["resize"] == "107 bilinear as in TensorFlow 1, no half pixel, no antialias"
        assert figure.recipe["input"] == "8-bit levels x, (x - 128) / 128"
        assert figure.recipe["images"] == [6, 20]
        assert figure.recipe["size"] == [107, 107]
        assert len(figure.recipe["sha256"]) == 64
    rows = [real["kid"], fake["kid"]]
    assert all(isinstance(side, Rows) for side in rows)
    x, y = (side.rows.double().numpy() for side in rows)
    p = torch.softmax(torch.from_numpy(y) @ published.weights()["fc.weight"].double().T, 1).numpy()
    assert figures["inception-score"].value > 1
    assert figures["inception-score"].parts == {}  # the reference has too few images
    shares = fake["inception-score"].tensors()["shares"].sum(0)
    torch.testing.assert_close(shares, torch.from_numpy(p).sum(0), rtol=1e-5, atol=0)
    assert figures["kid"].recipe["subsets"] == "100 of 6, without replacement, seeded"
    torch.testing.assert_close(real["fid"].mean, torch.from_numpy(x).mean(0), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(fake["fid"].covariance, torch.from_numpy(np.cov(y, rowvar=False)), rtol=1e-7, atol=1e-9)
