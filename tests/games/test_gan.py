"""GAN: Algorithm 1 and simultaneous updates by hand in float64, on all its nets, and what its settings mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import eager_table
import hand
import table_step
from ganvas import games
from ganvas.engine import Engine
from ganvas.errors import UsageError
from ganvas.game import Clock
from ganvas.games.gan import GAN, Config
from ganvas.nets import dcgan, mlp, table
from ganvas.schema import Schema
from ganvas.streams import Purpose, stream

F64 = torch.float64
VECTORS, IMAGES, LARGER = (
    Schema({"vector": (2,)}), Schema({"image": (1, 16, 16)}), Schema({"image": (1, 32, 32)})
)  # fmt: skip
Z, WIDTH, ROWS = 3, 4, 6


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """E[-ln d(x) - ln(1 - d(g(z)))]."""
    return (-torch.log(torch.sigmoid(real)) - torch.log(1 - torch.sigmoid(fake))).mean()


GENERATOR_LOSS: dict[str, Any] = {
    "saturating": lambda score: torch.log(1 - torch.sigmoid(score)).mean(),
    "non-saturating": lambda score: -torch.log(torch.sigmoid(score)).mean(),
    "raw": lambda score: -score.mean(),
}


@dataclass
class Pair:
    """Our game, and G and D by hand with the same weights."""

    game: GAN
    G: nn.Module
    D: nn.Module

    def furthest(self) -> float:
        """The largest difference between the two in any weight."""
        ours = [self.weights(net) for net in (self.game.G, self.game.D)]
        return max(hand.furthest(net, weights) for net, weights in zip((self.G, self.D), ours, strict=True))

    def weights(self, net: nn.Module) -> list[Tensor]:
        if not isinstance(net, table.Decoder | table.Critic):
            return hand.plain(net)
        turned = table_step.turned(net, WIDTH)
        return [turned[name] for name, _ in net.named_parameters()]


def pair(schema: Schema, **settings: Any) -> Pair:
    torch.manual_seed(0)
    game = GAN(Config(width=WIDTH, latent=Z, lr_generator=1e-3, lr_critic=3e-3, **settings), schema).double()
    if isinstance(game.G, table.Decoder):
        G, D = eager_table.Decoder(1, WIDTH, Z, (2, 2, 1, 2)), eager_table.Critic(1, WIDTH, (2, 2, 1, 2))
        for net, ours in ((G, game.G), (D, game.D)):
            net.double().load_state_dict(table_step.turned(ours, WIDTH))
        return Pair(game, G, D)
    if isinstance(game.G, dcgan.Generator):
        G, D = hand.Generator(1, WIDTH, Z), hand.Critic(1, WIDTH)
    else:
        shape = schema["vector"] if "vector" in schema else schema["image"]
        dims = int(torch.tensor(shape).prod())
        picture = nn.Sequential(nn.Tanh(), nn.Unflatten(1, shape)) if len(shape) == 3 else nn.Identity()
        G = hand.mlp([Z, WIDTH, WIDTH, WIDTH, dims], 0.0, picture)
        D = nn.Sequential(nn.Flatten(), hand.mlp([dims, WIDTH, WIDTH, WIDTH, 1], 0.2, nn.Flatten(0)))
    return Pair(game, hand.put(hand.plain(game.G), G), hand.put(hand.plain(game.D), D))


SETTINGS: list[tuple[Schema, dict[str, Any]]] = [
    (VECTORS, {"loss": "saturating"}),
    (VECTORS, {"loss": "non-saturating", "beta1": 0.9}),
    (VECTORS, {"loss": "non-saturating", "critic_steps": 2}),
    (VECTORS, {"loss": "saturating", "updates": "simultaneous"}),
    (IMAGES, {"loss": "non-saturating"}),
    (IMAGES, {"loss": "raw", "nets": "mlp", "updates": "simultaneous"}),
    (IMAGES, {"loss": "saturating", "critic_steps": 2, "lr_end": 0.1}),
    (LARGER, {"loss": "raw", "nets": "table", "updates": "simultaneous", "lr_end": 0.02}),
]


@pytest.mark.parametrize(("schema", "settings"), SETTINGS, ids=lambda value: "-".join(map(str, value.values()))
                         if isinstance(value, dict) else next(iter(value.fields)))  # fmt: skip
def test_updates_by_hand_in_float64(schema: Schema, settings: dict[str, Any]) -> None:
    """Four rounds: the critic's step on its loss; then G's against the new critic, or both on the old weights."""
    both = pair(schema, **settings)
    config, (field,) = both.game.config, schema.fields
    betas = (config.beta1, 0.999)
    g, d = hand.Adam(both.G, 1e-3, betas, keras=True), hand.Adam(both.D, 3e-3, betas, keras=True)
    fool = GENERATOR_LOSS[config.loss]
    engine = Engine(both.game, seed=3, total_steps=10)
    for step in range(4):
        x = torch.rand(ROWS, *schema[field], dtype=F64, generator=torch.Generator().manual_seed(step)) * 2 - 1
        noise = torch.Generator().manual_seed(stream(3, step, Purpose.NOISE))
        z = torch.randn(ROWS, Z, dtype=F64, generator=noise)
        factor = config.lr_end ** (step / 10)
        if config.updates == "simultaneous":
            down_g = g.gradients(fool(both.D(both.G(z))))
            down_d = d.gradients(critic_loss(both.D(x), both.D(both.G(z))))
            g.descend(down_g, factor)
            d.descend(down_d, factor)
            turns = [("generator", "critic")]
        else:
            d.descend(d.gradients(critic_loss(both.D(x), both.D(both.G(z)))), factor)
            turns = [("critic",)]
            if (step + 1) % config.critic_steps == 0:
                g.descend(g.gradients(fool(both.D(both.G(z)))), factor)
                turns.append(("generator",))
        assert engine.step({field: x}) == turns
    assert both.furthest() < 1e-10
    assert min(g.t) == 4 // config.critic_steps


def test_terms_are_the_losses_by_name() -> None:
    both = pair(VECTORS, loss="saturating")
    engine = Engine(both.game, seed=3)
    x = torch.randn(ROWS, 2, dtype=F64)
    z = torch.randn(ROWS, Z, dtype=F64, generator=torch.Generator().manual_seed(stream(3, 0, Purpose.VALID_NOISE)))
    engine.evaluate({"vector": x}, index=0)
    real, fake = (score.detach() for score in (both.D(x), both.D(both.G(z))))
    want = {
        "valid/critic/real": -F.logsigmoid(real).mean(),
        "valid/critic/fake": -F.logsigmoid(-fake).mean(),
        "valid/generator/fool": F.logsigmoid(-fake).mean(),
        "valid/accuracy": ((real > 0).sum() + (fake < 0).sum()) / (2 * ROWS),
    }
    assert engine.tick() == pytest.approx({name: float(value) for name, value in want.items()}, abs=1e-7)


# ---- settings --------------------------------------------------------------------------------------------------------
def test_nets_follow_the_data() -> None:
    vectors = GAN(Config(), Schema({"vector": (5,)}))
    assert isinstance(vectors.G, mlp.Generator)
    assert isinstance(vectors.D, mlp.Critic)
    assert vectors.prior(2).shape == (2, 5)  # as many dimensions as a vector has
    assert vectors.D.score.in_features == 128
    images = GAN(Config(), IMAGES)
    assert isinstance(images.G, dcgan.Generator)
    assert isinstance(images.D, dcgan.Critic)
    assert images.prior(2).shape == (2, 64)
    assert images.D.convs[0].out_channels == 32
    assert isinstance(GAN(Config(nets="table"), IMAGES).G, table.Decoder)
    assert isinstance(GAN(Config(nets="mlp"), IMAGES).G, mlp.Generator)


def test_vectors_are_not_squashed_and_pictures_are() -> None:
    for schema, bounded in ((VECTORS, False), (IMAGES, True)):
        game = GAN(Config(nets="mlp"), schema).eval()
        with torch.no_grad():
            game.G.out.weight.mul_(100)
        assert (game.sample(50).abs().max() <= 1) == bounded


@pytest.mark.parametrize("nets", ["conv", "table"])
def test_convolutions_are_refused_for_vectors(nets: Any) -> None:
    with pytest.raises(UsageError, match=f"'{nets}' are for images, and this data has vectors: use nets 'mlp'"):
        GAN(Config(nets=nets), VECTORS)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(UsageError, match="neither"):
        GAN(Config(), Schema({"label": ()}))
    with pytest.raises(UsageError, match="leave critic_steps at 1"):
        games.system("gan").configure({"updates": "simultaneous", "critic_steps": 2})


def test_the_tables_preset_is_the_tables_protocol() -> None:
    config, defaults = games.system("gan").preset("avae-table")
    game = GAN(config, Schema({"image": (3, 32, 32)}))
    assert (config.loss, config.updates, config.latent, config.ema) == ("raw", "simultaneous", 100, None)
    assert defaults == {"steps": 50_000, "batch_size": 64}
    assert isinstance(game.G, table.Decoder)
    assert game.D.stack.convs[0].out_channels == 128
    for player in game.players().values():
        optimiser = player.recipe(player.weights())
        (group,) = optimiser.param_groups
        assert (float(group["lr"]), group["betas"], group["keras_eps"]) == (hand.held(2e-4), (0.5, 0.999), 1e-7)
        ends = [player.schedule(Clock(step, total_steps=50_000)) for step in (0, 50_000)]
        assert ends == pytest.approx([1, 0.02])
