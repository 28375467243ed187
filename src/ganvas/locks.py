"""Locks between processes. Each dies with the process that holds it, and its file goes when it is released."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock of that file, and waits for it as long as it takes. Raises OSError where it cannot be made."""
    handle = _acquire(path, fcntl.LOCK_EX)
    try:
        yield
    finally:
        release(path, handle)


@contextmanager
def attempted(path: Path) -> Iterator[bool]:
    """Holds the lock of that file if nobody else does, and yields whether it does."""
    handle = acquire(path)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            release(path, handle)


def acquire(path: Path) -> int | None:
    """Takes the lock of that file: a handle for `release`, or None where somebody else has it. Raises OSError."""
    try:
        return _acquire(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None


def release(path: Path, handle: int) -> None:
    """Removes the lock's file and lets the lock go. Those who wait find that the file is gone, and make it anew."""
    with suppress(OSError):
        path.unlink()
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_UN)  # a forked child has the same handle: closing ours alone would keep the lock
    os.close(handle)


def share(handle: int) -> None:
    """Marks an open file as in use until it is closed; `is_held` sees it. Silent where the file system has no locks."""
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_SH)  # waits for no longer than `is_held` takes to look


def is_held(path: Path) -> bool:
    """Whether a living process has marked that file or folder as in use, or locked it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(handle)
    return False


def _acquire(path: Path, way: int) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, way)
            if _is_named(handle, path):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # whoever had it has removed the file meanwhile


def _is_named(handle: int, path: Path) -> bool:
    """Whether the open file is still the one of that name: another process would lock a file that is made anew."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(handle), there)
