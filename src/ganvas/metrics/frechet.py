"""The Fréchet distance between two sets of images, in a feature space that its name tells: never called FID.

Dowson & Landau 1982; as a measure of generators Heusel et al. 2017, 1706.08500. The ladder: images -> features
(`extractors`) -> moments (`moments`, cached) -> value.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ganvas.errors import Damaged, DataError
from ganvas.files import cache_folder
from ganvas.metrics.extractors import Extractor
from ganvas.metrics.figure import Figure, keep
from ganvas.metrics.moments import Moments


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


class FrechetDistance:
    """A metric of two sets: `moments` of each, then their `distance`."""

    compares: ClassVar[Literal["sets"]] = "sets"

    def __init__(self, name: str, extractor: Extractor) -> None:
        self.name, self.extractor = name, extractor

    def moments(self, batches: Iterable[Tensor], *, fingerprint: str | None = None) -> Moments:
        """Moments of the features of images [B, C, H, W] in [-1, 1], streaming. See `gather`."""
        return gather([self], batches, fingerprint=fingerprint)[self.name]

    def distance(self, a: Moments, b: Moments) -> Figure:
        """The figure for two sets. Raises DataError where a set is too small or the two were not seen alike."""
        for side in (a, b):
            if side.n < 2:
                raise DataError(f"{self.name} needs at least 2 images on each side, and one side has {side.n}.")
        if differing := [key for key in a.recipe if a.recipe[key] != b.recipe.get(key)]:
            key = differing[0]
            raise DataError(
                f"{self.name} compares sets that were prepared alike, and the {key} of these is {a.recipe[key]} and "
                f"{b.recipe.get(key)}: bring both to one size (size=... in a data spec)."
            )
        recipe = {
            **a.recipe,
            "covariance": "n-1",
            "root": "singular values of S1^1/2 S2^1/2, float64",
            "images": [a.n, b.n],
        }
        if min(a.n, b.n) <= a.dims:
            recipe["warning"] = (
                f"{min(a.n, b.n)} images do not span {a.dims} dimensions: biased upwards, compare it with nothing "
                "measured on another number of images"
            )
        means, covariances = (a.mean, b.mean), (a.covariance, b.covariance)
        if not all(bool(value.isfinite().all()) for value in (*means, *covariances)):
            recipe["warning"] = "some images are not finite"
            return Figure(float("nan"), None, min(a.n, b.n), recipe)
        return Figure(distance(means[0], covariances[0], means[1], covariances[1]), None, min(a.n, b.n), recipe)


def gather(
    metrics: Sequence[FrechetDistance], batches: Iterable[Tensor], *, fingerprint: str | None = None
) -> dict[str, Moments]:
    """The moments that each of several metrics needs of one set of images, by the metric's name, in one pass.

    batches: images [B, 1 or 3, H, W] in [-1, 1], all of one size; not touched where everything is in the cache.
    fingerprint: a name for these very images (say, of data, split and rows); with it the moments are kept in the cache
    under a hash of it, of the extractor's tensors and of its recipe. Raises DataError for images that do not fit.
    """
    extractors = {metric.extractor.name: metric.extractor for metric in metrics}
    found = {name: _cached(extractor, fingerprint) for name, extractor in extractors.items()}
    missing = [extractors[name] for name, moments in found.items() if moments is None]
    if missing:
        found |= _pass(missing, batches)
        for extractor in missing:
            if (path := _path(extractor, fingerprint)) and (moments := found[extractor.name]):
                keep(moments.save, path)
    return {metric.name: found[metric.extractor.name] or Moments() for metric in metrics}


def _pass(extractors: Sequence[Extractor], batches: Iterable[Tensor]) -> dict[str, Moments]:
    gathered: dict[str, Moments] = {}
    shape: torch.Size | None = None
    for x in batches:
        if shape is None:
            gathered = {extractor.name: Moments(extractor.describe(x)) for extractor in extractors}
            shape = x.shape[1:]
        elif x.shape[1:] != shape:
            raise DataError(f"Images of one set differ in shape, {list(shape)} and {list(x.shape[1:])}: use size=...")
        for extractor in extractors:
            gathered[extractor.name].update(extractor(x))
    if shape is None:
        raise DataError("There are no images to measure.")
    return gathered


def _path(extractor: Extractor, fingerprint: str | None) -> Path | None:
    if fingerprint is None:
        return None
    key = json.dumps([fingerprint, extractor.name, dict(extractor.recipe)], sort_keys=True)
    return cache_folder() / "moments" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"


def _cached(extractor: Extractor, fingerprint: str | None) -> Moments | None:
    path = _path(extractor, fingerprint)
    if path is None or not path.is_file():
        return None
    try:
        return Moments.load(path)
    except Damaged:
        return None  # computed again and written over
