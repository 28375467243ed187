"""What SIGINT, SIGTERM and SIGHUP do: they end the work in an orderly way, or stay ignored where they were."""

from __future__ import annotations

import os
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any] | signal.Handlers

ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TOGETHER_SECONDS = 2.0  # a service manager sends SIGTERM and SIGHUP, a terminal SIGHUP twice: that is one wish


class Ended(KeyboardInterrupt):
    """A signal ended this process: raised in the main thread, so that ``finally`` blocks clean up."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.number = number


@contextmanager
def handled(handler: Handler, numbers: tuple[int, ...] = ASKED) -> Iterator[dict[int, Any]]:
    """Hears these signals with ``handler`` while the block runs; yields the handlers that there were before.

    Signals that are ignored, as under nohup, stay ignored. In a thread other than the main one nothing is heard.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {n: now for n in numbers if (now := signal.getsignal(n)) is not signal.SIG_IGN and now is not None}
    for number in before:
        signal.signal(number, handler)
    try:
        yield before
    finally:
        for number, then in before.items():
            signal.signal(number, then)


@contextmanager
def raised() -> Iterator[None]:
    """While the block runs, SIGTERM and SIGHUP raise `Ended`, unless somebody handles them already. (SIGINT raises
    KeyboardInterrupt anyway.)"""
    last = -TOGETHER_SECONDS

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < TOGETHER_SECONDS:
            return
        last = now
        if number == signal.SIGHUP:
            leave_terminal()
        raise Ended(number)

    numbers = tuple(n for n in ASKED if n != signal.SIGINT and signal.getsignal(n) is signal.SIG_DFL)
    with handled(end, numbers):
        yield


def firm(first: int, number: int) -> bool:
    """Whether a signal that comes after ``first`` asks for an end at once: Ctrl-C, or SIGTERM twice. SIGHUP never does:
    it comes along with others."""
    return number == signal.SIGINT or number == first == signal.SIGTERM


def leave_terminal() -> None:
    """Sends what is still to be said nowhere, where it went to a terminal: after SIGHUP that one is gone, and writing
    to it is an error."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_RDWR)
        for handle in (1, 2):
            with suppress(OSError):
                if stat.S_ISCHR(os.fstat(handle).st_mode):
                    os.dup2(nowhere, handle)
        os.close(nowhere)


def say(text: str) -> None:
    """A line on stderr at once, from within a signal's handler: past Python's buffers, which may be in use just now."""
    start = "\r\x1b[2K" if os.isatty(2) else ""  # over a progress bar, which comes again below
    with suppress(OSError):
        os.write(2, f"{start}{text}\n".encode())
