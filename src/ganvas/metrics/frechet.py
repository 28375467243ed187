"""The Fréchet distance between two sets of images: FID in Inception's features, and in others what their name tells.

Dowson & Landau 1982; as a measure of generators Heusel et al. 2017, 1706.08500. The ladder: images -> features
(`extractors`) -> moments (`moments`, cached) -> value.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ganvas.metrics.moments import Moments
from ganvas.metrics.sets import Measured, SetMetric


def distance(mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor) -> float:
    """|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^1/2) for float64 means [D] and covariances [D, D].

    The trace of the root is that of (S_a^1/2 S_b S_a^1/2)^1/2, symmetric and so real by construction, of any rank. It
    is summed as the singular values of S_a^1/2 S_b^1/2, the roots of that matrix's eigenvalues: taking the roots
    ourselves would raise the rounding of a zero eigenvalue from 1e-16 to 1e-8.
    """
    cross = torch.linalg.svdvals(_root(covariance_a) @ _root(covariance_b)).sum()
    value = (mean_a - mean_b).square().sum() + covariance_a.trace() + covariance_b.trace() - 2 * cross
    return max(float(value), 0.0)


def _root(covariance: Tensor) -> Tensor:
    """The symmetric square root; eigenvalues that rounding made negative count as 0."""
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


class FrechetDistance(SetMetric[Moments]):
    """The distance of the Gaussians that have the moments of two sets; memory does not grow with the images."""

    def statistic(self) -> Moments:
        return Moments()

    def measure(self, a: Moments, b: Moments) -> Measured:
        return Measured(distance(a.mean, a.covariance, b.mean, b.covariance))

    def recipe(self, a: Moments, b: Moments) -> dict[str, Any]:
        return {"covariance": "n-1", "root": "singular values of S1^1/2 S2^1/2, float64"}

    def warning(self, a: Moments, b: Moments) -> str | None:
        n = min(a.n, b.n)
        if n > a.dims:
            return None
        return (
            f"{n} images do not span {a.dims} dimensions: biased upwards, compare it with nothing measured on another "
            "number of images"
        )
