from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

import ganvas
import paintings
from ganvas import evaluation, games, metrics, weights
from ganvas.cli import run as command
from ganvas.data import open_data
from ganvas.errors import DataError, MissingWeights, UsageError
from ganvas.evaluation import evaluate
from ganvas.metrics import Modes, metric, subset
from ganvas.planning import plan
from ganvas.run import Run
from ganvas.training import train
from trained import Trained

PAIRS = ["mse", "mae", "psnr", "ssim", "ms-ssim"]
LPIPS = ["lpips-alex", "lpips-squeeze"]
SETS = ["fd-alex", "fd-squeeze", "fid", "kd-alex", "kid", "inception-score"] + [
    f"{name}{suffix}" for suffix in ("", "-alex") for name in ("precision", "recall", "density", "coverage")
]


def untrained(folder: Path, system: str, data: str, **leaves: Any) -> Run:
    """A run with fresh weights as its checkpoint of step 1."""
    config = plan(system, data=data, preset="tiny", device="cpu", out=folder, **leaves).config
    run = Run.create(folder, config)
    state = run.build_game().state_dict()
    run.save(1, weights=state, average=state, state={})
    return run


# ---- which figures there are -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("system", "names", "missing"),
    [
        ("avae", [*PAIRS, "fd-digits"], [*LPIPS, *SETS]),
        ("vae", [*PAIRS, "fd-digits", "elbo"], [*LPIPS, *SETS]),
        ("autoencoder", PAIRS, LPIPS),
        ("dcgan", ["fd-digits"], SETS),
        ("gan", ["modes"], []),
    ],
)
def test_a_run_has_the_figures_of_its_verbs_and_what_is_missing_takes_a_line(
    trained: Trained, capsys: pytest.CaptureFixture[str], system: str, names: list[str], missing: list[str]
) -> None:
    figures = evaluate(trained(system), n=40, device="cpu")
    assert list(figures) == names
    lines = [line for line in capsys.readouterr().err.splitlines() if " left out: " in line]
    assert len(lines) == bool(missing)
    for line in lines:
        names, _, reason = line.partition(" left out: ")
        assert names.split(", ") == missing
        assert reason.startswith("published weights are not at hand (alexnet, squeezenet1_1, ")
        assert reason.endswith("): run `ganvas fetch metrics`.")
    assert all(figure.n == 40 for figure in figures.values())
    assert all(figure.recipe["run"] == str(trained(system)) for figure in figures.values())


def test_every_metric_is_on_the_page_of_the_command_that_has_it(capsys: pytest.CaptureFixture[str]) -> None:
    pages = {}
    for name in ("evaluate", "compare", "fetch"):
        command([name, "--help"])
        pages[name] = set(capsys.readouterr().out.replace(".", " ").replace(";", " ").split())
    assert pages["evaluate"] >= {*metrics.NAMES, "elbo"}
    assert pages["compare"] >= set(metrics.NAMES) - {"modes"}
    assert pages["fetch"] >= set(weights.names())
    with pytest.raises(UsageError, match=r"no metric 'xyz': one of: mse, .*, modes"):
        metric("xyz")


def test_figures_are_recorded_in_the_run_with_the_step_that_they_are_of(trained: Trained, tmp_path: Path) -> None:
    folder = trained.copy("autoencoder", tmp_path / "run")
    first = evaluate(folder, metrics=["mse", "psnr"], n=8, device="cpu")
    second = evaluate(Run.open(folder), metrics=["mse"], n=9, device="cpu")
    rows = [msgspec.json.decode(line) for line in (folder / "metrics.jsonl").read_bytes().splitlines()]
    assert [row["step"] for row in rows] == [6, 6]
    assert rows[0]["metrics"] == msgspec.json.decode(
        msgspec.json.encode({name: figure.to_json() for name, figure in first.items()})
    )
    assert Run.open(folder).info()["metrics"]["mse"]["value"] == second["mse"].value


def test_what_was_measured_is_not_lost_where_it_cannot_be_recorded(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained.copy("autoencoder", tmp_path / "run")
    (folder / "metrics.jsonl").mkdir()
    assert evaluate(folder, metrics=["mse"], n=8, device="cpu")["mse"].value > 0
    assert "note: not recorded: " in capsys.readouterr().err


def test_a_metric_that_cannot_be_had_alone_is_an_error_and_said_once(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(MissingWeights, match=r"^alexnet .* is not at hand"):
        evaluate(trained("avae"), metrics=["fd-alex"], n=8)
    assert capsys.readouterr().err == ""
    with pytest.raises(MissingWeights, match=r"^published .*\(alexnet, squeezenet1_1\): run `ganvas fetch metrics`"):
        evaluate(trained("avae"), metrics=["fd-alex", "fd-squeeze"], n=8)
    with pytest.raises(MissingWeights, match="run `ganvas fetch alexnet` and `ganvas fetch vgg16` and"):
        evaluate(trained("avae"), metrics=["fd-alex", "lpips-vgg"], n=8)
    with pytest.raises(MissingWeights, match=r"hand \(inception\): run `ganvas fetch inception`\."):
        evaluate(trained("avae"), metrics=["fid", "kid"], n=8)
    assert capsys.readouterr().err == ""


def test_images_that_a_metric_cannot_take_are_said_and_the_others_measured(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A distance of sets needs two images, the pairs one."""
    Image.fromarray(np.full((32, 32), 99, np.uint8)).save(tmp_path / "a.png")
    data = str(tmp_path / "a.png")
    figures = evaluate(trained("avae"), data=data, metrics=["mse", "fd-digits", "psnr"], device="cpu")
    assert list(figures) == ["mse", "psnr"]
    assert figures["mse"].std is None
    assert "fd-digits left out: fd-digits needs at least 2 images" in capsys.readouterr().err
    with pytest.raises(DataError, match="at least 2 images"):
        evaluate(trained("avae"), data=data, metrics=["fd-digits"], device="cpu", quiet=True)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [({"metrics": ["msee"]}, "no metric 'msee': did you mean 'mse'"), ({"metrics": []}, "at least one metric of mse, "),
     ({"metrics": ["elbo"]}, r"\(avae on .*\) has no elbo"), ({"metrics": ["modes"]}, "has no modes"),
     ({"n": 1}, "-n must be at least 2, not 1"), ({"data": "photos?size=64"}, "takes grey images of 32x32")],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(trained: Trained, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        evaluate(trained("avae"), **arguments)


# ---- what they are of ------------------------------------------------------------------------------------------------
def test_reconstructions_are_of_the_test_split_and_equal_a_derivation_by_hand(trained: Trained) -> None:
    game: Any = ganvas.load(trained("avae"))
    data = open_data("digits?limit=96&split=test")
    rows = subset(30, len(data), seed=3)
    x = data.tensors(rows)["image"]
    y = game.reconstruct(x, seed=3)
    figures = evaluate(trained("avae"), metrics=["mse", "mae"], n=30, seed=3, device="cpu")
    assert figures["mse"].value == pytest.approx((x - y).double().square().mean().item(), rel=1e-6)
    assert figures["mae"].value == pytest.approx((x - y).double().abs().mean().item(), rel=1e-6)
    assert figures["mse"].recipe["split"] == "test"
    assert figures["mse"].recipe["rows"] == "30 of 96"


def test_samples_are_measured_against_the_training_split(trained: Trained) -> None:
    game: Any = ganvas.load(trained("dcgan"))
    tool: Any = metric("fd-digits")
    data = open_data("digits?limit=96")
    real = tool.statistics([data.tensors(subset(50, 96, seed=2))["image"]])
    expected = tool.distance(real, tool.statistics([game.sample(50, seed=2)]))
    figure = evaluate(trained("dcgan"), metrics=["fd-digits"], n=50, seed=2, device="cpu")["fd-digits"]
    assert figure.value == pytest.approx(expected.value, rel=1e-4)
    assert figure.recipe["split"] == "train"
    assert figure.recipe["images"] == [50, 50]


def test_the_bound_is_the_mean_over_images_with_its_parts(trained: Trained) -> None:
    game: Any = ganvas.load(trained("vae"))
    batch = open_data("digits?limit=96&split=test").tensors(subset(20, 96, seed=1))
    parts = game.elbo(batch["image"], seed=1, label=batch["label"])
    figure = evaluate(trained("vae"), metrics=["elbo"], n=20, seed=1, device="cpu")["elbo"]
    assert figure.value == pytest.approx(parts["elbo"].double().mean().item(), rel=1e-5)
    assert figure.std == pytest.approx(parts["elbo"].double().std().item(), rel=1e-3)
    assert figure.parts["kl"] == pytest.approx(parts["kl"].double().mean().item(), rel=1e-4)
    assert figure.parts["bits_per_dim"] == pytest.approx(
        -figure.value / (1024 * math.log(2)) + math.log2(127.5), rel=1e-5
    )


def test_points_are_measured_against_their_mixture(trained: Trained) -> None:
    game: Any = ganvas.load(trained("gan"))
    for data in ("mixture:ring8", "mixture:grid25"):
        expected = Modes().figure(game.sample(300, seed=4), data.partition(":")[2])
        figure = evaluate(trained("gan"), data=data, n=300, seed=4, device="cpu")["modes"]
        assert (figure.value, figure.parts) == (expected.value, expected.parts)
    assert evaluate(trained("gan"), device="cpu")["modes"].n == 2500


def test_figures_do_not_depend_on_the_batch_size(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [*PAIRS, "fd-digits", "elbo"]
    whole = evaluate(trained("vae"), metrics=names, n=60, device="cpu")
    monkeypatch.setattr(evaluation, "BATCH", 7)
    for name, figure in evaluate(trained("vae"), metrics=names, n=60, device="cpu").items():
        assert figure.value == pytest.approx(whole[name].value, rel=1e-4), name
        assert figure.n == whole[name].n


def test_other_data_is_prepared_to_the_size_of_the_run(trained: Trained, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 70, 50, 3), np.uint8)
    for i, picture in enumerate(pixels):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    figure = evaluate(trained("avae"), data=str(tmp_path), metrics=["mse"], device="cpu")["mse"]
    x = open_data(f"{tmp_path}?size=32&channels=grey").tensors(np.arange(3))["image"]
    game: Any = ganvas.load(trained("avae"))
    assert figure.n == 3
    assert figure.value == pytest.approx((x - game.reconstruct(x, seed=0)).double().square().mean().item(), rel=1e-6)


def test_samples_of_a_conditional_run_need_no_classes_beside_them(tmp_path: Path) -> None:
    run = untrained(tmp_path / "run", "dcgan", "digits?limit=30", conditional=True)
    game: Any = run.load_game()
    np.savez(tmp_path / "a.npz", images=((game.sample(20) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())
    figure = evaluate(run, data=str(tmp_path / "a.npz"), metrics=["fd-digits"], device="cpu")["fd-digits"]
    assert figure.value == pytest.approx(0, abs=1e-3)  # these very samples
    assert figure.recipe["classes"] == "sample i of class i modulo the number of classes"


# ---- translations ----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """By the kind of data, a small set."""
    base = tmp_path_factory.mktemp("paintings")
    return {
        "unpaired": paintings.unpaired(base / "unpaired", trainA=6, trainB=5, testA=3, testB=4),
        "paired": paintings.paired(base / "paired"),
        "labels": paintings.labels(base / "labels", instances=True),
        "images": "digits?limit=20",
    }


def test_a_run_that_translates_has_the_figures_of_its_data(
    tmp_path: Path, data: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Without published weights, those that need none; the way back has its own, and all are recorded."""
    run = untrained(tmp_path / "a", "cyclegan", data["unpaired"])
    assert list(evaluate(run, device="cpu")) == ["cycle", "cycle-BtoA"]
    assert "fd-alex, kd-alex, fid, kid left out: " in capsys.readouterr().err
    assert list(evaluate(run, metrics=["fd-digits"], device="cpu")) == ["fd-digits", "fd-digits-BtoA"]
    assert run.info()["metrics"]["fd-digits-BtoA"]["parts"].keys() == {"source", "floor"}
    figure = evaluate(run, data=f"{data['unpaired']}?split=test", metrics=["cycle"], device="cpu")["cycle"]
    assert (figure.n, figure.recipe["split"]) == (2, "test")
    for kind, system, names in (
        ("paired", "cyclegan", ["psnr", "psnr-BtoA", "ssim", "ssim-BtoA"]),
        ("paired", "pix2pix", ["psnr", "ssim"]),
        ("labels", "pix2pix", ["psnr", "ssim"]),
        ("labels", "pix2pixhd", ["psnr", "ssim"]),
    ):
        run = untrained(tmp_path / f"{kind}-{system}", system, data[kind])
        figures = evaluate(run, device="cpu")
        assert list(figures) == names
        assert all(figure.recipe["split"] == "test" for figure in figures.values())
    back = untrained(tmp_path / "back", "pix2pix", data["paired"], direction="BtoA")
    assert evaluate(back, metrics=["mse"], device="cpu")["mse"].recipe["direction"] == "BtoA"


def test_a_metric_that_sees_as_the_loss_did_is_no_judge(
    tmp_path: Path, data: dict[str, str], shared: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("GANVAS_WEIGHTS", str(shared / "weights"))
    run = untrained(tmp_path / "run", "pix2pixhd", data["labels"], perceptual="alex", net="global")
    figures = evaluate(run, metrics=["mse", "lpips-alex", "lpips-squeeze", "fd-alex"], device="cpu")
    marked = {name: figure.recipe.get("not_a_judge") for name, figure in figures.items()}
    why = "the run's perceptual loss looks through alex, as this metric does"
    assert marked == {"mse": None, "lpips-alex": why, "lpips-squeeze": None, "fd-alex": why}
    assert {figure.recipe["perceptual"] for figure in figures.values()} == {"alex"}
    assert f"warning: lpips-alex, fd-alex: not a judge: {why}\n" in capsys.readouterr().err
    how = {"data": data["labels"], "preset": "tiny", "device": "cpu", "perceptual": "alex", "net": "global"}
    with pytest.raises(UsageError, match="--keep-best lpips-alex: not a judge"):
        plan("pix2pixhd", keep_best="lpips-alex", out=tmp_path / "a", **how)
    assert plan("pix2pixhd", keep_best="lpips-squeeze", out=tmp_path / "a", **how).config.keep_best == "lpips-squeeze"
    command(["evaluate", str(run.folder), "--metrics", "lpips-alex", "--device", "cpu"])
    assert f"lpips-alex: not a judge: {why}" in " ".join(capsys.readouterr().out.split())


def test_what_was_left_open_is_decided_said_and_kept(
    tmp_path: Path, data: dict[str, str], shared: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("GANVAS_WEIGHTS", str(shared / "weights"))
    how = {"data": data["labels"], "preset": "tiny", "net": "global", "steps": 1, "device": "cpu"}
    assert train("pix2pixhd", perceptual=None, out=tmp_path / "r", **how).config.leaves["perceptual"] == "alex"
    assert "perceptual: alex (chosen automatically; fixed for this run)\n" in capsys.readouterr().err
    assert train("pix2pixhd", perceptual="alex", out=tmp_path / "r", **how).config.leaves["perceptual"] == "alex"
    assert "chosen automatically" not in capsys.readouterr().err


@pytest.mark.parametrize("loss", ["alex", "squeeze", "vgg19", "vgg16-12", "none"])
def test_every_metric_through_the_net_of_the_loss_is_no_judge(loss: str) -> None:
    seen = {name for name in metrics.NAMES if evaluation.no_judge(name, {"perceptual": loss})}
    neighbours = {"precision", "recall", "density", "coverage"}
    of = {net: {f"lpips-{net}", f"fd-{net}", f"kd-{net}", *(f"{name}-{net}" for name in neighbours)}
          for net in ("alex", "squeeze")}  # fmt: skip
    assert seen == of.get(loss, {"lpips-vgg"} if loss.startswith("vgg") else set())


@pytest.mark.parametrize(
    ("system", "kind", "metric", "larger"),
    [
        ("cyclegan", "unpaired", "cycle", False),
        ("pix2pix", "labels", "psnr", True),
        ("cyclegan", "paired", "mse", False),
    ],
)
def test_the_best_checkpoint_of_a_run_that_translates_is_kept(
    tmp_path: Path, data: dict[str, str], system: str, kind: str, metric: str, larger: bool
) -> None:
    run = train(system, data=data[kind], preset="tiny", steps=3, checkpoint_every=1, batch_size=1, keep_best=metric,
                keep=1, out=tmp_path / "run", device="cpu", quiet=True)  # fmt: skip
    rows = [msgspec.json.decode(line) for line in (run.folder / "metrics.jsonl").read_bytes().splitlines()]
    values = {row["step"]: row["metrics"][metric]["value"] for row in rows}
    assert list(values) == [1, 2, 3]
    step = (max if larger else min)(values, key=lambda step: values[step])
    assert run.best() == {"step": step, "metric": metric, "value": values[step]}
    assert {path.name[:13] for path in (run.folder / "samples").iterdir()} == {"translations-"}


@pytest.mark.parametrize(
    ("system", "kind", "arguments", "says"),
    [("cyclegan", "unpaired", {"metrics": ["psnr"]}, "has no psnr: "),
     ("cyclegan", "unpaired", {"segmenter": "a.onnx"}, "makes no pictures of label maps: leave --segmenter away"),
     ("pix2pix", "labels", {"metrics": ["miou"]}, "miou needs a net that says what it sees: --segmenter FILE.onnx"),
     ("pix2pix", "labels", {"metrics": ["mse"], "segmenter": "a.onnx"}, "says nothing without miou"),
     ("pix2pix", "labels", {"metrics": ["cycle"]}, "has no cycle: "),
     ("pix2pix", "labels", {"segmenter": "a.onnx"}, "There is no file a.onnx to take for --segmenter")],
)  # fmt: skip
def test_what_cannot_be_measured_of_translations_is_refused(
    tmp_path: Path, data: dict[str, str], system: str, kind: str, arguments: dict[str, Any], says: str
) -> None:
    run = untrained(tmp_path / "run", system, data[kind])
    with pytest.raises(UsageError, match=says):
        evaluate(run, device="cpu", **arguments)
    assert not (run.folder / "metrics.jsonl").exists()


def test_every_system_has_a_figure(tmp_path: Path, data: dict[str, str]) -> None:
    for name, system in games.systems().items():
        kind = next(iter(system.game.kinds), "images")
        run = untrained(tmp_path / name, name, data[kind])
        named = ["mse"] if "reconstruct" in system.verbs or kind in ("paired", "labels") else ["fd-digits"]
        assert next(iter(evaluate(run, metrics=named, n=10, device="cpu"))) == named[0]
