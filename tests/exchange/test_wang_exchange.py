"""pix2pixHD's published checkpoints, in and out: held to the layer tables and to eager ports of its nets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ganvas
import layouts
import translation_originals as originals
from ganvas.errors import DataError, UsageError
from ganvas.exchange import export_published, import_run
from ganvas.nets.wang import Encoder, GlobalGenerator, LocalEnhancer, MultiscaleCritic
from ganvas.run import Run
from ganvas.settings import missing_parts
from layouts import Shapes, coarse, counted, encoder, filled, local, save, scales

TINY = {"width": 4, "downs": 2, "blocks": 2, "critic_width": 4, "scales": 1}  # of what no file is given for


@pytest.mark.parametrize(
    ("shapes", "ours", "theirs", "parameters"),
    [
        (coarse(), (GlobalGenerator, 36), (originals.GlobalGenerator, 36), 182_546_755),
        (coarse(3), (GlobalGenerator, 3), (originals.GlobalGenerator, 3), 182_443_267),
        (local(), (LocalEnhancer, 36), (originals.LocalEnhancer, 36), 182_857_059),
        (encoder(), (Encoder,), (originals.Encoder,), 788_803),
        (scales(), (MultiscaleCritic, 39, 64, 3, 1), (originals.MultiscaleDiscriminator, 39, 64, 3, 1), 2_801_601),
        (scales(count=3), (MultiscaleCritic, 39), (originals.MultiscaleDiscriminator, 39, 64, 3, 3), 3 * 2_801_601),
    ],
)
def test_our_nets_have_the_published_keys_shapes_and_counts(
    shapes: Shapes, ours: Any, theirs: Any, parameters: int
) -> None:
    with torch.device("meta"):
        nets: list[nn.Module] = [make(*how) for make, *how in (ours, theirs)]
    for net in nets:
        assert {key: tuple(value.shape) for key, value in net.state_dict().items()} == shapes
    assert counted(shapes) == sum(p.numel() for p in nets[0].parameters()) == parameters


def numbers(high: int, *shape: int) -> Tensor:
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(4))


def picture(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(9)) * 2 - 1


def near(a: Tensor, b: Tensor) -> bool:
    assert b.std() > 0.01  # not flat
    return float((a - b).abs().max()) < 1e-5


def blocky(x: Tensor, times: int = 8) -> Tensor:
    return x.repeat_interleave(times, -1).repeat_interleave(times, -2)


@pytest.mark.parametrize(("net", "style"), [("global", 0), ("local", 0), ("local", 3)])
@torch.no_grad()
def test_a_label_map_becomes_the_originals_picture(net: str, style: int, tmp_path: Path) -> None:
    inputs = 5 + 1 + style
    shapes = coarse(inputs, 3, 4, 2, 2) if net == "global" else local(inputs, 3, 4, 2, 2, 1)
    files = {"G": save(tmp_path / "G", shapes, 1), "D": save(tmp_path / "D", scales(9, 4, 2, 2), 2)}
    files |= {"E": save(tmp_path / "E", encoder(style, 4, 1), 3)} if style else {}
    run = import_run("pix2pixhd", files, out=tmp_path / "run", labels=5)
    game, c = ganvas.load(run.folder), run.config
    assert missing_parts(c) == []
    assert run.commands()[0].startswith("ganvas train pix2pixhd --data 'SPEC?classes=5' --preset paper --")
    assert (len(c.classes), "instances" in c.schema, c.leaves["encoder"]) == (5, True, style > 0)

    labels, instances = blocky(numbers(5, 1, 4, 4)).to(torch.uint8), blocky(numbers(9, 1, 4, 4)).int()
    x = torch.cat([originals.one_hot(labels, 5), originals.edges(instances)], 1)
    G = (originals.GlobalGenerator(inputs, 3, 4, 2, 2) if net == "global"
         else originals.LocalEnhancer(inputs, 3, 4, 2, 2, 1, 1))  # fmt: skip
    G.load_state_dict(torch.load(files["G"], weights_only=True))
    how: dict[str, Any] = {"instances": instances}
    if style:
        E, photo = originals.Encoder(style, 4, 1), picture(1, 3, 32, 32)
        E.load_state_dict(torch.load(files["E"], weights_only=True))
        how["style"] = game.style_of(photo, labels, instances)
        assert near(how["style"], E(photo, instances))
        made = game.translate(labels, **how)
        x = torch.cat([x, E(photo, instances)], 1)
    else:
        made = game.translate(labels, **how)
    assert near(made, G(x))

    D = originals.MultiscaleDiscriminator(9, 4, 2, 2)
    D.load_state_dict(torch.load(files["D"], weights_only=True))
    seen = torch.cat([x[:, :6], picture(1, 3, 32, 32)], 1)
    for ours, theirs in zip(game.D(seen), D(seen), strict=True):
        assert all(near(a, b) for a, b in zip(ours, theirs, strict=True))


@torch.no_grad()
def test_pictures_in_and_batch_norm(tmp_path: Path) -> None:
    shapes = coarse(3, 3, 4, 3, 2, "batch")
    run = import_run("pix2pixhd", {"G": save(tmp_path / "G", shapes, 1)}, out=tmp_path / "run", **TINY | {"downs": 3})
    G, x = originals.GlobalGenerator(3, 3, 4, 3, 2, "batch"), picture(2, 3, 32, 64)
    G.load_state_dict(filled(shapes, 1))
    assert near(ganvas.load(run.folder).translate(x), torch.cat([G.train()(one[None]) for one in x]))
    assert (run.config.data, run.config.schema["A"]) == ("paired:imported?scale_width=1024", [3, 512, 1024])
    assert missing_parts(run.config) == ["D"]


@torch.no_grad()
def test_critics_without_feature_matching_are_the_same_nets_under_other_keys(tmp_path: Path) -> None:
    for kind in ("instance", "batch"):
        matching, plain = (scales(6, 4, 3, 2, kind, matching) for matching in (True, False))
        assert list(plain)[:3] == ["layer0.0.weight", "layer0.0.bias", "layer0.2.weight"]
        assert plain.keys() >= {f"layer{i}.{j}.bias" for i in range(2) for j in (0, 2, 5, 8, 11)}
        states = filled(matching), filled(plain)
        for name, state in zip("ab", states, strict=True):
            torch.save(state, tmp_path / name)
        games = [
            ganvas.load(import_run("pix2pixhd", {"D": tmp_path / name}, out=tmp_path / f"{kind}-{name}", **TINY
                                   | {"scales": 2}).folder)
            for name in "ab"
        ]  # fmt: skip
        for a, b in zip(*(game.D.state_dict().items() for game in games), strict=True):
            assert a[0] == b[0]
            assert torch.equal(a[1], b[1])


@pytest.mark.parametrize(
    ("takes", "sees", "how", "sentence"),
    [
        (36, None, {}, r"G has 36 channels in, and no file tells of what: say --labels 36 \(36 labels\), --labels 35 "
         r"\(35 labels \+ edges\), --labels 33 \(33 labels \+ 3 features of E\), --labels 32 \(32 labels \+ edges \+ "
         r"3 features of E\)\."),
        (36, None, {"encoder": False}, r"say --labels 36 \(36 labels\), --labels 35 \(35 labels \+ edges\)\."),
        (36, None, {"encoder": True, "style_channels": 4}, r"--labels 32 .*, --labels 31 \(31 labels \+ edges \+ 4 "),
        (39, 39, {}, r"--labels 36 \(36 labels \+ 3 features of E\), --labels 35 \(35 labels \+ edges \+ 3 feat"),
        (36, 39, {"labels": 30}, r"G has 36 channels in.* say --labels 36 \(36 labels\), .*, not --labels 30\."),
        (None, 39, {}, r"D has 36 channels beside a picture, .* --labels 36 \(36 labels\), --labels 35 \(35 labels"),
        (30, 39, {}, "G takes 30 channels, and .*D sees 36 beside a picture: they are not of one model"),
        (36, None, {"labels": 0}, "--labels 0: the input is no picture, for it has 36 channels"),
        (36, None, {"labels": 35, "width": 8}, "width is 4 in .*G, not 8: remove --width"),
    ],
)  # fmt: skip
def test_what_channels_are_is_asked_with_the_sum(
    takes: int | None, sees: int | None, how: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    files = {} if takes is None else {"G": save(tmp_path / "G", coarse(takes, 3, 4, 2, 1))}
    files |= {} if sees is None else {"D": save(tmp_path / "D", scales(sees, 4, 2, 1))}
    with pytest.raises((UsageError, DataError), match=sentence) as refused:
        import_run("pix2pixhd", files, out=tmp_path / "run", **how)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("part", "shapes", "sentence"),
    [
        ("G", local(6, 3, 4, 2, 1) | {"model2_1.1.weight": (2, 6, 7, 7)}, "two local enhancers, and ganvas has one"),
        ("G", {k: v for k, v in local(6, 3, 4, 2, 1).items() if not k.startswith("model1_2.2")},
         r"it has no model1_2\.6\.weight"),
        ("G", encoder(3, 4, 2), "it looks like the encoder of pix2pixHD, which is an encoder"),
        ("E", coarse(6, 3, 4, 2, 1), "it looks like a ResNet generator of CycleGAN, which is a generator"),
        ("D", layouts.patches(6, 4), "it looks like a PatchGAN discriminator of CycleGAN and pix2pix"),
        ("D", {k: v for k, v in scales(9, 4, 2, 2).items() if not k.startswith("scale1_layer0")},
         r"it has no scale1_layer0\.0\.weight"),
    ],
)  # fmt: skip
def test_what_is_no_part_is_one_sentence(part: str, shapes: Shapes, sentence: str, tmp_path: Path) -> None:
    file = save(tmp_path / "file", shapes)
    with pytest.raises(DataError, match=sentence):
        import_run("pix2pixhd", {part: file}, out=tmp_path / "run", labels=5)
    assert list(tmp_path.iterdir()) == [file]


def test_out_and_in_again_is_the_same_to_the_bit(tmp_path: Path) -> None:
    shapes = {"G": local(9, 3, 4, 2, 2, 1), "D": scales(9, 4, 2, 2), "E": encoder(3, 4, 1)}
    files = {part: save(tmp_path / part, shape, i) for i, (part, shape) in enumerate(shapes.items())}
    run = import_run("pix2pixhd", files, out=tmp_path / "run", labels=5)
    found = export_published(run, tmp_path / "out")
    assert [one.part for one in found] == ["G", "D", "E"]
    for one in found:
        first, again = (torch.load(path, weights_only=True) for path in (files[one.part], one.file))
        assert list(first) == list(again)
        assert all(torch.equal(first[key], again[key]) for key in first)
        assert one.difference < 1e-5
    text = (tmp_path / "out" / "README.txt").read_text()
    assert "--netG local --ngf 4 --n_downsample_global 2 --n_blocks_global 2 --n_local_enhancers 1" in text
    assert "--ndf 4 --n_layers_D 2 --num_D 2 --label_nc 5 --output_nc 3 --instance_feat --feat_num 3 --nef 4" in text
    again = import_run("pix2pixhd", {one.part: one.file for one in found}, out=tmp_path / "again", labels=5)
    assert again.config.leaves == run.config.leaves


@torch.no_grad()
def test_a_run_whose_g1_alone_has_learnt_goes_out_as_the_global_generator(tmp_path: Path) -> None:
    shapes = {"G": local(6, 3, 4, 2, 2, 1), "D": scales(9, 4, 2, 2)}
    files = {part: save(tmp_path / part, shape, i) for i, (part, shape) in enumerate(shapes.items())}
    run = import_run("pix2pixhd", files, out=tmp_path / "run", labels=5, coarse=0.5, size=(32, 32))
    game = run.load_game()
    game.coarsely.fill_(True)  # type: ignore[operator,union-attr]
    run.save(0, weights=game.state_dict(), average=game.state_dict(), state={})
    run = Run.open(run.folder)
    G, D = export_published(run, tmp_path / "out")
    assert G.difference < 1e-5
    assert D.difference < 1e-5
    original = originals.GlobalGenerator(6, 3, 8, 2, 2)
    original.load_state_dict(torch.load(G.file, weights_only=True))
    x = picture(1, 6, 32, 32)
    assert near(run.load_game().alone(x), original(x))  # type: ignore[operator]
    assert {key.partition("_")[0] for key in torch.load(D.file, weights_only=True)} == {"scale0"}
    text = (tmp_path / "out" / "README.txt").read_text()
    assert "--netG global --ngf 8" in text
    assert "--num_D 1" in text
    assert "half the size" in text


def test_a_published_g1_starts_a_local_enhancer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As --load_pretrain: G1 but for its last layer, and the critics of the coarser scales."""
    from ganvas.training import _start_from

    files = {"G": save(tmp_path / "G", coarse(6, 3, 4, 2, 2)), "D": save(tmp_path / "D", scales(9, 4, 2, 1))}
    run = import_run("pix2pixhd", files, out=tmp_path / "run", labels=5)
    sized: dict[str, Any] = {"labels": 5, "encoder": False, "critic_width": 4, "critic_layers": 2, "scales": 2}
    enhancer = save(tmp_path / "L", local(6, 3, 2, 2, 2, 1))
    other = import_run("pix2pixhd", {"G": enhancer}, out=tmp_path / "other", **sized)
    game = other.build_game()
    _start_from(game, run, quiet=False)
    fresh = capsys.readouterr().err.partition("starting fresh: ")[2].strip().split(", ")
    theirs = filled(coarse(6, 3, 4, 2, 2))
    for key, value in game.state_dict().items():
        if key.startswith("G.model."):
            assert torch.equal(value, theirs[key.removeprefix("G.")])
    assert {".".join(name.split(".")[:2]).partition("_layer")[0] for name in fresh} >= {"G.model1_1", "G.model1_2"}
    assert any(name.startswith("D.scale1") for name in fresh)
    assert not any(name.startswith(("G.model.", "D.scale0")) for name in fresh)
