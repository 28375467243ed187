"""What people see while they wait."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import re
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console

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


LOSSES = {
    **{"accuracy": 0.8739, "autoencoder/reconstruction": 29.3, "autoencoder/kl": 16.84, "generator/fool": 1.841},
    **{"generator/latent": 3.2, "critic/real": 0.25, "critic/gradient_norm": 3.0},
}


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 160, 200])
@pytest.mark.parametrize(
    ("total", "batch_size", "seconds", "step", "speed", "left"),
    [(1000, 64, 0.3, "44/1000", "213", "4:47"), (200_000, 1, 0.5, "44/200000", "2", "27:46:18"),
     (892_500, 1, 40.0, "44/892500", "0.025", "413 days"), (60, 8, 1e-3, "44/60", "8000", "0:00")],
)  # fmt: skip
def test_the_line_keeps_step_speed_and_time_left_at_any_width(
    monkeypatch: pytest.MonkeyPatch, width: int, total: int, batch_size: int, seconds: float, step: str, speed: str,
    left: str,
) -> None:  # fmt: skip
    """Before the first tick and after it; losses are dropped from the last, whole."""
    hands = Hands(monkeypatch)
    line = console._Line(0, total, batch_size)
    for done in range(1, 45):
        hands.now += seconds
        line.step = done
        line.pace.mark(done)
    for ticked in (False, True):
        line.terms = LOSSES if ticked else {}
        with Console(width=width, file=io.StringIO()) as screen, screen.capture() as drawn:
            screen.print(line)
        shown = drawn.get().removesuffix("\n")
        assert "\n" not in shown
        assert len(shown) <= width
        words = shown.split()
        assert step in words
        assert speed in words[words.index(step) + 1]
        assert left in shown
        told = [f"{name} {value:.4g}" for name, value in LOSSES.items() if name in shown]
        assert all(loss in shown for loss in told)
        assert "norm" not in shown
        assert ("accuracy 0.8739" in shown) == (ticked and width >= 100) or width == 80
        assert ("\u2501" in shown) == (width >= 60)


def test_the_line_tells_no_time_before_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step, which warms up, says nothing of those to come."""
    hands = Hands(monkeypatch)
    line = console._Line(100, 200, 64)
    assert line.drawn(80).plain.endswith("  step  100/200")
    for step, seconds in ((101, 90.0), (102, 1.0), (103, 1.0)):
        hands.now += seconds
        line.step = step
        line.pace.mark(step)
    assert line.drawn(80).plain.endswith("  step  103/200  64 images/s  1:37 left")
    for step in range(104, 190):  # twice as slow: within a minute or so that is what counts
        hands.now += 2.0
        line.step = step
        line.pace.mark(step)
    assert line.drawn(80).plain.endswith("  step  189/200  32 images/s  0:22 left")


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
    for word in ("step", "200/200", "321 images/s", "0:00 left", "accuracy 0.75", "critic/real 0.1235"):
        assert word in last
    assert "gradient_norm" not in last


def test_notes_go_to_stderr_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    note(f"saved {tmp_path}")
    assert capsys.readouterr() == ("", f"saved {tmp_path}\n")
