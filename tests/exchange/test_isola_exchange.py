"""CycleGAN's and pix2pix's published checkpoints, in and out: held to layer tables and to independent ports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ganvas
import layouts
import translation_originals as originals
from ganvas import games
from ganvas.errors import DataError, UsageError
from ganvas.exchange import export_published, import_run
from ganvas.nets.isola import PatchCritic, ResnetGenerator, UNetGenerator
from ganvas.settings import missing_parts
from layouts import Shapes, counted, filled, patches, pixels, resnet, save, unet


@pytest.mark.parametrize(
    ("shapes", "ours", "theirs", "parameters"),
    [
        (resnet(), (ResnetGenerator, 3, 3), (originals.ResnetGenerator, 3, 3), 11_378_179),
        (resnet(blocks=6), (ResnetGenerator, 3, 3, 64, 6), (originals.ResnetGenerator, 3, 3, 64, 6), 7_837_699),
        (resnet(3, 1, 8, 6, "batch", True), (ResnetGenerator, 3, 1, 8, 6, "batch", True),
         (originals.ResnetGenerator, 3, 1, 8, 6, "batch", True), None),
        (unet(), (UNetGenerator, 3, 3), (originals.UnetGenerator, 3, 3), 54_413_955),
        (unet(downs=7), (UNetGenerator, 3, 3, 64, 7), (originals.UnetGenerator, 3, 3, 64, 7), 41_828_995),
        (unet(1, 3, 8, 5, "instance"), (UNetGenerator, 1, 3, 8, 5, "instance"),
         (originals.UnetGenerator, 1, 3, 8, 5, "instance"), None),
        (patches(), (PatchCritic, 3), (originals.PatchDiscriminator, 3), 2_764_737),
        (patches(6, kind="batch"), (PatchCritic, 6, 64, 3, "batch"),
         (originals.PatchDiscriminator, 6, 64, 3, "batch"), 2_768_705),
        (patches(3, 8, 5), (PatchCritic, 3, 8, 5), (originals.PatchDiscriminator, 3, 8, 5), None),
    ],
)  # fmt: skip
def test_our_nets_have_the_published_keys_shapes_and_counts(
    shapes: Shapes, ours: Any, theirs: Any, parameters: int | None
) -> None:
    with torch.device("meta"):
        nets: list[nn.Module] = [make(*how) for make, *how in (ours, theirs)]
    for net in nets:
        assert {key: tuple(value.shape) for key, value in net.state_dict().items()} == shapes
    if parameters is not None:
        assert counted(shapes) == sum(p.numel() for p in nets[0].parameters()) == parameters


def picture(channels: int, side: int) -> Tensor:
    return torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(9)) * 2 - 1


@torch.no_grad()
def one_by_one(net: nn.Module, state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The authors' net as their test script runs it: in training mode at batch 1, but without dropout."""
    net.load_state_dict(state)
    net.train()
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    return torch.cat([net(one[None]) for one in x])


def near(a: Tensor, b: Tensor) -> bool:
    assert b.std() > 0.01  # not flat
    return float((a - b).abs().max()) < 1e-5


@pytest.mark.parametrize(
    ("kind", "blocks", "dropout"), [("instance", 9, False), ("instance", 6, True), ("batch", 2, False)]
)
def test_both_directions_and_critics_of_cyclegan_are_the_originals(
    kind: str, blocks: int, dropout: bool, tmp_path: Path
) -> None:
    shapes = {f"G_{x}": resnet(3, 3, 4, blocks, kind, dropout) for x in "AB"}
    shapes |= {f"D_{x}": patches(3, 4, 2, kind) for x in "AB"}
    states = {part: filled(shape, seed) for seed, (part, shape) in enumerate(shapes.items())}
    for part, state in states.items():
        torch.save(state, tmp_path / part)
    run = import_run("cyclegan", {part: tmp_path / part for part in states}, out=tmp_path / "run")
    game, x = ganvas.load(run.folder), picture(3, 32)
    for part, direction in (("G_A", "AtoB"), ("G_B", "BtoA")):
        theirs = one_by_one(originals.ResnetGenerator(3, 3, 4, blocks, kind, dropout), states[part], x)
        assert near(game.translate(x, direction=direction), theirs)
    for part in ("D_A", "D_B"):
        theirs = one_by_one(originals.PatchDiscriminator(3, 4, 2, kind), states[part], x)
        with torch.no_grad():
            assert near(getattr(game, part)(x), theirs)
    told = {"net": "resnet", "width": 4, "blocks": blocks, "norm": kind, "dropout": dropout, "critic_width": 4,
            "critic_layers": 2}  # fmt: skip
    assert run.config.leaves.items() >= told.items()
    assert run.config.data == "unpaired:imported?load_size=256"
    assert run.config.schema == {"A": [3, 256, 256], "B": [3, 256, 256]}


@pytest.mark.parametrize(("kind", "downs", "channels"), [("batch", 8, (3, 3)), ("instance", 7, (1, 3)),
                                                        ("batch", 5, (3, 1))])  # fmt: skip
def test_the_u_net_and_the_critic_of_pix2pix_are_the_originals(
    kind: str, downs: int, channels: tuple[int, int], tmp_path: Path
) -> None:
    a, b = channels
    G, D = filled(unet(a, b, 2, downs, kind), 1), filled(patches(a + b, 4, 3, kind), 2)
    torch.save(G, tmp_path / "G")
    torch.save(D, tmp_path / "D")
    run = import_run("pix2pix", {"G": tmp_path / "G", "D": tmp_path / "D"}, out=tmp_path / "run")
    side = max(32, 2**downs)
    game, x, pair = ganvas.load(run.folder), picture(a, side), picture(a + b, 64)
    assert near(game.translate(x), one_by_one(originals.UnetGenerator(a, b, 2, downs, kind, True), G, x))
    with torch.no_grad():
        assert near(game.D(pair), one_by_one(originals.PatchDiscriminator(a + b, 4, 3, kind), D, pair))
    sized = {8: 256, 7: 128, 5: 256}[downs]
    assert run.config.data == f"paired:imported?load_size={sized}" + "&channels=grey" * (a == 1)
    assert run.config.schema == {"A": [a, sized, sized], "B": [b, sized, sized]}


def test_a_file_of_2017_loads_without_what_it_kept_in_vain(tmp_path: Path) -> None:
    """Instance norms with statistics, batch norms without counters, DataParallel, torch's old format."""
    shapes = resnet(3, 3, 4, 6)
    state = filled(shapes)
    stale = dict(state)
    for key, channels in layouts.convolutions(shapes):
        head, _, index = key.rpartition(".")
        stale |= layouts.statistics(f"{head}.{int(index) + 1}", channels)
    assert len(stale) > 1.9 * len(state)
    old: Any = {f"module.{key}": value for key, value in stale.items()}
    torch.save(old, tmp_path / "old", _use_new_zipfile_serialization=False)
    torch.save(state, tmp_path / "new")
    games_ = [ganvas.load(import_run("cyclegan", {"G_A": tmp_path / name}, out=tmp_path / f"run-{name}",
                                      critic_width=4).folder)
              for name in ("old", "new")]  # fmt: skip
    x = picture(3, 32)
    assert torch.equal(*(game.translate(x) for game in games_))

    batch = {key: value for key, value in filled(unet(3, 3, 4, 5)).items() if "num_batches" not in key}
    torch.save(batch, tmp_path / "batch", _use_new_zipfile_serialization=False)
    game = ganvas.load(import_run("pix2pix", {"G": tmp_path / "batch"}, out=tmp_path / "run").folder)
    for key, value in batch.items():
        assert torch.equal(game.G.state_dict()[key], value)


def test_one_direction_alone_is_enough_and_the_rest_is_named(tmp_path: Path) -> None:
    run = import_run("cyclegan", {"G_A": save(tmp_path / "horse2zebra.pth", resnet(3, 3, 4, 9))}, out=tmp_path / "run",
                     critic_width=4)  # fmt: skip
    assert missing_parts(run.config) == ["G_B", "D_A", "D_B"]
    assert run.config.verbs == ["translate"]
    critic = import_run("pix2pix", {"D": save(tmp_path / "D.pth", patches(6, 4))}, out=tmp_path / "critic",
                        width=4)  # fmt: skip
    assert (missing_parts(critic.config), critic.config.verbs) == (["G"], [])


def test_channels_and_directions_are_read_or_said(tmp_path: Path) -> None:
    grey = save(tmp_path / "grey", resnet(3, 1, 4, 2))
    c = import_run("cyclegan", {"G_A": grey}, out=tmp_path / "a", size=(64, 32), critic_width=4).config
    assert c.schema == {"A": [3, 32, 64], "B": [1, 32, 64]}
    assert (c.leaves["identity"], c.data) == (0.0, "unpaired:imported?load_size=64x32&crop=64x32")
    c = import_run(
        "pix2pix", {"G": save(tmp_path / "u", unet(1, 3, 4, 5))}, out=tmp_path / "b", direction="BtoA"
    ).config
    assert (c.schema["A"][0], c.schema["B"][0]) == (3, 1)
    maps = save(tmp_path / "maps", unet(12, 3, 4, 5))
    with pytest.raises(UsageError, match=r"not 12; where the input is a label map .* say --labels 12\."):
        import_run("pix2pix", {"G": maps}, out=tmp_path / "c")
    c = import_run("pix2pix", {"G": maps}, out=tmp_path / "c", labels=12).config
    assert c.schema == {"labels": [256, 256], "image": [3, 256, 256]}
    assert (len(c.classes), c.data) == (12, "labels:imported?load_size=256&classes=12")


@pytest.mark.parametrize("system", ["cyclegan", "pix2pix"])
@pytest.mark.parametrize("net", ["resnet", "unet"])
def test_out_and_in_again_is_the_same_to_the_bit(system: str, net: str, tmp_path: Path) -> None:
    G = resnet(3, 3, 4, 6, "instance", True) if net == "resnet" else unet(3, 3, 4, 7, "instance")
    kinds = games.system(system).game
    parts = {"G_A": G, "G_B": G, "D_A": patches(3, 4), "D_B": patches(3, 4)} if system == "cyclegan" else {
        "G": G, "D": patches(6, 4)}  # fmt: skip
    files = {part: save(tmp_path / part, shapes, i) for i, (part, shapes) in enumerate(parts.items())}
    run = import_run(system, files, out=tmp_path / "run")
    assert isinstance(run.load_game(), kinds)
    found = export_published(run, tmp_path / "out")
    assert [one.file.name for one in found] == [f"latest_net_{part}.pth" for part in parts]
    for one in found:
        first, again = (torch.load(path, weights_only=True) for path in (files[one.part], one.file))
        assert list(first) == list(again)
        assert all(torch.equal(first[key], again[key]) for key in first)
        assert one.difference < 1e-5
    text = (tmp_path / "out" / "README.txt").read_text()
    kind = "resnet_6blocks --norm instance" if net == "resnet" else "unet_128 --norm instance --no_dropout"
    assert f"--netG {kind}" in text or f"--netG {kind.removesuffix(' --no_dropout')}" in text
    assert "--input_nc 3 --output_nc 3 --ngf 4 --ndf 4 --netD n_layers --n_layers_D 3" in text
    again = import_run(system, {one.part: one.file for one in found}, out=tmp_path / "again")
    assert {name: value for name, value in again.config.leaves.items() if name != "dropout"} == {
        name: value for name, value in run.config.leaves.items() if name != "dropout"
    }


@pytest.mark.parametrize(
    ("part", "shapes", "sentence"),
    [
        ("G_A", pixels(), "it looks like a pixel discriminator of pix2pix, which is a discriminator; its keys are net"),
        ("D_A", pixels(), "it holds a pixel discriminator, which ganvas does not have; import the other"),
        ("D_A", resnet(3, 3, 4), "it looks like a ResNet generator of CycleGAN, which is a generator"),
        ("G_A", patches(3, 4), "it looks like a PatchGAN discriminator of CycleGAN and pix2pix, which is a disc"),
        ("G_A", {"main.0.weight": (4, 4, 4, 4), "main.1.weight": (4,)}, "it looks like the netG of the DCGAN"),
        ("G_A", {"features.0.weight": (4, 3, 3, 3)}, "it looks like a net of none of these systems; its keys"),
        ("G_A", {k: v for k, v in resnet(3, 3, 4).items() if k != "model.12.conv_block.5.bias"},
         r"it has no model\.12\.conv_block\.5\.bias"),
        ("G_A", resnet(3, 3, 4) | {"model.19.weight": (16, 9, 3, 3)}, r"model\.19\.weight is 16x9x3x3, not 16x8x3x3"),
        ("G_A", resnet(3, 3, 4) | {"model.27.alpha": (1,)}, r"it has model\.27\.alpha, which the net does not have"),
        ("G_A", {k: v for k, v in resnet(3, 3, 4).items() if k.endswith("weight") or k == "model.26.bias"},
         r"it has no norms: neither the statistics of batch norm, nor a bias in each"),
        ("G_A", resnet(3, 3, 4) | {"model.2.weight": (4,), "model.2.bias": (4,)},
         r": it has model\.2\.weight, model\.2\.bias, which the net does not have\.$"),
        ("G", resnet(3, 3, 4), "cyclegan has no part 'G': one of: G_A, G_B, D_A, D_B"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_sentence_and_writes_nothing(
    part: str, shapes: Shapes, sentence: str, tmp_path: Path
) -> None:
    file = save(tmp_path / "file.pth", shapes)
    with pytest.raises((DataError, UsageError), match=sentence) as refused:
        import_run("cyclegan", {part: file}, out=tmp_path / "run")
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == [file]


def test_parts_that_contradict_each_other_are_named(tmp_path: Path) -> None:
    wide, narrow = save(tmp_path / "wide", resnet(3, 3, 8, 2)), save(tmp_path / "narrow", resnet(3, 3, 4, 2))
    critic, six = save(tmp_path / "critic", patches(3, 4, 3, "batch")), save(tmp_path / "six", patches(6, 4))
    for system, parts, how, sentence in (
        ("cyclegan", {"G_A": wide, "G_B": narrow}, {}, "width is 8 in .*wide and 4 in .*narrow, and cyclegan has one"),
        ("cyclegan", {"G_A": wide, "D_A": critic}, {}, "norm is instance in .* and batch in .*critic"),
        ("cyclegan", {"G_A": wide, "D_A": six}, {}, "channels of B is 3 in .*wide and 6 in .*six"),
        ("pix2pix", {"G": wide, "D": critic}, {}, "norm is|channels of the input is"),
        ("cyclegan", {"G_A": wide}, {"norm": "batch"}, "norm is instance in .*wide, not batch: remove --norm"),
        ("cyclegan", {"G_A": wide}, {"net": "unet"}, "net is resnet in .*wide, not unet: remove --net"),
        ("cyclegan", {"G_A": wide}, {"size": (30, 30)}, "Pictures of 30x30 do not fit this net"),
        ("cyclegan", {"G_A": wide}, {"labels": 3}, "remove --labels"),
        ("pix2pix", {"G": wide}, {"labels": 4}, "takes 3 channels, one for each class, not 4"),
    ):  # fmt: skip
        with pytest.raises((DataError, UsageError), match=sentence):
            import_run(system, parts, out=tmp_path / "run", **how)
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [
        (resnet(3, 3, 4, 2), "knows 6 and 9 blocks: add this one with n_blocks=2."),
        (resnet(3, 3, 4, 6), None),
        (unet(3, 3, 4, 5), "knows 7 and 8 levels: add this one as UnetGenerator(5, ...)."),
        (unet(3, 3, 4, 7), None),
    ],
)
def test_nets_that_the_authors_flags_do_not_name_are_told(shapes: Shapes, sentence: str | None, tmp_path: Path) -> None:
    run = import_run("pix2pix", {"G": save(tmp_path / "G", shapes)}, out=tmp_path / "run", critic_width=4)
    export_published(run, tmp_path / "out")
    text = (tmp_path / "out" / "README.txt").read_text()
    assert ("define_G" in text) == (sentence is not None)
    assert sentence is None or sentence in text


@pytest.mark.parametrize(("inputs", "outputs", "labels"), [(1, 1, 0), (5, 1, 5), (3, 1, 0)])
def test_a_run_of_grey_pictures_comes_out_too(inputs: int, outputs: int, labels: int, tmp_path: Path) -> None:
    parts = {"G": unet(inputs, outputs, 4, 5, "instance"), "D": patches(inputs + outputs, 4)}
    files = {part: save(tmp_path / part, shapes, i) for i, (part, shapes) in enumerate(parts.items())}
    run = import_run("pix2pix", files, out=tmp_path / "run", labels=labels or None)
    assert [one.difference < 1e-5 for one in export_published(run, tmp_path / "out")] == [True, True]
    if inputs == outputs:  # two channels leave none for the input of a picture in colour
        assert import_run("pix2pix", {"D": files["D"]}, out=tmp_path / "alone").config.schema["B"][0] == 1
