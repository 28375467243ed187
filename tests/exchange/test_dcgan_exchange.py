"""The DCGAN of pytorch/examples, written out here from its description, in and out."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ganvas
from ganvas.errors import DataError, RunError, UsageError
from ganvas.exchange import export_published, import_run
from ganvas.run import Run
from ganvas.settings import missing_parts


def net_g(nz: int = 100, ngf: int = 64, nc: int = 3, factors: tuple[int, ...] = (8, 4, 2, 1)) -> nn.Module:
    """All transposed convolutions of 4x4 without bias; the first from a single pixel. factors: channels, times ngf; one
    more or less for images of 128x128 or 32x32."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise([nz, *(ngf * factor for factor in factors)])):
        layers += [nn.ConvTranspose2d(a, b, 4, 2 if i else 1, 1 if i else 0, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    layers += [nn.ConvTranspose2d(ngf, nc, 4, 2, 1, bias=False), nn.Tanh()]
    return nn.ModuleDict({"main": nn.Sequential(*layers)})


def net_d(ndf: int = 64, nc: int = 3, factors: tuple[int, ...] = (1, 2, 4, 8)) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(nc, ndf, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
    for a, b in pairwise(ndf * factor for factor in factors):
        layers += [nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.2)]
    layers += [nn.Conv2d(factors[-1] * ndf, 1, 4, 1, 0, bias=False), nn.Sigmoid()]
    return nn.ModuleDict({"main": nn.Sequential(*layers)})


def trained(net: nn.Module) -> nn.Module:
    """With weights and statistics that no initialisation has."""
    torch.manual_seed(5)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.3)
            nn.init.normal_(module.bias, 0, 0.3)
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            module.num_batches_tracked += 12
    return net.eval()


def save(net: nn.Module, path: Path) -> Path:
    torch.save(net.state_dict(), path)
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return {"G": save(trained(net_g(7, 4)), tmp_path / "netG.pth"), "D": save(trained(net_d(4)), tmp_path / "netD.pth")}


def test_the_nets_here_are_the_examples() -> None:
    assert sum(p.numel() for p in net_g().parameters()) == 3_576_704
    assert sum(p.numel() for p in net_d().parameters()) == 2_765_568


SIZES = [  # sides, and channels of the stages of D as multiples of the first
    (64, (1, 2, 4, 8)),
    (32, (1, 2, 4)),
    (16, (1, 2)),
    (128, (1, 2, 4, 8, 16)),
    (128, (1, 2, 4, 8, 8)),
    (64, (1, 2, 4, 4)),
]


@torch.no_grad()
@pytest.mark.parametrize(("nc", "side", "factors"), [(1, *SIZES[0]), *((3, *size) for size in SIZES)])
def test_the_same_weights_give_the_same_pictures_and_scores(
    nc: int, side: int, factors: tuple[int, ...], tmp_path: Path
) -> None:
    theirs = {"G": trained(net_g(7, 4, nc, factors[::-1])), "D": trained(net_d(4, nc, factors))}
    run = import_run("dcgan", {part: save(net, tmp_path / part) for part, net in theirs.items()}, out=tmp_path / "run")
    game = ganvas.load(run.folder)
    z, x = torch.randn(3, 7), torch.rand(3, nc, side, side) * 2 - 1
    picture = theirs["G"]["main"](z[:, :, None, None])  # type: ignore[index]
    assert (game.decode(z) - picture).abs().max() < 1e-5
    assert picture.std() > 0.01  # not gray on gray
    score = theirs["D"]["main"](x).flatten()  # type: ignore[index]
    assert (torch.sigmoid(game.D(x)) - score).abs().max() < 1e-5
    assert score.std() > 1e-4
    c = run.config
    assert (c.leaves["width"], c.leaves["latent"], c.schema) == (4, 7, {"image": [nc, side, side]})
    assert missing_parts(c) == []
    assert game.sample(2, seed=3).shape == (2, nc, side, side)
    found = export_published(run, tmp_path / "out")
    for one in found:
        theirs[one.part].load_state_dict(torch.load(one.file, weights_only=True))
        assert one.difference < 1e-5
    text = (tmp_path / "out" / "README.txt").read_text()
    assert f"--imageSize {side} --nz 7 --ngf 4" in text
    assert ("main.py has nets for 64x64" in text) == (factors != (1, 2, 4, 8))


@pytest.mark.parametrize(("preset", "side"), [("tiny", 32), ("small", 64), ("paper", 64), ("small", 128)])
def test_what_is_trained_here_goes_out_and_gives_the_same_images(preset: str, side: int, tmp_path: Path) -> None:
    """Every preset, and the usual sizes, trained from scratch."""
    how: dict[str, Any] = {"width": 4, "latent": 6, "lr_generator": 0.01, "lr_critic": 0.01}
    if preset == "small" and side == 64:
        how |= {"widest": 2, "loss": "lsgan"}
    run = ganvas.train("dcgan", data=f"digits?limit=16&size={side}", preset=preset, steps=3, batch_size=8, quiet=True,
                       device="cpu", out=tmp_path / "run", **how)  # fmt: skip
    assert run.config.not_exportable is None
    found = {one.part: one for one in export_published(run, tmp_path / "out")}
    stages = side.bit_length() - 3
    factors = tuple(min(2**i, how.get("widest", 8)) for i in range(stages))
    theirs: dict[str, Any] = {"G": net_g(6, 4, 1, factors[::-1]).eval(), "D": net_d(4, 1, factors).eval()}
    for part, net in theirs.items():
        net.load_state_dict(torch.load(found[part].file, weights_only=True))  # strict
    game = ganvas.load(run.folder)
    z, x = game.prior(5, seed=3), torch.rand(5, 1, side, side) * 2 - 1
    with torch.no_grad():
        picture, score = theirs["G"]["main"](z[:, :, None, None]), theirs["D"]["main"](x).flatten()
        ours = game.decode(z), torch.sigmoid(game.D(x))
    assert picture.std() > 1e-3
    assert (ours[0] - picture).abs().max() < 1e-5
    assert (ours[1] - score).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("how", "data", "why"),
    [
        ({"conditional": True}, "digits?limit=16", "has no place for classes"),
        ({"spectral_norm": True}, "digits?limit=16", "spectral norm or a discriminator without batch norm"),
        ({"loss": "wgan-gp"}, "digits?limit=16", "a discriminator without batch norm"),
        ({}, "digits?limit=16&size=32x16", "not of 32x16"),
        ({}, "digits?limit=16&size=48", "not of 48x48"),
    ],
)
def test_what_cannot_go_out_is_said_before_training(
    how: dict[str, Any], data: str, why: str, tmp_path: Path, capsys: Any
) -> None:
    run = ganvas.train("dcgan", data=data, preset="tiny", steps=1, batch_size=8, device="cpu", out=tmp_path / "run",
                       **how)  # fmt: skip
    said = capsys.readouterr().err
    assert re.search(rf"note: this run cannot be exported: .*{why}", said)
    assert why in (run.config.not_exportable or "")
    assert why in run.info()["not_exportable"]
    with pytest.raises(UsageError, match=why):
        export_published(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_out_again_gives_the_same_bits_under_the_same_keys(files: dict[str, Path], tmp_path: Path) -> None:
    run = import_run("dcgan", files, out=tmp_path / "run")
    found = export_published(run, tmp_path / "out")
    for one, net in zip(found, (net_g(7, 4), net_d(4)), strict=True):
        again, first = (torch.load(path, weights_only=True) for path in (one.file, files[one.part]))
        assert list(again) == list(first)
        assert all(torch.equal(again[key], first[key]) for key in first)
        net.load_state_dict(again)  # strict
        assert one.difference < 1e-5
    text = (tmp_path / "out" / "README.txt").read_text()
    assert "--nz 7 --ngf 4 --ndf 4 --netG netG.pth --netD netD.pth" in text
    twice = import_run("dcgan", {one.part: one.file for one in found}, out=tmp_path / "twice")
    once = run.latest()
    other = twice.latest()
    assert once is not None
    assert other is not None
    assert all(torch.equal(once.average()[key], value) for key, value in other.average().items())


def test_a_part_without_a_file_starts_fresh_and_is_named(files: dict[str, Path], tmp_path: Path) -> None:
    alone = import_run("dcgan", {"G": files["G"]}, out=tmp_path / "G")
    assert missing_parts(alone.config) == ["D"]
    assert "sample" in alone.config.verbs
    critic = import_run("dcgan", {"D": files["D"]}, out=tmp_path / "D")
    assert missing_parts(critic.config) == ["G"]
    assert critic.config.verbs == []
    assert [one.part for one in export_published(critic, tmp_path / "out")] == ["D"]


def test_training_starts_from_it_but_not_in_it(files: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    run = import_run("dcgan", {"G": files["G"]}, out=tmp_path / "run")
    with pytest.raises(RunError, match="holds imported weights and is not trained in: start a run from them by --init"):
        ganvas.train("dcgan", data="digits?size=64&channels=rgb", out=run.folder, steps=1)
    capsys.readouterr()
    how: dict[str, Any] = {"steps": 1, "batch_size": 2, "width": 4, "latent": 7, "lr_generator": 1e-12, "ema": None}
    data = "digits?size=64&channels=rgb&limit=4"
    tuned = ganvas.train("dcgan", data=data, out=tmp_path / "tuned", init=run.folder, device="cpu", **how)
    said = capsys.readouterr().err
    assert "starting fresh: D.convs.0.weight" in said
    before, after = (ganvas.load(folder).state_dict() for folder in (run.folder, tuned.folder))
    weights = [name for name in before if name.startswith("G.") and "running" not in name and "num_" not in name]
    assert all((before[name] - after[name]).abs().max() < 1e-6 for name in weights)


@pytest.mark.parametrize(
    ("net", "part", "sentence"),
    [
        (net_g(7, 2, 3, (32, 32, 16, 16, 8, 4, 2, 1)), "G", "it has 8 stages, for images of 1024x1024, and nets of 2 "),
        (net_d(4, 3, (1,)), "D", "it has 1 stages, for images of 8x8, and nets of 2 stages "),
        (net_g(7, 4, 8), "G", "its images have 8 channels, and ganvas has images of 1 or 3"),
    ],
)
def test_what_no_such_net_of_ours_can_be_says_what_it_is(
    net: nn.Module, part: str, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=sentence) as refused:
        import_run("dcgan", {part: save(net, tmp_path / "net.pth")}, out=tmp_path / "run")
    assert "--labels" not in str(refused.value)


def test_nets_for_images_of_different_sizes_are_not_one_run(files: dict[str, Path], tmp_path: Path) -> None:
    large = save(net_d(4, 3, (1, 2, 4, 8, 8)), tmp_path / "large.pth")
    with pytest.raises(DataError, match=r"stages is 4 in .*netG.pth and 5 in .*large.pth, and dcgan has one"):
        import_run("dcgan", {"G": files["G"], "D": large}, out=tmp_path / "run")


Change = dict[str, Tensor | None]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"main.9.weight": torch.zeros(8, 5, 4, 4)}, r": main\.9\.weight is 8x5x4x4, not 8x4x4x4\.$"),
        ({"main.3.weight": torch.zeros(32, 17, 4, 4)}, r": main\.3\.weight is 32x17x4x4, not 32x16x4x4\.$"),
        ({"main.1.weight": None}, r": it has no main\.1\.weight\.$"),
        ({"main.12.weight": None}, r": it has no main\.12\.weight, but "),
        ({"main.4.running_var": None}, r"it has no main\.4\.running_var"),
        ({"main.13.weight": torch.zeros(3)}, r": it has main\.13\.weight, which the net does not have\.$"),
        ({"main.12.weight": torch.zeros(4, 2, 4, 4)}, "its images have 2 channels, and ganvas has images of 1 or 3"),
        ({"main.9.weight": torch.zeros(3)}, r"main\.9\.weight has 1 dimensions, not the 4"),
    ],
)
def test_keys_and_shapes_that_do_not_fit_are_named(change: Change, sentence: str, tmp_path: Path) -> None:
    state = trained(net_g(7, 4)).state_dict() | change
    path = tmp_path / "netG.pth"
    torch.save({key: value for key, value in state.items() if value is not None}, path)
    with pytest.raises((DataError, UsageError), match=sentence):
        import_run("dcgan", {"G": path}, out=tmp_path / "run")
    assert sorted(tmp_path.iterdir()) == [path]


def test_contradictions_are_named(files: dict[str, Path], tmp_path: Path) -> None:
    wide = save(net_d(8), tmp_path / "wide.pth")
    before = sorted(tmp_path.iterdir())
    for parts, how, sentence in (
        ({"G": files["G"], "D": wide}, {}, "width is 4 in .*netG.pth and 8 in .*wide.pth, and dcgan has one: import"),
        ({"G": files["G"]}, {"width": 64}, "width is 4 in .*netG.pth, not 64: remove --width"),
        ({"G": files["D"]}, {}, "it looks like the netD of the DCGAN example, which is a discriminator; its"),
        ({"E": files["G"]}, {}, "dcgan has no part 'E'"),
        ({}, {}, "Name at least one part of dcgan"),
        ({"G": files["G"]}, {"colour": 3}, "has no setting 'colour'"),
        ({"G": files["G"]}, {"size": (32, 32)}, "These files make images of 64x64: remove --size"),
    ):  # fmt: skip
        with pytest.raises((DataError, UsageError), match=sentence):
            import_run("dcgan", parts, out=tmp_path / "run", **how)  # type: ignore[arg-type]
        assert sorted(tmp_path.iterdir()) == before
    with pytest.raises(UsageError, match="vae"):
        import_run("vae", files, out=tmp_path / "run")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        import_run("dcgan", files, out=tmp_path / "full")
    run = import_run("dcgan", files, out=tmp_path / "run")
    with pytest.raises(RunError, match="holds a run already"):
        import_run("dcgan", files, out=run.folder)
    assert Run.open(run.folder).config == run.config
