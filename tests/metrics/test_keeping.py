"""A cache that cannot be written costs time, never a figure."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ganvas.errors import UsageError
from ganvas.fetching import fetch
from ganvas.metrics import FrechetDistance, metric
from ganvas.metrics.digits import classifier


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder below a file, where nobody can write."""
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path / "file" / "cache"))
    return tmp_path / "file"


def test_figures_come_without_a_cache(
    cache: Path, no_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("GANVAS_CACHE", str(cache))
        distance = metric("fd-digits")
        wanted = distance.statistics(iter([torch.zeros(4, 1, 32, 32)])).mean  # type: ignore[union-attr]
    assert isinstance(distance, FrechetDistance)
    found = distance.statistics(iter([torch.zeros(4, 1, 32, 32)]), fingerprint="zeros").mean
    assert torch.equal(found, wanted)
    assert "cannot be written, so it is computed again the next time" in capsys.readouterr().err


def test_a_classifier_that_cannot_be_kept_is_still_had(
    no_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def untrained(*arguments: object) -> float:
        return 0.5

    monkeypatch.setattr("ganvas.metrics.digits._train", untrained)
    assert classifier()[1] == 0.5
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["lpips-alex", "cifar10"])
def test_a_folder_that_cannot_be_made_is_one_sentence(
    name: str, no_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Exception, match="cannot be written") as refused:
        fetch(name, no_cache / "folder")
    assert refused.value.exit_code == 2  # type: ignore[attr-defined]


def test_nothing_of_that_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'cifar10'"):
        fetch("cifar")
