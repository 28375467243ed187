"""VAE: the table's step by hand in float64, the bound against torch.distributions, and what depends on classes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.distributions import Bernoulli, Normal

import eager_table
import table_step
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
    E = eager_table.Encoder(3, width, latent, (2, 2, 1, 2)).double()
    decoder = eager_table.Decoder(3, width, latent, (2, 2, 1, 2)).double()
    E.load_state_dict(table_step.turned(game.E, width))
    decoder.load_state_dict(table_step.turned(game.D, width))
    adams = [eager_table.KerasAdam(list(net.parameters()), 2e-4, 50_000) for net in (E, decoder)]  # one a network

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
    for ours, theirs in ((game.E, E), (game.D, decoder)):
        want = dict(theirs.named_parameters())
        for name, value in table_step.turned(ours, width).items():
            if name in want:
                torch.testing.assert_close(value, want[name].detach(), atol=1e-8, rtol=0, msg=name)


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


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_the_bound_of_a_conditional_vae_is_that_of_its_two_nets_told_the_class(likelihood: Any) -> None:
    """log p(x|z, y) - log q(z|x, y) + log p(z), term by term of torch.distributions, all constants in, in nats."""
    torch.manual_seed(0)
    game = VAE(Config(**SMALL, likelihood=likelihood, conditional=True), SCHEMA).double().eval()
    x = torch.randint(0, 2, (6, 3, 32, 32)).double() * 2 - 1
    label = torch.tensor([0, 1, 2, 2, 1, 0])
    eps = torch.randn(6, 5, dtype=torch.float64)
    nll, kl = game._bound(x, eps, label)
    one_hot = torch.eye(3, dtype=torch.float64)[label]
    planes = one_hot.repeat_interleave(32 * 32, 1).view(6, 3, 32, 32)
    mu, log_sigma = game.E(torch.cat([x, planes], 1))
    posterior = Normal(mu, log_sigma.exp())
    h = game.D(torch.cat([mu + log_sigma.exp() * eps, one_hot], 1))
    law = Normal(h, 1.0) if likelihood == "gaussian" else Bernoulli(logits=h)
    data = x if likelihood == "gaussian" else (x + 1) / 2
    torch.testing.assert_close(nll, -law.log_prob(data).sum((1, 2, 3)))
    torch.testing.assert_close(kl, torch.distributions.kl_divergence(posterior, Normal(0.0, 1.0)).sum(1))

    engine = Engine(game, seed=2)
    engine.evaluate({"image": x, "label": label}, index=0)
    logs = engine.tick()
    assert logs["valid/elbo"] == pytest.approx(
        -logs["valid/autoencoder/reconstruction"] - logs["valid/autoencoder/kl"], rel=1e-9
    )


def test_bits_per_dim_are_those_of_the_grey_levels_in_their_own_units() -> None:
    """By another road: on the scale of bytes, where a level is 1 wide, the density is p(x) / 127.5 a dimension."""
    game = VAE(Config(**SMALL), SCHEMA).double().eval()
    levels = torch.randint(0, 256, (3, 3, 32, 32)).double()
    found = game.elbo(levels / 127.5 - 1, seed=4)
    per_level = found["elbo"] / 3072 + math.log(1 / 127.5)  # ln of a density over bytes, a dimension
    torch.testing.assert_close(found["bits_per_dim"], -per_level / math.log(2))

    # and the parts themselves: z and the noise within a level drawn from their own streams, a row at a time
    for i in range(3):
        eps, u = (
            torch.randn(dims, generator=torch.Generator().manual_seed(stream(4, i, purpose))).double()
            for dims, purpose in ((5, Purpose.POSTERIOR), (3072, Purpose.DEQUANTISE))
        )
        x = (levels[i] + Normal(0.0, 1.0).cdf(u).view(3, 32, 32) - 0.5) / 127.5 - 1
        mu, log_sigma = game.E(x[None])
        mean = game.D(mu + log_sigma.exp() * eps)
        torch.testing.assert_close(found["reconstruction"][i], -Normal(mean, 1.0).log_prob(x).sum())


def test_the_bound_is_the_mean_over_codes_of_ln_p_over_q() -> None:
    """E_q[ln p(x, z) - ln q(z|x)] over 400 draws of z agrees with reconstruction and KL, to four standard errors."""
    torch.manual_seed(1)
    game = VAE(Config(**SMALL), SCHEMA).double().eval()
    with torch.no_grad():
        game.E.log_sigma.fill_(-1.0)
    x = (torch.randint(0, 256, (1, 3, 32, 32)).double() / 127.5 - 1).repeat(400, 1, 1, 1)
    eps = torch.randn(400, 5, dtype=torch.float64)
    with torch.no_grad():
        nll, kl = game._bound(x, eps, None)
        mu, log_sigma = game.E(x[:1])
        posterior = Normal(mu, log_sigma.exp())
        z = mu + log_sigma.exp() * eps
        ratio = Normal(game.D(z), 1.0).log_prob(x).sum((1, 2, 3))
        ratio = ratio + Normal(0.0, 1.0).log_prob(z).sum(1) - posterior.log_prob(z).sum(1)
    error = float((ratio - (-(nll + kl))).std()) / math.sqrt(400)
    assert abs(float(ratio.mean() + (nll + kl).mean())) < 4 * error


def test_what_data_it_needs_is_said() -> None:
    with pytest.raises(UsageError, match="no"):
        VAE(Config(**SMALL, conditional=True), Schema({"image": (3, 32, 32)}))
    with pytest.raises(UsageError, match="images"):
        VAE(Config(**SMALL), Schema({"vector": (2,)}))
