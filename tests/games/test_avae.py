"""Each of AVAE's four combinations by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from ganvas.engine import Engine
from ganvas.errors import UsageError
from ganvas.game import Seat
from ganvas.games.avae import AVAE, Config
from ganvas.schema import Schema

SCHEMA = Schema({"image": (3, 32, 32)})


def first_turn(game: AVAE, image: Tensor) -> dict[str, dict[str, Tensor]]:
    """The raw terms of the first round, by player."""
    game.seat = Seat(0, len(image), len(image), torch.Generator().manual_seed(1))
    turn = next(game.round(image))
    assert isinstance(turn, tuple)
    names = {id(player): name for name, player in game.players().items()}
    return {
        names[id(move.player)]: {k: t if isinstance(t, Tensor) else t[1] for k, t in move.terms.items()}
        for move in turn
    }


@pytest.mark.parametrize("latent_loss", ["nll", "precision"])
@pytest.mark.parametrize("xi", [True, False])
def test_every_combination_by_hand(latent_loss: str, xi: bool) -> None:
    torch.manual_seed(0)
    game = AVAE(Config(width=2, latent=5, latent_loss=latent_loss, xi=xi), SCHEMA).double()  # type: ignore[arg-type]
    with torch.no_grad():
        game.E.log_sigma.normal_(0, 0.3)
    image = torch.rand(6, 3, 32, 32, dtype=torch.float64) * 2 - 1
    found = first_turn(game, image)

    generator = torch.Generator().manual_seed(1)
    eps, z, noise = (torch.randn(6, 5, generator=generator, dtype=torch.float64) for _ in range(3))
    mu, log_sigma = game.E(image)
    posterior = Normal(mu, log_sigma.exp())
    kl = torch.distributions.kl_divergence(posterior, Normal(0.0, 1.0)).sum(1).mean()
    nll = (image - game.decoder(mu + log_sigma.exp() * eps)).pow(2).sum((1, 2, 3)).mean() / 2
    fake = game.G(torch.cat([z, noise], 1) if xi else z)
    back = game.E(fake)[0]
    if latent_loss == "nll":
        constant = 5 / 2 * torch.log(torch.tensor(2 * torch.pi, dtype=torch.float64))
        latent = -Normal(back, log_sigma.exp()).log_prob(z).sum(1).mean() - constant
    else:
        precision = torch.exp(-2 * log_sigma)
        latent = (precision / precision.sum() * (z - back) ** 2 / 2).sum(1).mean()
    torch.testing.assert_close(found["autoencoder"]["kl"], kl)
    torch.testing.assert_close(found["autoencoder"]["reconstruction"], nll)
    torch.testing.assert_close(found["generator"]["latent"], latent)
    torch.testing.assert_close(found["generator"]["fool"], -game.D(fake).mean())
    torch.testing.assert_close(found["critic"]["real"], -torch.sigmoid(game.D(image)).log().mean())
    torch.testing.assert_close(found["critic"]["fake"], -(1 - torch.sigmoid(game.D(fake))).log().mean())


def test_no_reconstruction_loss_reaches_the_generator_and_sigma_is_constant_for_it() -> None:
    torch.manual_seed(0)
    game = AVAE(Config(width=2, latent=5), SCHEMA)
    game.seat = Seat(0, 4, 4, torch.Generator().manual_seed(1))
    turn = next(game.round(torch.rand(4, 3, 32, 32) * 2 - 1))
    assert isinstance(turn, tuple)
    by_player = {id(move.player): move for move in turn}
    ours = by_player[id(game.autoencoder)].loss()
    reached = torch.autograd.grad(ours, game.generator.weights(), allow_unused=True, retain_graph=True)
    assert all(gradient is None for gradient in reached)
    latent = by_player[id(game.generator)].terms["latent"]
    assert isinstance(latent, tuple)
    (sigma,) = torch.autograd.grad(latent[1], [game.E.log_sigma], allow_unused=True)
    assert sigma is None


@pytest.mark.parametrize(("loss", "weight"), [("nll", 1.0), ("precision", 64.0)])
def test_the_latent_weight_is_that_of_the_released_code_unless_given(loss: str, weight: float) -> None:
    assert AVAE(Config(width=2, latent=3, latent_loss=loss), SCHEMA).latent_weight == weight  # type: ignore[arg-type]
    assert AVAE(Config(width=2, latent=3, latent_weight=7.0), SCHEMA).latent_weight == 7


def test_reconstructions_are_the_generators() -> None:
    game = AVAE(Config(width=2, latent=3), SCHEMA).eval()
    x = torch.rand(3, 3, 32, 32) * 2 - 1
    torch.testing.assert_close(game.reconstruct(x, seed=4), game.decode(game.encode(x), seed=4))
    assert not torch.equal(game.reconstruct(x, seed=4), game.reconstruct(x, seed=5))  # xi differs
    with pytest.raises(UsageError, match="classes"):
        game.sample(2, label=1)


def test_terms_are_logged_by_name() -> None:
    engine = Engine(AVAE(Config(width=2, latent=3), SCHEMA))
    assert engine.step({"image": torch.rand(4, 3, 32, 32)}) == [("autoencoder", "generator", "critic")]
    named = {
        "autoencoder/reconstruction",
        "autoencoder/kl",
        "generator/fool",
        "generator/latent",
        "critic/real",
        "critic/fake",
    }
    assert named < set(engine.tick())
