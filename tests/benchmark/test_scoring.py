"""The table's way of scoring, by hand: whole batches of 64 with their own statistics, draws of the posterior."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import slopes
from ganvas import games
from ganvas.benchmark import scoring
from ganvas.data import Batches, Dataset, open_data
from ganvas.errors import DataError
from ganvas.game import Game, noise
from ganvas.metrics import metric
from ganvas.metrics.frechet import distance
from ganvas.ops.sheet import to_uint8
from ganvas.streams import Purpose


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return slopes.write(tmp_path_factory.mktemp("data") / "cifar")


@pytest.fixture
def splits(data: Path) -> tuple[Dataset, Dataset]:
    train = open_data(str(data))
    return train, train.part("test")


def game(system: str, dataset: Dataset, **leaves: object) -> Game:
    """A game whose weights are as large as in a run, and whose running averages are far from any batch's statistics."""
    torch.manual_seed(1)
    config, _ = games.system(system).preset("tiny")
    own = {leaf: getattr(config, leaf) for leaf in config.__dataclass_fields__}
    made = games.system(system).build({**own, **leaves}, dataset.schema)
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(8 if weight.ndim > 1 else 1)
    for name, buffer in made.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
    return made.eval().requires_grad_(False)


def batches_of(dataset: Dataset) -> list[Tensor]:
    """Its whole batches of 64, shuffled as the recipe says."""
    order = Batches(dataset, 64, seed=0, flip=False)
    return [order(i)["image"] for i in range(len(dataset) // 64)]


@pytest.mark.parametrize("system", ["vae", "vaegan", "avae"])
def test_reconstructions_decode_a_draw_of_the_posterior_with_the_statistics_of_the_batch(
    system: str, splits: tuple[Dataset, Dataset]
) -> None:
    train, test = splits
    leaves = {"sigma": "shared"} if system == "vae" else {}
    made = game(system, train, **leaves)
    with torch.no_grad():
        made.E.log_sigma.normal_(0, 0.5)  # type: ignore[union-attr, operator]
    by_hand = copy.deepcopy(made).train()  # in training mode a batch norm takes the batch's statistics
    errors, means = [], []
    with torch.no_grad():
        for i, x in enumerate(batches_of(test)):
            mu, log_sigma = by_hand.E(x)  # type: ignore[operator]
            z = mu + log_sigma.exp() * noise(64, mu.shape[1], seed=3, first=64 * i, purpose=Purpose.SCORE)
            if system == "avae":
                z = torch.cat([z, noise(64, 4, seed=3, first=64 * i, purpose=Purpose.POSTERIOR)], 1)
            net = by_hand.D if system == "vae" else by_hand.G
            errors.append((net(z) - x).double().square().mean())  # type: ignore[operator]
            z[:, : mu.shape[1]] = mu
            means.append((net(z) - x).double().square().mean())  # type: ignore[operator]
    found = scoring.score(made, train, test, ["mse"], seed=3)
    assert found.figures["mse"].n == 128 == 64 * len(errors)
    np.testing.assert_allclose(found.figures["mse"].value, torch.stack(errors).mean(), rtol=1e-5)
    assert abs(found.figures["mse"].value / float(torch.stack(means).mean()) - 1) > 1e-4  # the mean would be another
    assert found.figures["mse"].recipe["batch norm"] == "statistics of each batch of 64"


def test_bigan_decodes_its_code_and_gan_reconstructs_nothing(splits: tuple[Dataset, Dataset]) -> None:
    train, test = splits
    made = game("bigan", train)
    by_hand = copy.deepcopy(made).train()
    with torch.no_grad():
        errors = [(by_hand.G(by_hand.E(x)) - x).double().square().mean() for x in batches_of(test)]  # type: ignore[operator]
    found = scoring.score(made, train, test, ["mse"])
    np.testing.assert_allclose(found.figures["mse"].value, torch.stack(errors).mean(), rtol=1e-5)
    gan = scoring.score(game("gan", train, nets="table"), train, test, ["mse"])
    assert gan.figures == {}
    assert gan.reconstructions is None


def test_scoring_leaves_the_game_as_it_was(splits: tuple[Dataset, Dataset]) -> None:
    train, test = splits
    made = game("avae", train)
    before = {name: value.clone() for name, value in made.state_dict().items() if "num_batches" not in name}
    scoring.score(made, train, test, ["mse"])
    after = made.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(module.training for module in made.modules())


def test_a_batch_is_part_of_the_recipe(splits: tuple[Dataset, Dataset]) -> None:
    """The same images in another company are reconstructed otherwise, which frozen statistics would not do."""
    train, test = splits
    made, x = game("bigan", train), batches_of(test)[0]
    with scoring.batch_statistics(made):
        whole, half = (scoring.reconstruct(made, part, seed=0, first=0) for part in (x, x[:32]))
    assert not torch.allclose(whole[:32], half, atol=1e-3)


def test_distances_compare_the_training_split_once_over_with_as_many_samples(
    splits: tuple[Dataset, Dataset], shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANVAS_WEIGHTS", str(shared / "weights"))
    train, test = splits
    made = game("gan", train, nets="table")
    found = scoring.score(made, train, test, ["fd-alex"], seed=2)
    figure = found.figures["fd-alex"]
    assert figure.n == 256  # 200 images: four batches of 64, the last of them repeating
    extractor = metric("fd-alex").extractor  # type: ignore[union-attr]
    order = Batches(train, 64, seed=0, flip=False)
    real = torch.cat([extractor(order(i)["image"]) for i in range(4)]).double()
    with torch.no_grad():
        made.train()
        fake = torch.cat([extractor(made.sample(64, seed=2, first=64 * i)) for i in range(4)]).double()  # type: ignore[operator]
    by_hand = distance(real.mean(0), real.T.cov(), fake.mean(0), fake.T.cov())
    np.testing.assert_allclose(figure.value, by_hand, rtol=1e-4)


def test_the_pictures_kept_are_those_of_the_first_batch(splits: tuple[Dataset, Dataset]) -> None:
    train, test = splits
    made = game("vaegan", train)
    found = scoring.score(made, train, test, [], seed=1)
    x = batches_of(test)[0]
    np.testing.assert_array_equal(scoring.originals(test), to_uint8(x)[:10])
    assert found.samples.shape == (10, 32, 32, 3)
    assert found.reconstructions is not None
    assert found.reconstructions.shape == (10, 32, 32, 3)


def test_a_split_that_is_too_small_is_named(data: Path) -> None:
    train = open_data(f"{data}?limit=63")
    with pytest.raises(DataError, match=r"63 images in its split train.*64 or more"):
        scoring.check(train, train.part("test"))
