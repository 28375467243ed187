"""Distances between images and their counterparts: MSE, MAE, PSNR, SSIM, in float64, per image, then averaged."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ganvas.errors import DataError
from ganvas.metrics.figure import Figure
from ganvas.metrics.moments import Moments, double


class PairMetric(ABC):
    """A metric of image pairs: `update` with batches, then read the `figure`."""

    compares: ClassVar[Literal["pairs"]] = "pairs"

    def __init__(self, name: str) -> None:
        self.name = name
        self._moments = Moments()
        self._shape: torch.Size | None = None  # of the smallest images, which decide what a recipe has to warn of
        self._sizes: dict[tuple[int, int], int] = {}  # height and width -> pairs

    def update(self, x: Tensor, y: Tensor) -> None:
        """Adds pairs of images [B, C, H, W] in [-1, 1], floating point. Raises DataError where they do not pair."""
        floating = x.is_floating_point() and y.is_floating_point()
        if x.shape != y.shape or x.ndim != 4 or not x.numel() or not floating:
            raise DataError(
                f"{self.name} compares images with their counterparts, float [B, C, H, W] in [-1, 1], and these are "
                f"{x.dtype} {list(x.shape)} and {y.dtype} {list(y.shape)}."
            )
        size = (x.shape[2], x.shape[3])
        self._sizes[size] = self._sizes.get(size, 0) + len(x)
        if self._shape is None or min(size) < min(self._shape[1:]):
            self._shape = x.shape[1:]
        with torch.inference_mode():
            self._moments.update(self.measure(x, y))

    def figure(self) -> Figure:
        """The mean over all pairs so far, each measured at its own size. Raises DataError if there were none."""
        if self._shape is None:
            raise DataError(f"{self.name} has no pairs of images to measure.")
        moments = self._moments
        mean, std = moments.mean.tolist(), moments.covariance.diagonal().sqrt().tolist()
        deviation = std[0] if math.isfinite(std[0]) else None
        recipe = self.recipe(self._shape)
        if len(self._sizes) > 1:
            in_order = sorted(self._sizes, key=lambda size: size[0] * size[1])
            (h, w), (height, width) = in_order[0], in_order[-1]
            recipe["sizes"] = f"{len(self._sizes)}, from {w}x{h} to {width}x{height}: each pair at its own"
        return Figure(mean[0], deviation, moments.n, recipe, self.parts(mean))

    @abstractmethod
    def measure(self, x: Tensor, y: Tensor) -> Tensor:
        """[B, K] of pairs: the value in column 0, and whatever `parts` needs the means of."""

    @abstractmethod
    def recipe(self, shape: torch.Size) -> dict[str, Any]:
        """How images of shape (C, H, W) are measured."""

    def parts(self, mean: list[float]) -> Mapping[str, float]:
        """Further numbers, from the means [K] of what `measure` returns."""
        return {}


class MSE(PairMetric):
    """Mean over pixels and channels of (x - y)^2, pixels in [-1, 1]."""

    def measure(self, x: Tensor, y: Tensor) -> Tensor:
        return (double(x) - double(y)).square().mean((1, 2, 3))[:, None]

    def recipe(self, shape: torch.Size) -> dict[str, Any]:
        return {"range": [-1, 1], "mean": "pixels, channels, images"}


class MAE(PairMetric):
    """Mean over pixels and channels of |x - y|, pixels in [-1, 1]."""

    def measure(self, x: Tensor, y: Tensor) -> Tensor:
        return (double(x) - double(y)).abs().mean((1, 2, 3))[:, None]

    def recipe(self, shape: torch.Size) -> dict[str, Any]:
        return {"range": [-1, 1], "mean": "pixels, channels, images"}


class PSNR(PairMetric):
    """10 log10(L^2 / MSE) in dB with L = 2, the width of [-1, 1] (the same as 255 over 0..255); mean over images.

    A pair without any difference is infinitely good, and so is then the mean (``null`` in JSON); ``identical`` counts
    such pairs. ``pooled`` is the PSNR of the mean MSE, which some libraries call PSNR.
    """

    def measure(self, x: Tensor, y: Tensor) -> Tensor:
        mse = (double(x) - double(y)).square().mean((1, 2, 3))
        return torch.stack([10 * torch.log10(4 / mse), mse, (mse == 0).to(mse.dtype)], 1)

    def recipe(self, shape: torch.Size) -> dict[str, Any]:
        return {"range": [-1, 1], "peak": 2, "channels": "all", "border": 0, "mean": "PSNR of each image"}

    def parts(self, mean: list[float]) -> Mapping[str, float]:
        _, mse, identical = mean
        return {
            "pooled": 10 * math.log10(4 / mse) if mse else math.inf,
            "identical": round(identical * self._moments.n),
        }


class SSIM(PairMetric):
    """Structural similarity (Wang et al. 2004, equations 12 to 14), each channel by itself, then the mean.

    11x11 Gaussian window of sigma 1.5, valid positions only, K1 = 0.01, K2 = 0.03, on pixels in [0, 1] with L = 1 (as
    on 0..255 with L = 255: SSIM is not invariant to a shift). Images under 11 pixels get the largest odd window that
    fits, and the recipe says so.
    """

    WINDOW, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03
    PIXELS = 1 << 18  # at once: ten float64 maps of so many stay in a cache; ten times faster at 256x256

    def measure(self, x: Tensor, y: Tensor) -> Tensor:
        some = max(1, self.PIXELS // x[0].numel())
        return torch.cat(
            [self._measure(a, b) for a, b in zip(torch.split(x, some), torch.split(y, some), strict=True)]
        )[:, None]

    def _measure(self, x: Tensor, y: Tensor) -> Tensor:
        """SSIM [B] of pairs."""
        luminance, structure = self._terms((double(x) + 1) / 2, (double(y) + 1) / 2)
        return (luminance * structure).mean((1, 2, 3))

    def _terms(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Luminance, and contrast times structure, at every valid position of images [B, C, H, W] in [0, 1]."""
        line = _gaussian(self._window(x.shape[1:]), self.SIGMA)

        def blur(image: Tensor) -> Tensor:
            return _slide(_slide(image, line, 2), line, 3)

        mu_x, mu_y = blur(x), blur(y)
        var_x, var_y = blur(x * x) - mu_x * mu_x, blur(y * y) - mu_y * mu_y
        covariance = blur(x * y) - mu_x * mu_y
        c1, c2 = self.K1**2, self.K2**2
        luminance = (2 * mu_x * mu_y + c1) / (mu_x * mu_x + mu_y * mu_y + c1)
        structure = (2 * covariance + c2) / (var_x + var_y + c2)
        return luminance, structure

    def _window(self, shape: torch.Size) -> int:
        """The side of the window: 11, or the largest odd number that fits the image."""
        side = min(self.WINDOW, shape[1], shape[2])
        return side - 1 + side % 2

    def recipe(self, shape: torch.Size) -> dict[str, Any]:
        window = self._window(shape)
        recipe = {
            "range": [0, 1],
            "window": f"{window}x{window} Gaussian, sigma {self.SIGMA}",
            "k1": self.K1,
            "k2": self.K2,
            "region": "valid",
            "mean": "channels, positions, images",
        }
        if window < self.WINDOW:
            recipe["warning"] = f"images of {shape[2]}x{shape[1]} do not hold the paper's 11x11 window"
        return recipe


class MSSSIM(SSIM):
    """Multi-scale structural similarity (Wang et al. 2003, equation 7), each channel by itself, then the mean.

    Contrast and structure, averaged over positions, at every scale, and luminance at the coarsest, each to the power of
    its weight; between scales the mean of 2x2 pixels (an odd last line is dropped). Negative means, which have no
    power, count as 0. Images that do not hold the 11x11 window at all five scales, under 176 pixels, get the scales
    that do, their weights divided by their sum, and the recipe says so.
    """

    WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

    def _measure(self, x: Tensor, y: Tensor) -> Tensor:
        """MS-SSIM [B] of pairs."""
        x, y = (double(x) + 1) / 2, (double(y) + 1) / 2
        weights = self._weights(x.shape[1:])
        total = x.new_ones(x.shape[:2])  # [B, C]
        for scale, weight in enumerate(weights, 1):
            luminance, structure = self._terms(x, y)
            term = structure * luminance if scale == len(weights) else structure
            total = total * term.mean((2, 3)).clamp(min=0) ** weight
            if scale < len(weights):
                x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        return total.mean(1)

    def _weights(self, shape: torch.Size) -> list[float]:
        """The weights of the scales that images of a shape have, finest first."""
        side = min(shape[1:])
        count = sum(side >> scale >= self.WINDOW for scale in range(len(self.WEIGHTS))) or 1
        some = self.WEIGHTS[:count]
        return list(some) if count == len(self.WEIGHTS) else [w / sum(some) for w in some]

    def recipe(self, shape: torch.Size) -> dict[str, Any]:
        weights = self._weights(shape)
        recipe = {
            **super().recipe(shape),
            "scales": len(weights),
            "weights": [round(w, 4) for w in weights],
            "negative": "clamped at 0",
            "mean": "channels, images",
        }
        if len(weights) < len(self.WEIGHTS):
            recipe["warning"] = (
                f"images of {shape[2]}x{shape[1]} hold {len(weights)} of the paper's 5 scales: compare it with nothing "
                "measured on another size"
            )
        return recipe


def _gaussian(window: int, sigma: float) -> list[float]:
    """A line of the Gaussian window, its sum 1."""
    line = [math.exp(-((i - window // 2) ** 2) / (2 * sigma**2)) for i in range(window)]
    return [w / sum(line) for w in line]


def _slide(image: Tensor, line: list[float], dim: int) -> Tensor:
    """The valid correlation of ``image`` with ``line`` along ``dim``, as a sum of shifted copies.

    In float64 this is several times faster than a convolution, which has no kernel of its own there.
    """
    valid = image.shape[dim] - len(line) + 1
    total = image.narrow(dim, 0, valid) * line[0]
    for i, weight in enumerate(line[1:], 1):
        total.add_(image.narrow(dim, i, valid), alpha=weight)
    return total
