"""VAE: the table's step by hand in float64, the bound against torch.distributions, and what depends on classes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.distributions import Bernoulli, Normal

import avae_step
import eager_avae
from ganvas import games
from ganvas.engine import Engine
from ganvas.errors import UsageError
from ganvas.games.vae import VAE, Config
from ganvas.schema import Schema
from ganvas.streams import Purpose, stream

SCHEMA = Schema({"image": (3, 32, 32), "label": ()}, ("cat", "dog", "newt"))
SMALL: dict[str, Any] = {"width": 2, "latent": 5}


@pytest.mark.parametrize("steps", [1, 5])
def test_the_tables_steps_by_hand_in_float64(steps: int) -> None:
    width, latent, n = 3, 6, 8
    torch.manual_seed(0)
    system = games.system("vae")
    config, defaults = system.preset("avae-table")
    assert (config.sigma, config.beta, config.lr, config.lr_end, config.latent) == ("shared", 1.0, 2e-4, 0.02, 100)
    assert defaults == {"steps": 50_000, "batch_size": 64}
    game = VAE(Config(width=width, latent=latent, sigma="shared"), SCHEMA).double()
    E = eager_avae.Encoder(3, width, latent, (2, 2, 1, 2)).double()
    decoder = eager_avae.Decoder(3, width, latent, (2, 2, 1, 2)).double()
    E.load_state_dict(avae_step.turned(game.E, (4, 4), {"mu": 8 * width}))
    decoder.load_state_dict(avae_step.turned(game.D, (4, 4), {"dense": 8 * width}))
    adams = [eager_avae.KerasAdam(list(net.parameters()), 2e-4, 50_000) for net in (E, decoder)]  # one a network

    engine = Engine(game, seed=3, total_steps=50_000)
    for step in range(steps):
        x = torch.rand(n, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(step)) * 2 - 1
        generator = torch.Generator().manual_seed(stream(3, step, Purpose.NOISE))
        eps = torch.randn(n, latent, dtype=torch.float64, generator=generator)
        mu, ls = E(x), E.log_sigma
        kl = (mu**2 / 2 + torch.exp(2 * ls) / 2 - 0.5 - ls).sum(1).mean()
        nll = ((x - decoder(mu + ls.exp() * eps)) ** 2).sum((1, 2, 3)).mean() / 2
        for net, loss in ((E, kl + nll), (decoder, nll)):
            gradients = torch.autograd.grad(loss, list(net.parameters()), retain_graph=True)
            for p, g in zip(net.parameters(), gradients, strict=True):
                p.grad = g
        for adam in adams:
            adam.step()
        engine.step({"image": x})
    pairs = ((game.E, E, {"mu": 8 * width}), (game.D, decoder, {"dense": 8 * width}))
    for ours, theirs, widths in pairs:
        want = dict(theirs.named_parameters())
        for name, value in avae_step.turned(ours, (4, 4), widths).items():
            if name in want:
                torch.testing.assert_close(value, want[name].detach(), atol=1e-10, rtol=0, msg=name)


@pytest.mark.parametrize("sigma", ["shared", "per-image"])
def test_the_gaussian_bound_is_the_full_log_likelihood(sigma: str) -> None:
    torch.manual_seed(0)
    game = VAE(Config(**SMALL, sigma=sigma), SCHEMA).double().eval()  # type: ignore[arg-type]
    x = torch.rand(4, 3, 32, 32, dtype=torch.float64) * 2 - 1
    eps = torch.randn(4, 5, dtype=torch.float64)
    mu, log_sigma = game.E(x)
    mean = game.D(mu + log_sigma.exp() * eps)
    nll, kl = game._bound(x, eps, None)
    torch.testing.assert_close(nll, -Normal(mean, 1.0).log_prob(x).sum((1, 2, 3)))
    want = torch.distributions.kl_divergence(Normal(mu, log_sigma.exp().expand_as(mu)), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl, want)


def test_the_bernoulli_bound_reads_grey_levels_as_probabilities() -> None:
    game = VAE(Config(**SMALL, likelihood="bernoulli"), SCHEMA).double().eval()
    x = torch.rand(4, 3, 32, 32, dtype=torch.float64) * 2 - 1
    eps = torch.zeros(4, 5, dtype=torch.float64)
    nll, _ = game._bound(x, eps, None)
    logits = game.D(game.encode(x))
    probability = (x + 1) / 2
    want = -(probability * Bernoulli(logits=logits).logits - torch.nn.functional.softplus(logits)).sum((1, 2, 3))
    torch.testing.assert_close(nll, want)
    torch.testing.assert_close(game.reconstruct(x), 2 * torch.sigmoid(logits) - 1)
    assert "bits_per_dim" not in game.elbo(x.float().double())


def test_elbo_is_dequantised_and_a_function_of_the_row() -> None:
    game = VAE(Config(**SMALL), SCHEMA).eval()
    x = (torch.randint(0, 256, (6, 3, 32, 32)) / 127.5) - 1
    whole = game.elbo(x, seed=2)
    part = game.elbo(x[2:5], seed=2, first=2)
    for name, values in whole.items():
        torch.testing.assert_close(values[2:5], part[name], rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(whole["elbo"], -(whole["reconstruction"] + whole["kl"]))
    bits = -whole["elbo"].double() / (3072 * math.log(2)) + math.log2(127.5)
    torch.testing.assert_close(whole["bits_per_dim"].double(), bits, rtol=1e-5, atol=1e-5)


def test_a_conditional_vae_is_told_the_class_in_both_nets() -> None:
    torch.manual_seed(0)
    game = VAE(Config(**SMALL, conditional=True), SCHEMA)
    engine = Engine(game)
    x, label = torch.rand(6, 3, 32, 32) * 2 - 1, torch.arange(6) % 3
    engine.step({"image": x, "label": label})
    game.eval()
    assert not torch.allclose(game.encode(x, label=label), game.encode(x, label=(label + 1) % 3))
    same = game.sample(3, seed=1, label=2)
    torch.testing.assert_close(same[2], game.sample(3, seed=1)[2])  # row i is of class i modulo 3
    assert not torch.allclose(same[0], game.sample(3, seed=1)[0])
    with pytest.raises(UsageError, match="class 3"):
        game.sample(1, label=3)
    with pytest.raises(UsageError, match="needs the classes"):
        game.encode(x)


def test_what_data_it_needs_is_said() -> None:
    with pytest.raises(UsageError, match="no"):
        VAE(Config(**SMALL, conditional=True), Schema({"image": (3, 32, 32)}))
    with pytest.raises(UsageError, match="images"):
        VAE(Config(**SMALL), Schema({"vector": (2,)}))
