"""CycleGAN: which direction is which net, what it refuses, and what its settings change."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ganvas import games
from ganvas.engine import Engine
from ganvas.errors import UsageError
from ganvas.game import Clock
from ganvas.games.cyclegan import CycleGAN
from ganvas.schema import Schema

CYCLEGAN = games.system("cyclegan")
PAIR = Schema({"A": (3, 32, 32), "B": (3, 32, 32)})


def build(schema: Schema = PAIR, **leaves: Any) -> CycleGAN:
    torch.manual_seed(0)
    game = CYCLEGAN.build({"width": 4, "critic_width": 4, "blocks": 1, "pool": 2, **leaves}, schema)
    assert isinstance(game, CycleGAN)
    return game


def pictures(n: int = 2, channels: int = 3, side: int = 32, seed: int = 0) -> Tensor:
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_each_direction_has_its_net_and_a_picture_of_any_size_that_fits() -> None:
    game = build().eval()
    for x in (pictures(), torch.rand(1, 3, 20, 44)):
        torch.testing.assert_close(game.translate(x), game.G_A(x).detach())
        torch.testing.assert_close(game.translate(x, direction="AtoB"), game.translate(x))
        torch.testing.assert_close(game.translate(x, direction="BtoA"), game.G_B(x).detach())
    with pytest.raises(UsageError, match="44x21 do not fit this net: both sides must be multiples of 4"):
        game.translate(torch.zeros(1, 3, 21, 44))
    with pytest.raises(UsageError, match="no direction 'AtoC' here: AtoB or BtoA"):
        game.translate(pictures(), direction="AtoC")
    with pytest.raises(UsageError, match="neither instances nor styles"):
        game.translate(pictures(), style=torch.zeros(1))


def test_dropout_as_published_depends_on_the_row_and_its_seed_alone() -> None:
    game, x = build(dropout=True).eval(), pictures(3)
    torch.testing.assert_close(game.translate(x, seed=1), game.translate(x, seed=2))
    drawn = game.translate(x, as_published=True, seed=1)
    assert (drawn - game.translate(x)).abs().max() > 1e-4
    assert (drawn - game.translate(x, as_published=True, seed=2)).abs().max() > 1e-4
    torch.testing.assert_close(game.translate(x[2:], as_published=True, seed=1, first=2), drawn[2:])


def test_what_cannot_be_learnt_is_refused() -> None:
    with pytest.raises(UsageError, match="two sets of pictures, A and B"):
        build(Schema({"image": (3, 32, 32)}))
    with pytest.raises(UsageError, match=r"differ in channels here: --identity 0"):
        build(Schema({"A": (1, 32, 32), "B": (3, 32, 32)}))
    with pytest.raises(UsageError, match="too small for a critic of 3 layers, which needs 24 pixels"):
        build(Schema({"A": (3, 20, 20), "B": (3, 20, 20)}))
    with pytest.raises(UsageError, match="multiples of 16"):
        build(Schema({"A": (3, 40, 40), "B": (3, 40, 40)}), net="unet", downs=4)
    with pytest.raises(UsageError, match="of one size"):
        build(Schema({"A": (3, 32, 32), "B": (3, 64, 64)}))
    with pytest.raises(UsageError, match="pool of cyclegan must be a whole number from 0 to 10,000, not -1"):
        build(pool=-1)


def test_domains_may_differ_in_channels_without_the_identity_loss() -> None:
    game = build(Schema({"A": (1, 32, 32), "B": (3, 32, 32)}), identity=0)
    engine = Engine(game)
    engine.step({"A": pictures(channels=1), "B": pictures()})
    assert not any("identity" in name for name in engine.tick())
    assert game.translate(pictures(channels=1)).shape == (2, 3, 32, 32)


def test_one_pass_of_two_pictures_equals_two_passes() -> None:
    """The instance-norm round against the same round with its passes apart, in float64."""
    engines = [Engine(build().double(), seed=3) for _ in range(2)]
    for engine, norm in zip(engines, ("instance", "batch"), strict=True):
        object.__setattr__(engine.game.config, "norm", norm)  # nets stay as they are; only the passes part
        for step in range(3):
            engine.step({"A": pictures(seed=step).double(), "B": pictures(seed=10 + step).double()})
    one, two = (engine.game.translate(pictures(seed=30).double()) for engine in engines)  # type: ignore[operator]
    torch.testing.assert_close(one, two, rtol=0, atol=1e-8)


@pytest.mark.parametrize(("decay", "last"), [("intended", 1 / 101), ("as-published", 0)])
def test_the_last_epoch_learns_unless_as_published(decay: str, last: float) -> None:
    game = build(decay=decay)
    schedule = game.generators.schedule
    assert schedule(Clock(98 * 7, 7, 1400)) == 1
    assert schedule(Clock(199 * 7 + 6, 7, 1400)) == pytest.approx(last)
    assert game.critics.schedule(Clock(199 * 7, 7, 1400)) == pytest.approx(last)
