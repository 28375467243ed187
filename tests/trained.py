"""Tiny runs that tests share: a system each, trained when the first test asks for it."""

from __future__ import annotations

import shutil
from pathlib import Path

from ganvas.run import Run
from ganvas.training import train

DIGITS = "digits?limit=96"
SETTINGS = {
    "avae": {"data": DIGITS},
    "vae": {"data": DIGITS, "conditional": True},
    "autoencoder": {"data": DIGITS},
    "dcgan": {"data": DIGITS},
    "gan": {"data": "mixture:ring8", "checkpoint_every": 3},  # the one with a checkpoint before its last
}


class Trained:
    """Runs of six steps by the name of their system, for use and measuring; `copy` gives one to change."""

    def __init__(self, base: Path) -> None:
        self._base = base

    def __call__(self, system: str) -> Path:
        """The run folder."""
        folder = self._base / system
        if not Run.exists(folder):
            more = {"preset": "tiny", "steps": 6, "checkpoint_every": 6, "batch_size": 32} | SETTINGS[system]
            train(system, out=folder, device="cpu", quiet=True, **more)
        return folder

    def copy(self, system: str, to: Path) -> Path:
        """A copy of the run, at ``to``, without what was measured of it."""
        return Path(shutil.copytree(self(system), to, ignore=shutil.ignore_patterns("metrics.jsonl")))
