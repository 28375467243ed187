"""pix2pix, CycleGAN and pix2pixHD against ports of the published code (`benchmarks/originals.py`), which share no line
with the code under test: the same weights give the same picture, under the same names, and a round is the published
step."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping

import pytest
import torch
from torch import Tensor, nn

import originals
from ganvas import games
from ganvas.engine import Engine
from ganvas.game import Game
from ganvas.nets import isola
from ganvas.schema import Schema
from ganvas.streams import Purpose, stream

NETS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], tuple[int, ...]]] = {
    **{
        f"resnet, {blocks} blocks, {norm} norm{', dropout' * dropout}": (
            lambda b=blocks, n=norm, d=dropout: isola.ResnetGenerator(2, 3, 3, b, n, d),
            lambda b=blocks, n=norm, d=dropout: originals.ResnetGenerator(2, 3, 3, b, n, d),
            (2, 16, 24),
        )
        for blocks in (6, 9)
        for norm in ("instance", "batch")
        for dropout in (False, True)
    },
    **{
        f"unet, {downs} levels, {norm} norm{', dropout' * dropout}": (
            lambda k=downs, n=norm, d=dropout: isola.UNetGenerator(2, 3, 2, k, n, d),
            lambda k=downs, n=norm, d=dropout: originals.UnetGenerator(2, 3, 2, k, n, d),
            (2, 2**downs, 2 * 2**downs),
        )
        for downs, norm, dropout in [(5, "batch", True), (7, "instance", True), (7, "batch", False), (8, "batch", True)]
    },
    **{
        f"critic, {layers} layers, {norm} norm": (
            lambda k=layers, n=norm: isola.PatchCritic(5, 3, k, n),
            lambda k=layers, n=norm: originals.PatchDiscriminator(5, 3, k, n),
            (5, 80, 48),
        )
        for layers, norm in [(1, "instance"), (3, "instance"), (3, "batch"), (4, "batch")]
    },
}  # fmt: skip


@torch.no_grad()
def lively(net: nn.Module, seed: int = 0) -> None:
    """Weights that make every one of them show in the output: also biases, and the scales of norms."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in net.named_parameters():
        noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
        p.copy_(noise / p[0].numel() ** 0.5 if p.ndim > 1 else noise * 0.2 + (0 if name.endswith("bias") else 1))


def without_dropout(net: nn.Module) -> nn.Module:
    """In training mode, as the authors' test script runs a net, but for its dropout."""
    net.train()
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    return net


def same_picture(ours: nn.Module, port: nn.Module, shape: tuple[int, ...], dtype: torch.dtype, within: float) -> None:
    """Strict exchange of weights both ways, then pictures: ours from a batch of two in eval mode, the port's one by
    one in training mode, so that a batch norm goes by each picture's own statistics."""
    port.to(dtype)
    lively(port)
    ours.to(dtype).eval().load_state_dict(port.state_dict(), strict=True)
    port.load_state_dict(ours.state_dict(), strict=True)
    without_dropout(port)
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(1), dtype=dtype) * 2 - 1
    with torch.no_grad():
        theirs, mine = torch.cat([port(row) for row in x.split(1)]), ours(x)
        laid = ours.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert theirs.std() > 0.01  # neither saturated nor flat
    torch.testing.assert_close(mine, theirs, rtol=0, atol=within)
    torch.testing.assert_close(laid, theirs, rtol=0, atol=within)


@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("name", NETS)
def test_the_same_weights_give_the_originals_picture(name: str, dtype: torch.dtype, within: float) -> None:
    ours, port, shape = NETS[name]
    same_picture(ours(), port(), shape, dtype, within)


@pytest.mark.parametrize(
    ("net", "weights"),
    [
        (lambda: originals.ResnetGenerator(3, 3), 11_378_179),
        (lambda: originals.ResnetGenerator(3, 3, blocks=6), 7_837_699),
        (lambda: originals.UnetGenerator(3, 3), 54_413_955),
        (lambda: originals.UnetGenerator(3, 3, downs=7), 41_828_995),
        (lambda: originals.PatchDiscriminator(3), 2_764_737),
        (lambda: originals.PatchDiscriminator(6, norm="batch"), 2_768_705),
        (lambda: originals.GlobalGenerator(36), 182_546_755),
        (lambda: originals.GlobalGenerator(3), 182_443_267),
        (lambda: originals.LocalEnhancer(36), 182_857_059),
        (lambda: originals.Encoder(), 788_803),
        (lambda: originals.MultiscaleDiscriminator(39, scales=1), 2_801_601),
    ],
)  # fmt: skip
def test_the_ports_have_as_many_weights_as_the_published_nets(net: Callable[[], nn.Module], weights: int) -> None:
    """Else a port could agree with ours and yet not be the original."""
    with torch.device("meta"):
        assert sum(p.numel() for p in net().parameters()) == weights


# ---- rounds ----------------------------------------------------------------------------------------------------------
RATE = torch.tensor(2e-4).item()  # as our optimisers hold it, in float32


class Coins(random.Random):
    """Those that a pool of our game draws, for the pool of the port: pairs (trade or not, which), in [0, 1)."""

    def __init__(self) -> None:
        super().__init__(0)
        self.pairs: list[list[float]] = []

    def uniform(self, a: float, b: float) -> float:
        return self.pairs[0][0]

    def randint(self, a: int, b: int) -> int:
        return int(self.pairs[0][1] * (b + 1))


class Pool(originals.ImagePool):
    """The original's, with one pair of coins a picture whether it asks for them or not."""

    def query(self, images: Tensor) -> Tensor:
        assert isinstance(self.chance, Coins)
        out = []
        for image in images.split(1):
            out.append(super().query(image))
            self.chance.pairs.pop(0)
        return torch.cat(out)


def double(game: Game) -> Game:
    for net in game.children():
        lively(net)
    return game.double()


def picture(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def play(
    engine: Engine, step: Callable[..., dict[str, Tensor]], batches: Iterator[dict[str, Tensor]],
    terms: Callable[[Mapping[str, float]], dict[str, float]], before: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """Rounds of ours beside steps of the port: ``terms`` puts what we log as the port logs it."""
    for batch in batches:
        before()
        expected = step(**batch)
        engine.step(batch)
        found = terms(engine.tick())
        for name, value in expected.items():
            assert found[name] == pytest.approx(value.item(), rel=1e-9, abs=1e-10), name


def same_weights(pairs: Mapping[str, tuple[nn.Module, nn.Module]], within: float = 1e-8) -> None:
    """But for the running statistics of batch norms, which no picture depends on: passes in another order."""
    for name, (ours, port) in pairs.items():
        theirs = dict(port.named_parameters())
        for key, value in ours.named_parameters():
            torch.testing.assert_close(
                value, theirs[key], rtol=0, atol=within, msg=lambda text, at=f"{name}.{key}": f"{at}: {text}"
            )


@pytest.mark.parametrize(
    ("net", "norm", "identity", "batch"),
    [
        ("resnet", "instance", 0.5, 2), ("resnet", "instance", 0.0, 1),
        ("resnet", "batch", 0.5, 1), ("unet", "batch", 0.5, 2),
    ],
)  # fmt: skip
def test_rounds_of_cyclegan_are_the_published_steps(net: str, norm: str, identity: float, batch: int) -> None:
    leaves = {"net": net, "width": 2, "critic_width": 2, "blocks": 2, "downs": 5, "critic_layers": 2, "norm": norm}
    a, b = (3, 3) if identity else (2, 3)  # without the identity loss A and B may differ in channels
    game = games.system("cyclegan").build(
        leaves | {"identity": identity, "pool": 3}, Schema({"A": (a, 32, 64), "B": (b, 32, 64)})
    )
    engine = Engine(double(game), seed=5, total_steps=1_000)
    make = originals.ResnetGenerator if net == "resnet" else originals.UnetGenerator
    depth = 2 if net == "resnet" else 5
    nets = {
        "G_A": make(a, b, 2, depth, norm), "G_B": make(b, a, 2, depth, norm),
        "D_A": originals.PatchDiscriminator(b, 2, 2, norm), "D_B": originals.PatchDiscriminator(a, 2, 2, norm),
    }  # fmt: skip
    for name, port in nets.items():
        port.double().load_state_dict(getattr(game, name).state_dict())
    of_A, of_B = Coins(), Coins()  # the port names a pool by the domain of its pictures
    port = originals.CycleGAN(**nets, identity=identity, lr=RATE, pools=(Pool(3, of_A), Pool(3, of_B)))

    def toss() -> None:
        generator = torch.Generator().manual_seed(stream(5, engine.clock.step, Purpose.NOISE))
        for coins in (of_B, of_A):
            coins.pairs = torch.rand(batch, 2, generator=generator, dtype=torch.float64).tolist()

    def terms(logged: Mapping[str, float]) -> dict[str, float]:
        found = {}
        for side in "AB":
            found[f"G_{side}"] = logged[f"generators/fool_{side}"]
            found[f"cycle_{side}"] = 10 * logged[f"generators/cycle_{side}"]
            found[f"D_{side}"] = (logged[f"critics/real_{side}"] + logged[f"critics/fake_{side}"]) / 2
            if identity:
                found[f"idt_{side}"] = 10 * identity * logged[f"generators/identity_{side}"]
        return found

    batches = ({"A": picture(2 * i, batch, a, 32, 64), "B": picture(2 * i + 1, batch, b, 32, 64)} for i in range(5))
    play(engine, port.step, batches, terms, toss)
    same_weights({name: (getattr(game, name), port) for name, port in nets.items()})


@pytest.mark.parametrize(
    ("net", "norm", "direction", "batch"),
    [("unet", "batch", "AtoB", 1), ("unet", "batch", "BtoA", 2), ("resnet", "instance", "AtoB", 1)],
)
def test_rounds_of_pix2pix_are_the_published_steps(net: str, norm: str, direction: str, batch: int) -> None:
    leaves = {"net": net, "width": 2, "critic_width": 2, "blocks": 2, "downs": 5, "norm": norm, "dropout": False}
    game = games.system("pix2pix").build(
        leaves | {"direction": direction}, Schema({"A": (2, 32, 64), "B": (3, 32, 64)})
    )
    engine = Engine(double(game), total_steps=1_000)
    ends = (2, 3) if direction == "AtoB" else (3, 2)
    make = originals.UnetGenerator if net == "unet" else originals.ResnetGenerator
    G, D = make(*ends, 2, 5 if net == "unet" else 2, norm), originals.PatchDiscriminator(5, 2, 3, norm)
    for name, port in {"G": G, "D": D}.items():
        port.double().load_state_dict(getattr(game, name).state_dict())
    original = originals.Pix2Pix(G, D, lr=RATE)

    def step(A: Tensor, B: Tensor) -> dict[str, Tensor]:
        return original.step(A, B) if direction == "AtoB" else original.step(B, A)

    def terms(logged: Mapping[str, float]) -> dict[str, float]:
        return {
            "D_real": logged["critic/real"], "D_fake": logged["critic/fake"],
            "G_GAN": logged["generator/fool"], "G_L1": 100 * logged["generator/l1"],
        }  # fmt: skip

    batches = ({"A": picture(2 * i, batch, 2, 32, 64), "B": picture(2 * i + 1, batch, 3, 32, 64)} for i in range(5))
    play(engine, step, batches, terms)
    same_weights({"G": (game.G, G), "D": (game.D, D)})
