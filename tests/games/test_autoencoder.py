"""Autoencoder: the absolute error |x - g(f(x))| and two of its steps, by hand in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import eager_table
import hand
import table_step
from ganvas.engine import Engine
from ganvas.errors import UsageError
from ganvas.games.autoencoder import Autoencoder, Config
from ganvas.schema import Schema

F64 = torch.float64
SCHEMA = Schema({"image": (3, 32, 32)})
WIDTH, Z, ROWS = 2, 5, 4


def build() -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(Config(width=WIDTH, latent=Z, lr=1e-3), SCHEMA).double()


def pictures(step: int) -> torch.Tensor:
    return torch.rand(ROWS, 3, 32, 32, dtype=F64, generator=torch.Generator().manual_seed(step)) * 2 - 1


def test_the_loss_is_the_sum_of_absolute_errors_of_a_picture_and_their_mean_over_pictures() -> None:
    game, x = build(), pictures(0)
    (move,) = game.round(x)
    y = game.g(game.f(x))
    total = 0.0
    for a, b in zip(x.flatten().tolist(), y.detach().flatten().tolist(), strict=True):
        total += abs(a - b)
    assert move.terms.keys() == {"l1"}  # type: ignore[union-attr]
    assert float(move.loss().detach()) == pytest.approx(total / ROWS, rel=1e-12)  # type: ignore[union-attr]


def test_two_steps_by_hand_in_float64() -> None:
    """f and g as padded nets of their own, Adam by its formula."""
    game = build()
    f, g = eager_table.Critic(3, WIDTH, (2, 2, 1, 2)), eager_table.Decoder(3, WIDTH, Z, (2, 2, 1, 2))
    f.dense = nn.Linear(4 * 4 * 8 * WIDTH, Z)
    for net, ours in ((f, game.f), (g, game.g)):
        net.double().load_state_dict(table_step.turned(ours, WIDTH))
    adams = [hand.Adam(net, 1e-3, (0.9, 0.999)) for net in (f, g)]
    engine = Engine(game)
    for step in range(2):
        x = pictures(step)
        losses = [(x - g(f.dense(f.stack(x)))).abs().flatten(1).sum(1).mean() for _ in adams]
        down = [adam.gradients(loss) for adam, loss in zip(adams, losses, strict=True)]
        for adam, gradients in zip(adams, down, strict=True):
            adam.descend(gradients)
        engine.step({"image": x})
    for net, ours in ((f, game.f), (g, game.g)):
        found = table_step.turned(ours, WIDTH)
        assert hand.furthest(net, [found[name] for name, _ in net.named_parameters()]) < 1e-10


def test_reconstructing_is_decoding_the_code() -> None:
    game, x = build().eval(), pictures(0)
    assert torch.equal(game.reconstruct(x), game.g(game.f(x)))
    assert torch.equal(game.decode(game.encode(x)), game.reconstruct(x))
    with pytest.raises(UsageError, match="trained without classes"):
        game.decode(game.encode(x), label=0)


def test_what_data_it_needs_is_said() -> None:
    with pytest.raises(UsageError, match="autoencoder learns from images"):
        Autoencoder(Config(), Schema({"vector": (2,)}))
