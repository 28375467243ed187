"""DCGAN: every loss, penalty and trick by hand in float64, and the settings that contradict each other."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hand
from ganvas import games
from ganvas.engine import Engine
from ganvas.errors import UsageError
from ganvas.game import Clock
from ganvas.games.dcgan import DCGAN, Config
from ganvas.schema import Schema
from ganvas.streams import Purpose, stream

F64 = torch.float64
SCHEMA = Schema({"image": (3, 16, 16), "label": ()}, ("cat", "dog", "newt"))
Z, WIDTH, ROWS = 3, 4, 6
RATES = {"lr_generator": 1e-3, "lr_critic": 4e-3}


def build(**settings: Any) -> DCGAN:
    torch.manual_seed(0)
    return DCGAN(Config(width=WIDTH, latent=Z, **RATES, **settings), SCHEMA).double()


# ---- losses ----------------------------------------------------------------------------------------------------------
REAL, FAKE = torch.tensor([2.0, -1.0], dtype=F64), torch.tensor([0.5, -3.0], dtype=F64)
D_REAL, D_FAKE = ([1 / (1 + math.exp(-s)) for s in scores.tolist()] for scores in (REAL, FAKE))
BY_HAND: dict[str, tuple[float, float, float]] = {  # of real scores, of fakes, and what G makes of its fakes
    "bce": (
        -(math.log(D_REAL[0]) + math.log(D_REAL[1])) / 2,
        -(math.log(1 - D_FAKE[0]) + math.log(1 - D_FAKE[1])) / 2,
        -(math.log(D_FAKE[0]) + math.log(D_FAKE[1])) / 2,
    ),
    "lsgan": (((2 - 1) ** 2 + (-1 - 1) ** 2) / 2, (0.5**2 + 3**2) / 2, ((0.5 - 1) ** 2 + (-3 - 1) ** 2) / 2),
    "hinge": ((0 + 2) / 2, (1.5 + 0) / 2, -(0.5 - 3) / 2),
    "wgan-gp": (-(2 - 1) / 2, (0.5 - 3) / 2, -(0.5 - 3) / 2),
}


@pytest.mark.parametrize("loss", BY_HAND)
def test_losses_of_given_scores(loss: Any) -> None:
    game = build(loss=loss)
    found = (*game.judge(REAL, FAKE).values(), game.fool(FAKE))
    assert [float(value) for value in found] == pytest.approx(BY_HAND[loss], abs=1e-14)


def test_label_smoothing_is_one_sided() -> None:
    plain, smooth = build(), build(label_smoothing=0.1)
    want = -sum(0.9 * math.log(d) + 0.1 * math.log(1 - d) for d in D_REAL) / 2
    terms = smooth.judge(REAL, FAKE)
    assert float(terms["real"]) == pytest.approx(want, abs=1e-14)
    assert torch.equal(terms["fake"], plain.judge(REAL, FAKE)["fake"])
    assert torch.equal(smooth.fool(FAKE), plain.fool(FAKE))


@pytest.mark.parametrize(("loss", "want"), [("bce", 0.5), ("hinge", 0.5), ("lsgan", 0.75), ("wgan-gp", None)])
def test_accuracy_is_judged_between_the_targets(loss: Any, want: float | None) -> None:
    """A critic of least squares draws its line at 1/2; a Wasserstein critic draws none."""
    game = build(loss=loss)
    real, fake = torch.zeros(2, 2, 3, 16, 16, dtype=F64)
    real[:, 0, 0, 0], fake[:, 0, 0, 0] = torch.tensor([0.7, -1.0]), torch.tensor([0.3, -3.0])
    game.D.forward = lambda x, label: x[:, 0, 0, 0]  # a score is read off a pixel
    game.G.forward = lambda z, label: fake
    next(iter(game.round(real)))
    assert game.notes == ({} if want is None else {"accuracy": want})


# ---- rounds ----------------------------------------------------------------------------------------------------------
def slopes(D: nn.Module, x: Tensor, label: Tensor | None) -> Tensor:
    """The norm of the critic's slope at every row, one row at a time."""
    x = x.detach().requires_grad_()
    rows = []
    for i in range(len(x)):
        score = D(x[i : i + 1], None if label is None else label[i : i + 1])
        (gradient,) = torch.autograd.grad(score.sum(), x, create_graph=True)
        rows.append(gradient[i].square().sum().sqrt())
    return torch.stack(rows)


def softplus(s: Tensor) -> Tensor:
    return torch.log(1 + torch.exp(s))


def critic_loss(config: Config, real: Tensor, fake: Tensor) -> Tensor:
    part = config.label_smoothing
    match config.loss:
        case "bce":
            return ((1 - part) * softplus(-real) + part * softplus(real) + softplus(fake)).mean()
        case "lsgan":
            return ((real - 1) ** 2 + fake**2).mean()
        case "hinge":
            return (torch.clamp(1 - real, min=0) + torch.clamp(1 + fake, min=0)).mean()
        case "wgan-gp":
            return (fake - real).mean()


def generator_loss(config: Config, fake: Tensor) -> Tensor:
    match config.loss:
        case "bce":
            return softplus(-fake).mean()
        case "lsgan":
            return ((fake - 1) ** 2).mean()
        case "hinge" | "wgan-gp":
            return -fake.mean()


SETTINGS: list[dict[str, Any]] = [
    {"loss": "bce", "label_smoothing": 0.1},
    {"loss": "lsgan", "conditional": True},
    {"loss": "hinge", "batch_norm_critic": False, "critic_steps": 2},
    {"loss": "wgan-gp", "beta1": 0.0, "beta2": 0.9},
    {"loss": "wgan-gp", "gradient_penalty": 3.0, "critic_steps": 1, "conditional": True},
    {"loss": "bce", "r1": 0.5, "conditional": True},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(f"{k}={v}" for k, v in s.items()))
def test_rounds_by_hand_in_float64(settings: dict[str, Any]) -> None:
    """Rounds 13 to 15: the critic's step, R1 in the last, G's step by its own count; nets and Adam written out."""
    game = build(**settings)
    config, classes = game.config, 3 if game.config.conditional else 0
    G = hand.put(hand.plain(game.G), hand.Generator(3, WIDTH, Z, classes))
    D = hand.put(hand.plain(game.D), hand.Critic(3, WIDTH, norm=config.critic_normed, classes=classes))
    betas = (config.beta1, config.beta2)
    g, d = hand.Adam(G, RATES["lr_generator"], betas), hand.Adam(D, RATES["lr_critic"], betas)
    engine = Engine(game, seed=3)
    engine.clock = Clock(13)
    every = config.critic_steps or (5 if config.loss == "wgan-gp" else 1)
    for step in (13, 14, 15):
        generator = torch.Generator().manual_seed(step)
        x = torch.rand(ROWS, 3, 16, 16, dtype=F64, generator=generator) * 2 - 1
        label = torch.randint(3, (ROWS,), generator=generator)
        y = label if classes else None
        noise = torch.Generator().manual_seed(stream(3, step, Purpose.NOISE))
        z = torch.randn(ROWS, Z, dtype=F64, generator=noise)

        fake = G(z, y).detach()
        loss = critic_loss(config, D(x, y), D(fake, y))
        if config.loss == "wgan-gp":
            part = torch.rand(ROWS, 1, 1, 1, dtype=F64, generator=noise)
            penalty = (slopes(D, part * x + (1 - part) * fake, y) - 1).square().mean()
            loss = loss + config.gradient_penalty * penalty
        d.descend(d.gradients(loss))
        turns = ["critic"]
        if config.r1 and step % 16 == 15:
            d.descend(d.gradients(16 * config.r1 / 2 * slopes(D, x, y).square().mean()))
            turns.append("critic")
        if step % every == every - 1:
            g.descend(g.gradients(generator_loss(config, D(G(z, y), y))))
            turns.append("generator")
        assert engine.step({"image": x, "label": label}) == [(name,) for name in turns]
    assert hand.furthest(G, hand.plain(game.G)) < 1e-10
    assert hand.furthest(D, hand.plain(game.D)) < 1e-10
    assert max(g.t) > 0


def test_r1_comes_every_16_rounds() -> None:
    engine = Engine(build(r1=1.0))
    batch = {"image": torch.rand(4, 3, 16, 16, dtype=F64)}
    for step in (0, 14, 15, 16, 30, 31, 32):
        engine.clock = Clock(step)
        assert engine.step(batch).count(("critic",)) == (2 if step in (15, 31) else 1)
    engine.evaluate(batch, index=0)
    assert "valid/critic/r1" in engine.tick()


def test_r1_and_spectral_norm_train_under_the_tiny_preset_in_bfloat16() -> None:
    """The penalty is taken in float32 whatever the rest is in, and the power iteration goes on."""
    game = DCGAN(Config(width=2, latent=Z, r1=1.0, spectral_norm=True, loss="hinge"), SCHEMA)
    engine = Engine(game, precision=torch.bfloat16)
    engine.clock = Clock(15)
    before = {name: value.clone() for name, value in game.D.named_buffers() if name.endswith("_u")}
    engine.step({"image": torch.rand(4, 3, 16, 16)})
    logs = engine.tick()
    assert all(math.isfinite(value) for value in logs.values())
    assert logs["critic/r1"] > 0
    after = dict(game.D.named_buffers())
    assert len(before) == 3
    assert all(not torch.equal(value, after[name]) for name, value in before.items() if value.numel() > 1)


def test_two_learning_rates_reach_two_optimisers() -> None:
    engine = Engine(build())
    engine.step({"image": torch.rand(4, 3, 16, 16, dtype=F64)})
    rates = {name: float(purse.optimiser.param_groups[0]["lr"]) for name, purse in engine.purses.items()}
    assert rates == {"generator": hand.held(1e-3), "critic": hand.held(4e-3)}


# ---- classes ---------------------------------------------------------------------------------------------------------
def test_samples_are_of_the_class_that_is_asked_for() -> None:
    game = build(conditional=True).eval()
    nn.init.normal_(game.G.dense.weight)  # so that classes show
    mixed, dogs = game.sample(7, seed=1), game.sample(7, seed=1, label=1)
    z = game.prior(7, seed=1)
    torch.testing.assert_close(mixed, game.G(z, torch.tensor([0, 1, 2, 0, 1, 2, 0])).detach())
    torch.testing.assert_close(dogs, game.G(z, torch.ones(7, dtype=torch.long)).detach())
    differ = (mixed - dogs).flatten(1).abs().amax(1) > 1e-6
    assert differ.tolist() == [True, False, True, True, False, True, True]
    torch.testing.assert_close(game.sample(2, seed=1, first=4), mixed[4:6])


def test_labels_are_not_looked_at_unless_conditional() -> None:
    image = torch.rand(4, 3, 16, 16, dtype=F64)
    engines = [Engine(build()) for _ in range(2)]
    for engine, label in zip(engines, (torch.zeros(4).long(), torch.arange(4) % 3), strict=True):
        engine.step({"image": image, "label": label})
    assert all(torch.equal(a, b) for a, b in zip(*(e.game.parameters() for e in engines), strict=True))


# ---- settings --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "norm", "steps"),
    [
        ({}, True, 1),
        ({"loss": "hinge"}, True, 1),
        ({"loss": "wgan-gp"}, False, 5),
        ({"loss": "wgan-gp", "critic_steps": 2}, False, 2),
        ({"r1": 1.0}, False, 1),
        ({"spectral_norm": True}, False, 1),
        ({"spectral_norm": True, "batch_norm_critic": True}, True, 1),
        ({"batch_norm_critic": False}, False, 1),
    ],
)
def test_what_is_left_open_follows_from_the_rest(settings: dict[str, Any], norm: bool, steps: int) -> None:
    game = build(**settings)
    norms = [module for module in game.D.modules() if isinstance(module, nn.BatchNorm2d)]
    assert bool(norms) == norm
    assert game.config.critic_turns == steps


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"loss": "wgan-gp", "batch_norm_critic": True}, "cannot have batch norm.*: leave batch_norm_critic out"),
        ({"r1": 1.0, "batch_norm_critic": True}, "cannot have batch norm"),
        ({"loss": "hinge", "label_smoothing": 0.1}, "label_smoothing is for the loss bce: leave it at 0 with hinge"),
        ({"loss": "bce", "gradient_penalty": 5.0}, "gradient_penalty is for the loss wgan-gp: leave it out with bce"),
        ({"label_smoothing": 1.0}, "label_smoothing of dcgan must be a number < 1.0, not 1.0"),
        ({"critic_steps": 0}, "critic_steps of dcgan must be a whole number >= 1, not 0"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        games.system("dcgan").configure(settings)


def test_what_data_it_needs_is_said() -> None:
    with pytest.raises(UsageError, match="dcgan learns from images"):
        DCGAN(Config(), Schema({"vector": (2,)}))
    for schema in (Schema({"image": (3, 16, 16)}), Schema({"image": (3, 16, 16), "label": ()})):
        with pytest.raises(UsageError, match="only on data with classes"):
            DCGAN(Config(conditional=True), schema)
    with pytest.raises(UsageError, match="30x30 do not fit"):
        DCGAN(Config(), Schema({"image": (3, 30, 30)}))


def test_the_papers_preset() -> None:
    config, defaults = games.system("dcgan").preset("paper")
    assert (config.width, config.latent, config.lr_generator, config.lr_critic) == (128, 100, 2e-4, 2e-4)
    assert (config.loss, config.beta1, config.beta2, config.ema) == ("bce", 0.5, 0.999, None)
    assert defaults["batch_size"] == 128
