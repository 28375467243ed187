"""Label maps and instance maps as nets take them: made on the device, of which nothing waits for a value."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

REGIONS = 1 << 16  # instances are numbered below this, and so are the regions that features are pooled by


def one_hot(labels: Tensor, classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Label maps, integers [B, H, W], to [B, classes, H, W]: 1 where a pixel has the class, else 0, channels-last.

    An id that is no class, such as void, is 0 everywhere.
    """
    rows = torch.eye(classes + 1, classes, dtype=dtype, device=labels.device)  # the last is that of void: zeros
    found = rows.index_select(0, labels.clamp(max=classes).long().flatten())  # four times as fast as comparing
    return found.view(*labels.shape, classes).permute(0, 3, 1, 2)


def edges(instances: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Where instances [B, H, W] meet, [B, 1, H, W]: 1 on both sides, where the pixel to the left, to the right, above
    or below has another number. Channels-last, as far as one channel can be."""
    down, right = instances[:, 1:] != instances[:, :-1], instances[:, :, 1:] != instances[:, :, :-1]
    met = F.pad(down, (0, 0, 1, 0)) | F.pad(down, (0, 0, 0, 1)) | F.pad(right, (1, 0)) | F.pad(right, (0, 1))
    return met[..., None].permute(0, 3, 1, 2).to(dtype)


def pooled(features: Tensor, regions: Tensor) -> Tensor:
    """Features [B, F, H, W] with each pixel's own replaced by the mean of its region's, summed in double precision.

    regions: numbers from 0, under 256 in uint8 maps and under `REGIONS` in others, [B, H, W]; each image has its own.
    """
    n, channels, height, width = features.shape
    most = 256 if regions.dtype == torch.uint8 else REGIONS
    first = torch.arange(0, n * most, most, device=regions.device)
    index = (regions.long() + first[:, None, None]).flatten()
    exact = torch.float32 if features.device.type == "mps" else torch.float64  # which knows no doubles
    rows = features.permute(0, 2, 3, 1).reshape(-1, channels).to(exact)
    sums = rows.new_zeros(n * most, channels).index_add(0, index, rows)
    sizes = rows.new_zeros(n * most).index_add(0, index, rows.new_ones(len(rows)))
    means = sums.index_select(0, index) / sizes.index_select(0, index)[:, None]
    return means.view(n, height, width, channels).permute(0, 3, 1, 2).to(features.dtype)
