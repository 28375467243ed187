"""How metrics look at images: the checks, precision and preparation that they share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from ganvas.errors import DataError
from ganvas.metrics.moments import double

SMALLEST = 64  # pixels; images with a shorter side below are resized to a square of this side


@contextmanager
def measuring(device: torch.device) -> Iterator[None]:
    """Inference in honest fp32: no autocast, no TF32, the same kernels every time."""
    with (
        torch.inference_mode(),
        torch.autocast(device.type, enabled=False),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
    ):
        yield


def check(x: Tensor, metric: str, *, least: int = 1) -> None:
    """Raises DataError unless ``x`` is images [B, 1 or 3, H, W] with sides of at least ``least`` pixels."""
    if x.ndim != 4 or x.shape[1] not in (1, 3) or not x.is_floating_point():
        raise DataError(
            f"{metric} measures grey or RGB images, float [B, C, H, W] in [-1, 1], not {x.dtype} {list(x.shape)}."
        )
    if min(x.shape[2:]) < least:
        raise DataError(
            f"{metric} needs images of at least {least} x {least} pixels, and these have {x.shape[3]} x {x.shape[2]}: "
            "make them larger, or leave this metric out."
        )


def levels(x: Tensor) -> Tensor:
    """Images in [-1, 1] at the 256 levels that a saved file has: so a folder of samples measures like the samples."""
    return ((x.float() + 1) * 127.5).round().clamp(0, 255) / 127.5 - 1


def counts(x: Tensor) -> Tensor:
    """What `levels` gives, as numbers from 0 to 255, exactly."""
    return ((x + 1) * 127.5).round()


def size(x: Tensor) -> tuple[int, int]:
    """(H, W) after `resized`."""
    height, width = x.shape[2:]
    return (SMALLEST, SMALLEST) if min(height, width) < SMALLEST else (height, width)


def resized(x: Tensor) -> Tensor:
    """Images [B, C, H, W]; those with a shorter side under 64 pixels at 64 x 64, half-pixel bilinear, no antialias."""
    if x.shape[2:] == size(x):
        return x
    return F.interpolate(x, size(x), mode="bilinear", align_corners=False, antialias=False)


def as_tensorflow(x: Tensor, side: int) -> Tensor:
    """Images [B, C, H, W] at side x side, bilinear as TensorFlow 1 has it.

    Pixel i is looked up at i * H / side (no half pixel, no antialias); beyond the last pixel is the last one. Positions
    are float32 there, and so they are here.
    """
    for dim in (3, 2):
        length = x.shape[dim]
        place = torch.arange(side, dtype=torch.float32, device=x.device) * (
            torch.tensor(length, dtype=torch.float32, device=x.device) / side
        )
        low = place.floor().long().clamp(max=length - 1)
        high = (low + 1).clamp(max=length - 1)
        share = (place - low).view(-1, *[1] * (3 - dim))
        x = torch.lerp(x.index_select(dim, low), x.index_select(dim, high), share)
    return x


def as_pillow(x: Tensor, side: int) -> Tensor:
    """Images [B, C, H, W] at side x side, bicubic as Pillow has it on a float channel (antialiased, a = -1/2). In
    float64: in float32 the positions of torch's kernel cost a hundredth of a level."""
    large = F.interpolate(double(x), (side, side), mode="bicubic", align_corners=False, antialias=True)
    return large.to(x.device, x.dtype)
