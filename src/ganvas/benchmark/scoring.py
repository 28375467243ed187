"""How the AVAE table scores a game (Plumerault et al. 2020, released code): batch statistics, batches of exactly 64.

Batch norms take the statistics of the batch at hand, in every pass; so the batch is part of the recipe, and splits are
shuffled first, lest a batch be of one class. Errors of reconstructions are means over whole batches of the test split,
the rest of it dropped. A reconstruction decodes a draw
of the posterior; where a system has none (BiGAN), its code. Distances compare as many whole batches as cover the
training split once, at most 782 (50,048 images, as of CIFAR-10), drawn shuffled and repeated, with as many samples.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganvas.calibrate import BATCH_NORMS
from ganvas.data import Batches, Dataset
from ganvas.errors import DataError
from ganvas.figures import caution, told
from ganvas.game import Game, noise
from ganvas.metrics import Figure, PairMetric, gather, metric
from ganvas.metrics.sets import SetMetric
from ganvas.ops.sheet import to_uint8
from ganvas.streams import Purpose
from ganvas.verbs import Decodes, Infers, Reconstructs, Samples

BATCH = 64
MOST_BATCHES = 782  # for a distance
SHOWN = 10  # samples, and reconstructions, that are kept for the sheets

Pictures = NDArray[np.uint8]  # [N, H, W, C]


@dataclass(frozen=True)
class Score:
    """What a game is worth, how long it took to know, and pictures to look at."""

    figures: dict[str, Figure]
    seconds: dict[str, float]  # of each metric
    samples: Pictures
    reconstructions: Pictures | None


@contextmanager
def batch_statistics(game: Game) -> Iterator[None]:
    """Inside, batch norms use the statistics of the batch at hand and remember nothing."""
    norms = [module for module in game.modules() if isinstance(module, BATCH_NORMS)]
    before = [(norm.training, norm.momentum) for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 0.0  # running averages stay as they are
    try:
        yield
    finally:
        for norm, (training, momentum) in zip(norms, before, strict=True):
            norm.train(training)
            norm.momentum = momentum


def reconstruct(game: Game, x: Tensor, *, seed: int, first: int) -> Tensor:
    """Reconstructions of x [N, C, H, W] by a draw of the posterior, or by the code where there is no posterior."""
    if not isinstance(game, Infers):
        assert isinstance(game, Reconstructs)
        return game.reconstruct(x, seed=seed, first=first)
    mu, log_sigma = game.posterior(x)
    eps = noise(len(mu), mu.shape[1], seed=seed, first=first, purpose=Purpose.SCORE).to(mu)
    assert isinstance(game, Decodes)
    return game.decode(mu + log_sigma.exp() * eps, seed=seed, first=first)


def check(train: Dataset, test: Dataset) -> None:
    """Raises DataError for splits that are too small to be scored on."""
    for dataset in (train, test):
        if len(dataset) < BATCH:
            raise DataError(
                f"{dataset.spec} has {len(dataset)} images in its split {dataset.split}; the table is scored in whole "
                f"batches of {BATCH}: give it {BATCH} or more."
            )


@torch.no_grad()
def score(game: Game, train: Dataset, test: Dataset, names: Sequence[str], *, data: str = "", seed: int = 0) -> Score:
    """Scores a game, on its device, with those metrics among ``names`` that it has. Raises DataError, MissingWeights.

    data: what recipes call the images. seed: of samples, draws of the posterior and noise; the images are the same for
    every seed.
    """
    check(train, test)
    assert isinstance(game, Samples)
    device = next(game.parameters()).device
    able = isinstance(game, Infers | Reconstructs)
    figures: dict[str, Figure] = {}
    seconds: dict[str, float] = {}
    with batch_statistics(game):
        tools = [metric(name) for name in names]
        if able and (pairs := [tool for tool in tools if isinstance(tool, PairMetric)]):
            figures |= _pairs(game, test, pairs, seconds, seed, device)
        for tool in tools:
            if isinstance(tool, SetMetric):
                began = time.monotonic()
                figures[tool.name] = _sets(game, train, tool, seed, device)
                seconds[tool.name] = time.monotonic() - began
        samples = to_uint8(game.sample(BATCH, seed=seed))[:SHOWN]
        reconstructions = None
        if able:
            (x,) = (batch["image"] for batch in _shuffled(test, device).first(1))
            reconstructions = to_uint8(reconstruct(game, x, seed=seed, first=0))[:SHOWN]
    norms = f"statistics of each batch of {BATCH}"
    figures = {name: told(f, **{"batch norm": norms}, data=data, seed=seed) for name, f in figures.items()}
    caution(figures)
    return Score(figures, {name: round(spent, 2) for name, spent in seconds.items()}, samples, reconstructions)


def originals(test: Dataset) -> Pictures:
    """The images whose reconstructions are shown."""
    return test.pixels(_shuffled(test, "cpu").order.rows(0)[:SHOWN])


def _shuffled(dataset: Dataset, device: str | torch.device) -> Batches:
    """Batches in an order that is the same for every game and seed."""
    return Batches(dataset, BATCH, seed=0, device=device, flip=False)


def _pairs(
    game: Game,
    test: Dataset,
    tools: Sequence[PairMetric],
    seconds: dict[str, float],
    seed: int,
    device: torch.device,
) -> dict[str, Figure]:
    """One pass over the test split; a metric's seconds hold its part of the reconstructing."""
    count = len(test) // BATCH
    batches = _shuffled(test, device).first(count)
    for i in range(count):
        began = time.monotonic()
        x = next(batches)["image"]
        y = reconstruct(game, x, seed=seed, first=i * BATCH)
        common = (time.monotonic() - began) / len(tools)
        for tool in tools:
            began = time.monotonic()
            tool.update(x, y)
            seconds[tool.name] = seconds.get(tool.name, 0.0) + common + time.monotonic() - began
    code = "a draw of the posterior" if isinstance(game, Infers) else "its code"
    rows = f"{count * BATCH} of {len(test)}, whole batches, shuffled by seed 0"
    return {tool.name: told(tool.figure(), z=code, split=test.split, rows=rows) for tool in tools}


def _sets(game: Game, train: Dataset, tool: SetMetric, seed: int, device: torch.device) -> Figure:  # type: ignore[type-arg]
    count = min(MOST_BATCHES, math.ceil(len(train) / BATCH))
    batches = _shuffled(train, device)
    chosen = f"{count * BATCH} of {len(train)}, shuffled and repeated by seed 0"

    def samples() -> Iterator[Tensor]:
        assert isinstance(game, Samples)
        for i in range(count):
            yield game.sample(BATCH, seed=seed, first=i * BATCH)

    images = (batch["image"] for batch in batches.first(count))
    real = gather([tool], images, fingerprint=None if train.content is None else f"{train.content} {chosen}")
    fake = gather([tool], samples())
    return told(tool.distance(real[tool.name], fake[tool.name]), split=train.split, rows=chosen)
