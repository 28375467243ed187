"""How images are brought to the size of Inception: three recipes, each against its own library's arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ganvas.metrics import images


def levels(n: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Images at 8-bit levels as numbers 0 to 255, [n, 2, H, W]."""
    return torch.randint(0, 256, (n, 2, height, width), generator=torch.Generator().manual_seed(seed)).float()


def tensorflow(x: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """One channel by TensorFlow 1's ResizeBilinear: pixel by pixel, as its kernel goes, in float32."""
    height, width = x.shape
    found = np.empty((side, side), np.float32)
    for i in range(side):
        for j in range(side):
            row = np.float32(i) * (np.float32(height) / np.float32(side))
            column = np.float32(j) * (np.float32(width) / np.float32(side))
            top, left = int(row), int(column)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            down, across = row - np.float32(top), column - np.float32(left)
            upper = x[top, left] + (x[top, right] - x[top, left]) * across
            lower = x[bottom, left] + (x[bottom, right] - x[bottom, left]) * across
            found[i, j] = upper + (lower - upper) * down
    return found


@given(height=st.integers(1, 40), width=st.integers(1, 40), side=st.integers(1, 23), seed=st.integers(0, 9))
@settings(max_examples=25)
def test_tensorflow_1_has_no_half_pixel_and_no_antialias(height: int, width: int, side: int, seed: int) -> None:
    x = levels(1, height, width, seed)
    found = images.as_tensorflow(x, side)
    expected = np.stack([tensorflow(channel.numpy(), side) for channel in x[0]])
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-3)


def test_the_upper_left_pixel_stays_where_it_is() -> None:
    """What tells it from torch's: 64 to 299, some grey levels apart on average; a size that fits is left as it is."""
    x = levels(2, 64, 64)
    found = images.as_tensorflow(x, 299)
    assert torch.equal(found[..., 0, 0], x[..., 0, 0])
    assert (found - F.interpolate(x, (299, 299), mode="bilinear", align_corners=False)).abs().mean() > 3
    assert torch.equal(images.as_tensorflow(x, 64), x)


@pytest.mark.parametrize("shape", [(32, 32), (64, 48), (299, 305), (340, 512)])
def test_bicubic_equals_pillow_on_float_channels(shape: tuple[int, int]) -> None:
    x = levels(1, *shape)
    found = images.as_pillow(x, 299)
    expected = [
        np.asarray(Image.fromarray(channel.numpy()).resize((299, 299), Image.Resampling.BICUBIC)) for channel in x[0]
    ]
    np.testing.assert_allclose(found[0].numpy(), np.stack(expected), atol=1e-4)
    assert found.max() > 255 or shape[0] > 299  # not clipped here, nor rounded
    assert (found - found.round()).abs().max() > 0.4


@given(st.lists(st.integers(0, 255), min_size=1, max_size=30))
def test_counts_are_the_bytes(values: list[int]) -> None:
    x = torch.tensor(values, dtype=torch.float32)
    assert images.counts(images.levels(x / 127.5 - 1)).tolist() == values
