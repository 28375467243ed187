"""What of a run may change when it is resumed, and what is written of where it came from."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

import folders
import ganvas.settings
from ganvas.settings import RunConfig, differences, origins


def reread(config: RunConfig) -> RunConfig:
    """The config as a run folder gives it back."""
    return msgspec.json.decode(msgspec.json.encode(config), type=RunConfig)


def test_the_same_settings_differ_in_nothing() -> None:
    config = folders.config(leaves={"betas": (0.5, 0.999), "width": 4, "beta": 1, "clip": None, "conditional": False})
    for old in (config, reread(config)):
        for new in (config, reread(config)):
            assert differences(old, new) == ([], [])


@pytest.mark.parametrize(
    ("change", "clause"),
    [
        ({"system": "avae"}, "the system was vae, now avae"),
        ({"data": "photos"}, "the data was digits, now photos"),
        ({"fingerprint": "0" * 64}, "the content of digits has changed since"),
        ({"seed": 1}, "the seed was 0, now 1"),
        ({"batch_size": 8}, "the batch size was 16, now 8"),
        ({"precision": "bf16"}, "the precision was fp32, now bf16"),
        ({"leaves": {"width": 8, "beta": 1.0}}, "width was 4, now 8"),
        ({"leaves": {"width": 4}}, "beta was 1.0, now None"),
        ({"leaves": {"width": 4, "beta": 1.0, "xi": True}}, "xi was None, now True"),
    ],
)
def test_what_would_make_it_another_run_is_refused_by_name(change: dict[str, Any], clause: str) -> None:
    assert differences(folders.config(), folders.config(**change)) == ([clause], [])


@pytest.mark.parametrize(
    ("change", "clause"),
    [
        ({"device": "cuda"}, "device was cpu, now cuda"),
        ({"shares": 2}, "shares was 1, now 2"),
        ({"world": 2}, "ranks was 1, now 2"),
        ({"compile": True}, "compilation was False, now True"),
        ({"versions": {"torch": "2.12.0"}}, "torch was 2.13.0, now 2.12.0"),
    ],
)
def test_what_ends_exactness_is_allowed_and_said(change: dict[str, Any], clause: str) -> None:
    refused, allowed = differences(folders.config(), folders.config(**change))
    assert refused == []
    assert allowed == [f"{clause}: the run goes on, but not to the same bits"]


def test_files_that_are_streamed_may_change_if_what_a_row_is_does_not() -> None:
    def streamed(**change: Any) -> RunConfig:
        return folders.config(data="a?stream=true", streamed=True, **change)

    clause = "the content of a?stream=true has changed since"
    allowed = [f"{clause}: the run goes on, but not to the same bits"]
    assert differences(streamed(), streamed(fingerprint="0" * 64)) == ([], allowed)
    for change in ({"classes": ["a", "b"]}, {"schema": {"image": [3, 32, 32]}}):
        assert differences(streamed(), streamed(fingerprint="0" * 64, **change)) == ([clause], [])


@pytest.mark.parametrize(
    "change",
    [{"checkpoint_every": 3}, {"keep": 5}, {"keep_best": "mse"}, {"tick_every": 1}, {"init": "runs/a"}, {"git": "abc"}],
)
def test_cadence_and_keeping_may_change_without_a_word(change: dict[str, Any]) -> None:
    assert differences(folders.config(), folders.config(**change)) == ([], [])


def test_every_difference_is_named_at_once() -> None:
    refused, allowed = differences(folders.config(), folders.config(seed=1, batch_size=8, device="cuda"))
    assert len(refused) == 2
    assert len(allowed) == 1


def test_another_system_is_not_compared_leaf_by_leaf() -> None:
    refused, _ = differences(folders.config(), folders.config(system="gan", leaves={"loss": "minimax"}))
    assert refused == ["the system was vae, now gan"]


def test_origins_name_the_torch_that_runs_and_the_commit_of_a_checkout() -> None:
    found = origins()
    assert found["versions"]["torch"] == torch.__version__
    assert {"python", "numpy", "safetensors"} <= found["versions"].keys()
    root = Path(ganvas.settings.__file__).parents[2]
    if not (root / ".git").exists():
        assert found["git"] is None
        return
    asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=root)
    assert found["git"] == (asked.stdout.strip() or None)


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert origins()["git"] is None
