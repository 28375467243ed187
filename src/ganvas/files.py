"""Files that are there whole or not at all, and where the cache lies."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ganvas.bounds import open_regular
from ganvas.errors import GanvasError, RunError


def cache_folder() -> Path:
    """The folder of stores and fetched files: ``$GANVAS_CACHE``, else the user's cache folder."""
    if named := os.environ.get("GANVAS_CACHE"):
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_cache_dir("ganvas"))


_ASIDE = re.compile(r"\.(?P<stem>.+)\.[0-9a-f]{8}\.(?P<why>old|part|gone)(?P<suffix>\.[^.]*)?")


def _beside(path: Path, why: str = "part") -> Path:
    """A free name in the same folder (so that a rename is atomic), ending alike (so that writers know the format)."""
    return path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.{why}{path.suffix}")


def leftovers(folder: Path) -> list[tuple[Path, Path | None]]:
    """What a kill left half-done in ``folder``, and the path that each was meant for (None: it was to be removed).

    Of two that were meant for one path, the one that was to be replaced comes first, and what was to replace it last.
    Only for a process that knows itself alone there: to another, what is being written looks the same.
    """
    named = ((path, _ASIDE.fullmatch(path.name)) for path in sorted(folder.glob(".*")))
    found = sorted(((path, name) for path, name in named if name), key=lambda one: one[1]["why"] != "old")
    return [
        (path, None if name["why"] == "gone" else folder / f"{name['stem']}{name['suffix'] or ''}")
        for path, name in found
    ]


def remove(path: Path) -> None:
    """Removes a file or folder so that nobody ever meets half of it under its name."""
    gone = _beside(path, "gone")
    try:
        os.replace(path, gone)
    except FileNotFoundError:
        return
    _clear(gone)


def _clear(path: Path) -> None:
    """Deletes what is at ``path``, whatever it is; a link goes, not what it points to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Flushes a file or a folder's entries to the disk; a file system that cannot sync folders is left alone."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        if path.is_file():
            raise
    finally:
        os.close(handle)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a name beside ``path`` to write to; renamed over ``path`` if the block ends well, else removed."""
    part = _beside(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
        _sync(part)
        os.replace(part, path)
        _sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yields a new folder beside ``path`` to fill; it takes the place of ``path`` when the block ends well.

    Where ``path`` is there already there is an instant in which both lie beside it, whole: `leftovers` finds them.
    """
    part = _beside(path)
    part.mkdir(parents=True)
    try:
        yield part
        for file in part.rglob("*"):
            _sync(file)
        _sync(part)
        if path.exists():  # a folder cannot be renamed over a full one: the old one steps aside first
            old = _beside(path, "old")
            os.replace(path, old)
            try:
                os.replace(part, path)
            except BaseException:
                os.replace(old, path)
                raise
            _clear(old)
        else:
            os.replace(part, path)
        _sync(path.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def writing(path: Path, advice: str = "free some space", error: type[GanvasError] = RunError) -> Iterator[None]:
    """Puts what the system says when it refuses to write into one sentence, raised as ``error``."""
    try:
        yield
    except OSError as refusal:
        raise error(f"{path} cannot be written: {refusal.strerror or refusal}; {advice}.") from refusal


@contextmanager
def holding(folder: Path, busy: str) -> Iterator[None]:
    """Holds a folder for this process; the lock dies with it. Raises RunError(busy) where another process has it."""
    from filelock import FileLock, Timeout

    with writing(folder, "choose another --out"):
        try:
            lock = FileLock(folder / ".lock", timeout=0).acquire()
        except Timeout:
            raise RunError(busy) from None
    with lock:
        yield


def sha256(path: Path) -> str:
    """The SHA-256 of a regular file as 64 hexadecimal digits."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
