"""A run that is killed, at whatever moment and by whatever signal, and resumed, ends as if it had never been.

    python tests/test_kill_campaign.py points FOLDER CASE FIRST STEP    kills at every STEPth touch of the disk
    python tests/test_kill_campaign.py random FOLDER SEED COUNT         kills at random moments, over all systems

Both say what they found as JSON, in their last line.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ganvas.files  # before children are killed, all is imported
from children import differing, finish, hidden, spawn, wait, warm

TOUCHES = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "shutil.rmtree"}
CADENCE = ("--preset", "tiny", "--checkpoint-every", "2", "--tick-every", "3", "--seed", "3", "--device", "cpu")
CASES: dict[str, tuple[str, ...]] = {  # by name: the words of the command, data and pictures to be put in their places
    "metric": ("gan", "--data", "mixture:ring8", "--steps", "5", "--keep", "1", "--keep-best", "modes"),
    "term": ("gan", "--data", "mixture:ring8", "--steps", "5", "--keep", "1", "--keep-best", "valid/generator/fool"),
}
SYSTEMS: dict[str, tuple[str, ...]] = {
    "gan": ("mixture:ring8", "--keep-best", "modes"),
    "dcgan": ("digits?limit=96", "--keep-best", "valid/critic/real"),
    "bigan": ("digits?limit=96", "--keep-best", "mse"),
    "autoencoder": ("digits?limit=96", "--keep-best", "mse"),
    "vae": ("digits?limit=96", "--keep-best", "elbo"),
    "vaegan": ("digits?limit=96", "--keep-best", "mse"),
    "avae": ("digits?limit=96", "--keep-best", "psnr"),
    "pix2pix": ("paired", "--keep-best", "psnr", "--batch-size", "2"),
    "cyclegan": ("unpaired", "--keep-best", "cycle", "--batch-size", "2"),
    "pix2pixhd": ("labels", "--keep-best", "generator/fool", "--batch-size", "2"),
}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


# ---- in an interpreter of its own ------------------------------------------------------------------------------------
def kill_at_points(root: Path, case: str, first: int, step: int) -> dict[str, Any]:
    """Kills training before its touches of the disk ``first``, ``first + step``, ..., each in a folder of its own."""

    def words(out: Path) -> list[str | Path]:
        return ["train", *CASES[case], *CADENCE, "--out", out]

    straight, log = root / "straight", root / "log"
    assert finish(words(straight), log) == 0, log.read_text()
    faults: list[str] = []
    for killed, last in enumerate(itertools.count(first, step)):
        out = root / f"killed-{last}"
        code = finish(words(out), log, lambda out=out, last=last: doomed(out, last))  # type: ignore[misc]
        if code == 0:
            return {"killed": killed, "faults": faults}
        assert code == -signal.SIGKILL, log.read_text()
        code = finish(words(out), log)
        found = [f"exit {code}: {log.read_text()[-300:]}"] if code else differing(straight, out) + hidden(out)
        faults += [f"touch {last}: {fault}" for fault in found]
    raise AssertionError


def doomed(folder: Path, last: int) -> None:
    """Kills this process before it touches the disk below ``folder`` for the time of that number."""
    touched = itertools.count()
    below = (str(folder), str(folder.parent / f".{folder.name}."))
    sync = os.fsync

    def touch() -> None:
        if next(touched) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        path = arguments[0] if event in TOUCHES else None
        if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(below):
            touch()

    def synced(handle: int) -> None:
        touch()
        sync(handle)

    sys.addaudithook(hook)
    os.fsync = synced


def kill_at_random(root: Path, seed: int, count: int) -> dict[str, Any]:
    """Kills training of every system in turn, until there were so many kills; compares each run when it is done."""
    chance, faults = random.Random(seed), list[str]()
    kills: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    pictures = {kind: draw(root / "data", kind) for kind in ("paired", "unpaired", "labels")}
    known: dict[str, tuple[Path, float]] = {}
    log = root / "log"
    for number in itertools.count():
        system = list(SYSTEMS)[number % len(SYSTEMS)]
        data, *more = SYSTEMS[system]

        def words(out: Path, system: str = system, data: str = data, more: list[str] = more) -> list[str | Path]:
            spec = pictures.get(data, data)
            return ["train", system, "--data", spec, "--steps", "7", *CADENCE, "--keep", "2", *more, "--out", out]

        if system not in known:
            straight, began = root / f"straight-{system}", time.monotonic()
            assert finish(words(straight), log) == 0, log.read_text()
            known[system] = straight, time.monotonic() - began
        straight, seconds = known[system]
        out, tried = root / f"killed-{number}", list[str]()
        for _ in range(chance.randint(1, 3)):
            how, moment = chance.choice(SIGNALS), chance.uniform(0, 1.1 * seconds)
            child = spawn(words(out), log)
            code = wait(child, moment)
            if code is None:
                os.kill(child, how)
                code = wait(child, 120)
                kills[how.name] += 1
                tried.append(f"{how.name} at {moment:.3f} s")
                ends[f"{how.name}: {code}"] += 1
                if code not in (0, -how, 128 + how) or (code >= 0 and hidden(out)):
                    faults.append(f"{system}, {tried}: exit {code}, left {hidden(out)}: {log.read_text()[-300:]}")
        code = finish(words(out), log)
        found = [f"exit {code}: {log.read_text()[-300:]}"] if code else differing(straight, out) + hidden(out)
        if found:
            faults.append(f"{system}, {tried}: {found}")
            print(faults[-1], flush=True)
        if sum(kills.values()) >= count and number >= len(SYSTEMS) - 1:
            return {"killed": sum(kills.values()), "by": kills, "ends": ends, "faults": faults}
    raise AssertionError


def draw(folder: Path, kind: str) -> str:
    """A few pictures on disk, as a data spec."""
    chance = np.random.default_rng(0)
    sides = {"paired": ("trainA", "trainB", "testA", "testB"), "unpaired": ("trainA", "trainB", "testA", "testB"),
             "labels": ("train_label", "train_img", "test_label", "test_img")}[kind]  # fmt: skip
    for side in sides:
        (folder / kind / side).mkdir(parents=True)
        for i in range(3):
            pixels = chance.integers(0, 5, (32, 32), np.uint8) if side.endswith("label") else chance.integers(
                0, 256, (32, 32, 3), np.uint8)  # fmt: skip
            Image.fromarray(pixels).save(folder / kind / side / f"{i}.png")
    return f"{kind}:{folder / kind}" + "?classes=5" * (kind == "labels")


def main() -> None:
    """See the top of the file."""
    what, root, *words = sys.argv[1:]
    warm(Path(root))
    if what == "points":
        found = kill_at_points(Path(root), words[0], int(words[1]), int(words[2]))
    else:
        found = kill_at_random(Path(root), int(words[0]), int(words[1]))
    print(json.dumps(found))


# ---- tests -----------------------------------------------------------------------------------------------------------
Campaign = Callable[..., dict[str, Any]]


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    """Runs this file in an interpreter of its own; returns what it found."""

    def run(what: str, *words: object) -> dict[str, Any]:
        paths = [str(Path(__file__).parent), str(Path(ganvas.files.__file__).parents[1])]
        done = subprocess.run(
            [sys.executable, __file__, what, tmp_path, *map(str, words)],
            capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    return run


def test_a_kill_at_a_touch_of_the_disk_changes_nothing(campaign: Campaign) -> None:
    found = campaign("points", "metric", 17, 53)
    assert found["killed"] > 1
    assert found["faults"] == []


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("case", CASES)
def test_a_kill_at_any_touch_of_the_disk_changes_nothing(campaign: Campaign, case: str) -> None:
    found = campaign("points", case, 0, 1)
    assert found["killed"] > 100
    assert found["faults"] == []


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_200_kills_at_random_moments_over_all_systems_change_nothing(campaign: Campaign) -> None:
    found = campaign("random", 1, 200)
    assert found["killed"] >= 200
    assert found["faults"] == []


if __name__ == "__main__":
    main()
