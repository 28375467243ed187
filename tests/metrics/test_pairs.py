from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal
import skimage.transform
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import metrics as reference
from torch import Tensor

from ganvas.errors import DataError
from ganvas.metrics import metric
from ganvas.metrics.figure import Figure
from ganvas.metrics.pairs import PairMetric


def pair(n: int, channels: int = 3, height: int = 24, width: int = 20, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Smooth images and noisy versions of them, [n, C, H, W] in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, channels, 5, 5, generator=generator) * 2 - 1
    x = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return x, (x + 0.2 * torch.randn(x.shape, generator=generator)).clamp(-1, 1)


def measure(name: str, x: Tensor, y: Tensor, batch: int = 100) -> Figure:
    m = metric(name)
    assert isinstance(m, PairMetric)
    for a, b in zip(x.split(batch), y.split(batch), strict=True):
        m.update(a, b)
    return m.figure()


def images(x: Tensor) -> list[np.ndarray]:
    return [image.double().numpy() for image in x]


@pytest.mark.parametrize("shape", [(3, 24, 20), (1, 11, 11), (3, 11, 40)])
def test_equal_scikit_image(shape: tuple[int, int, int]) -> None:
    x, y = pair(5, *shape)
    pairs = list(zip(images(x), images(y), strict=True))
    mse = [reference.mean_squared_error(a, b) for a, b in pairs]
    psnr = [reference.peak_signal_noise_ratio(a, b, data_range=2) for a, b in pairs]
    ssim = [
        reference.structural_similarity(
            (a + 1) / 2, (b + 1) / 2, data_range=1, gaussian_weights=True, use_sample_covariance=False, channel_axis=0
        )
        for a, b in pairs
    ]
    for name, values in (("mse", mse), ("psnr", psnr), ("ssim", ssim)):
        figure = measure(name, x, y)
        assert figure.value == pytest.approx(np.mean(values), rel=1e-9)
        assert figure.std == pytest.approx(np.std(values, ddof=1), rel=1e-6)
        assert figure.n == 5
    assert measure("mae", x, y).value == pytest.approx((x.double() - y.double()).abs().mean().item(), rel=1e-12)
    assert measure("psnr", x, y).parts["pooled"] == pytest.approx(10 * math.log10(4 / np.mean(mse)), rel=1e-9)


def test_psnr_and_ssim_are_those_of_the_bytes() -> None:
    x, y = (((image + 1) * 127.5).round() for image in pair(3))
    pairs = list(zip(images(x), images(y), strict=True))
    psnr = np.mean([reference.peak_signal_noise_ratio(a, b, data_range=255) for a, b in pairs])
    assert measure("psnr", x / 127.5 - 1, y / 127.5 - 1).value == pytest.approx(psnr, rel=1e-6)
    ssim = np.mean(
        [
            reference.structural_similarity(
                a, b, data_range=255, gaussian_weights=True, use_sample_covariance=False, channel_axis=0
            )
            for a, b in pairs
        ]
    )
    assert measure("ssim", x / 127.5 - 1, y / 127.5 - 1).value == pytest.approx(ssim, rel=1e-5)


def test_ssim_equals_the_formula_written_out() -> None:
    """Equation 13 at every valid window, by loops over windows, in float64."""
    x, y = pair(1, 1, 14, 13)
    a, b = ((image[0, 0].double().numpy() + 1) / 2 for image in (x, y))
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    w = np.outer(line, line) / line.sum() ** 2
    values = []
    for i in range(4):
        for j in range(3):
            p, q = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
            mp, mq = (w * p).sum(), (w * q).sum()
            vp, vq, c = (w * (p - mp) ** 2).sum(), (w * (q - mq) ** 2).sum(), (w * (p - mp) * (q - mq)).sum()
            values.append((2 * mp * mq + 1e-4) * (2 * c + 9e-4) / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4)))
    assert measure("ssim", x, y).value == pytest.approx(np.mean(values), rel=1e-12)


def multiscale(x: np.ndarray, y: np.ndarray, weights: list[float]) -> float:
    """Equation 7 of Wang et al. 2003 for one channel in [0, 1], by SciPy's convolution and scikit-image's pooling."""
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    value = 1.0
    for scale, weight in enumerate(weights):
        blur = lambda image: scipy.signal.convolve2d(image, window, "valid")
        mx, my = blur(x), blur(y)
        contrast = 2 * (blur(x * y) - mx * my) + 9e-4
        contrast = contrast / (blur(x * x) - mx**2 + blur(y * y) - my**2 + 9e-4)
        if scale == len(weights) - 1:
            contrast = contrast * (2 * mx * my + 1e-4) / (mx**2 + my**2 + 1e-4)
        value *= max(contrast.mean(), 0) ** weight
        even = [side // 2 * 2 for side in x.shape]
        x, y = (skimage.transform.downscale_local_mean(image[: even[0], : even[1]], (2, 2)) for image in (x, y))
    return value


WEIGHTS = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]


@pytest.mark.parametrize(
    ("height", "width", "scales"), [(176, 180, 5), (175, 180, 4), (32, 45, 2), (47, 44, 3), (21, 21, 1), (11, 30, 1)]
)
def test_multiscale_equals_its_formula_with_the_scales_that_fit(height: int, width: int, scales: int) -> None:
    x, y = pair(2, 3, height, width)
    weights = WEIGHTS if scales == 5 else [w / sum(WEIGHTS[:scales]) for w in WEIGHTS[:scales]]
    expected = [
        np.mean([multiscale((a + 1) / 2, (b + 1) / 2, weights) for a, b in zip(left, right, strict=True)])
        for left, right in zip(images(x), images(y), strict=True)
    ]
    figure = measure("ms-ssim", x, y, 1)
    assert figure.value == pytest.approx(np.mean(expected), rel=1e-9)
    assert figure.recipe["scales"] == scales
    assert ("warning" in figure.recipe) == (scales < 5)
    if scales == 1:
        assert figure.value == pytest.approx(measure("ssim", x, y).value, rel=1e-12)
    assert measure("ms-ssim", x, x).value == pytest.approx(1)


def test_structure_that_is_turned_over_counts_as_nothing() -> None:
    x, _ = pair(2, 3, 48, 48)
    assert measure("ms-ssim", x, -x).value == 0
    assert measure("ms-ssim", x[:, :, :8, :8], x[:, :, :8, :8]).recipe["window"].startswith("7x7 ")


@pytest.mark.parametrize(("side", "window"), [(11, 11), (10, 9), (9, 9), (2, 1), (1, 1)])
def test_small_images_get_a_smaller_window_and_the_recipe_says_so(side: int, window: int) -> None:
    x, y = pair(2, 3, side, 30)
    figure = measure("ssim", x, y)
    assert figure.recipe["window"].startswith(f"{window}x{window} ")
    assert ("warning" in figure.recipe) == (window < 11)
    assert -1 <= figure.value <= 1
    assert measure("ssim", x, x).value == pytest.approx(1)


@given(batch=st.integers(1, 9), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_the_batch_size_does_not_matter(batch: int, seed: int) -> None:
    x, y = pair(9, seed=seed)
    for name in ("mse", "mae", "psnr", "ssim", "ms-ssim"):
        one, many = measure(name, x, y), measure(name, x, y, batch)
        assert many.value == pytest.approx(one.value, rel=1e-12)
        assert many.std == pytest.approx(one.std, rel=1e-9)


def test_identical_pairs_are_infinitely_good_and_counted() -> None:
    x, y = pair(4)
    y[1] = x[1]
    for batch in (1, 4):
        figure = measure("psnr", x, y, batch)
        assert figure.value == math.inf
        assert figure.std is None
        assert figure.parts["identical"] == 1
        assert math.isfinite(figure.parts["pooled"])
        assert figure.to_json()["value"] is None
    assert measure("psnr", x, x).parts == {"pooled": math.inf, "identical": 4}
    assert measure("mse", x, x).value == measure("mae", x, x).value == 0


def test_one_pair_has_no_deviation_and_nan_is_null() -> None:
    x, y = pair(1)
    assert measure("mse", x, y).std is None
    y[0, 0, 0, 0] = torch.nan
    assert measure("mse", x, y).to_json()["value"] is None


def test_what_does_not_pair_is_refused() -> None:
    x, y = pair(2)
    for a, b in ((x, y[:1]), (x, y[..., 1:]), (x[0], y[0]), (x[:0], y[:0]), (x.byte(), y)):
        with pytest.raises(DataError, match="counterparts"):
            metric("mse").update(a, b)  # type: ignore[union-attr]
    with pytest.raises(DataError, match="no pairs"):
        metric("ssim").figure()  # type: ignore[union-attr, call-arg]
