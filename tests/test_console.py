"""What people see while they wait."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import sys
import threading
from pathlib import Path

import pytest

from ganvas import console
from ganvas.console import brief, clock, meter, note

TERMS = {"accuracy": 0.75, "critic/real": 0.123456, "critic/gradient_norm": 9.0, "valid/critic/real": 8.0}


class Hands:
    """A clock that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(console.time, "monotonic", lambda: self.now)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (9.4, "0:09"),
        (59.6, "1:00"),
        (61, "1:01"),
        (3599.6, "1:00:00"),
        (3661, "1:01:01"),
        (360_000, "100:00:00"),
    ],
)
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_losses_are_told_briefly_and_norms_and_validation_are_not() -> None:
    assert brief(TERMS) == "accuracy 0.75  critic/real 0.1235"
    assert brief({f"t{i}": i for i in range(9)}, most=3) == "t0 0  t1 1  t2 2"
    assert brief({}) == ""


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hands = Hands(monkeypatch)
    with meter(100, 300) as pulse:
        for step in range(101, 301):
            hands.now += 1.0
            pulse.update(step)
            if step % 5 == 0:
                pulse.tick(step, 64.4, TERMS)
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert len(lines) == 14  # 200 seconds: one every 15, and the last
    assert lines[0] == "step 115/300  64 images/s  3:05 left  accuracy 0.75  critic/real 0.1235"
    assert lines[-1].startswith("step 300/300  64 images/s  0:00 left")


def test_a_quiet_meter_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with meter(0, 10, quiet=True) as pulse:
        pulse.update(1)
        pulse.tick(10, 1.0, TERMS)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_with_step_speed_time_and_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real pseudo-terminal, on stderr: what is drawn there, control codes taken out."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    ours, theirs = pty.openpty()
    drawn = b""

    def watch() -> None:
        nonlocal drawn
        with contextlib.suppress(OSError):  # a terminal that nobody writes to any more
            while read := os.read(ours, 4096):
                drawn += read

    watcher = threading.Thread(target=watch)
    watcher.start()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with meter(40, 200) as pulse:
            for step in range(41, 201):
                pulse.update(step)
            pulse.tick(200, 321.4, TERMS)
    watcher.join()
    os.close(ours)
    shown = drawn.decode()
    assert "\x1b[" in shown
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "\n").strip().splitlines()[-1]
    for word in ("step", "200/200", "321 images/s", "0:00:00", "accuracy 0.75", "critic/real 0.1235"):
        assert word in last
    assert "gradient_norm" not in last


def test_notes_go_to_stderr_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    note(f"saved {tmp_path}")
    assert capsys.readouterr() == ("", f"saved {tmp_path}\n")
