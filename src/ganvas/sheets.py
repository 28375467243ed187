"""The pictures that training leaves at each checkpoint: the same codes and the same images every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ganvas.data import Dataset
from ganvas.files import writing
from ganvas.game import Game
from ganvas.ops.plane import save_plane
from ganvas.ops.sheet import save_sheet
from ganvas.verbs import Reconstructs, Samples

SAMPLES = 64
PAIRS = 32
POINTS = 2500


def save_sheets(folder: Path, game: Game, dataset: Dataset, step: int) -> None:
    """Writes ``samples-STEP.png`` and ``reconstructions-STEP.png`` as the game's verbs allow.

    Reconstructions stand to the right of their originals; samples of a mixture are drawn over its density. Raises
    RunError when they cannot be written, as on a full disk.
    """
    with writing(folder):
        _save(folder, game, dataset, step)


def _save(folder: Path, game: Game, dataset: Dataset, step: int) -> None:
    if isinstance(game, Samples):
        path = folder / f"samples-{step:08d}.png"
        if "vector" in dataset.schema:
            save_plane(game.sample(POINTS, seed=0).cpu().numpy(), path, mixture=dataset.mixture)
        else:
            save_sheet(game.sample(SAMPLES, seed=0).cpu(), path)
    if isinstance(game, Reconstructs) and "image" in dataset.schema:
        device = next(game.parameters()).device
        batch = dataset.tensors(np.arange(min(PAIRS, len(dataset))), device=device)
        copies = game.reconstruct(batch["image"], label=batch.get("label"))
        save_sheet(batch["image"].cpu(), folder / f"reconstructions-{step:08d}.png", beside=copies.cpu())
