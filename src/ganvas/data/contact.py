"""A sheet that shows what a data set looks like."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ganvas.data.dataset import Dataset
from ganvas.ops.sheet import grid


def contact_sheet(dataset: Dataset, n: int = 64) -> Image.Image:
    """n rows of the data set, spread evenly over it (classes that lie one after another all show); points of a mixture
    over its density."""
    if "vector" in dataset.schema:
        from ganvas.ops.plane import draw_plane

        rows = np.arange(min(len(dataset), 2500))
        return Image.fromarray(draw_plane(dataset.tensors(rows)["vector"].numpy(), dataset.mixture))
    return grid(dataset.pixels(dataset.spread(n)))
