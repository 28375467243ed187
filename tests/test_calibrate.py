"""Calibration: the statistics that verbs use are those of the verbs' own passes, computed here a second time."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import folders
from ganvas.calibrate import calibrate, calibrate_run, rows_together
from ganvas.data import Batches, open_data
from ganvas.errors import RunError, UsageError
from ganvas.game import Game, Player, Turn, minimise, noise
from ganvas.optim import adam
from ganvas.run import Run, load
from ganvas.schema import Schema

ROWS, PIXELS, Z, W = 8, 12, 3, 5


class Normed(Game):
    """An encoder and a generator with batch norm that its verbs reach, and a critic's that they do not."""

    def __init__(self) -> None:
        super().__init__()
        self.E = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, Z), nn.BatchNorm1d(Z))
        self.G = nn.Sequential(nn.Linear(Z, W), nn.BatchNorm1d(W, momentum=0.3), nn.Dropout(0.5), nn.Linear(W, PIXELS))
        self.D = nn.Sequential(nn.Linear(PIXELS, 1), nn.BatchNorm1d(1))
        self.loose = nn.BatchNorm1d(Z, track_running_stats=False)
        self.player = Player((self.E, self.G, self.D), adam(1e-3))
        self.seen: list[Any] = []

    def round(self, image: Tensor) -> Iterator[Turn]:
        yield minimise(self.player, real=self.D(image.flatten(1)).mean())

    def encode(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        return self.E(x)

    def reconstruct(self, x: Tensor, *, seed: int = 0, first: int = 0, label: Tensor | None = None) -> Tensor:
        self.seen.append((len(x), seed, first, None if label is None else label.tolist()))
        return self.G(self.E(x)).view_as(x)

    def sample(
        self, n: int, *, seed: int = 0, first: int = 0, truncation: float | None = None, label: int | None = None
    ) -> Tensor:
        return self.G(noise(n, Z, seed=seed, first=first)).view(n, 1, 3, 4)


class Encoding(Normed):
    """As it is, but with no way back and nothing to draw from."""

    reconstruct = None  # type: ignore[assignment]
    sample = None  # type: ignore[assignment]


class Rows:
    """Batches of numbers; every row is another."""

    batch_size = ROWS

    def __call__(self, step: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(step)
        image = torch.rand(ROWS, 1, 3, 4, generator=generator) * 2 - 1
        return {"image": image, "label": torch.arange(ROWS) + step}

    def first(self, steps: int) -> Iterator[dict[str, Tensor]]:
        return map(self, range(steps))


def game(kind: type[Normed] = Normed) -> Normed:
    """A game as training leaves it: statistics of other passes, of other weights."""
    torch.manual_seed(0)
    made = kind()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm1d) and module.track_running_stats:
            module.running_mean.normal_()
            module.running_var.uniform_(1, 2)
            module.num_batches_tracked.fill_(77)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return made


def running(norm: nn.Module) -> list[np.ndarray]:
    return [norm.get_buffer(name).numpy() for name in ("running_mean", "running_var")]


def by_hand(x: np.ndarray, norm: nn.Module) -> tuple[np.ndarray, list[np.ndarray]]:
    """Batch norm by the batch's own statistics, and those that a running average collects (the unbiased variance)."""
    weight, bias = (p.detach().double().numpy() for p in (norm.get_parameter("weight"), norm.get_parameter("bias")))
    return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) * weight + bias, [x.mean(0), x.var(0, ddof=1)]


def linear(x: np.ndarray, layer: nn.Module) -> np.ndarray:
    weight, bias = (p.detach().double().numpy() for p in (layer.get_parameter("weight"), layer.get_parameter("bias")))
    return x @ weight.T + bias


def mean(statistics: list[list[np.ndarray]]) -> list[np.ndarray]:
    return [np.mean([one[k] for one in statistics], axis=0) for k in (0, 1)]


# ---- statistics ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("n", "steps"), [(1, 1), (8, 1), (20, 3)])
def test_statistics_are_the_means_over_the_verbs_own_passes(n: int, steps: int) -> None:
    """E sees the images; G sees their codes and as much noise; no dropout drops and no average forgets."""
    raw = game()
    found = calibrate(raw, Rows(), n=n, seed=5)  # type: ignore[arg-type]
    of_e, of_g = [], []
    for step in range(steps):
        x = Rows()(step)["image"].flatten(1).double().numpy()
        z, statistics = by_hand(linear(x, raw.E[1]), raw.E[2])
        of_e.append(statistics)
        drawn = noise(ROWS, Z, seed=5, first=step * ROWS).double().numpy()
        of_g += [by_hand(linear(code, raw.G[0]), raw.G[1])[1] for code in (z, drawn)]
    for norm, statistics in ((found.E[2], of_e), (found.G[1], of_g)):
        for ours, want in zip(running(norm), mean(statistics), strict=True):
            np.testing.assert_allclose(ours, want, rtol=1e-4, atol=1e-5)
    assert found.seen == [(ROWS, 5, step * ROWS, list(range(step, step + ROWS))) for step in range(steps)]


def test_what_no_verb_reaches_keeps_its_own_and_the_given_game_is_not_touched() -> None:
    raw = game()
    before = copy.deepcopy(raw.state_dict())
    raw.train()
    found = calibrate(raw, Rows(), n=16)  # type: ignore[arg-type]
    assert all(torch.equal(value, before[name]) for name, value in raw.state_dict().items())
    assert raw.training
    changed = {name for name, value in found.state_dict().items() if not torch.equal(value, before[name])}
    reached = ("running_mean", "running_var", "num_batches_tracked")
    assert changed == {f"{norm}.{name}" for norm in ("E.2", "G.1") for name in reached}
    assert found.E[2].num_batches_tracked == 2
    assert found.D[1].num_batches_tracked == 77
    assert not any(module.training for module in found.modules())
    momenta = [module.momentum for module in found.modules() if isinstance(module, nn.BatchNorm1d)]
    assert momenta == [0.1, 0.3, 0.1, 0.1]


def test_a_game_that_only_encodes_is_calibrated_by_encoding() -> None:
    raw = game(Encoding)
    found = calibrate(raw, Rows(), n=8)  # type: ignore[arg-type]
    x = Rows()(0)["image"].flatten(1).double().numpy()
    for ours, want in zip(running(found.E[2]), by_hand(linear(x, raw.E[1]), raw.E[2])[1], strict=True):
        np.testing.assert_allclose(ours, want, rtol=1e-4, atol=1e-5)
    assert found.G[1].num_batches_tracked == 77


def test_a_result_does_not_depend_on_its_neighbours() -> None:
    found = calibrate(game(), Rows(), n=16)  # type: ignore[arg-type]
    x = Rows()(9)["image"]
    whole = found.reconstruct(x)
    alone = torch.cat([found.reconstruct(row[None]) for row in x])
    torch.testing.assert_close(whole, alone)
    torch.testing.assert_close(found.sample(8, seed=2)[5:], found.sample(3, seed=2, first=5))


def test_calibrating_twice_is_calibrating_once() -> None:
    once = calibrate(game(), Rows(), n=16, seed=1)  # type: ignore[arg-type]
    twice = calibrate(once, Rows(), n=16, seed=1)  # type: ignore[arg-type]
    assert all(torch.equal(a, b) for a, b in zip(once.state_dict().values(), twice.state_dict().values(), strict=True))


def test_a_game_without_batch_norm_is_as_it_was_and_nothing_is_run() -> None:
    class Plain(Normed):
        def __init__(self) -> None:
            super().__init__()
            self.E, self.G, self.D = (nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, Z)) for _ in range(3))

    raw = Plain()
    found = calibrate(raw, Rows(), n=16)  # type: ignore[arg-type]
    assert found is not raw
    assert found.seen == []
    assert not found.training
    assert all(torch.equal(value, found.state_dict()[name]) for name, value in raw.state_dict().items())


class Unread(Rows):
    """Batches that nobody may look at."""

    def first(self, steps: int) -> Iterator[dict[str, Tensor]]:
        raise AssertionError("a batch was read")


def test_no_batch_is_read_for_a_game_that_only_translates() -> None:
    """Its batch norms, and its critic's, are not of the verbs that calibration runs."""

    class Translating(Encoding):
        encode = None  # type: ignore[assignment]

        def translate(self, x: Tensor, *, direction: str | None = None, seed: int = 0, first: int = 0) -> Tensor:
            raise AssertionError("it was asked to")

    raw = game(Translating)
    found = calibrate(raw, Unread(), n=1024)  # type: ignore[arg-type]
    assert not found.training
    assert all(torch.equal(value, found.state_dict()[name]) for name, value in raw.state_dict().items())


def test_no_batch_is_read_for_a_game_that_only_draws() -> None:
    class Drawing(Normed):
        reconstruct = None  # type: ignore[assignment]
        encode = None  # type: ignore[assignment]

    found = calibrate(game(Drawing), Unread(), n=20, seed=5)  # type: ignore[arg-type]
    raw = game(Drawing)
    drawn = [noise(ROWS, Z, seed=5, first=step * ROWS).double().numpy() for step in range(3)]
    want = mean([by_hand(linear(code, raw.G[0]), raw.G[1])[1] for code in drawn])
    for ours, statistic in zip(running(found.G[1]), want, strict=True):
        np.testing.assert_allclose(ours, statistic, rtol=1e-4, atol=1e-5)
    assert found.E[2].num_batches_tracked == 77


def test_no_weight_is_copied() -> None:
    """A discriminator is as large as the rest, and nothing of it is calibrated."""
    raw = game()
    ours, theirs = dict(raw.named_parameters()), dict(calibrate(raw, Rows(), n=8).named_parameters())  # type: ignore[arg-type]
    assert ours.keys() == theirs.keys()
    assert all(weight is theirs[name] for name, weight in ours.items())


@pytest.mark.parametrize(
    ("side", "batch", "shares", "rows"),
    [(32, 64, 1, 64), (32, 64, 8, 64), (512, 64, 8, 8), (512, 64, 64, 2), (1024, 4, 1, 4)],
)
def test_no_more_rows_are_run_at_once_than_training_holds(side: int, batch: int, shares: int, rows: int) -> None:
    class Data:
        schema = Schema({"image": (3, side, side)})

    assert rows_together(folders.config(batch_size=batch, shares=shares), Data()) == rows  # type: ignore[arg-type]


def test_a_game_that_surveys_its_data_is_given_it_once_at_most() -> None:
    class Surveying(Game):
        """Keeps the mean of what it is shown, as a buffer, in eval mode; the last batch may be cut."""

        def __init__(self) -> None:
            super().__init__()
            self.N = nn.Linear(1, 1)
            self.register_buffer("centre", torch.zeros(()))

        def survey(self, batches: Iterator[dict[str, Tensor]], n: int) -> None:
            assert not self.training
            rows = torch.cat([batch["image"] for batch in batches])
            assert not rows.requires_grad
            self.shown, self.asked = len(rows), n
            self.centre.copy_(rows[:n].mean())

    class Epoch(Rows):
        steps_per_epoch = 3

    raw = Surveying()
    for n, batches in ((1024, 3), (10, 2)):
        found = calibrate(raw, Epoch(), n=n)  # type: ignore[arg-type]
        rows = torch.cat([Rows()(step)["image"] for step in range(batches)])
        assert (found.shown, found.asked) == (len(rows), n)
        assert found.centre == rows[:n].mean()
    assert raw.centre == 0


# ---- runs ------------------------------------------------------------------------------------------------------------
@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of a DCGAN on the digits, whose checkpoint was never calibrated."""
    data = open_data("digits")
    made = folders.build(
        tmp_path / "run",
        system="dcgan",
        verbs=["sample"],
        leaves={"width": 2, "latent": 4},
        data=data.spec,
        fingerprint=data.fingerprint,
        schema={name: list(shape) for name, shape in data.schema.fields.items()},
    )
    torch.manual_seed(0)
    weights, average = made.build_game().state_dict(), made.build_game().state_dict()
    folders.save(made, 10)
    folders.save(made, 20, weights=weights, average=average, memory={0: {"pool": torch.ones(3)}})
    return made


def test_a_run_is_calibrated_and_goes_on_training_as_it_would_have(run: Run) -> None:
    before = run.latest()
    assert before is not None
    parts = (before.weights(), before.average(), before.state(), before.memory(0))
    folder = calibrate_run(run, n=40, device="cpu")
    after = run.latest(warn=pytest.fail)
    assert after is not None
    assert (after.folder, after.step, after.calibrated, before.calibrated) == (folder, 20, True, False)
    assert run.checkpoints() == [10, 20]
    for old, new in ((parts[0], after.weights()), (parts[3], after.memory(0))):
        assert old.keys() == new.keys()
        assert all(torch.equal(value, new[name]) for name, value in old.items())
    moments = after.state()["optimisers"]["player"]["state"][0]["exp_avg"]
    assert torch.equal(moments, parts[2]["optimisers"]["player"]["state"][0]["exp_avg"])
    changed = {name for name, value in after.average().items() if not torch.equal(value, parts[1][name])}
    assert changed
    assert all(name.startswith("G.") for name in changed)
    assert {name.rpartition(".")[2] for name in changed} == {"running_mean", "running_var", "num_batches_tracked"}
    batches = Batches(open_data("digits"), run.config.batch_size, seed=0, flip=False)
    game = run.build_game()
    game.load_state_dict(parts[1])
    want = calibrate(game, batches, n=40).state_dict()
    torch.testing.assert_close(after.average(), dict(want), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(load(run.folder).sample(4, seed=1)[3:], load(run.folder).sample(1, seed=1, first=3))


def test_a_run_that_cannot_be_calibrated_says_why(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="-n must be at least 1, not 0"):
        calibrate_run(run, n=0)
    with Run.locked(run.folder), pytest.raises(RunError, match="Another process is training"):
        calibrate_run(run, n=16)
    with pytest.raises(RunError, match="has no checkpoint yet"):
        calibrate_run(folders.build(tmp_path / "fresh"), n=16)
    manifest = msgspec.json.decode((run.folder / "checkpoint-00000020" / "manifest.json").read_bytes())
    assert manifest["calibrated"] is False
