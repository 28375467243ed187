"""Every row of the AVAE table against a port of its own in plain PyTorch and float64 (`benchmarks/eager_table.py`),
which pads as TensorFlow does, keeps no layout of ours and shares no line with the code under test."""

from __future__ import annotations

import math

import pytest
import torch

import table_step
from ganvas import games
from ganvas.benchmark.table import ROWS
from ganvas.game import Seat
from ganvas.schema import Schema

every_row = pytest.mark.parametrize("row", ROWS)


@every_row
def test_one_step_equals_the_eager_port(row: str) -> None:
    assert table_step.prove(row, 1) < 1e-10


@every_row
def test_five_steps_equal_the_eager_port(row: str) -> None:
    assert table_step.prove(row, 5) < 1e-8


@every_row
@pytest.mark.parametrize("side", [32, 64])
def test_losses_equal_the_eager_ports(row: str, side: int) -> None:
    """To nine digits, for both sizes of picture: players' weighted sums of one round."""
    _, game, eager = table_step.build(row, 3, torch.float64, latent=5, side=side)
    x = torch.rand(8, 3, side, side, dtype=torch.float64) * 2 - 1
    draws = [torch.randn(8, 5, generator=torch.Generator().manual_seed(7 + i), dtype=torch.float64) for i in range(3)]
    if "precision" in row:  # the released sum over a batch of 64: a mean weighed by 64 equals it at 64 rows
        x, draws = x.repeat(8, 1, 1, 1), [draw.repeat(8, 1) for draw in draws]
    given = iter(draws)
    game.normal = lambda n, *shape: next(given)  # type: ignore[method-assign]
    game.seat = Seat(0, len(x), len(x))
    turn = next(game.round(image=x))
    moves = turn if isinstance(turn, tuple) else (turn,)
    ours = torch.stack([move.loss() for move in moves])
    theirs = torch.stack(list(eager.losses(x, *draws)))
    if row == "vae":  # with the constant of its likelihood, which has no gradient
        theirs = theirs + 3 * side * side / 2 * math.log(2 * math.pi)
    if row == "bigan":  # here a player's loss holds the part that reaches it alone: the same gradient
        E, G, D = eager.nets.values()
        s_e, s_g = D(x, E(x)), D(G(draws[0]), draws[0])
        theirs = torch.stack([
            -10 * torch.sigmoid(s_e).log().mean(),
            -(1 - torch.sigmoid(s_g)).log().mean(),
            -(1 - torch.sigmoid(s_e)).log().mean() - torch.sigmoid(s_g).log().mean(),
        ])  # fmt: skip
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize(
    ("system", "net", "weights"),
    [
        # width 2, latent 5, base 4x4: counted by hand from the layer table
        ("vaegan", "D", 5 * 5 * 3 * 2 + 2 + 25 * (2 * 4 + 4 * 8 + 8 * 16) + 2 * (4 + 8 + 16) + 256 + 1),
        ("bigan", "E", 5 * 5 * 3 * 2 + 2 + 25 * (2 * 4 + 4 * 8 + 8 * 16) + 2 * (4 + 8 + 16) + 256 * 5 + 5),
        ("bigan", "D", 5 * 5 * 3 * 2 + 2 + 25 * (2 * 4 + 4 * 8 + 8 * 16) + 2 * (4 + 8 + 16) + 256 * 16 + 16
         + (5 * 16 + 16) + 2 * (16 * 16 + 16) + 2 * (32 * 32 + 32) + 32 + 1),
    ],
)  # fmt: skip
def test_counts_of_weights(system: str, net: str, weights: int, side: int) -> None:
    config, _ = games.system(system).preset("avae-table")
    leaves = {leaf: getattr(config, leaf) for leaf in config.__dataclass_fields__}
    game = games.system(system).build({**leaves, "width": 2, "latent": 5}, Schema({"image": (3, side, side)}))
    assert sum(p.numel() for p in game.get_submodule(net).parameters()) == weights


@pytest.mark.parametrize("system", ["vae", "gan", "vaegan", "bigan", "avae"])
def test_the_preset_is_the_published_protocol(system: str) -> None:
    config, defaults = games.system(system).preset("avae-table")
    assert defaults == {"steps": 50_000, "batch_size": 64}
    assert (config.width, config.latent, config.lr_end) == (128, 100, 0.02)
    rates = [
        value for leaf, value in vars(config).items() if leaf.startswith("lr") and leaf not in ("lr_end", "lr_flat")
    ]
    assert set(rates) == {2e-4}
    assert getattr(config, "lr_flat", 0) == getattr(config, "weight_decay", 0) == 0
