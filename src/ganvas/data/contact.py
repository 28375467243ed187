"""A sheet that shows what a data set looks like."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganvas.data.dataset import Dataset
from ganvas.data.members import Members
from ganvas.ops.legend import ids_in, with_legend
from ganvas.ops.maps import coloured
from ganvas.ops.sheet import grid

LARGE = 6_000_000  # pixels of a sheet, beyond which it shows fewer rows, ...
FEWEST = 8  # ... but so many


def contact_sheet(dataset: Dataset, n: int = 64) -> Image.Image:
    """n rows of the data set, spread evenly over it (classes that lie one after another all show); points of a mixture
    over its density; what belongs together side by side, label maps in colours, with white borders between instances
    and a legend of the ids below.
    """
    if "vector" in dataset.schema:
        from ganvas.ops.plane import draw_plane

        rows = np.arange(min(len(dataset), 2500))
        return Image.fromarray(draw_plane(dataset.tensors(rows)["vector"].numpy(), dataset.mixture))
    if not isinstance(dataset, Members):
        return grid(dataset.pixels(dataset.spread(n)))
    width, height = dataset.window
    n = min(n, max(FEWEST, LARGE // (2 * width * height)))
    shown = dataset.arrays(dataset.spread(n))
    if "A" in shown:
        return grid(shown["A"], beside=shown["B"])
    if "labels" not in shown:
        return grid(shown["image"])
    maps = bordered(coloured(shown["labels"]), shown.get("instances"))
    image = shown.get("image")
    sheet = grid(maps, beside=image if image is None or image.shape[3] == 3 else image.repeat(3, 3))
    return with_legend(sheet, ids_in(shown["labels"]))


def bordered(colours: NDArray[np.uint8], instances: NDArray[np.integer[Any]] | None) -> NDArray[np.uint8]:
    """Coloured maps [..., H, W, 3] with a white line wherever an instance [..., H, W] ends."""
    if instances is None:
        return colours
    ends = np.zeros(instances.shape, bool)
    ends[..., 1:] |= instances[..., 1:] != instances[..., :-1]
    ends[..., 1:, :] |= instances[..., 1:, :] != instances[..., :-1, :]
    return np.where(ends[..., None], np.uint8(255), colours)
