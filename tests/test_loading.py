"""A run's game as others read it, while the process that trains goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import ganvas
from ganvas.checkpoint import Checkpoint
from ganvas.errors import RunError
from ganvas.run import Run
from trained import Trained


def test_load_gives_the_averaged_game_or_the_raw_one(trained: Trained) -> None:
    run = Run.open(trained("dcgan"))
    checkpoint = run.latest()
    assert checkpoint is not None
    averaged, raw = ganvas.load(run.folder), ganvas.load(run.folder, raw=True)
    assert not averaged.training
    assert not any(p.requires_grad for p in averaged.parameters())
    for game, saved in ((averaged, checkpoint.average()), (raw, checkpoint.weights())):
        assert all(torch.equal(value, saved[name]) for name, value in game.state_dict().items())
    assert any(not torch.equal(a, b) for a, b in zip(averaged.parameters(), raw.parameters(), strict=True))


def test_a_checkpoint_that_goes_while_it_is_read_is_read_anew(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when training removes it for a newer one, here for an older."""
    run = Run.open(trained.copy("gan", tmp_path / "run"))
    newest, older = run.checkpoints()[-1], run.checkpoints()[-2]
    average = Checkpoint.average

    def taken_away(self: Checkpoint) -> dict[str, torch.Tensor]:
        if self.step == newest:
            shutil.rmtree(self.folder)
        return average(self)

    monkeypatch.setattr(Checkpoint, "average", taken_away)
    game, checkpoint = run.loaded()
    assert checkpoint.step == older
    assert all(torch.equal(value, average(checkpoint)[name]) for name, value in game.state_dict().items())


def test_reading_gives_up_where_checkpoints_never_stay(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(self: Checkpoint) -> dict[str, torch.Tensor]:
        raise FileNotFoundError(self.folder)

    monkeypatch.setattr(Checkpoint, "average", gone)
    with pytest.raises(RunError, match="faster than they can be read"):
        Run.open(trained("gan")).load_game()
