"""Points in the plane, drawn over the exact density that they should follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ganvas.ops.mixtures import Mixture
from ganvas.ops.mixtures import mixture as named
from ganvas.ops.sheet import save_image

INK, PAPER, MARGIN = "#26324d", "#ffffff", 0.25
DEPTH = 8.0  # nats below the peak at which the density fades into the paper: 4 sigma of a lone mode


def draw_plane(points: NDArray[np.floating[Any]], mixture: str | None = None, side: int = 640) -> NDArray[np.uint8]:
    """Points [N, 2] as dots over the log-density of a mixture, uint8 [side, side, 3].

    mixture: its name; without one there is no density, and the frame fits the points. Points that are not finite or lie
    outside the frame are counted in the caption.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    known = None if mixture is None else named(mixture)
    dots = points.astype(np.float64)
    low, high = _frame(dots, known)
    figure = Figure(figsize=(side / 100, side / 100), dpi=100, facecolor=PAPER)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.075, 0.055, 0.88, 0.88))
    if known is not None:
        axes.imshow(_fog(known, low, high, side // 2), extent=(low[0], high[0], low[1], high[1]), origin="lower",
                    cmap=_colours(), vmin=0, vmax=1, interpolation="bilinear", aspect="auto")  # fmt: skip
    inside = np.isfinite(dots).all(1) & (dots >= low).all(1) & (dots <= high).all(1)
    size = float(np.clip(10_000 / max(1, len(points)), 2.0, 14.0))
    x, y = dots[inside].T
    axes.scatter(x, y, s=size, c="#f0532d", alpha=0.55, linewidths=0)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    axes.tick_params(labelsize=8, colors=INK, length=0)
    axes.locator_params(nbins=6)
    for spine in axes.spines.values():
        spine.set(color=INK, alpha=0.25)
    outside = f", {len(points) - inside.sum():,} of them outside the frame" if not inside.all() else ""
    axes.set_title(f"{len(points):,} points{f' over {mixture}' if mixture else ''}{outside}", fontsize=10, color=INK)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save_plane(points: NDArray[np.floating[Any]], path: Path, mixture: str | None = None) -> None:
    """Writes `draw_plane` of the points to ``path``, whole or not at all; its suffix says the format."""
    save_image(Image.fromarray(draw_plane(points, mixture)), path)


def _frame(points: NDArray[np.float64], known: Mixture | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower left and upper right of a square that holds the mixture, or the points where there is none."""
    anchors = points[np.isfinite(points).all(1)] if known is None else known.centres.numpy()
    if not len(anchors):
        anchors = np.zeros((1, 2))
    low, high = anchors.min(0), anchors.max(0)
    middle = (low + high) / 2
    half = (high - low).max() / 2 * (1 + MARGIN) or 1.0
    half = max(half, 1e-6 * np.abs(middle).max())  # floats and tick labels can tell its sides apart
    return middle - half, middle + half


def _fog(known: Mixture, low: NDArray[np.float64], high: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """The log-density on a grid [side, side], 1 at its peak and 0 at DEPTH nats below it."""
    xs, ys = (torch.linspace(low[i], high[i], side, dtype=torch.float64) for i in (0, 1))
    density = known.log_density(torch.cartesian_prod(xs, ys)).view(side, side).T
    return np.asarray((1 + (density - density.max()) / DEPTH).clamp(0, 1).numpy())


def _colours() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("fog", [PAPER, "#d5e3f7", "#7ea6e0", "#2f5aa8"])
