"""What a translating run is worth, against the definitions written out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ganvas import ways
from ganvas.data import Dataset, open_data
from ganvas.errors import DataError, UsageError
from ganvas.figures import Tools
from ganvas.metrics import metric, subset
from ganvas.streams import Purpose, permutation
from ganvas.translation_measures import translation_figures
from paintings import Dimmer, Painter, labels, paired, unpaired

FD = "fd-digits"  # which needs no published weights


def measured(game: Any, dataset: Dataset, *names: str, n: int = 1000, seed: int = 0) -> Any:
    return translation_figures(game, dataset, Tools(names), n=n, seed=seed)


def distance(reference: Tensor, other: Tensor) -> float:
    tool: Any = metric(FD)
    found: float = tool.distance(tool.statistics([reference]), tool.statistics([other])).value
    return found


def domain(data: str, member: str, split: str = "train") -> Tensor:
    dataset = open_data(data).part(split).domain(member)
    return dataset.tensors(np.arange(len(dataset)))["image"]


# ---- without partners ------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def orchard(tmp_path_factory: pytest.TempPathFactory) -> str:
    return unpaired(tmp_path_factory.mktemp("orchard"), trainA=9, trainB=14, testA=5, testB=6)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(("source", "target"), ["AB", "BA"])
def test_a_domain_is_approached_between_source_and_floor(orchard: str, split: str, source: str, target: str) -> None:
    """As the definition says: halves of the target's training pictures, one N, the first half the reference."""
    game, seed = Dimmer(), 4
    x, y = domain(orchard, source, split), domain(orchard, target)
    order = permutation(len(y), seed, 0, Purpose.METRIC)
    assert sorted(order) == list(range(len(y)))
    n = min(len(x), len(y) // 2)
    one, two = y[order[: len(y) // 2][:n]], y[order[len(y) // 2 :][:n]]
    x = x[subset(n, len(x), seed=seed)]
    direction = f"{source}to{target}"
    name = FD + ("-BtoA" if source == "B" else "")
    figure = measured(game, open_data(f"{orchard}?split={split}"), FD, seed=seed)[name]
    want = [distance(one, z) for z in (game.translate(x, direction=direction, seed=seed), x, two)]
    assert [figure.value, figure.parts["source"], figure.parts["floor"]] == pytest.approx(want, rel=1e-4)
    assert figure.n == n
    assert figure.recipe["images"] == [n, n]
    assert figure.recipe["direction"] == direction
    assert figure.recipe["N"].startswith(f"{n} = min(|{source}| ")
    assert figure.recipe["split"] == split
    assert f"{len(y)} {target} of train" in figure.recipe["against"]
    assert figure.recipe["warning"].startswith(f"{n} images do not span 64 dimensions")


def test_what_is_not_changed_is_as_far_as_its_source_and_nothing_further_than_asked_for(orchard: str) -> None:
    found = measured(Dimmer(), open_data(orchard), FD, n=4)
    assert found[f"{FD}-BtoA"].value == found[f"{FD}-BtoA"].parts["source"]
    assert [figure.n for figure in found.values()] == [4, 4]
    assert found[FD].recipe["N"] == "4, as asked for"


def test_the_cycle_error_is_that_of_the_way_there_and_back(orchard: str) -> None:
    """|x / 2 - x| in [-1, 1] is half as much in [0, 1], there and back as well as back and there."""
    game = Dimmer()
    game.noisy = 0
    found = measured(game, open_data(orchard), "cycle", seed=2)
    for name, member, n in (("cycle", "A", 7), ("cycle-BtoA", "B", 4)):
        x = domain(orchard, member)
        x = x[subset(n, len(x), seed=2)].double()
        assert found[name].value == pytest.approx(x.abs().mean().item() / 4, rel=1e-6)
        assert found[name].n == n
        assert found[name].recipe["unit"] == "mean absolute error, pixels in [0, 1]"


def test_pictures_are_translated_in_portions_without_any_difference(
    orchard: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row i is of (seed, i), and the noise of a row its own."""
    names = [FD, "cycle"]
    whole = measured(Dimmer(), open_data(orchard), *names, seed=7)
    monkeypatch.setattr(ways, "PIXELS", 3 * 32 * 32)
    for name, figure in measured(Dimmer(), open_data(orchard), *names, seed=7).items():
        assert figure.value == pytest.approx(whole[name].value, rel=1e-4), name


def test_without_a_way_back_there_is_no_cycle(orchard: str, capsys: pytest.CaptureFixture[str]) -> None:
    game = Dimmer()
    game.directions = ("AtoB",)
    assert list(measured(game, open_data(orchard), FD, "cycle")) == [FD]
    assert "cycle left out: There is no way back from B." in capsys.readouterr().err
    with pytest.raises(UsageError, match="no way back"):
        measured(game, open_data(orchard), "cycle")


def test_a_target_too_small_to_halve_leaves_the_cycle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = open_data(unpaired(tmp_path, trainA=5, trainB=3))
    assert {name: figure.n for name, figure in measured(Dimmer(), data, FD, "cycle").items()} == {
        "cycle": 5, "fd-digits-BtoA": 2, "cycle-BtoA": 2
    }  # fmt: skip
    assert "fd-digits left out: unpaired:" in (said := capsys.readouterr().err)
    assert "has 3 pictures of B, too few to halve" in said
    assert list(measured(Dimmer(), data, FD)) == ["fd-digits-BtoA"]
    assert "AtoB left out: unpaired:" in capsys.readouterr().err
    with pytest.raises(DataError, match="too few to halve"):
        measured(Dimmer(), open_data(unpaired(tmp_path / "few", trainA=3, trainB=3)), FD)


# ---- with partners ---------------------------------------------------------------------------------------------------
def test_translations_are_measured_beside_their_partners_of_the_test_split(tmp_path: Path) -> None:
    data = open_data(paired(tmp_path))
    game, names = Dimmer(), ["mse", "mae", FD]
    found = measured(game, data, *names, n=4, seed=3)
    batch = data.part("test").tensors(subset(4, 5, seed=3))
    for member, other, suffix in (("A", "B", ""), ("B", "A", "-BtoA")):
        y = game.translate(batch[member], direction=f"{member}to{other}", seed=3)
        error = (y - batch[other]).double()
        assert found[f"mse{suffix}"].value == pytest.approx(error.square().mean().item(), rel=1e-6)
        assert found[f"mae{suffix}"].value == pytest.approx(error.abs().mean().item(), rel=1e-6)
        assert found[f"{FD}{suffix}"].value == pytest.approx(distance(batch[other], y), rel=1e-4)
    assert set(found) == {*names, *(f"{name}-BtoA" for name in names)}
    assert found["mse"].recipe["rows"] == "4 of 5"
    assert found["mse"].recipe["split"] == "test"
    assert measured(game, open_data(f"{data.spec}?split=train"), "mse")["mse"].n == 3


def test_a_game_of_one_direction_is_measured_in_that(tmp_path: Path) -> None:
    game = Dimmer()
    game.directions = ("BtoA",)
    data = open_data(paired(tmp_path))
    batch = data.part("test").tensors(np.arange(5))
    found = measured(game, data, "mse")
    assert list(found) == ["mse"]
    assert found["mse"].recipe["direction"] == "BtoA"
    assert found["mse"].value == pytest.approx((batch["A"] - batch["B"]).double().square().mean().item(), rel=1e-6)


@pytest.mark.parametrize(("instances", "bounded"), [(False, False), (True, False), (True, True)])
def test_pictures_of_maps_are_measured_beside_their_photographs(tmp_path: Path, instances: bool, bounded: bool) -> None:
    """Instances are given to those alone who learnt from them."""
    data = open_data(labels(tmp_path, instances=instances))
    game = Painter({1: 2}, bounded)
    found = measured(game, data, "mse", FD)
    batch = data.part("test").tensors(np.arange(4))
    (given,) = game.instances
    assert torch.equal(given, batch["instances"]) if bounded else given is None
    y = game.translate(batch["labels"])
    assert found["mse"].value == pytest.approx((y - batch["image"]).double().square().mean().item(), rel=1e-6)
    assert found[FD].value == pytest.approx(distance(batch["image"], y), rel=1e-4)
    assert found["mse"].recipe["direction"] == "maps to photographs"


def test_a_window_is_the_centred_one_and_said(tmp_path: Path) -> None:
    data = open_data(f"{labels(tmp_path)}?crop=16")
    figure = measured(Painter(), data, "mse")["mse"]
    assert figure.recipe["window"] == "the centred 16x16 of each picture"
    assert figure.value == 0
    whole = open_data(labels(tmp_path)).part("test").tensors(np.arange(4))["image"]
    assert torch.equal(data.part("test").tensors(np.arange(4))["image"], whole[:, :, 8:24, 8:24])
