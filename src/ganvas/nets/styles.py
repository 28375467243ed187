"""Styles of a class: clusters of what an encoder saw of its regions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from ganvas.errors import UsageError
from ganvas.nets.maps import REGIONS
from ganvas.ops.maps import VOID
from ganvas.streams import Purpose, stream

CLUSTERS = 10  # of a class, at most (Wang et al. 2018, 1711.11585, section 3.4)
SMALLEST = 1 / 64  # of its picture: a region that shows a style is larger


def classed(labels: Tensor, regions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The numbers of the regions of a map [H, W], in order; the class that most of each has; and, [H, W], each pixel's
    place in that order."""
    ids, index = torch.unique(regions, return_inverse=True)
    votes = torch.bincount(index.flatten() * (VOID + 1) + labels.flatten(), minlength=len(ids) * (VOID + 1))
    return ids, votes.view(len(ids), -1).argmax(1), index


def shown_styles(style: Tensor, labels: Tensor, regions: Tensor, classes: int) -> Iterator[tuple[int, Tensor]]:
    """The class and the style [F] of each region of pictures that has a class and is large enough to show its style.

    style: [B, F, H, W], the same all over a region; labels, regions: integers [B, H, W].
    """
    for features, ours, numbers in zip(style.cpu(), labels.cpu().long(), regions.cpu().long(), strict=True):
        _, kinds, index = classed(ours, numbers)
        for i, label in enumerate(kinds.tolist()):
            pixels = (index.flatten() == i).nonzero()[:, 0]
            if label < classes and len(pixels) > SMALLEST * index.numel():
                yield label, features.flatten(1)[:, pixels[len(pixels) // 2]]


class Styles(nn.Module):
    """For each class up to `CLUSTERS` styles: ``centres`` [classes, CLUSTERS, F], of which the first ``counts``
    [classes] are there. A class of which too little was seen has none; its style is zeros."""

    centres: Tensor
    counts: Tensor

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("centres", torch.zeros(classes, CLUSTERS, channels))
        self.register_buffer("counts", torch.zeros(classes, dtype=torch.int64))

    def fit(self, features: Mapping[int, Tensor]) -> None:
        """The styles of each class, k-means of its regions' features [n, F]; what was there is gone."""
        from sklearn.cluster import KMeans

        self.centres.zero_()
        self.counts.zero_()
        for label, rows in features.items():
            values = rows.detach().double().cpu()
            k = min(len(torch.unique(values, dim=0)), CLUSTERS)
            means = KMeans(n_clusters=k, n_init=10, random_state=0).fit(values.numpy()).cluster_centers_
            self.centres[label, :k] = torch.from_numpy(means).to(self.centres)
            self.counts[label] = k

    def draw(
        self, labels: Tensor, regions: Tensor, *, chosen: Mapping[int, int], seed: int = 0, first: int = 0
    ) -> Tensor:
        """A style for each region, [B, F, H, W], drawn among those of its class; row i by (seed, first + i) alone.

        labels, regions: integers [B, H, W]; a region's class is the one that most of it has. A region's draw depends on
        its number too, and on no other region. chosen: class -> the number of its style. Raises UsageError for a class
        or a style that there is not.
        """
        for label, number in chosen.items():
            self._check(label, number)
        counts, centres = self.counts.cpu(), self.centres.cpu()
        rows = []
        for i, (ours, numbers) in enumerate(zip(labels.cpu().long(), regions.cpu().long(), strict=True)):
            ids, classes, index = classed(ours, numbers)
            coins = torch.rand(
                REGIONS, generator=torch.Generator().manual_seed(stream(seed, first + i, Purpose.SAMPLE))
            )
            known = classes < len(counts)
            classes = classes.clamp(max=len(counts) - 1)
            pick = (coins[ids] * counts[classes]).long().clamp(max=CLUSTERS - 1)
            for label, number in chosen.items():
                pick[classes == label] = number
            rows.append((centres[classes, pick] * known[:, None])[index])
        return torch.stack(rows).permute(0, 3, 1, 2).to(self.centres)

    def _check(self, label: int, number: int) -> None:
        classes = len(self.counts)
        if not 0 <= label < classes:
            raise UsageError(f"There is no class {label}: classes go from 0 to {classes - 1}.")
        if not (count := int(self.counts[label])):
            raise UsageError(f"Class {label} has no styles: none was found in the data that this run has seen.")
        if not 0 <= number < count:
            raise UsageError(f"Class {label} has no style {number}: its styles go from 0 to {count - 1}.")
