"""The DCGAN of pytorch/examples, written out here from its description, in and out."""

from __future__ import annotations

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


def net_g(nz: int = 100, ngf: int = 64, nc: int = 3) -> nn.Module:
    """All transposed convolutions of 4x4 without bias; the first from a single pixel."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(((nz, 8 * ngf), (8 * ngf, 4 * ngf), (4 * ngf, 2 * ngf), (2 * ngf, ngf))):
        layers += [nn.ConvTranspose2d(a, b, 4, 2 if i else 1, 1 if i else 0, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    layers += [nn.ConvTranspose2d(ngf, nc, 4, 2, 1, bias=False), nn.Tanh()]
    return nn.ModuleDict({"main": nn.Sequential(*layers)})


def net_d(ndf: int = 64, nc: int = 3) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(nc, ndf, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
    for a in (ndf, 2 * ndf, 4 * ndf):
        layers += [nn.Conv2d(a, 2 * a, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * a), nn.LeakyReLU(0.2)]
    layers += [nn.Conv2d(8 * ndf, 1, 4, 1, 0, bias=False), nn.Sigmoid()]
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


@pytest.mark.parametrize("nc", [1, 3])
def test_the_same_weights_give_the_same_pictures_and_scores(nc: int, tmp_path: Path) -> None:
    theirs = {"G": trained(net_g(7, 4, nc)), "D": trained(net_d(4, nc))}
    run = import_run("dcgan", {part: save(net, tmp_path / part) for part, net in theirs.items()}, out=tmp_path / "run")
    game = ganvas.load(run.folder)
    with torch.no_grad():
        z, x = torch.randn(3, 7), torch.rand(3, nc, 64, 64) * 2 - 1
        picture = theirs["G"]["main"](z[:, :, None, None])  # type: ignore[index]
        assert (game.decode(z) - picture).abs().max() < 1e-5
        assert picture.std() > 0.01  # not grey on grey
        score = theirs["D"]["main"](x).flatten()  # type: ignore[index]
        assert (torch.sigmoid(game.D(x)) - score).abs().max() < 1e-5
        assert score.std() > 1e-3
    c = run.config
    assert (c.leaves["width"], c.leaves["latent"], c.schema) == (4, 7, {"image": [nc, 64, 64]})
    assert missing_parts(c) == []
    assert game.sample(2, seed=3).shape == (2, nc, 64, 64)


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


def test_a_bias_that_the_example_has_not_is_named(files: dict[str, Path], tmp_path: Path) -> None:
    run = import_run("dcgan", files, out=tmp_path / "run")
    game = run.load_game()
    game.G.convs[-1].bias[0] = 0.5  # type: ignore[index,operator,union-attr]
    run.save(0, weights=game.state_dict(), average=game.state_dict(), state={})
    with pytest.raises(UsageError, match=r"has no bias where this run has learnt one, G\.convs\.3\.bias"):
        export_published(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


Change = dict[str, Tensor | None]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"main.9.weight": torch.zeros(8, 5, 4, 4)}, r"main\.0\.weight is 7x32x4x4, not 7x40x4x4"),
        ({"main.4.running_var": None}, r"it has no main\.4\.running_var"),
        ({"main.13.weight": torch.zeros(3)}, r"main\.13\.weight would be left over"),
        ({"main.12.weight": torch.zeros(4, 2, 4, 4)}, "Pictures have 1 channel or 3, not 2"),
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
        ({"G": files["G"]}, {"width": 64}, "width is 4 in .*netG.pth, not 64: leave --width away"),
        ({"G": files["D"]}, {}, "cannot be G .*it holds the netD of the DCGAN example: its keys are main.0.weight"),
        ({"E": files["G"]}, {}, "dcgan has no part 'E'"),
        ({}, {}, "Name at least one part of dcgan"),
        ({"G": files["G"]}, {"colour": 3}, "has no setting 'colour'"),
        ({"G": files["G"]}, {"size": (32, 32)}, "makes pictures of 64x64"),
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
