"""What people see while they wait: notes and progress on stderr, live on a terminal, sober elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

PACE_SECONDS = 60.0  # over which the speed of training is averaged
MARK_SECONDS = 0.1  # between the steps that are remembered for it, at least
DAYS_SECONDS = 100 * 3600.0  # of waiting from which it is told in days
SHORTEST_BAR, LONGEST_BAR = 8, 24  # columns


def note(text: str) -> None:
    """Print a line on stderr, if it is open."""
    if sys.stderr is None:
        return
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:  # the reader of the log has exited, or its disk is full: the work goes on
        silence(sys.stderr)


def silence(stream: IO[Any]) -> None:
    """Discard what a stream still holds and whatever is written to it later."""
    with suppress(OSError, ValueError):  # a stream without a file, set by the caller
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def on_terminal() -> bool:
    """Whether stderr is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


_facts: ContextVar[list[dict[str, Any]] | None] = ContextVar("facts", default=None)


@contextmanager
def hearing() -> Iterator[list[dict[str, Any]]]:
    """Collects the facts that `tell` is given inside the block; each is told once there."""
    heard: list[dict[str, Any]] = []
    token = _facts.set(heard)
    try:
        yield heard
    finally:
        _facts.reset(token)


def tell(facts: dict[str, Any], lines: Sequence[str]) -> None:
    """Prints lines on stderr that say those facts (JSON types), unless they were told within the same `hearing`."""
    heard = _facts.get()
    if heard is not None:
        if facts in heard:
            return
        heard.append(facts)
    for line in lines:
        note(line)


def brief(terms: Mapping[str, float], most: int = 6) -> str:
    """The losses among the terms, on one line: gradient norms and validation left out."""
    shown = {k: v for k, v in terms.items() if not k.endswith("gradient_norm") and not k.startswith("valid/")}
    return "  ".join(f"{name} {value:.4g}" for name, value in list(shown.items())[:most])


def clock(seconds: float) -> str:
    """Seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"


class Meter(Protocol):
    """Takes the training's pulse: ``update`` on every step, ``tick`` on every row of figures."""

    def update(self, step: int) -> None: ...

    def tick(self, step: int, images_per_second: float, terms: Mapping[str, float]) -> None: ...


class _Silent:
    def update(self, step: int) -> None:
        pass

    def tick(self, step: int, images_per_second: float, terms: Mapping[str, float]) -> None:
        pass


class _Pace:
    """How fast steps go, by the clock, over about the last minute; the first step, which warms up, does not count."""

    def __init__(self) -> None:
        self.marks: deque[tuple[float, int]] = deque()  # when a step was done, and which
        self.last = (0.0, 0)

    def mark(self, step: int) -> None:
        """Takes note of a step that was just done."""
        self.last = now, _ = (time.monotonic(), step)
        if not self.marks or now - self.marks[-1][0] >= MARK_SECONDS:
            self.marks.append(self.last)
        while len(self.marks) > 2 and now - self.marks[1][0] > PACE_SECONDS:
            self.marks.popleft()

    def seconds_per_step(self) -> float | None:
        """None until a second step is done."""
        if not self.marks or self.last[1] <= self.marks[0][1]:
            return None
        return max(1e-6, self.last[0] - self.marks[0][0]) / (self.last[1] - self.marks[0][1])

    def left(self, steps: int) -> str:
        """How long so many steps will take; "" where nothing is known yet."""
        each = self.seconds_per_step()
        if each is None:
            return ""
        return clock(each * steps) if each * steps < DAYS_SECONDS else f"{each * steps / 86_400:.0f} days"


class _Lines:
    """A line now and then, for logs."""

    def __init__(self, first: int, total: int, every_seconds: float = 15.0) -> None:
        self.total, self.every, self.pace = total, every_seconds, _Pace()
        self.last = time.monotonic()

    def update(self, step: int) -> None:
        self.pace.mark(step)

    def tick(self, step: int, images_per_second: float, terms: Mapping[str, float]) -> None:
        now = time.monotonic()
        if now - self.last < self.every and step < self.total:
            return
        self.last = now
        left = self.pace.left(self.total - step)
        facts = (f"step {step}/{self.total}", f"{_rate(images_per_second)} images/s", left and f"{left} left",
                 brief(terms))  # fmt: skip
        note("  ".join(fact for fact in facts if fact))


def _rate(images_per_second: float) -> str:
    return f"{images_per_second:.0f}" if images_per_second >= 10 else f"{images_per_second:.2g}"


@dataclass
class _Line:
    """The progress of a training run, on one line of a terminal however wide: step, images/s and time left always, a
    bar and losses as far as there is room. Losses go first, the last of them first."""

    step: int
    total: int
    batch_size: int | None = None
    pace: _Pace = field(default_factory=_Pace)
    terms: Mapping[str, float] = field(default_factory=dict)
    measured: float | None = None  # images/s of the last tick

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.drawn(options.max_width)

    def drawn(self, width: int) -> Text:
        """The line for a terminal of ``width`` columns."""
        from rich.text import Text

        each = self.pace.seconds_per_step()
        rate = self.batch_size / each if each and self.batch_size else self.measured
        speed = "" if rate is None else _rate(rate)
        left = self.pace.left(self.total - self.step)
        steps = f"{self.step}/{self.total}"
        shorter = [
            ["step", steps, speed and f"{speed} images/s", left and f"{left} left"],
            [steps, speed and f"{speed} images/s", left and f"{left} left"],
            [steps, speed and f"{speed} img/s", left],
        ]
        lines = ["  ".join(part for part in parts if part) for parts in shorter]
        plain = next((line for line in lines if len(line) <= width), lines[-1])
        room = width - len(plain) - 2
        terms = brief(self.terms, most=100).split("  ") if self.terms else []
        losses: list[str] = []
        for term in terms:
            if len("  ".join([*losses, term])) > room - SHORTEST_BAR - 1:
                break
            losses.append(term)
        room -= len("  ".join(losses)) + 2 if losses else 0
        text = Text(no_wrap=True, overflow="crop")
        if room >= SHORTEST_BAR:
            length = min(LONGEST_BAR, room)
            done = round(length * self.step / max(1, self.total))
            text.append("\u2501" * done, "bar.complete" if self.step < self.total else "bar.finished")
            text.append("\u2501" * (length - done), "bar.back")
            text.append("  ")
        text.append(plain)
        if losses:
            text.append("  " + "  ".join(losses), "dim")
        return text


class _Live:
    """A line that the terminal redraws."""

    def __init__(self, first: int, total: int, batch_size: int | None) -> None:
        from rich.console import Console
        from rich.live import Live

        self.line = _Line(first, total, batch_size)
        self.live = Live(self.line, console=Console(stderr=True), refresh_per_second=4)

    def update(self, step: int) -> None:
        self.line.step = step
        self.line.pace.mark(step)

    def tick(self, step: int, images_per_second: float, terms: Mapping[str, float]) -> None:
        self.line.step, self.line.measured, self.line.terms = step, images_per_second, terms


@contextmanager
def meter(first: int, total: int, *, batch_size: int | None = None, quiet: bool = False) -> Iterator[Meter]:
    """The meter that fits: none, a live line on a terminal, or lines in a log.

    batch_size: images of a step, so that their number a second is there before the first tick.
    """
    if quiet:
        yield _Silent()
    elif on_terminal():
        live = _Live(first, total, batch_size)
        with live.live:
            yield live
    else:
        yield _Lines(first, total)
