"""pix2pixHD: its stages, its losses by hand, its order against the released one, and the styles of its regions."""

from __future__ import annotations

import copy
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn

import toys
from cases import SCHEMAS, Case
from ganvas import games, weights
from ganvas.engine import Engine
from ganvas.errors import MissingWeights, UsageError
from ganvas.game import Clock
from ganvas.games.pix2pixhd import Config, matching
from ganvas.nets import perceptual
from ganvas.nets.features import FeatureStack
from ganvas.nets.perceptual import Perceptual
from ganvas.schema import Schema

F64 = torch.float64
SYSTEM = games.system("pix2pixhd")


def built(data: str = "instances", dtype: torch.dtype = F64, schema: Schema | None = None, **leaves: Any) -> Any:
    """A tiny game with fresh weights."""
    torch.manual_seed(0)
    tiny, _ = SYSTEM.preset("tiny")
    return SYSTEM.build({**dataclasses.asdict(tiny), **leaves}, schema or SCHEMAS[data]).to(dtype=dtype)


def batch(data: str = "instances", step: int = 0, rows: int = 2) -> dict[str, Tensor]:
    return {name: values[:rows] for name, values in Case("pix2pixhd", data).batch(step, F64).items()}


def parts(game: Any) -> dict[str, Tensor]:
    """Every weight, flat, by the part of the game that it is in."""
    nets = {"G1": game.G.model, "G2": nn.ModuleList([game.G.model1_1, game.G.model1_2]), "head": game.head, "E": game.E}
    fine, rest = (
        [p for key, p in game.D.named_parameters() if key.startswith("scale1") == is_fine] for is_fine in (1, 0)
    )
    flat = {name: list(net.parameters()) for name, net in nets.items()} | {"D, fine": fine, "D, coarse": rest}
    return {
        name: torch.cat([p.detach().flatten().clone() for p in weights]) for name, weights in flat.items() if weights
    }


# ---- stages ----------------------------------------------------------------------------------------------------------
COARSE, ENHANCER, BOTH = {"G1", "head", "E", "D, coarse"}, {"G2", "E", "D, fine", "D, coarse"}, {"G1", "G2"}


@pytest.mark.parametrize(
    ("leaves", "stages"),
    [
        ({}, [("coarse", COARSE)] * 5 + [("enhancer", ENHANCER)] * 2 + [("generator", ENHANCER | BOTH)] * 3),
        ({"joint": "as-published"}, [("coarse", COARSE)] * 5 + [("enhancer", ENHANCER)] * 5),
        ({"fixed": 0.0, "joint": "as-published"}, [("coarse", COARSE)] * 5 + [("generator", ENHANCER | BOTH)] * 5),
        ({"scales": 1}, [("coarse", COARSE)] * 5),
    ],
    ids=["intended", "as published", "as published with nothing fixed", "one critic"],
)
def test_who_moves_when(leaves: dict[str, Any], stages: list[tuple[str, set[str]]]) -> None:
    """As published G1 never moves again; as intended it does, once the enhancer has had its part of the run."""
    game = built(coarse=0.5, **{"fixed": 0.4, **leaves})
    engine = Engine(game, seed=1, total_steps=10)
    for step, (player, moving) in enumerate(stages):
        before = parts(game)
        critic = "coarse_critic" if player == "coarse" else "critic"
        assert engine.step(batch(step=step)) == [(critic, player)]
        assert {name for name, weights in parts(game).items() if not torch.equal(weights, before[name])} == moving
        assert bool(game.coarsely) == (player == "coarse")
    engine.evaluate(batch(), index=0)  # also where the clock has run out
    assert all(math.isfinite(value) for value in engine.tick().values())


def test_each_stage_starts_with_a_fresh_optimiser() -> None:
    engine = Engine(built(coarse=0.5, fixed=0.4), total_steps=10)
    counts = []
    for step in range(10):
        engine.step(batch(step=step))
        states = {name: purse.optimiser.state.values() for name, purse in engine.purses.items()}
        counts.append({name: max((int(s["step"]) for s in state), default=0) for name, state in states.items()})
    moves = {"coarse": 5, "coarse_critic": 5, "enhancer": 2, "generator": 3, "critic": 5}
    assert counts[-1] == moves
    assert counts[4] == {**dict.fromkeys(moves, 0), "coarse": 5, "coarse_critic": 5}
    assert counts[6]["generator"] == 0


def test_the_two_trainings_decay_as_published() -> None:
    """200 epochs of G1 and 100 with G2, of which 10 with G1 fixed: the defaults."""
    players = built(coarse=2 / 3, fixed=0.1).players()
    released = built(coarse=2 / 3, fixed=0.1, joint="as-published").players()

    def at(player: str, epoch: int, those: Any = players) -> float:
        factors = {those[player].schedule(Clock((epoch - 1) * 7 + step, 7, 300 * 7)) for step in (0, 6)}
        (factor,) = factors
        return float(factor)

    for player in ("coarse", "coarse_critic"):
        assert [at(player, epoch) for epoch in (1, 101, 102, 200)] == pytest.approx([1, 1, 0.99, 0.01])
    for player in ("enhancer", "generator", "critic"):
        assert [at(player, epoch) for epoch in (201, 251, 252, 300)] == pytest.approx([1, 1, 0.98, 0.02])
    assert [at("enhancer", epoch, released) for epoch in (201, 252, 300)] == [1, 1, 1]  # whose rate nobody turns down
    assert at("critic", 300, released) == pytest.approx(0.02)
    late = built(coarse=0.0, fixed=0.8, joint="as-published").players()
    assert late["enhancer"].schedule(Clock(99, 1, 100)) == late["enhancer"].schedule(Clock(79, 1, 100)) < 1


def test_shares_equal_the_whole_batch_in_every_stage() -> None:
    engines = [Engine(built(coarse=0.4, fixed=0.3), seed=3, shares=shares, total_steps=5) for shares in (1, 2)]
    for engine in engines:
        for step in range(5):
            engine.step(batch(step=step, rows=4))
    one, two = (toys.everything(engine) for engine in engines)
    assert toys.differing(one, two, 1e-9) == []


@pytest.mark.parametrize("broken", [3, 5, 6, 8])
def test_a_broken_run_goes_on_to_the_same_bits_in_every_stage(broken: int) -> None:
    whole, half = (Engine(built(coarse=0.5, fixed=0.4), seed=3, total_steps=10) for _ in range(2))
    for step in range(9):
        if step == broken:
            half.load_state_dict(copy.deepcopy(whole.state_dict()))
        if step >= broken:
            half.step(batch(step=step))
        whole.step(batch(step=step))
    assert toys.differing(toys.everything(whole), toys.everything(half)) == []


# ---- losses ----------------------------------------------------------------------------------------------------------
def test_matching_weighs_layers_and_scales_as_published() -> None:
    """1 / scales of each scale, 4 / (layers + 1) of each of its layers, of which there are layers + 1; scores aside."""
    generator = torch.Generator().manual_seed(0)
    real, fake = (
        [[torch.randn(2, 3, 4, 4, generator=generator, dtype=F64) for _ in range(5)] for _ in range(3)]
        for _ in range(2)
    )
    want = sum((1 / 3) * (4 / (3 + 1)) * (real[i][j] - fake[i][j]).abs().mean() for i in range(3) for j in range(4))
    torch.testing.assert_close(matching(real, fake), want)
    for maps in real[0]:
        maps.requires_grad_()
    for maps in fake[0]:
        maps.requires_grad_()
    matching(real, fake).backward()
    assert all(maps.grad is None for maps in real[0])
    assert [maps.grad is None for maps in fake[0]] == [False] * 4 + [True]


@pytest.mark.parametrize("data", ["instances", "maps", "pairs"])
def test_the_simultaneous_turn_is_the_released_order(data: str) -> None:
    """There: everything is computed, the critic's fake pass apart on a detached picture; then G steps; then D."""
    ours = built(data, coarse=0.0, fixed=0.0)
    theirs = copy.deepcopy(ours)
    engine = Engine(ours, total_steps=4)
    Gs, Ds = (
        [*theirs.G.parameters(), *(theirs.E.parameters() if theirs.E is not None else ())],
        [*theirs.D.parameters()],
    )
    movers = [torch.optim.Adam(weights, 2e-4, (0.5, 0.999)) for weights in (Gs, Ds)]
    for step in range(2):
        rows = batch(data, step)
        engine.step(rows)
        if data == "pairs":
            x, y = rows["A"], rows["B"]
            given = x
        else:
            labels, y = rows["labels"].long(), rows["image"]
            x = torch.stack([(labels == i).to(F64) for i in range(3)], 1)
            regions = labels
            if data == "instances":
                regions, padded = rows["instances"], nn.functional.pad(rows["instances"].to(F64), (1,) * 4, "replicate")
                around = (padded[:, 1:-1, :-2], padded[:, 1:-1, 2:], padded[:, :-2, 1:-1], padded[:, 2:, 1:-1])
                x = torch.cat([x, torch.stack([regions != n for n in around], 1).any(1, keepdim=True)], 1)
            seen = theirs.E(y)
            pooled = torch.zeros_like(seen)
            for b in range(len(y)):
                for region in regions[b].unique():
                    inside = (regions[b] == region).to(F64)
                    pooled[b] = pooled[b] + inside * ((seen[b] * inside).sum((1, 2)) / inside.sum())[:, None, None]
            given = torch.cat([x, pooled], 1)
        fake = theirs.G(given)
        fake_pass, real_pass = (theirs.D(torch.cat([x, image], 1)) for image in (fake.detach(), y))
        judged = theirs.D(torch.cat([x, fake], 1))
        loss_G = sum((maps[-1] - 1).square().mean() for maps in judged) + 10 * matching(real_pass, judged)
        loss_D = sum(maps[-1].square().mean() for maps in fake_pass) / 2
        loss_D = loss_D + sum((maps[-1] - 1).square().mean() for maps in real_pass) / 2
        for mover, loss in zip(movers, (loss_G, loss_D), strict=True):
            mover.zero_grad()
            loss.backward()
            mover.step()
    logs = engine.tick()
    assert logs["critic/real"] + logs["critic/fake"] > 0
    assert toys.differing(dict(ours.named_parameters()), dict(theirs.named_parameters()), 1e-9) == []
    assert toys.differing(dict(ours.named_parameters()), dict(built(data).named_parameters()), 1e-5)  # it did move


def test_vgg19_is_weighed_as_published_over_bare_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights, narrow enough: relu1_1 to relu5_1 with 1/32, 1/16, 1/8, 1/4, 1; real pictures are constant."""
    torch.manual_seed(0)
    stack = FeatureStack("vgg19").requires_grad_(False)
    monkeypatch.setattr(perceptual, "published", lambda kind: {"vgg19": stack}[kind])
    x, y = (torch.rand(1, 3, 16, 32).requires_grad_() for _ in range(2))
    distance = Perceptual("vgg19")(x, y)
    h, g, want = x, y, 0.0
    weights = {1: 1 / 32, 6: 1 / 16, 11: 1 / 8, 20: 1 / 4, 29: 1}
    for i, layer in enumerate(stack.features):
        h, g = layer(h), layer(g)
        if i in weights:
            want = want + weights[i] * (h - g).abs().mean()
    torch.testing.assert_close(distance, want)
    distance.backward()
    assert x.grad is not None
    assert y.grad is None


@pytest.fixture
def weights_of(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the published weights available; a net that is not at hand skips the test."""
    monkeypatch.setenv("GANVAS_WEIGHTS", str(shared / "weights"))

    def need(kind: Any) -> None:
        if not weights.at_hand(Perceptual.file(kind)):
            pytest.skip(f"the weights of {kind} are not at hand")

    return need


@pytest.mark.parametrize("kind", ["vgg19", "vgg16-12", "alex", "squeeze"])
def test_published_features_train_g_and_are_nobodys_weights(kind: Any, weights_of: Any) -> None:
    weights_of(kind)
    schema = Schema({"labels": (64, 64), "image": (3, 64, 64)}, ("0", "1", "2"))
    labels = batch("maps")["labels"].repeat_interleave(2, 1).repeat_interleave(2, 2)
    image = torch.rand(2, 3, 64, 64) * 2 - 1
    rows = {"labels": labels, "image": image}
    game = built(dtype=torch.float32, schema=schema, perceptual=kind)
    engine = Engine(game, total_steps=2)
    plain = built(dtype=torch.float32, schema=schema)
    assert game.state_dict().keys() == plain.state_dict().keys()
    assert [len(p.weights()) for p in game.players().values()] == [len(p.weights()) for p in plain.players().values()]
    engine.step(rows)
    assert engine.averaged.perceptual is game.perceptual  # no copy
    logs = engine.tick()
    assert 0.01 < logs["coarse/perceptual"] < 20
    distance = game.perceptual
    assert distance(image, image).item() == 0
    assert distance(image[:1], image[1:]) > distance(image[:1], image[:1] + 0.05 * image[1:]) > 0
    assert distance(image.double(), image.double().flip(0)).dtype == F64  # where the pictures are, and as they are
    assert distance(image.bfloat16(), image.flip(0)).dtype == torch.float32
    with toys.fake_tensors():
        fake = Engine(built(dtype=torch.float32, schema=schema, perceptual=kind), total_steps=2)
        fake.step(rows)


# ---- settings --------------------------------------------------------------------------------------------------------
def test_the_perceptual_net_is_decided_once(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"none is at hand: run `ganvas fetch vgg19`.*or train with --perceptual none"):
        Config().resolved(None)
    with pytest.raises(MissingWeights, match="vgg19"):
        Config(perceptual="vgg19").resolved(None)
    assert Config(perceptual="none").resolved(None).perceptual == "none"
    assert Config().resolved({"perceptual": "none"}).perceptual == "none"
    assert Config().perceptual == "auto"
    assert games.system("pix2pixhd").configure({"perceptual": None}).perceptual == "auto"  # as it once was written
    monkeypatch.setenv("GANVAS_WEIGHTS", str(shared / "weights"))
    assert Config().resolved(None).perceptual == "alex"
    assert Config().resolved({"perceptual": "squeeze"}).perceptual == "squeeze"  # the run's
    assert Config(perceptual="alex").resolved({"perceptual": "squeeze"}).perceptual == "alex"  # the user's
    monkeypatch.setenv("GANVAS_WEIGHTS", str(tmp_path))
    (tmp_path / "vgg19-dcbb9e9d.pth").write_bytes(b"")
    with pytest.raises(Exception, match="truncated"):
        Config().resolved(None)


@pytest.mark.parametrize(
    ("data", "leaves", "match"),
    [
        ("pairs", {"encoder": True}, "pairs have none: leave encoder out"),
        ("labelled", {}, "learns from label maps with photographs, or from pairs"),
        ("maps", {"net": "global", "joint": "as-published"}, "joint is for the net local"),
        ("maps", {"width": 5}, "width must be even"),
        ("maps", {"downs": 5}, "Pictures of 32x32 do not fit this net: both sides must be multiples of 64"),
        ("maps", {"encoder_downs": 4}, "too small for these nets: both sides need 64 pixels"),
        ("maps", {"perceptual": "alex"}, "needs pictures of 31 pixels a side, and is shown 16 while G1 learns at half"),
        ("maps", {"scales": 4}, "scales of pix2pixhd must be"),
        ("maps", {"perceptual": "vgg"}, "has no perceptual 'vgg': did you mean"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(data: str, leaves: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        built(data, **leaves)


# ---- verbs -----------------------------------------------------------------------------------------------------------
def test_while_g1_is_all_that_has_learnt_it_translates_enlarged() -> None:
    game = built("maps", coarse=0.5, fixed=0.5)
    engine, rows = Engine(game, total_steps=4), batch("maps")
    engine.step(rows)
    style = game.style_of(rows["image"], rows["labels"])
    small = engine.averaged.translate(rows["labels"], style=style)
    assert small.shape == rows["image"].shape
    labels = rows["labels"][:, ::2, ::2]
    maps = torch.stack([labels == i for i in range(3)], 1).to(F64)
    alone = game.head(game.G.model(torch.cat([maps, style[:, :, ::2, ::2]], 1)))
    row = torch.tensor([1, 6, 1], dtype=F64) / 8  # what twos of a line have in the mean, enlarged linearly
    want = nn.functional.conv2d(alone.flatten(0, 1)[:, None], torch.outer(row, row)[None, None])
    torch.testing.assert_close(nn.functional.avg_pool2d(small, 2)[:, :, 1:-1, 1:-1].flatten(0, 1)[:, None], want)
    for _ in range(2):
        engine.step(rows)
    full = engine.averaged.translate(rows["labels"], style=style)
    torch.testing.assert_close(
        full, game.G(torch.cat([torch.stack([rows["labels"] == i for i in range(3)], 1), style], 1))
    )


def surveyed() -> tuple[Any, dict[str, Tensor], dict[int, list[np.ndarray]]]:
    """A game that has looked over three images, these, and what there was to see, by class."""
    game = built("instances").eval()
    labels = torch.zeros(3, 32, 32, dtype=torch.uint8)
    instances = torch.zeros(3, 32, 32, dtype=torch.int32)
    labels[:, 16:] = 1
    instances[:, 16:] = 7
    labels[:, :4, :4], instances[:, :4, :4] = 2, 40  # 16 pixels are 1/64: too small
    labels[1, 20:30, 20:30], instances[1, 20:30, 20:30] = 255, 9  # void has no style
    labels[2, 2:12, 20:30], instances[2, 2:12, 20:30] = 1, 300
    labels[2, 2:6, 20:30] = 2  # most of it is of class 1
    rows = {"labels": labels, "instances": instances, "image": batch(rows=3)["image"]}
    game.survey(
        [{name: values[:2] for name, values in rows.items()}, {name: values[2:] for name, values in rows.items()}], 3
    )
    style = game.style_of(rows["image"], labels, instances)
    regions = {0: [(b, 0) for b in range(3)], 1: [(0, 7), (1, 7), (2, 7), (2, 300)]}
    means = {
        label: [game.E(rows["image"])[b][:, instances[b] == i].mean(1).detach().numpy() for b, i in those]
        for label, those in regions.items()
    }
    for b, i in [*regions[0], *regions[1]]:
        inside = style[b][:, instances[b] == i]
        torch.testing.assert_close(inside, inside[:, :1].expand_as(inside), rtol=0, atol=0)
    return game, rows, means


def test_styles_are_clusters_of_what_large_regions_of_a_class_look_like() -> None:
    game, _, means = surveyed()
    assert game.styles.counts.tolist() == [3, 4, 0]
    for label, rows in means.items():
        ours = sorted(game.styles.centres[label, : len(rows)].tolist())
        np.testing.assert_allclose(ours, sorted(map(list, rows)), atol=1e-6)  # as many clusters as regions
    assert not game.styles.centres[2].any()
    many = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    game.styles.fit({2: torch.cat([many, many[:5]]), 0: many[:1].expand(7, 3)})
    assert game.styles.counts.tolist() == [1, 0, 10]
    fit = KMeans(10, n_init=10, random_state=0).fit(torch.cat([many, many[:5]]).double().numpy())
    np.testing.assert_allclose(game.styles.centres[2].numpy(), fit.cluster_centers_, atol=1e-6)


def test_a_region_has_one_style_of_its_class_drawn_by_the_seed() -> None:
    game, rows, _ = surveyed()
    labels, instances = rows["labels"], rows["instances"]
    style = game.draw_style(labels, instances, seed=5)
    for b in range(3):
        for i in instances[b].unique():
            inside = style[b][:, instances[b] == i]
            assert (inside == inside[:, :1]).all()
            kind = labels[b][instances[b] == i].long().bincount().argmax().item()
            count = int(game.styles.counts[kind]) if kind < 3 else 0
            known = game.styles.centres[kind, :count] if count else torch.zeros(1, 3, dtype=F64)
            assert (known == inside[:, 0]).all(1).any()
    alone = game.draw_style(labels[1:], instances[1:], seed=5, first=1)
    assert torch.equal(alone, style[1:])
    others = torch.stack([game.draw_style(labels, instances, seed=seed) for seed in range(12)])
    assert len(others[:, 0, :, 0, 31].unique(dim=0)) == 3  # every style of class 0 comes
    assert len(others[:, :, :, 31, 0].flatten(0, 1).unique(dim=0)) == 4
    edited = labels.clone()
    edited[2, 2:12, 20:30] = 0
    again = game.draw_style(edited, instances, seed=5)
    assert torch.equal(again[:, :, instances[2] != 300], style[:, :, instances[2] != 300])  # the rest stays
    assert not torch.equal(again[2], style[2])
    chosen = game.draw_style(labels, instances, chosen={1: 2}, seed=5)
    assert (chosen[:, :, 31, 0] == game.styles.centres[1, 2]).all()
    assert torch.equal(chosen[:, :, 10, 0], style[:, :, 10, 0])
    torch.testing.assert_close(
        game.translate(labels, instances=instances, seed=5), game.translate(labels, instances=instances, style=style)
    )


@pytest.mark.parametrize(
    ("chosen", "match"),
    [({3: 0}, "no class 3: classes go from 0 to 2"), ({2: 0}, "Class 2 has no styles"), ({0: 3}, "from 0 to 2")],
)
def test_styles_that_there_are_not_are_refused(chosen: dict[int, int], match: str) -> None:
    game, rows, _ = surveyed()
    with pytest.raises(UsageError, match=match):
        game.draw_style(rows["labels"], rows["instances"], chosen=chosen)


def test_without_clusters_styles_are_zeros_until_one_is_asked_for() -> None:
    game, rows = built("maps").eval(), batch("maps")
    assert not game.draw_style(rows["labels"], seed=3).any()
    with pytest.raises(UsageError, match="Class 1 has no styles"):
        game.draw_style(rows["labels"], chosen={1: 0})
    game = built("maps", encoder=False).eval()
    assert torch.equal(game.translate(rows["labels"], seed=1), game.translate(rows["labels"], seed=2))
    for verb in (lambda: game.draw_style(rows["labels"]), lambda: game.style_of(rows["image"], rows["labels"])):
        with pytest.raises(UsageError, match="knows no styles: it was trained without an encoder"):
            verb()


@pytest.mark.parametrize(
    ("data", "call", "match"),
    [
        ("instances", lambda g, b: g.translate(b["labels"]), "trained with instance maps"),
        ("instances", lambda g, b: g.translate(b["labels"], instances=b["instances"] - 1), "numbers from 0 to 65535"),
        ("instances", lambda g, b: g.translate(b["labels"], instances=b["instances"][:, :8]), "size of its label map"),
        ("maps", lambda g, b: g.translate(b["image"]), "translates label maps, not images"),
        ("maps", lambda g, b: g.translate(b["labels"] + 1), "no class 3: classes go from 0 to 2"),
        ("maps", lambda g, b: g.translate(b["labels"][:, :20]), "32x20 do not fit this net.*multiples of 8"),
        ("maps", lambda g, b: g.translate(b["labels"][:, :8]), "too small for these nets: both sides need 16"),
        ("maps", lambda g, b: g.translate(b["labels"], direction="BtoA"), "no direction 'BtoA'"),
        ("maps", lambda g, b: g.style_of(b["image"][..., :16], b["labels"]), "must be of one size"),
        ("pairs", lambda g, b: g.translate(b["A"][:, 0].to(torch.uint8)), "must be float64 .N, C, H, W."),
        ("pairs", lambda g, b: g.translate(b["A"], style=b["B"]), "knows no styles"),
        ("pairs", lambda g, b: g.translate(b["A"], instances=b["A"]), "learnt without instances"),
    ],
)
def test_what_cannot_be_translated_is_refused_in_a_sentence(data: str, call: Any, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        call(built(data).eval(), batch(data))
