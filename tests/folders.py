"""Run folders that tests make in a moment, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from ganvas.run import Run, RunConfig


def config(**changes: Any) -> RunConfig:
    """The settings of a small run."""
    settings: dict[str, Any] = {
        "system": "vae",
        "verbs": ["sample", "encode", "prior", "decode", "reconstruct", "elbo"],
        "preset": "tiny",
        "leaves": {"width": 4, "beta": 1.0},
        "data": "digits",
        "fingerprint": "f" * 64,
        "schema": {"image": [1, 32, 32], "label": []},
        "classes": [str(i) for i in range(10)],
        "seed": 0,
        "batch_size": 16,
        "shares": 1,
        "world": 1,
        "steps": 30,
        "steps_per_epoch": 5,
        "precision": "fp32",
        "compile": False,
        "device": "cpu",
        "checkpoint_every": 10,
        "keep": 2,
        "keep_best": None,
        "tick_every": 5,
        "init": None,
        "versions": {"torch": "2.13.0"},
        "git": None,
    }
    return RunConfig(**(settings | changes))


def build(folder: Path, *steps: int, **changes: Any) -> Run:
    """A run with a checkpoint of each of the steps."""
    run = Run.create(folder, config(**changes))
    for step in steps:
        save(run, step)
    return run


def save(run: Run, step: int, value: float | None = None, **more: Any) -> Path:
    """A checkpoint whose every number is ``value``, or the step."""
    value = float(step) if value is None else value
    parts: dict[str, Any] = {
        "weights": {"w": torch.full((3,), value)},
        "average": {"w": torch.full((3,), value)},
        "state": {"step": step, "optimisers": {"player": {"state": {0: {"exp_avg": torch.full((3,), value)}}}}},
    }
    return run.save(step, **(parts | more))


def value(run: Run, **how: Any) -> float:
    """The number that a run's latest checkpoint is full of."""
    checkpoint = run.latest(**how)
    assert checkpoint is not None
    found: list[Tensor] = [checkpoint.weights()["w"], checkpoint.average()["w"]]
    found += [checkpoint.state()["optimisers"]["player"]["state"][0]["exp_avg"]]
    numbers = {number for tensor in found for number in tensor.tolist()}
    assert len(numbers) == 1, f"{checkpoint.folder} is a mixture of {numbers}"
    return float(numbers.pop())


def tick(step: int, **terms: float | None) -> dict[str, Any]:
    """A row of ``stats.jsonl``; a term's name is ``player__term``."""
    named = {name.replace("__", "/"): number for name, number in terms.items()}
    return {"step": step, "images": 16 * step, "seconds": step / 10, "terms": named, "health": []}


def figure(value: float | None, **more: Any) -> dict[str, Any]:
    """A measured figure as ``metrics.jsonl`` holds it."""
    return {"value": value, "std": None, "n": 100, "recipe": {"range": [-1, 1]}} | more


def flip(file: Path, at: int = -1, bit: int = 0) -> None:
    """Flips one bit of a file; by default of its middle byte."""
    data = bytearray(file.read_bytes())
    data[at if at >= 0 else len(data) // 2] ^= 1 << bit
    file.write_bytes(data)


def hidden(folder: Path) -> list[str]:
    """What a kill or an error left behind in a run folder; its lock is no such thing."""
    return sorted(path.name for path in folder.rglob(".*") if path.name != ".lock")


def rewrite(file: Path, **changes: Any) -> None:
    """Changes fields of a JSON object in a file."""
    file.write_bytes(msgspec.json.encode(msgspec.json.decode(file.read_bytes()) | changes))
