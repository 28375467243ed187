"""Signals end the work in an orderly way, and stay ignored where they were."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ganvas.signals import ASKED, Ended, firm, handled, raised


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_raised_so_that_blocks_clean_up(number: int) -> None:
    cleaned = []

    def works() -> None:
        try:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), signal.SIGTERM)  # along with it: it must not stop the cleaning
        finally:
            cleaned.append(True)

    with pytest.raises(Ended) as ended, raised():
        works()
    assert ended.value.number == number
    assert cleaned == [True]
    assert signal.getsignal(number) is signal.SIG_DFL


def test_what_is_ignored_or_handled_stays_so() -> None:
    """As SIGHUP is under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    own = signal.signal(signal.SIGTERM, handler := lambda number, frame: None)
    try:
        with raised():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is handler
        with handled(signal.SIG_DFL) as found:
            assert set(found) == {signal.SIGINT, signal.SIGTERM}
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.signal(signal.SIGTERM, own)


def test_only_a_wish_that_is_repeated_is_firm() -> None:
    asked = {(one.name, two.name) for one in ASKED for two in ASKED if firm(one, two)}
    assert asked == {("SIGINT", "SIGINT"), ("SIGTERM", "SIGINT"), ("SIGHUP", "SIGINT"), ("SIGTERM", "SIGTERM")}


WRITES = """
import sys, time
from ganvas.cli import run
import ganvas.cli.runs
def slow(words):
    from pathlib import Path
    from ganvas.files import atomic
    with atomic(Path("page.html")) as part:
        part.write_text("half")
        print("writing", flush=True)
        for _ in range(600):  # a signal just before a sleep does not end it
            time.sleep(0.1)
import ganvas.cli
ganvas.cli._run = lambda words, json: slow(words)
sys.exit(run(["anything"]))
"""


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGTERM, 143, "ganvas: ended by SIGTERM\n"), (signal.SIGHUP, 129, "ganvas: ended by SIGHUP\n"),
     (signal.SIGINT, 130, "ganvas: interrupted\n")],
)  # fmt: skip
def test_a_command_that_is_ended_leaves_nothing_half_written(number: int, code: int, said: str, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITES], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(number)
        _, text = process.communicate(timeout=60)
    assert (process.returncode, text) == (code, said)
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_that_has_gone_stops_nothing(tmp_path: Path) -> None:
    """Its process hears SIGHUP, and whatever it writes to the terminal from then on fails."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", WRITES.replace('print("writing", flush=True)', 'Path("writing").touch()')],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path,
    ) as process:  # fmt: skip
        os.close(theirs)
        while not (tmp_path / "writing").exists() and process.poll() is None:
            time.sleep(0.02)
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        process.wait(60)
    assert process.returncode == 129
    assert [path.name for path in tmp_path.iterdir()] == ["writing"]
