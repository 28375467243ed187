"""Batch norm for use: statistics that belong to the averaged weights, so that a result never depends on its neighbours.

In training, running averages mix real and fake passes and belong to the raw weights. Verbs need statistics of their own
passes through the averaged weights: the game's verbs are run over images and noise, and each batch norm that they reach
takes the cumulative mean of its batches' statistics.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ganvas.data import Batches, Dataset
from ganvas.devices import device as named_device
from ganvas.errors import UsageError
from ganvas.game import Game
from ganvas.inputs import fitting, told
from ganvas.run import Run, RunConfig
from ganvas.settings import missing_parts
from ganvas.verbs import Encodes, Reconstructs, Samples
from ganvas.ways import together


@runtime_checkable
class Surveys(Protocol):
    """Looks over the data before its verbs are used."""

    def survey(self, batches: Iterator[dict[str, Tensor]], n: int) -> None:
        """Takes from batches, of about n rows, what its verbs draw from."""


BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@torch.no_grad()
def calibrate(game: Game, batches: Batches, *, n: int, seed: int = 0) -> Game:
    """A copy of ``game`` in eval mode whose batch norms hold the statistics of its verbs over n images and n samples.

    Batch norms that no verb reaches (a critic's) keep theirs, and so do those of games that translate: these normalise
    each image by itself. A game that has a ``survey``, of what its verbs draw from, is given its batches first, of n
    rows or of all there are. No batch is read that nobody looks at.
    """
    weights: dict[int, object] = {id(weight): weight for weight in game.parameters()}
    game = copy.deepcopy(game, weights).eval()  # with buffers of its own; nobody changes its weights
    size = batches.batch_size
    if isinstance(game, Surveys):
        game.survey(batches.first(min(math.ceil(n / size), batches.steps_per_epoch)), n)
    seen = isinstance(game, Reconstructs | Encodes)
    norms = [module for module in game.modules() if isinstance(module, BATCH_NORMS) and module.track_running_stats]
    if not norms or not (seen or isinstance(game, Samples)):
        return game
    before = {norm: (norm.momentum, {name: value.clone() for name, value in norm.named_buffers()}) for norm in norms}
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative
        norm.train()
    steps = math.ceil(n / size)
    for step, batch in enumerate(batches.first(steps) if seen else ({} for _ in range(steps))):
        first = step * size
        if isinstance(game, Reconstructs) and "image" in batch:
            game.reconstruct(batch["image"], seed=seed, first=first, label=batch.get("label"))
        elif isinstance(game, Encodes) and "image" in batch:
            game.encode(batch["image"], label=batch.get("label"))
        if isinstance(game, Samples):
            game.sample(size, seed=seed, first=first)
    for norm, (momentum, buffers) in before.items():
        norm.momentum = momentum
        if norm.num_batches_tracked == 0:
            for name, value in buffers.items():
                norm.get_buffer(name).copy_(value)
    return game.eval()


def rows_together(config: RunConfig, dataset: Dataset) -> int:
    """How many rows to run at once: a batch, or where images are large no more than training has to hold at once."""
    height, width = dataset.schema["image"][-2:] if "image" in dataset.schema else (1, 1)
    share = config.batch_size // config.shares
    return min(config.batch_size, max(share, together(height, width)))


def calibrate_run(
    run: Run | str | Path, *, data: str | None = None, n: int = 10_000, device: str = "auto", quiet: bool = False
) -> Path:
    """Writes a run's newest checkpoint anew, its averaged game calibrated over n images and n samples of its data.

    data: a data spec instead of the run's own, such as one for a run that was imported. quiet: says nothing of what was
    read on stderr.
    Returns the checkpoint's folder. What training goes on from stays as it is. Raises UsageError for an n under 1,
    RunError where there is no checkpoint, another process trains in the folder, or it cannot be written.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    if n < 1:
        raise UsageError(f"-n must be at least 1, not {n}.")
    dataset = fitting(run, data)
    with Run.locked(run.folder):
        game, checkpoint = run.loaded(device=named_device(device), whole=True)  # all of it is written anew
        if not quiet:
            told(run, dataset).tell()
        c = run.config
        where = next(game.parameters()).device
        batches = Batches(dataset, rows_together(c, dataset), seed=c.seed, device=where, flip=False)
        calibrated, lacking = calibrate(game, batches, n=n, seed=c.seed).state_dict(), missing_parts(c)
        return run.save(
            checkpoint.step,
            weights=checkpoint.weights(),
            average={name: value for name, value in calibrated.items() if name.partition(".")[0] not in lacking},
            state=checkpoint.state(),
            memory={rank: memory for rank in range(c.world) if (memory := checkpoint.memory(rank))},
            calibrated=True,
            paused=checkpoint.paused,
        )
