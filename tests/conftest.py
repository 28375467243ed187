"""Fixtures that every test may use."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# As in `ganvas.threads`: threads of the suite's two workers that wait by spinning would take the cores from each other.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # torch reads it once
import torch
from hypothesis import settings

if TYPE_CHECKING:
    from trained import Trained
    from translators import Translators

# One thread: the nets of tests are too small for two, and two workers of the suite must not fight over the cores.
# TEST_THREADS=4 runs the suite with more, to see that no tolerance depends on it.
os.environ["OMP_NUM_THREADS"] = os.environ.get("TEST_THREADS", "1")  # of the processes that tests start
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

# Where tests fork processes from a server, that one has imported all once.
multiprocessing.set_forkserver_preload(["ganvas.training"])

# A shell's background jobs ignore SIGINT, and so would every process that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadlines: a busy machine is no bug. Where a change is judged, the same examples every time.
settings.register_profile("ganvas", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("ganvas")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and feature weights beside a checkout; tests that need it skip where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "weights").is_dir():
        pytest.skip(f"needs the folder of real data and weights beside the checkout ({folder.name}/), which is absent")
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Tiny runs of every system, shared by the whole session: see `trained.py`."""
    from trained import Trained

    return Trained(tmp_path_factory.getbasetemp() / "trained")


@pytest.fixture(scope="session")
def translators(tmp_path_factory: pytest.TempPathFactory) -> Translators:
    """Tiny runs that translate, and their data, shared likewise: see `translators.py`."""
    from translators import Translators

    return Translators(tmp_path_factory.getbasetemp() / "translators")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the tests' own, shared by the whole session, so that nothing leaks to or from the user's."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("GANVAS_CACHE", str(folder))
    monkeypatch.delenv("GANVAS_WEIGHTS", raising=False)
    return folder
