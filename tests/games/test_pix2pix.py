"""pix2pix: which member of a pair is the input, label maps, L1 alone, and norms by image."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ganvas import games
from ganvas.engine import Engine
from ganvas.errors import UsageError
from ganvas.games.pix2pix import Pix2Pix
from ganvas.schema import Schema

PIX2PIX = games.system("pix2pix")
PAIR = Schema({"A": (1, 32, 32), "B": (3, 32, 32)})
MAPS = Schema({"labels": (32, 32), "image": (3, 32, 32)}, ("0", "1", "2"))


def build(schema: Schema = PAIR, **leaves: Any) -> Pix2Pix:
    torch.manual_seed(0)
    game = PIX2PIX.build({"width": 4, "critic_width": 4, "downs": 4, **leaves}, schema)
    assert isinstance(game, Pix2Pix)
    return game


def pictures(n: int = 2, channels: int = 3, seed: int = 0) -> Tensor:
    return torch.rand(n, channels, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_the_direction_says_which_member_is_the_input() -> None:
    there, back = build(), build(direction="BtoA")
    assert there.translate(pictures(channels=1)).shape == (2, 3, 32, 32)
    assert back.translate(pictures()).shape == (2, 1, 32, 32)
    assert back.translate(pictures(), direction="BtoA").shape == (2, 1, 32, 32)
    with pytest.raises(UsageError, match="no direction 'BtoA' here: AtoB"):
        there.translate(pictures(channels=1), direction="BtoA")
    for game in (there, back):
        Engine(game).step({"A": pictures(channels=1), "B": pictures()})
        assert game.D.model[0].in_channels == 4


def test_label_maps_are_given_one_hot_and_void_as_nothing() -> None:
    game = build(MAPS).eval()
    labels = torch.randint(3, (2, 32, 32), dtype=torch.uint8)
    labels[:, :4] = 255
    hot = torch.stack([(labels == c).float() for c in range(3)], 1)
    torch.testing.assert_close(game.translate(labels), game.G(hot).detach())
    Engine(game).step({"labels": labels, "image": pictures()})
    with pytest.raises(UsageError, match="not back"):
        build(MAPS, direction="BtoA")


def test_verbs_normalise_each_picture_by_itself_as_training_does_at_batch_1() -> None:
    game, x = build(dropout=False), pictures(3, 1)
    with torch.no_grad():
        alone = torch.cat([game.train().G(row[None]) for row in x])
    torch.testing.assert_close(game.eval().translate(x), alone)


def test_dropout_is_off_but_for_as_published() -> None:
    game, x = build(width=2, downs=5).eval(), pictures(2, 1)
    assert any(isinstance(module, torch.nn.Dropout) for module in build(width=2, downs=None).G.modules()) is False
    deep = PIX2PIX.build({"width": 2, "critic_width": 2}, Schema({"A": (1, 64, 64), "B": (3, 64, 64)})).eval()
    y = torch.rand(2, 1, 64, 64)
    drawn = [deep.translate(y, as_published=True, seed=seed) for seed in (1, 2)]  # type: ignore[operator]
    assert (drawn[0] - drawn[1]).abs().max() > 1e-4
    torch.testing.assert_close(deep.translate(y, seed=1), deep.translate(y, seed=2))  # type: ignore[operator]
    torch.testing.assert_close(game.translate(x, as_published=True), game.translate(x))  # no level to drop in


def test_l1_alone_has_no_critic() -> None:
    game = build(adversarial=0)
    assert game.players().keys() == {"generator"}
    assert not hasattr(game, "D")
    engine = Engine(game)
    assert engine.step({"A": pictures(channels=1), "B": pictures()}) == [("generator",)]
    assert engine.tick().keys() == {"generator/l1", "generator/gradient_norm"}
    with pytest.raises(UsageError, match="nothing to learn by"):
        build(adversarial=0, l1=0)


def test_what_cannot_be_learnt_is_refused() -> None:
    with pytest.raises(UsageError, match="pairs of pictures, or from label maps"):
        build(Schema({"image": (3, 32, 32)}))
    with pytest.raises(UsageError, match="48x48 do not fit this net: both sides must be multiples of 32"):
        build(Schema({"A": (3, 48, 48), "B": (3, 48, 48)}), downs=5)
