"""What people see while they wait: notes and progress on stderr, live on a terminal, sober elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.progress import TaskID


def note(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr, flush=True)


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


class _Lines:
    """A line now and then, for logs."""

    def __init__(self, first: int, total: int, every_seconds: float = 15.0) -> None:
        self.first, self.total, self.every = first, total, every_seconds
        self.start = self.last = time.monotonic()

    def update(self, step: int) -> None:
        pass

    def tick(self, step: int, images_per_second: float, terms: Mapping[str, float]) -> None:
        now = time.monotonic()
        if now - self.last < self.every and step < self.total:
            return
        self.last = now
        left = (now - self.start) / max(1, step - self.first) * (self.total - step)
        note(f"step {step}/{self.total}  {images_per_second:.0f} images/s  {clock(left)} left  {brief(terms)}")


class _Live:
    """A bar that the terminal redraws."""

    def __init__(self, first: int, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("[dim]{task.fields[terms]}"),
            console=Console(stderr=True),
            refresh_per_second=4,
            speed_estimate_period=60,
        )
        self.task: TaskID = self.progress.add_task("step", total=total, completed=first, speed="", terms="")

    def update(self, step: int) -> None:
        self.progress.update(self.task, completed=step)

    def tick(self, step: int, images_per_second: float, terms: Mapping[str, float]) -> None:
        self.progress.update(
            self.task, completed=step, speed=f"{images_per_second:.0f} images/s", terms=brief(terms, most=4)
        )


@contextmanager
def meter(first: int, total: int, *, quiet: bool = False) -> Iterator[Meter]:
    """The meter that fits: none, a live bar on a terminal, or lines."""
    if quiet:
        yield _Silent()
    elif sys.stderr.isatty():
        live = _Live(first, total)
        with live.progress:
            yield live
    else:
        yield _Lines(first, total)
