"""Batch norm for use: statistics that belong to the averaged weights, so that a result never depends on its neighbours.

In training, running averages mix real and fake passes and belong to the raw weights. Verbs need statistics of their own
passes through the averaged weights: the game's verbs are run over images and noise, and each batch norm that they reach
takes the cumulative mean of its batches' statistics.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from ganvas.data import Batches
from ganvas.game import Game
from ganvas.verbs import Encodes, Reconstructs, Samples

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@torch.no_grad()
def calibrate(game: Game, batches: Batches, *, n: int, seed: int = 0) -> Game:
    """A copy of ``game`` in eval mode whose batch norms hold the statistics of its verbs over n images and n samples.

    Batch norms that no verb reaches (a critic's) keep theirs. A game without batch norm is returned as it is.
    """
    game = copy.deepcopy(game).eval()
    norms = [module for module in game.modules() if isinstance(module, BATCH_NORMS) and module.track_running_stats]
    if not norms:
        return game
    before = {norm: (norm.momentum, {name: value.clone() for name, value in norm.named_buffers()}) for norm in norms}
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative
        norm.train()
    size = batches.batch_size
    for step in range(math.ceil(n / size)):
        batch, first = batches(step), step * size
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
