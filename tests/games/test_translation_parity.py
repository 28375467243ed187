"""pix2pix, CycleGAN and pix2pixHD against ports of the published code (translation_originals.py), which share no line
with the code under test: the same weights give the same picture, under the same names, and a round is the published
step."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

import precision
import translation_originals as originals
from ganvas import games
from ganvas.engine import Engine
from ganvas.game import Game
from ganvas.nets import isola, maps, wang
from ganvas.nets.features import FeatureStack
from ganvas.nets.perceptual import Perceptual
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
    **{
        f"global, {downs} halvings, {blocks} blocks, {norm} norm": (
            lambda k=downs, b=blocks, n=norm: wang.GlobalGenerator(5, 3, 2, k, b, n),
            lambda k=downs, b=blocks, n=norm: originals.GlobalGenerator(5, 3, 2, k, b, n),
            (5, 8 * 2**downs, 4 * 2**downs),
        )
        for downs, blocks, norm in [(2, 1, "instance"), (4, 9, "instance"), (3, 2, "batch")]
    },
    **{
        f"local, {downs} halvings, {blocks} and {local} blocks, {norm} norm": (
            lambda k=downs, b=blocks, m=local, n=norm: wang.LocalEnhancer(5, 3, 2, k, b, m, n),
            lambda k=downs, b=blocks, m=local, n=norm: originals.LocalEnhancer(5, 3, 2, k, b, 1, m, n),
            (5, 8 * 2**downs, 12 * 2**downs),
        )
        for downs, blocks, local, norm in [(2, 1, 3, "instance"), (4, 9, 3, "instance"), (3, 1, 2, "batch")]
    },
    **{
        f"critics at {scales} scales, {layers} layers, {norm} norm": (
            lambda s=scales, k=layers, n=norm: wang.MultiscaleCritic(5, 3, k, s, n),
            lambda s=scales, k=layers, n=norm: originals.MultiscaleDiscriminator(5, 3, k, s, n),
            (5, 72, 50),
        )
        for scales, layers, norm in [(1, 3, "instance"), (2, 3, "instance"), (3, 3, "instance"), (2, 2, "batch")]
    },
}  # fmt: skip


@torch.no_grad()
def lively(net: nn.Module, seed: int = 0) -> None:
    """Weights that make every one of them show, biases and scales of norms too, in pictures of an ordinary contrast."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in net.named_parameters():
        noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
        p.copy_(0.4 * noise / p[0].numel() ** 0.5 if p.ndim > 1 else noise * 0.2 + (0 if name.endswith("bias") else 1))


def without_dropout(net: nn.Module) -> nn.Module:
    """In training mode, as the authors' test script runs a net, but for its dropout."""
    net.train()
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    return net


def whole(made: Tensor | list[list[Tensor]]) -> Tensor:
    """A picture as it is; of critics at several scales, all that they give, as a row of numbers a picture."""
    if isinstance(made, Tensor):
        return made
    return torch.cat([stage.flatten(1) for stages in made for stage in stages], 1)


def same_picture(ours: nn.Module, port: nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Strict exchange of weights both ways, then pictures: ours from a batch of two in eval mode, the port's one by
    one in training mode, so that a batch norm goes by each picture's own statistics."""
    port.to(dtype)
    lively(port)
    ours.to(dtype).eval().load_state_dict(port.state_dict(), strict=True)
    port.load_state_dict(ours.state_dict(), strict=True)
    without_dropout(port)
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(1), dtype=dtype) * 2 - 1
    with torch.no_grad():
        theirs, mine = torch.cat([whole(port(row)) for row in x.split(1)]), whole(ours(x))
        laid = whole(ours.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last)))
        within = 1e-10
        if dtype == torch.float32:
            exact = torch.cat([whole(port.double()(row.double())) for row in x.split(1)])
            within = precision.allowed(theirs, exact)
    assert theirs.std() > 0.01  # neither saturated nor flat
    torch.testing.assert_close(mine, theirs, rtol=0, atol=within)
    torch.testing.assert_close(laid, theirs, rtol=0, atol=within)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NETS)
def test_the_same_weights_give_the_originals_picture(name: str, dtype: torch.dtype) -> None:
    ours, port, shape = NETS[name]
    same_picture(ours(), port(), shape, dtype)


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


# ---- pix2pixHD -------------------------------------------------------------------------------------------------------
def label_map(seed: int, *shape: int, highest: int, blocks: int = 4) -> Tensor:
    """Squares of one id each, some of which touch others of the same."""
    n, height, width = shape
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, highest + 1, (n, height // blocks, width // blocks), generator=generator)
    return ids.repeat_interleave(blocks, 1).repeat_interleave(blocks, 2)


def test_maps_are_the_originals() -> None:
    labels = label_map(0, 2, 24, 40, highest=4).to(torch.uint8)
    instances = label_map(1, 2, 24, 40, highest=11).to(torch.int32)
    assert torch.equal(maps.one_hot(labels, 5), originals.one_hot(labels, 5))
    assert torch.equal(maps.edges(instances), originals.edges(instances))
    features = picture(2, 2, 3, 24, 40)
    for regions in (labels, instances):
        torch.testing.assert_close(maps.pooled(features, regions), originals.pooled(features, regions))


def test_maps_and_pools_wait_for_no_value() -> None:
    """On tensors that have none."""
    with FakeTensorMode():
        ids = torch.zeros(2, 24, 40, dtype=torch.uint8)
        assert maps.one_hot(ids, 5).shape == (2, 5, 24, 40)
        assert maps.edges(ids.int()).shape == (2, 1, 24, 40)
        for regions in (ids, ids.int()):
            assert maps.pooled(torch.zeros(2, 3, 24, 40), regions).shape == (2, 3, 24, 40)
        pool = isola.ImagePool(3, (3, 8, 8)).train()
        assert pool(torch.zeros(2, 3, 8, 8), torch.zeros(2, 2)).shape == (2, 3, 8, 8)
        with pytest.raises((DataDependentOutputException, DynamicOutputShapeException)):  # as the original does
            originals.pooled(torch.zeros(2, 3, 24, 40), ids)


@pytest.mark.parametrize(("downs", "norm"), [(1, "instance"), (4, "instance"), (3, "batch")])
def test_the_encoder_is_the_originals(downs: int, norm: str) -> None:
    ours, port = wang.Encoder(3, 4, 2, downs, norm).double(), originals.Encoder(4, 2, downs, 3, norm).double()
    lively(port)
    ours.eval().load_state_dict(port.state_dict(), strict=True)
    x, regions = picture(0, 2, 3, 32, 48), label_map(1, 2, 32, 48, highest=7)
    with torch.no_grad():
        mine = maps.pooled(ours(x), regions)
        theirs = torch.cat([port(*row) for row in zip(x.split(1), regions.split(1), strict=True)])
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


def test_the_perceptual_loss_is_the_originals() -> None:
    port, ours = originals.VGG19(), FeatureStack("vgg19")
    for p in port.parameters():
        p.mul_(2)  # else the deepest maps are all but 0
    ours.load_state_dict(port.state_dict(), strict=True)
    distance = Perceptual("vgg19")
    distance._net = ours.requires_grad_(False)
    x, y = picture(0, 1, 3, 16, 16).float().requires_grad_(), picture(1, 1, 3, 16, 16).float()
    mine = distance(x, y)
    theirs = sum(w * F.l1_loss(a, b) for w, a, b in zip(port.weights, port(x), port(y), strict=True))
    torch.testing.assert_close(mine, theirs)
    slopes = [torch.autograd.grad(loss, x)[0] for loss in (mine, theirs)]
    assert slopes[0].abs().max() > 0
    torch.testing.assert_close(*slopes)


def blurs(x: Tensor) -> list[Tensor]:
    return [x, F.avg_pool2d(x, 2)]


def blurred_apart(x: Tensor, y: Tensor) -> Tensor:
    return 0.25 * (x - y).abs().mean() + (F.avg_pool2d(x, 2) - F.avg_pool2d(y, 2)).abs().mean()


def halved(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Pictures by the means of 2x2, maps by every second pixel."""
    return {
        name: x[..., ::2, ::2] if x.ndim == 3 else x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5))
        for name, x in batch.items()
    }


class Staged:
    """The port's players for each stage of our game's run: G1 at half size with the coarser critics; G2, G1 fixed; all,
    with a fresh optimiser of G. Where ``net`` is global, G1 at full size alone."""

    def __init__(
        self, game: Game, channels: int, classes: int, *, net: str, scales: int, norm: str, **rest: object
    ) -> None:
        self.game, self.net, self.scales = game, net, scales
        self.rest = {"classes": classes, "lr": RATE, "weights": (0.25, 1.0), **rest}
        seen = channels - 4 * (game.E is not None)
        self.G1 = originals.GlobalGenerator(channels, 3, 4, 2, 1, norm).double()
        self.G = originals.LocalEnhancer(channels, 3, 2, 2, 1, 1, 1, norm).double()
        self.E = None if game.E is None else originals.Encoder(4, 2, 1, 3, norm).double()
        make = originals.MultiscaleDiscriminator
        self.D = make(seen + 3, 2, 2, scales, norm).double()
        self.coarse_D = make(seen + 3, 2, 2, max(1, scales - 1), norm).double()
        self.take()

    def take(self) -> None:
        """Our weights."""
        G, D = self.game.G.state_dict(), self.game.D.state_dict()
        if self.net == "local":
            self.G.load_state_dict(G)
            last = len(self.G.model)
            head = self.game.head.state_dict()
            G1 = {key: value for key, value in G.items() if not key.startswith("model1")}
            self.G1.load_state_dict(G1 | {f"model.{last + 1}.{key[2:]}": value for key, value in head.items()})
        else:
            self.G1.load_state_dict(G)
        self.D.load_state_dict(D)
        self.coarse_D.load_state_dict({key: D[key] for key in self.coarse_D.state_dict()})
        if self.E is not None:
            self.E.load_state_dict(self.game.E.state_dict())

    def stages(self) -> Iterator[originals.Pix2PixHD]:
        if self.net == "global":
            yield originals.Pix2PixHD(self.G1, self.D, self.E, **self.rest)
            return
        yield originals.Pix2PixHD(self.G1, self.coarse_D, self.E, **self.rest)
        self.G.model.load_state_dict(self.G1.model[:-3].state_dict())
        if self.scales > 1:
            self.D.load_state_dict(self.coarse_D.state_dict(), strict=False)
        else:
            self.D.load_state_dict(self.coarse_D.state_dict())
        fixed = originals.Pix2PixHD(self.G, self.D, self.E, trained="model1", **self.rest)
        yield fixed
        joint = originals.Pix2PixHD(self.G, self.D, self.E, **self.rest)
        joint.of_D = fixed.of_D
        yield joint

    def pairs(self) -> dict[str, tuple[nn.Module, nn.Module]]:
        found = {"D": (self.game.D, self.D), "G": (self.game.G, self.G if self.net == "local" else self.G1)}
        return found if self.E is None else found | {"E": (self.game.E, self.E)}


@pytest.mark.parametrize(
    ("net", "kind", "scales", "norm", "perceptual", "batch"),
    [
        ("local", "instances", 2, "instance", True, 2), ("local", "labels", 1, "batch", False, 1),
        ("local", "pairs", 3, "instance", False, 1), ("global", "instances", 2, "instance", False, 1),
    ],
)  # fmt: skip
def test_rounds_of_pix2pixhd_are_the_published_steps(
    net: str, kind: str, scales: int, norm: str, perceptual: bool, batch: int
) -> None:
    """Through all stages, three steps each."""
    height, width, classes = 48, 32, 5
    leaves = {"net": net, "width": 4, "downs": 2, "blocks": 1, "local_blocks": 1, "norm": norm, "style_channels": 4,
              "encoder_width": 2, "encoder_downs": 1, "scales": scales, "critic_width": 2, "critic_layers": 2,
              "perceptual": "none", "flat": 1.0, "coarse": 1 / 3, "fixed": 0.5}  # fmt: skip
    fields = {"labels": (height, width), "image": (3, height, width), "instances": (height, width)}
    if kind == "pairs":
        fields, classes = {"A": (2, height, width), "B": (3, height, width)}, 0
    elif kind == "labels":
        del fields["instances"]
    game = games.system("pix2pixhd").build(leaves, Schema(fields, tuple(map(str, range(classes)))))
    blurred = None
    if perceptual:  # any maps will do: that ours are VGG19's is proved above
        game.perceptual, blurred = blurred_apart, blurs
    engine = Engine(double(game), total_steps=9)
    channels = {"instances": classes + 1 + 4, "labels": classes + 4, "pairs": 2}[kind]
    staged = Staged(game, channels, classes, net=net, scales=scales, norm=norm, perceptual=blurred)

    def batches(stage: int) -> Iterator[dict[str, Tensor]]:
        for i in range(10 * stage, 10 * stage + 3):
            if kind == "pairs":
                yield {"A": picture(i, batch, 2, height, width), "B": picture(i + 100, batch, 3, height, width)}
                continue
            rows = {"labels": label_map(i, batch, height, width, highest=classes - 1).to(torch.uint8)}
            if kind == "instances":
                rows["instances"] = label_map(i + 100, batch, height, width, highest=9).to(torch.int32)
            yield rows | {"image": picture(i + 200, batch, 3, height, width)}

    names = [("coarse", "coarse_critic"), ("enhancer", "critic"), ("generator", "critic")]
    for stage, port in enumerate(staged.stages()):
        player, critic = names[stage] if net == "local" else names[-1]

        def step(**rows: Tensor) -> dict[str, Tensor]:
            rows = halved(rows) if net == "local" and stage == 0 else rows  # noqa: B023
            if kind == "pairs":
                return port.step(rows["A"], None, rows["B"])  # noqa: B023
            return port.step(rows["labels"], rows.get("instances"), rows["image"])  # noqa: B023

        def terms(logged: Mapping[str, float]) -> dict[str, float]:
            return {
                "D_real": logged[f"{critic}/real"], "D_fake": logged[f"{critic}/fake"],  # noqa: B023
                "G_GAN": logged[f"{player}/fool"], "G_GAN_Feat": 10 * logged[f"{player}/matching"],  # noqa: B023
                "G_VGG": 10 * logged.get(f"{player}/perceptual", 0.0),  # noqa: B023
            }  # fmt: skip

        play(engine, step, batches(stage), terms)
    same_weights(staged.pairs())
