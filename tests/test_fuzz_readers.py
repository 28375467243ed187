"""Whatever a file holds, to read it succeeds or ends in one of our errors, in seconds and within bounds of memory.

pytest tests/test_fuzz_readers.py                          a few hundred damaged inputs, in every ordinary run
pytest tests/test_fuzz_readers.py -m slow                  10,000
GANVAS_FUZZ=100000 GANVAS_FUZZ_SEED=7 pytest ... -m slow   more, and others
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import pytest

import fuzzing
from ganvas.errors import GanvasError
from trained import Trained

MOST_SECONDS, MOST_BYTES = 10, 512 << 20
SEED = int(os.environ.get("GANVAS_FUZZ_SEED", "0"))
FEW, MANY = 300, int(os.environ.get("GANVAS_FUZZ", "10000"))
PORTION = 100  # inputs that a process reads

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def peak(*, anew: bool = False) -> int:
    """The most memory, in bytes, that this process has had; anew: from now on (where Linux can tell)."""
    try:
        if anew:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) << 10
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def play(kind: fuzzing.Kind, name: str, numbers: range, run: Path, report: int) -> None:
    """Reads so many damaged inputs, in a process of its own; tells what happened in lines."""
    with tempfile.TemporaryDirectory() as place:
        os.environ["GANVAS_CACHE"] = f"{place}/cache"
        folder = Path(place) / "in"
        folder.mkdir()
        fuzzing.prepare(name, folder, run)
        os.chdir(place)
        for number in numbers:
            path = folder / kind.name
            path.write_bytes(fuzzing.changed(kind, name, number, SEED))
            before, began = peak(anew=True), time.process_time()
            signal.alarm(6 * MOST_SECONDS)  # of a machine that is busy otherwise, too
            try:
                kind.reads(path)
                done = "read"
            except GanvasError as error:
                done = "refused" if "\n" not in str(error) and len(str(error)) < 2000 else f"said {str(error)[:3000]!r}"
            except BaseException:
                done = "failed: " + traceback.format_exc()[-1500:].replace("\n", " | ")
            signal.alarm(0)
            took, grew = time.process_time() - began, peak() - before
            if took > MOST_SECONDS or grew > MOST_BYTES:
                done = f"took {took:.1f} s and {grew >> 20} MiB"
            os.write(report, f"{number} {done}\n".encode(errors="replace"))


def campaign(total: int, run: Path) -> tuple[Counter[str], list[str]]:
    """How often what happened, by kind, and all that should not have."""
    kinds = fuzzing.kinds(run)
    counts: Counter[str] = Counter()
    faults: list[str] = []
    each = -(-total // len(kinds))
    for name, kind in kinds.items():
        for first in range(0, each, PORTION):
            numbers = range(first, min(first + PORTION, each))
            told = forked(kind, name, numbers, run)
            for number in numbers:
                done = told.get(number, "ended the process, or never ended")
                counts[f"{name}: {done if done in ('read', 'refused') else 'fault'}"] += 1
                if done not in ("read", "refused"):
                    faults.append(f"{name} {number} (seed {SEED}): {done}")
                    if number not in told:
                        break
    return counts, faults


def forked(kind: fuzzing.Kind, name: str, numbers: range, run: Path) -> dict[int, str]:
    """What a process that plays those numbers tells."""
    ours, theirs = os.pipe()
    sys.stdout.flush()
    process = os.fork()
    if not process:
        try:
            os.close(ours)
            nothing = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nothing, stream)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            play(kind, name, numbers, run, theirs)
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, errors="replace") as told:
        lines = [line.rstrip("\n").partition(" ") for line in told]
    os.waitpid(process, 0)
    return {int(number): done for number, _, done in lines}


def test_what_is_sound_is_read(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = trained("vae")
    for number, (name, kind) in enumerate(fuzzing.kinds(run).items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        fuzzing.prepare(name, folder, run)
        (folder / kind.name).write_bytes(kind.content)
        kind.reads(folder / kind.name)


def test_a_few_hundred_damaged_inputs(trained: Trained) -> None:
    counts, faults = campaign(FEW, trained("vae"))
    assert not faults, "\n".join(faults)
    assert counts.total() >= FEW


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_ten_thousand_damaged_inputs(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    counts, faults = campaign(MANY, trained("vae"))
    with capsys.disabled():
        print("\n" + "\n".join(f"{count:6,} {what}" for what, count in sorted(counts.items())))
    assert not faults, "\n".join(faults)
    assert counts.total() >= MANY
